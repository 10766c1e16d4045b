//! Sends small commits to the store in groups: one etcd transaction for many, each with its own verdict.
//!
//! ```text
//! if the leader's key is still ours          (the fence)
//! then  [ if commit 1's compares then its writes ]
//!       [ if commit 2's compares then its writes ] …
//! ```
//!
//! Guarantees:
//! - Nothing is written once the fence has changed, and every commit after that is [`Verdict::Fenced`] at once.
//! - Each commit happens whole or not at all; a group mate that fails costs the others nothing.
//! - Of two commits where one writes what the other compares or writes, the later one is sent only after the verdict of
//!   the earlier one. They never share a transaction.
//! - What is there when a slot is free goes. On an idle store that is at once; while transactions are in flight, few
//!   commits wait for one of their answers, so that they go together.
//! - Commits waiting, transactions in flight, operations and bytes of a transaction are bounded, and nothing is sent
//!   while the view lags too far behind.
//!
//! Deliberately not here: retries. A verdict goes back to the planner, which plans again. (A group that the store refuses
//! as a whole did not happen; it is cut in halves until the commit that is to blame stands alone.)

mod footprint;
mod group;
mod order;
mod run;
mod window;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lochness_kv::{Compare, Kv, KvError, Op, Txn};
use tokio::sync::{mpsc, oneshot};

use crate::metrics::{CommitMetrics, Metrics};

use footprint::Footprint;
use group::{Limits, Ticket};

pub use run::CommitLoop;

/// What to write, and what it was based on.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Commit {
    /// All must hold, or nothing of it happens.
    pub compares: Vec<Compare>,
    /// Puts and deletes of single keys, each key once.
    pub writes: Vec<Op>,
}

impl From<Commit> for Arc<Txn> {
    /// As it stands in its group's transaction.
    fn from(Commit { compares, writes }: Commit) -> Self {
        Self::new(Txn { compares, success: writes, failure: Vec::new() })
    }
}

/// What became of a [`Commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It happened.
    Committed {
        /// The revision of its writes.
        revision: i64,
    },
    /// A compare of its own failed; nothing of it happened.
    Conflict {
        /// The revision at which it failed: plan again on a view at or above it.
        revision: i64,
    },
    /// The leader's key has changed: nothing of it happened, and this process leads no more.
    Fenced,
    /// No answer: it may have happened, or may yet.
    Unknown(KvError),
    /// It did not happen, for a reason that lies neither in its compares nor in the fence.
    Rejected(KvError),
}

/// Limits of a [`Committer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitterOptions {
    /// Transactions in flight at the start; from there it adapts to the store's latency.
    pub in_flight: usize,
    /// Transactions in flight at most.
    pub max_in_flight: usize,
    /// The server's `max-txn-ops`. Of a group, the number of commits plus the compares or writes (whichever are more) of
    /// its largest one stay at or below it: that is how etcd counts.
    pub max_ops: usize,
    /// Bytes of a transaction at most, well below etcd's 1.5 MiB.
    pub max_bytes: usize,
    /// Commits that may wait to be taken up; [`Committer::commit`] waits while there are more.
    pub max_waiting: usize,
    /// Revisions that the view may lag behind; while it lags more, nothing is sent.
    pub max_lag: u64,
    /// A transaction without an answer for so long is given up: its commits are [`Verdict::Unknown`].
    pub timeout: Duration,
}

impl Default for CommitterOptions {
    fn default() -> Self {
        Self {
            in_flight: 4,
            max_in_flight: 16,
            max_ops: 128,
            max_bytes: 1 << 20,
            max_waiting: 4_096,
            max_lag: 1_000,
            timeout: Duration::from_secs(10),
        }
    }
}

/// Where commits are handed in. Cheap to clone; all clones feed the same [`CommitLoop`].
#[derive(Clone)]
pub struct Committer {
    queue: mpsc::Sender<Ticket>,
    limits: Limits,
    fenced: Arc<AtomicBool>,
    metrics: CommitMetrics,
}

impl Committer {
    /// A committer for one term of leadership, and the loop that does its work. `fence` is compared in every
    /// transaction; `lag` says how many revisions the view is behind what has been committed.
    pub fn new(
        kv: Arc<dyn Kv>,
        fence: Compare,
        options: CommitterOptions,
        lag: Arc<dyn Fn() -> u64 + Send + Sync>,
        metrics: &Metrics,
    ) -> (Self, CommitLoop) {
        let metrics = metrics.commits();
        let limits = Limits::new(&options, &fence);
        let (queue, tickets) = mpsc::channel(options.max_waiting.max(1));
        let fenced = Arc::new(AtomicBool::new(false));
        let committer =
            Self { queue, limits, fenced: Arc::clone(&fenced), metrics: metrics.clone() };
        (committer, CommitLoop::new(kv, fence, options, lag, tickets, fenced, metrics))
    }

    /// Hands a [`Commit`] in and waits for its verdict. Dropped before that, the commit may still happen. Who may hand it in
    /// again makes the transaction of it once, and shares it.
    pub async fn commit(&self, commit: impl Into<Arc<Txn>>) -> Verdict {
        let verdict = self.verdict(commit.into()).await;
        self.metrics.decided(verdict.name());
        verdict
    }

    async fn verdict(&self, commit: Arc<Txn>) -> Verdict {
        if self.fenced.load(Ordering::Acquire) {
            return Verdict::Fenced;
        }
        // Here and not in the loop, so that callers on other cores share the work.
        let admitted = self
            .limits
            .weigh(&commit)
            .and_then(|weight| Footprint::of(&commit).map(|footprint| (weight, footprint)));
        let (weight, footprint) = match admitted {
            Ok(admitted) => admitted,
            Err(error) => return Verdict::Rejected(error),
        };
        let (reply, verdict) = oneshot::channel();
        if self.queue.send(Ticket { commit, weight, footprint, reply }).await.is_err() {
            return self.stopped();
        }
        // The loop answers whatever it did not send; without an answer it may have been sent.
        verdict.await.unwrap_or_else(|_| {
            Verdict::Unknown(KvError::Unknown("the committer was dropped".to_owned()))
        })
    }

    fn stopped(&self) -> Verdict {
        if self.fenced.load(Ordering::Acquire) { Verdict::Fenced } else { Verdict::not_sent() }
    }
}

impl Verdict {
    /// A word for logs and metrics.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Committed { .. } => "committed",
            Self::Conflict { .. } => "conflict",
            Self::Fenced => "fenced",
            Self::Unknown(_) => "unknown",
            Self::Rejected(_) => "rejected",
        }
    }

    /// What becomes of a commit that the loop did not get to before it was stopped.
    fn not_sent() -> Self {
        Self::Rejected(KvError::Unavailable("the committer has stopped".to_owned()))
    }
}
