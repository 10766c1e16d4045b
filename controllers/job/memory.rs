//! What this process remembers of jobs under way, for nothing but patience: a new leader does without it.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_api::JobId;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// The first wait between two questions how far a job is; doubles up to [`LAST_POLL`].
pub(super) const FIRST_POLL: Duration = Duration::from_millis(20);
/// The longest such wait. A list that changes wakes the job earlier.
const LAST_POLL: Duration = Duration::from_secs(2);
/// The longest wait before a job whose gate is closed is looked at again though nothing was said: thousands may wait for
/// one image for an hour.
const LAST_WAIT: Duration = Duration::from_secs(30);

/// What is remembered of one job.
#[derive(Debug, Clone)]
pub(super) struct Remembered {
    /// When this process first looked at the job.
    pub(super) first_seen: Instant,
    /// When it counts as failed, by this process' own clock; `None` until it was seen working.
    pub(super) deadline: Option<Instant>,
    /// The request that got no answer: when, and the agent's jobs of the guest before it.
    pub(super) unanswered: Option<(Instant, BTreeSet<String>)>,
    /// The agent's id of the job, while the store does not show it.
    pub(super) accepted: Option<String>,
    /// Since when the agent does not know the job.
    pub(super) unknown_since: Option<Instant>,
    /// How often the agent failed with the request.
    pub(super) failures: u32,
    polls: u32,
}

/// The jobs that this process follows; an entry goes when its job ends.
#[derive(Debug, Default)]
pub(super) struct Memory {
    jobs: Mutex<FxHashMap<JobId, Remembered>>,
    /// How often each was found to wait for the same gates in a row.
    waits: Mutex<FxHashMap<JobId, u32>>,
}

impl Memory {
    /// What is remembered of a job, and begins to be if nothing was.
    pub(super) fn recall(&self, id: JobId) -> Remembered {
        self.change(id, |remembered| remembered.clone())
    }

    pub(super) fn change<T>(&self, id: JobId, change: impl FnOnce(&mut Remembered) -> T) -> T {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        change(jobs.entry(id).or_insert_with(|| Remembered::new(Instant::now())))
    }

    pub(super) fn forget(&self, id: JobId) {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.passed(id);
    }

    /// How long to wait before a job is looked at again whose gate is closed; at first `least`, then longer and longer.
    pub(super) fn next_wait(&self, id: JobId, least: Duration) -> Duration {
        let mut waits = self.waits.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = waits.entry(id).or_default();
        let wait = least.saturating_mul(1 << (*waits).min(16)).min(LAST_WAIT);
        *waits = waits.saturating_add(1);
        wait
    }

    /// The job's gates are open.
    pub(super) fn passed(&self, id: JobId) {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// How long to wait before the next question.
    pub(super) fn next_poll(&self, id: JobId) -> Duration {
        self.change(id, |remembered| {
            let wait = FIRST_POLL.saturating_mul(1 << remembered.polls.min(16)).min(LAST_POLL);
            remembered.polls = remembered.polls.saturating_add(1);
            wait
        })
    }
}

impl Remembered {
    fn new(now: Instant) -> Self {
        Self {
            first_seen: now,
            deadline: None,
            unanswered: None,
            accepted: None,
            unknown_since: None,
            failures: 0,
            polls: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_job_that_waits_is_looked_at_ever_more_rarely_until_its_gates_open() {
        let (memory, id) = (Memory::default(), JobId::new(Uuid::from_u128(1)));
        let second = Duration::from_secs(1);
        let waits: Vec<_> = (0..7).map(|_| memory.next_wait(id, second).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        memory.passed(id);
        assert_eq!(memory.next_wait(id, second), second);
    }
}
