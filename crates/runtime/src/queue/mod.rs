//! The queue of keys that are due, soon or later.
//!
//! Guarantees: a key is handed out to one worker at a time; one that is added while it is being worked on is handed out
//! again afterwards; nothing is lost but by [`Queue::close`]. Due keys come in the order in which they became due; where
//! they were put into lanes, the lanes take turns. Each operation costs O(log n), and there is one entry a key, so the
//! number of objects bounds the queue.
//!
//! The queue does not know why a key was added: a reconciler reads what is.

mod ready;
mod state;
#[cfg(test)]
mod tests;

use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::backoff::{Backoff, BackoffOptions};
use crate::metrics::{Metrics, QueueLoad, QueueMetrics, QueueProbe};
use state::{Handed, State};

pub use ready::Lane;
pub use state::Cause;

/// First delay after a conflict: the view that was planned on is behind by little more than one answer of etcd.
const CONFLICT_MIN: Duration = Duration::from_millis(10);
/// The longest delay after a conflict: the cap for etcd, also where failures back off further.
const CONFLICT_MAX: Duration = Duration::from_secs(5);

/// A longer delay counts as this one, so that a due time is always within what an `Instant` can hold.
const LONGEST_DELAY: Duration = Duration::from_secs(30 * 24 * 3600);

/// A queue of keys, shared by those who add and those who work.
pub struct Queue<K> {
    shared: Mutex<Shared<K>>,
    /// Told after every change: a key may be due, or due earlier than those who wait believe.
    changed: Notify,
    metrics: QueueMetrics,
}

struct Shared<K> {
    state: State<K>,
    failures: Backoff,
    conflicts: Backoff,
    closed: bool,
}

