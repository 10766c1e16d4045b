//! Since when a guest's present job has been under way, or has ended, by a clock that does not jump. The times in the
//! job's document are for people: whoever wrote them may have had another day.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_api::job::Job;
use lochness_api::{GuestId, JobId};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// When each guest's present job was first seen as it is now, under way or ended, in this term.
#[derive(Debug, Default)]
pub(super) struct Ends(Mutex<FxHashMap<GuestId, (JobId, Stage, Instant)>>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    UnderWay,
    Ended,
}

/// For how long a guest's present job has been seen as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct SeenFor {
    /// Under way; zero when it is not.
    pub(super) under_way: Duration,
    /// Ended; zero while it has not.
    pub(super) ended: Duration,
}

impl Ends {
    /// For how long the present job has been seen as it is.
    pub(super) fn seen_for(&self, guest: GuestId, job: Option<&Job>) -> SeenFor {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(job) = job else {
            ends.remove(&guest);
            return SeenFor::default();
        };
        let stage = if job.status.is_finished() { Stage::Ended } else { Stage::UnderWay };
        let now = Instant::now();
        let seen = ends.entry(guest).or_insert((job.id, stage, now));
        if (seen.0, seen.1) != (job.id, stage) {
            *seen = (job.id, stage, now);
        }
        let since = now.saturating_duration_since(seen.2);
        match stage {
            Stage::UnderWay => SeenFor { under_way: since, ended: Duration::ZERO },
            Stage::Ended => SeenFor { under_way: Duration::ZERO, ended: since },
        }
    }

    /// The guest is gone.
    pub(super) fn forget(&self, guest: GuestId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&guest);
    }
}
