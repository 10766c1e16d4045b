//! How jobs ended, as far as this process saw it and the store does not show it yet.
//!
//! The job loop learns an end and puts it here; the guest loop writes it, with the status, in one transaction. Nothing is
//! lost with this memory: a new leader asks the agent again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lochness_api::{GuestId, JobId};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobOutcome {
    /// `Err` says why it failed, for people.
    pub result: Result<(), String>,
    /// When the end was seen, for documents.
    pub finished_at: Timestamp,
}

/// Ends of jobs that wait to be written, and when each guest's newest job ended.
#[derive(Debug, Default)]
pub struct Outcomes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    jobs: FxHashMap<JobId, (JobOutcome, Instant)>,
    guests: FxHashMap<GuestId, Ended>,
}

/// The end of a guest's newest job. Kept until it is written at least: the job loop may forget the job before who wrote its
/// end has heard of that, and a list that is newer than the end may come before both.
#[derive(Debug)]
struct Ended {
    job: JobId,
    at: Instant,
    is_written: bool,
}

impl Outcomes {
    /// Notes how a guest's job ended; the first word stands. From now on, whatever becomes of the transaction that writes
    /// it, no list is fresh that was asked for earlier.
    pub fn record(&self, job: JobId, guest: GuestId, outcome: JobOutcome) {
        let (mut inner, now) = (self.lock(), Instant::now());
        inner.jobs.entry(job).or_insert((outcome, now));
        inner.guests.insert(guest, Ended { job, at: now, is_written: false });
    }

    /// How a job ended, if that is known and not yet written.
    pub fn get(&self, job: JobId) -> Option<JobOutcome> {
        self.lock().jobs.get(&job).map(|(outcome, _)| outcome.clone())
    }

    /// How long that has been known; zero when it is not.
    pub fn age(&self, job: JobId) -> Duration {
        self.lock().jobs.get(&job).map_or(Duration::ZERO, |(_, at)| at.elapsed())
    }

    /// The store shows the end of a guest's job.
    pub fn written(&self, job: JobId, guest: GuestId) {
        let mut inner = self.lock();
        inner.jobs.remove(&job);
        match inner.guests.get_mut(&guest) {
            Some(ended) if ended.job == job => ended.is_written = true,
            Some(_) | None => {
                let ended = Ended { job, at: Instant::now(), is_written: true };
                inner.guests.insert(guest, ended);
            }
        }
    }

    /// Whether a list that was asked for at `asked_at` is newer than the end of the guest's newest job, so that what it
    /// says of the guest is not from before that.
    pub fn is_fresh(&self, guest: GuestId, asked_at: Instant) -> bool {
        let mut inner = self.lock();
        match inner.guests.get(&guest) {
            Some(ended) if asked_at <= ended.at => false,
            Some(ended) => {
                if ended.is_written {
                    inner.guests.remove(&guest);
                }
                true
            }
            None => true,
        }
    }

    /// Forgets a guest of which nothing is left.
    pub fn forget_guest(&self, guest: GuestId) {
        self.lock().guests.remove(&guest);
    }

    /// Forgets a job whose end is written, or whose key is gone.
    pub fn forget(&self, job: JobId) {
        self.lock().jobs.remove(&job);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::test_world::id;

    #[tokio::test(start_paused = true)]
    async fn a_list_from_before_the_end_of_a_job_is_old_although_the_job_is_settled() {
        let (outcomes, asked_at) = (Outcomes::default(), Instant::now());
        advance(Duration::from_secs(1)).await;
        let outcome = JobOutcome { result: Ok(()), finished_at: Timestamp::UNIX_EPOCH };
        outcomes.record(id(1), id(2), outcome);
        // The store shows its end, and whoever wrote it got no answer.
        outcomes.forget(id(1));
        assert!(!outcomes.is_fresh(id(2), asked_at));
        advance(Duration::from_secs(1)).await;
        assert!(outcomes.is_fresh(id(2), Instant::now()));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_from_after_the_end_is_new_although_the_job_was_forgotten_before_it_was_written()
    {
        let outcomes = Outcomes::default();
        let outcome = JobOutcome { result: Ok(()), finished_at: Timestamp::UNIX_EPOCH };
        outcomes.record(id(1), id(2), outcome);
        advance(Duration::from_secs(1)).await;
        let asked_at = Instant::now();
        advance(Duration::from_secs(1)).await;
        assert!(outcomes.is_fresh(id(2), asked_at), "the list that was asked for at the end");
        outcomes.forget(id(1));
        outcomes.written(id(1), id(2));
        assert!(outcomes.is_fresh(id(2), asked_at), "and it stays so");
        outcomes.written(id(3), id(2));
        assert!(!outcomes.is_fresh(id(2), asked_at), "another job, whose end nobody noted");
    }
}