impl<K: Clone + Ord + Hash + Send + Sync + 'static> Queue<K> {
    /// An empty queue, shown in the metrics under `name` as long as it lives.
    pub fn new(name: &'static str, backoff: BackoffOptions, metrics: &Metrics) -> Arc<Self> {
        let (min, max) = (backoff.min.min(CONFLICT_MIN), backoff.max.min(CONFLICT_MAX));
        let conflicts = BackoffOptions { min, max, ..backoff };
        let shared = Shared {
            state: State::new(),
            failures: Backoff::new(backoff),
            conflicts: Backoff::new(conflicts),
            closed: false,
        };
        let queue = Arc::new(Self {
            shared: Mutex::new(shared),
            changed: Notify::new(),
            metrics: metrics.queues().queue(name),
        });
        let probe: Weak<Self> = Arc::downgrade(&queue);
        metrics.queues().show(name, probe);
        queue
    }

    /// The key is due now, and its backoff begins anew. While it is worked on: due again when that is done.
    pub fn add(&self, key: K) {
        self.metrics.adds.inc();
        self.change(|shared, now| shared.state.add(key, now));
    }

    /// As [`Self::add`], in a lane of the key's own choice: lanes take turns. The key stays in it until there is nothing
    /// more to do for it.
    pub fn add_in(&self, lane: Lane, key: K) {
        self.add_all_in([(lane, key)]);
    }

    /// Each of the keys as by [`Self::add_in`], under one lock and with one call to those who wait.
    pub fn add_all_in(&self, keys: impl IntoIterator<Item = (Lane, K)>) {
        let added = self.change(|shared, now| {
            let mut added = 0;
            for (lane, key) in keys {
                shared.state.assign(key.clone(), lane);
                shared.state.add(key, now);
                added += 1;
            }
            added
        });
        self.metrics.adds.inc_by(added);
    }

    /// Each of the keys as by [`Self::add`], under one lock and with one call to those who wait.
    pub fn add_all(&self, keys: impl IntoIterator<Item = K>) {
        let added = self.change(|shared, now| {
            let mut added = 0;
            for key in keys {
                shared.state.add(key, now);
                added += 1;
            }
            added
        });
        self.metrics.adds.inc_by(added);
    }

    /// The keys that were handed out since this was last called, some perhaps more than once; `None` the first time, and
    /// when they are too many to tell. Whatever else was due then is still due: adding it again would change nothing.
    pub fn take_handed_out(&self) -> Option<Vec<K>> {
        self.lock().state.take_handed_out()
    }

    /// The key is due after `delay`, unless it is due earlier already.
    pub fn add_after(&self, key: K, delay: Duration) {
        self.metrics.adds.inc();
        let delay = delay.min(LONGEST_DELAY);
        self.change(|shared, now| shared.state.add_at(key, now + delay, now));
    }

    /// The key failed: it is due after the next step of its backoff, which is the answer.
    pub fn retry(&self, key: K) -> Duration {
        self.retry_with(key, |shared| &mut shared.failures)
    }

    /// The key was planned on an old view: it is due very soon. Repeated conflicts back off like failures.
    pub fn retry_soon(&self, key: K) -> Duration {
        self.retry_with(key, |shared| &mut shared.conflicts)
    }

    fn retry_with(&self, key: K, kind: fn(&mut Shared<K>) -> &mut Backoff) -> Duration {
        self.metrics.adds.inc();
        self.metrics.retries.inc();
        self.change(|shared, now| {
            let failures = shared.state.count_failure(&key);
            let delay = kind(shared).delay(failures);
            shared.state.add_at(key, now + delay, now);
            delay
        })
    }

    /// A rescan looks at the key: due now, but neither cuts short its backoff nor repeats the work that is going on.
    pub fn rescan(&self, key: K) {
        self.metrics.adds.inc();
        self.change(|shared, now| shared.state.rescan(key, now));
    }

    /// The next due key, as soon as there is one; nothing once the queue is closed. Each key must be given back with
    /// [`Self::done`]. Cancel-safe, and any number of callers may wait.
    pub async fn next(&self) -> Option<K> {
        self.next_with_cause().await.map(|(key, _)| key)
    }

    /// Like [`Self::next`], and says whether a rescan alone has woken the key.
    pub async fn next_with_cause(&self) -> Option<(K, Cause)> {
        loop {
            // Taken before the look, so that what changes after it is not missed.
            let changed = self.changed.notified();
            let due = {
                let mut shared = self.lock();
                if shared.closed {
                    return None;
                }
                if let Some(handed) = shared.state.next(Instant::now()) {
                    drop(shared);
                    return Some(self.hand_out(handed));
                }
                shared.state.next_due()
            };
            match due {
                Some(due) => tokio::select! {
                    biased;
                    () = changed => {}
                    () = tokio::time::sleep_until(due) => {}
                },
                None => changed.await,
            }
        }
    }

    /// The next key if one is due now: for loops that take all that is due and plan it together.
    pub fn try_next(&self) -> Option<K> {
        let handed = {
            let mut shared = self.lock();
            if shared.closed { None } else { shared.state.next(Instant::now()) }
        }?;
        Some(self.hand_out(handed).0)
    }

    /// The work on the key has ended. Without a [`Self::retry`] meanwhile it went well, and its backoff begins anew.
    pub fn done(&self, key: &K) {
        if let Some(took) = self.change(|shared, now| shared.state.done(key, now)) {
            self.metrics.work_duration.observe(took.as_secs_f64());
        }
    }

    /// How many keys are due and not handed out.
    pub fn due(&self) -> usize {
        self.lock().state.due(Instant::now())
    }

    /// How many keys are due or being worked on.
    pub fn backlog(&self) -> usize {
        self.lock().state.backlog(Instant::now())
    }

    /// How many keys wait, due or not, or are being worked on.
    pub fn len(&self) -> usize {
        self.lock().state.len()
    }

    /// Whether nothing waits and nothing is being worked on.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Hands out nothing more, forgets all, and takes nothing more.
    pub fn close(&self) {
        let mut shared = self.lock();
        shared.closed = true;
        shared.state = State::new();
        drop(shared);
        self.changed.notify_waiters();
    }

    /// Changes the state at the present time, and lets those who wait look again. Does nothing once closed.
    fn change<T: Default>(&self, change: impl FnOnce(&mut Shared<K>, Instant) -> T) -> T {
        let mut shared = self.lock();
        if shared.closed {
            return T::default();
        }
        let answer = change(&mut shared, Instant::now());
        drop(shared);
        self.changed.notify_waiters();
        answer
    }

    fn hand_out(&self, handed: Handed<K>) -> (K, Cause) {
        let waited = handed.due_since.elapsed();
        self.metrics.queue_duration.observe(waited.as_secs_f64());
        (handed.key, handed.cause)
    }

    fn lock(&self) -> MutexGuard<'_, Shared<K>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Clone + Ord + Hash + Send + Sync + 'static> QueueProbe for Queue<K> {
    fn load(&self) -> QueueLoad {
        self.lock().state.load(Instant::now())
    }
}
