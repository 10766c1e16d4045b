//! How often the same answer may be given in other words.
//!
//! Messages carry numbers, and numbers move; a status whose answers and reasons stayed is written again at most once in a
//! while, so that a thousand waiting guests do not write with every change of the fleet.

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_api::GuestId;
use lochness_api::status::{Condition, GuestStatus};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// When something was last written about an object.
#[derive(Debug)]
pub struct Pace<K>(Mutex<FxHashMap<K, Instant>>);

/// Whether a status is to be written over the one before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// It says nothing new.
    Nothing,
    /// Only its words are other ones, and their turn comes after this time.
    Later(Duration),
    /// It is to be written.
    Now,
}

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

impl Pace<GuestId> {
    /// Whether a guest's status is to be written: another answer at once, other words for the same one once in `interval`.
    pub fn turn(
        &self,
        id: GuestId,
        former: &GuestStatus,
        status: &GuestStatus,
        interval: Duration,
    ) -> Turn {
        if former == status {
            return Turn::Nothing;
        }
        if !differs_in_words_only(former, status) {
            return Turn::Now;
        }
        self.take(id, interval).map_or_else(Turn::Later, |()| Turn::Now)
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

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use lochness_api::status::{ConditionStatus, ConditionType, Phase, Reason};
    use tokio::time::advance;

    use super::*;
    use crate::test_world::id;

    const MINUTE: Duration = Duration::from_secs(60);

    fn refused(phase: Phase, message: &str) -> GuestStatus {
        let condition = Condition {
            kind: ConditionType::Placed,
            status: ConditionStatus::False,
            reason: Reason::NoAddressFree,
            message: message.to_owned(),
            last_transition: Timestamp::UNIX_EPOCH,
        };
        GuestStatus { phase, conditions: vec![condition], ..GuestStatus::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn words_that_come_too_soon_say_when_their_turn_is() {
        let pace = Pace::default();
        let turn = |former: &str, words: &str| {
            let (former, status) =
                (refused(Phase::Pending, former), refused(Phase::Pending, words));
            pace.turn(id(1), &former, &status, MINUTE)
        };
        assert_eq!(turn("1 used", "1 used"), Turn::Nothing);
        assert_eq!(turn("1 used", "2 used"), Turn::Now);
        advance(MINUTE / 3).await;
        assert_eq!(turn("2 used", "3 used"), Turn::Later(MINUTE * 2 / 3));
        advance(MINUTE * 2 / 3).await;
        assert_eq!(turn("2 used", "3 used"), Turn::Now);
    }

    #[tokio::test(start_paused = true)]
    async fn another_answer_waits_for_no_turn() {
        let pace = Pace::default();
        let (former, words) =
            (refused(Phase::Pending, "1 used"), refused(Phase::Pending, "2 used"));
        assert_eq!(pace.turn(id(1), &former, &words, MINUTE), Turn::Now);
        let other = refused(Phase::Failed, "1 used");
        assert_eq!(pace.turn(id(1), &former, &other, MINUTE), Turn::Now);
    }
}
