//! The engine: takes due keys from a queue and runs a reconciler on each.
//!
//! Guarantees: a key is reconciled by one worker at a time, at most `workers` keys at once; a reconcile that fails,
//! panics or exceeds the time limit costs its own key a backoff, and the others nothing. What is measured, traced and
//! logged about a reconcile is done here; the reconciler does none of it.
//!
//! All reconciles of one controller share one task: they wait at the same time, but plan one after the other. Different
//! controllers run side by side, and one that has much to do gives way to everything else of the process every few plans:
//! the lease is renewed, answers are read and what somebody waits for goes on while tens of thousands of keys are due.
//!
//! When [`Controller::run`] is cancelled, the reconciles under way are dropped where they wait. They are written for
//! that: whatever they had begun, the next one plans from what is.

mod rescan;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::hash::Hash;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, Span, debug, error, info_span, warn};

use crate::backoff::BackoffOptions;
use crate::metrics::{ControllerMetrics, Metrics, ReconcileResult};
use crate::queue::{Cause, Queue};
use crate::tasks::panic_message;
use crate::trouble::{Failures, Loudness};

pub use rescan::rescan;

/// After so many steps (a key begun or ended) a controller gives way. A plan takes some ten to some hundred microseconds,
/// so that nobody waits for a controller longer than a few milliseconds.
const STEPS_AT_ONCE: u32 = 16;

/// Brings one object from what is towards what shall be.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// What names an object.
    type Key: Clone + Ord + Hash + Debug + Send + Sync + 'static;

    /// The name of the loop, for metrics, logs and its queue. Constant.
    fn name(&self) -> &'static str;

    /// Reads what is, decides, and does it. Which event has woken the key is withheld on purpose.
    ///
    /// May be dropped at any await, and may panic: the key is then reconciled again.
    async fn reconcile(&self, key: &Self::Key) -> Result<Outcome, ReconcileError>;
}

/// What a reconcile that went well reports.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outcome {
    /// Whether it changed anything, in the store or on an agent. One that nothing but a rescan had woken counts as a
    /// missed event if it did.
    pub changed: bool,
    /// When it wants to be called again even if nothing happens.
    pub requeue_after: Option<Duration>,
}

impl Outcome {
    /// There was nothing to do.
    pub fn unchanged() -> Self {
        Self { changed: false, requeue_after: None }
    }

    /// Something was written or sent.
    pub fn changed() -> Self {
        Self { changed: true, requeue_after: None }
    }

    /// The same, to be called again after `delay`; the earlier one where two are asked for.
    pub fn after(self, delay: Duration) -> Self {
        let earlier = self.requeue_after.map_or(delay, |before| before.min(delay));
        Self { requeue_after: Some(earlier), ..self }
    }
}

/// Why a reconcile ends without success.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum ReconcileError {
    /// The view had moved on, and nothing was done: plan again, very soon. Not counted as an error.
    #[error("the view has moved on")]
    Conflict,
    /// It failed, and is tried again with backoff.
    #[error("{message}")]
    Failed {
        /// Which failure, out of a closed set.
        reason: &'static str,
        /// The same for people, with names and numbers.
        message: String,
    },
}

impl ReconcileError {
    /// A failure with its reason, out of a closed set, and a message for people.
    pub fn failed(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Failed { reason, message: message.into() }
    }
}

/// How a controller works through its queue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ControllerOptions {
    /// How many keys are reconciled at once; 0 counts as 1.
    pub workers: usize,
    /// The delays of keys that failed.
    pub backoff: BackoffOptions,
    /// A reconcile that takes longer is dropped and counts as failed.
    pub timeout: Option<Duration>,
}

impl Default for ControllerOptions {
    /// One worker, the default backoff, no limit of time.
    fn default() -> Self {
        Self { workers: 1, backoff: BackoffOptions::default(), timeout: None }
    }
}

/// A reconciler, its queue and its workers.
pub struct Controller<R: Reconciler> {
    reconciler: Arc<R>,
    workers: usize,
    timeout: Option<Duration>,
    queue: Arc<Queue<R::Key>>,
    metrics: ControllerMetrics,
}

/// How a reconcile ended, with what the engine needs to settle it.
struct Finished<K> {
    key: K,
    cause: Cause,
    span: Span,
    took: Duration,
    end: End,
}

enum End {
    Returned(Result<Outcome, ReconcileError>),
    TimedOut(Duration),
    Panicked(String),
}

impl<R: Reconciler> Controller<R> {
    /// A controller with an empty queue.
    pub fn new(reconciler: Arc<R>, options: ControllerOptions, metrics: &Metrics) -> Self {
        let queue = Queue::new(reconciler.name(), options.backoff, metrics);
        Self::with_queue(reconciler, queue, options, metrics)
    }

    /// A controller for a queue that exists before it, so that reconcilers can wake each other. The backoff is the
    /// queue's; that of `options` is not used.
    pub fn with_queue(
        reconciler: Arc<R>,
        queue: Arc<Queue<R::Key>>,
        options: ControllerOptions,
        metrics: &Metrics,
    ) -> Self {
        let ControllerOptions { workers, backoff: _, timeout } = options;
        let workers = workers.max(1);
        let metrics = metrics.controller(reconciler.name());
        metrics.may_use(workers);
        Self { reconciler, workers, timeout, queue, metrics }
    }

