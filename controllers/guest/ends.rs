//! Since when a guest's present job has ended, by a clock that does not jump. The time in the job's document is for
//! people: whoever wrote it may have had another day.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_api::job::Job;
use lochness_api::{GuestId, JobId};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// When the end of each guest's present job was first seen in this term.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<FxHashMap<GuestId, (JobId, Instant)>>);

impl Ends {
    /// How long ago the present job was first seen to have ended; zero while it has not.
    pub(super) fn ended_for(&self, guest: GuestId, job: Option<&Job>) -> Duration {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = job.filter(|job| job.status.is_finished()) else {
            ends.remove(&guest);
            return Duration::ZERO;
        };
        let now = Instant::now();
        let (known, since) = ends.entry(guest).or_insert((job.id, now));
        if *known != job.id {
            (*known, *since) = (job.id, now);
        }
        now.saturating_duration_since(*since)
    }

    /// The guest is gone.
    pub(super) fn forget(&self, guest: GuestId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&guest);
    }
}
