//! How the loops write the statuses of everything that is not a guest: when they differ, and not too often.
//!
//! Guarantees: a status is written only when it differs from what the store shows, at most once per
//! [`Settings::status_interval`](crate::settings::Settings) an object; one that gives the same answers for the same
//! reasons in other words, at most once per `message_interval`. What is held back is looked at again in time.

use std::hash::Hash;
use std::sync::Arc;

use jiff::Timestamp;
use lochness_api::keys::Key;
use lochness_api::status::{
    ClusterStatus, Condition, ConditionStatus, ConditionType, HypervisorStatus, ObjectStatus,
    Reason, SubnetStatus,
};
use lochness_kv::{Compare, Op};
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Outcome, ReconcileError};
use serde::Serialize;

use crate::context::Context;
use crate::pace::{Pace, same_answers};
use crate::world::Stored;

/// A status that is written by [`Statuses`].
pub(crate) trait Status: Serialize + Clone + PartialEq {
    /// Its conditions.
    fn conditions(&mut self) -> &mut Vec<Condition>;
}

/// A status as the view shows it: what a transaction compares, and what the next one builds on.
#[derive(Debug, Clone)]
pub(crate) struct Found<S> {
    revision: i64,
    value: Option<Arc<S>>,
}

/// The statuses of one loop's objects, and when they were written.
pub(crate) struct Statuses<K> {
    writes: Pace<K>,
    words: Pace<K>,
}

/// The conditions of a status that is being made.
pub(crate) struct Conditions {
    former: Vec<Condition>,
    now: Timestamp,
    made: Vec<Condition>,
}

impl Status for HypervisorStatus {
    fn conditions(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }
}

impl Status for SubnetStatus {
    fn conditions(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }
}

impl Status for ObjectStatus {
    fn conditions(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }
}

impl Status for ClusterStatus {
    fn conditions(&mut self) -> &mut Vec<Condition> {
        &mut self.conditions
    }
}

impl<S> Found<S> {
    /// What the view shows.
    pub(crate) fn of(stored: Option<&Stored<S>>) -> Self {
        Self {
            revision: stored.map_or(0, |stored| stored.mod_revision),
            value: stored.and_then(|stored| stored.value.clone()),
        }
    }
}

impl<K> Default for Statuses<K> {
    fn default() -> Self {
        Self { writes: Pace::default(), words: Pace::default() }
    }
}

impl<K: Clone + Eq + Hash> Statuses<K> {
    /// Writes the wanted status over the one that was found, if it says something else and its turn has come; `None` is
    /// wanted of an object of which nothing is left.
    pub(crate) async fn settle<S: Status>(
        &self,
        context: &Context,
        id: &K,
        key: &Key,
        found: Found<S>,
        wanted: Option<S>,
    ) -> Result<Outcome, ReconcileError> {
        let key = context.key(key);
        let write = match wanted {
            None if found.revision == 0 => {
                self.forget(id);
                return Ok(Outcome::unchanged());
            }
            None => {
                self.forget(id);
                Op::delete(key.clone())
            }
            Some(wanted) => {
                if found.value.as_deref() == Some(&wanted) {
                    return Ok(Outcome::unchanged());
                }
                let former = found.value.as_deref();
                let words_only =
                    former.is_some_and(|former| differs_in_words_only(former, &wanted));
                let settings = &context.settings;
                let turn = if words_only {
                    self.words.take(id.clone(), settings.message_interval)
                } else {
                    Ok(())
                };
                let turn =
                    turn.and_then(|()| self.writes.take(id.clone(), settings.status_interval));
                if let Err(wait) = turn {
                    return Ok(Outcome::unchanged().after(wait));
                }
                let value = serde_json::to_vec(&wanted).map_err(|error| {
                    ReconcileError::failed("StatusNotWritable", error.to_string())
                })?;
                Op::put(key.clone(), value)
            }
        };
        let compares = vec![Compare::ModRevision(key.into(), found.revision)];
        context.commits.commit(Commit { compares, writes: vec![write] }).await?;
        Ok(Outcome::changed())
    }

    fn forget(&self, id: &K) {
        self.writes.forget(id);
        self.words.forget(id);
    }
}

fn differs_in_words_only<S: Status>(former: &S, wanted: &S) -> bool {
    let (mut former, mut wanted) = (former.clone(), wanted.clone());
    let same = same_answers(former.conditions(), wanted.conditions());
    former.conditions().clear();
    wanted.conditions().clear();
    same && former == wanted
}

impl Conditions {
    /// Conditions that are made at `now`; a time of the former ones stays while its answer does.
    pub(crate) fn after(former: &[Condition], now: Timestamp) -> Self {
        Self { former: former.to_vec(), now, made: Vec::new() }
    }

    /// Answers one question.
    pub(crate) fn set(
        &mut self,
        kind: ConditionType,
        status: ConditionStatus,
        reason: Reason,
        message: impl Into<String>,
    ) {
        let last_transition = self
            .former
            .iter()
            .find(|former| former.kind == kind && former.status == status)
            .map_or(self.now, |former| former.last_transition);
        let new = Condition { kind, status, reason, message: message.into(), last_transition };
        lochness_api::status::set_condition(&mut self.made, new);
    }

    /// Answers yes.
    pub(crate) fn yes(&mut self, kind: ConditionType, reason: Reason, message: impl Into<String>) {
        self.set(kind, ConditionStatus::True, reason, message);
    }

    /// Answers no.
    pub(crate) fn no(&mut self, kind: ConditionType, reason: Reason, message: impl Into<String>) {
        self.set(kind, ConditionStatus::False, reason, message);
    }

    /// Says that the answer is not known.
    pub(crate) fn unknown(
        &mut self,
        kind: ConditionType,
        reason: Reason,
        message: impl Into<String>,
    ) {
        self.set(kind, ConditionStatus::Unknown, reason, message);
    }

    /// All of them, sorted by type.
    pub(crate) fn into_vec(self) -> Vec<Condition> {
        self.made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(used: u64, reason: Reason, message: &str) -> SubnetStatus {
        let mut conditions = Conditions::after(&[], Timestamp::UNIX_EPOCH);
        conditions.yes(ConditionType::Capacity, reason, message);
        SubnetStatus { used, conditions: conditions.into_vec(), ..SubnetStatus::default() }
    }

    #[test]
    fn other_words_for_the_same_reason_are_nothing_new_and_other_numbers_are() {
        let former = status(1, Reason::AddressesFree, "1 of 9");
        let words = status(1, Reason::AddressesFree, "one of nine");
        assert!(differs_in_words_only(&former, &words));
        assert!(!differs_in_words_only(&former, &status(2, Reason::AddressesFree, "1 of 9")));
        assert!(!differs_in_words_only(&former, &status(1, Reason::Exhausted, "1 of 9")));
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_answer_stays() {
        let former = status(1, Reason::AddressesFree, "").conditions;
        let later = Timestamp::from_second(9).unwrap();
        let mut conditions = Conditions::after(&former, later);
        conditions.yes(ConditionType::Capacity, Reason::NearlyExhausted, "");
        conditions.no(ConditionType::Ready, Reason::NetworkMissing, "");
        let times: Vec<_> = conditions
            .into_vec()
            .into_iter()
            .map(|condition| (condition.kind, condition.last_transition))
            .collect();
        assert_eq!(
            times,
            [(ConditionType::Ready, later), (ConditionType::Capacity, Timestamp::UNIX_EPOCH)]
        );
    }
}