    /// The name of its loop.
    pub fn name(&self) -> &'static str {
        self.reconciler.name()
    }

    /// The queue, for those who wake keys. It is closed when [`Self::run`] ends.
    pub fn queue(&self) -> Arc<Queue<R::Key>> {
        Arc::clone(&self.queue)
    }

    /// Reconciles what is due, until `token` is cancelled or the queue is closed.
    pub async fn run(self, token: CancellationToken) {
        let _closes = CloseOnDrop(Arc::clone(&self.queue));
        let mut running = FuturesUnordered::new();
        let mut failures = Failures::new();
        let mut steps = 0;
        loop {
            steps += 1;
            if steps == STEPS_AT_ONCE {
                // Keys are handed out and plans end without ever waiting: nothing else would make this task give way.
                tokio::task::yield_now().await;
                steps = 0;
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                Some(finished) = running.next(), if !running.is_empty() => {
                    self.settle(finished, &mut failures);
                }
                next = self.queue.next_with_cause(), if running.len() < self.workers => match next {
                    Some((key, cause)) => running.push(self.reconcile(key, cause)),
                    None => return,
                },
            }
        }
    }

    /// One reconcile, guarded; ends with an account of it and never by a panic.
    async fn reconcile(&self, key: R::Key, cause: Cause) -> Finished<R::Key> {
        let span = info_span!("reconcile", controller = self.reconciler.name(), key = ?key);
        let started = Instant::now();
        let work = AssertUnwindSafe(async { self.reconciler.reconcile(&key).await })
            .catch_unwind()
            .instrument(span.clone());
        let returned = match self.timeout {
            None => Ok(work.await),
            Some(limit) => tokio::time::timeout(limit, work).await.map_err(|_| limit),
        };
        let end = match returned {
            Ok(Ok(result)) => End::Returned(result),
            Ok(Err(panic)) => End::Panicked(panic_message(&*panic).to_owned()),
            Err(limit) => End::TimedOut(limit),
        };
        Finished { key, cause, span, took: started.elapsed(), end }
    }

    /// Counts a reconcile, logs it, and gives its key back to the queue.
    fn settle(&self, finished: Finished<R::Key>, failures: &mut Failures<R::Key>) {
        let Finished { key, cause, span, took, end } = finished;
        let _entered = span.entered();
        let result = match end {
            End::Returned(Ok(outcome)) => {
                failures.succeeded(&key);
                self.succeeded(&key, cause, outcome)
            }
            End::Returned(Err(ReconcileError::Conflict)) => {
                let retry_in = self.queue.retry_soon(key.clone());
                debug!(?retry_in, "the view has moved on, planning again");
                ReconcileResult::Requeue
            }
            End::Returned(Err(ReconcileError::Failed { reason, message })) => {
                let retry_in = self.queue.retry(key.clone());
                tell(failures.failed(&key, reason), reason, &message, retry_in);
                ReconcileResult::Error
            }
            End::TimedOut(limit) => {
                let retry_in = self.queue.retry(key.clone());
                warn!(reason = "Timeout", ?limit, ?retry_in, "reconcile took too long");
                ReconcileResult::Error
            }
            End::Panicked(panic) => {
                self.metrics.panicked();
                let retry_in = self.queue.retry(key.clone());
                error!(panic, ?retry_in, "reconcile panicked");
                ReconcileResult::Error
            }
        };
        self.metrics.reconciled(result, took);
        self.queue.done(&key);
    }

    fn succeeded(&self, key: &R::Key, cause: Cause, outcome: Outcome) -> ReconcileResult {
        let Outcome { changed, requeue_after } = outcome;
        if changed && cause == Cause::Rescan {
            self.metrics.rescan_found_work();
            warn!("a rescan found work that no event had announced");
        }
        match requeue_after {
            None => ReconcileResult::Success,
            Some(delay) => {
                self.queue.add_after(key.clone(), delay);
                ReconcileResult::RequeueAfter
            }
        }
    }
}

/// Logs a failure, unless that would only repeat what was said.
fn tell(loudness: Loudness, reason: &'static str, why: &str, retry_in: Duration) {
    match loudness {
        Loudness::Tell => warn!(reason, why, ?retry_in, "reconcile failed, will retry"),
        Loudness::TellLast => warn!(
            reason,
            why,
            ?retry_in,
            "reconcile failed, will retry; more keys that fail like this are logged at debug for a minute"
        ),
        Loudness::Quiet => debug!(reason, why, ?retry_in, "reconcile failed, will retry"),
    }
}

/// Closes the queue however the controller ends, so that those who wake keys fill nothing that nobody empties.
struct CloseOnDrop<K: Clone + Ord + Hash + Send + Sync + 'static>(Arc<Queue<K>>);

impl<K: Clone + Ord + Hash + Send + Sync + 'static> Drop for CloseOnDrop<K> {
    fn drop(&mut self) {
        self.0.close();
    }
}
