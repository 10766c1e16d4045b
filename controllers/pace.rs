//! How often the same answer may be given in other words.
//!
//! Messages carry numbers, and numbers move; a status whose answers and reasons stayed is written again at most once in a
//! while, so that a thousand waiting guests do not write with every change of the fleet.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_api::status::{Condition, GuestStatus};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// When something was last written about an object.
#[derive(Debug)]
pub struct Pace<K>(Mutex<FxHashMap<K, Instant>>);

impl<K> Default for Pace<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Pace<K> {
    /// Takes the turn if the last one was at least `interval` ago; otherwise says how long it still takes.
    ///
    /// # Errors
    /// What is left of the interval.
    pub fn take(&self, key: K, interval: Duration) -> Result<(), Duration> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        match turns.get(&key).map(|last| now.duration_since(*last)) {
            Some(passed) if passed < interval => Err(interval.saturating_sub(passed)),
            Some(_) | None => {
                turns.insert(key, now);
                Ok(())
            }
        }
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, key: &K) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

/// Whether two statuses of a guest give the same answers for the same reasons, in other words.
pub fn differs_in_words_only(former: &GuestStatus, status: &GuestStatus) -> bool {
    former.phase == status.phase
        && former.observed == status.observed
        && former.placement == status.placement
        && former.job == status.job
        && former.reboot == status.reboot
        && former.agent_state == status.agent_state
        && same_answers(&former.conditions, &status.conditions)
}

/// Whether two sets of conditions give the same answers for the same reasons.
pub fn same_answers(former: &[Condition], conditions: &[Condition]) -> bool {
    former.len() == conditions.len()
        && former
            .iter()
            .zip(conditions)
            .all(|(a, b)| (a.kind, a.status, a.reason) == (b.kind, b.status, b.reason))
}
