//! Epoch and order: why a request that arrives late or twice is harmless. Pure; the host stores what it decides.
//!
//! Guarantees, whatever arrives in whatever order:
//! * the epoch only rises, and no mutation with a lower one is accepted;
//! * the accepted orders of a guest only rise, also across its deletion and across the folding of its tombstone;
//! * one order is accepted for one job, once; one job is accepted once, whatever its number becomes.
//!
//! ```text
//!            accept            delete done              after 24 h
//! (unknown) ────────▶ mark ────────────────▶ tombstone ────────────▶ (unknown), floor raised to it
//!     ▲                 ▲                        │
//!     └ only above the  └────────────────────────┘ accept, higher order
//!       floor
//! ```

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use lochness_api::{GuestId, JobId};
use lochness_mutant::Mutant;
use serde::{Deserialize, Serialize};

use super::jobs::StoredCause;
use crate::wire::Order;

/// So long a deleted guest keeps a number of its own; a request that is older than this is below the floor.
const TOMBSTONE_LIFE: SignedDuration = SignedDuration::from_hours(24);

/// The numbers that a host has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Fence {
    epoch: Option<Order>,
    floor: Option<Order>,
    marks: BTreeMap<GuestId, Mark>,
}

/// The highest order of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    pub(crate) order: Order,
    /// The operator's job that came with it.
    pub(crate) job: JobId,
    /// The agent's job that it made; none when there was no guest to act on.
    pub(crate) remote: Option<String>,
    /// Since when the guest is gone.
    pub(crate) gone_at: Option<Timestamp>,
}

/// A change of the fence, to store and then to apply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum FenceRecord {
    Epoch(Order),
    Floor(Order),
    Mark(GuestId, Mark),
    Forget(GuestId),
}

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) order: Order,
    pub(crate) job: JobId,
}

/// What an epoch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EpochVerdict {
    /// Higher than any before: to be stored before the answer.
    Raise(Order),
    /// The highest, or none was ever given.
    Current,
    /// Lower than this one, or missing where there has been one.
    Old(Order),
}

/// What becomes of a mutating request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Carry it out, and store its mark first.
    Accept,
    /// It was accepted before: answer as then.
    Repeat(Option<String>),
    /// It was accepted before, and has a higher number since a store was accepted: answer as then, and store its mark first.
    Renumber(Mark),
    /// It comes too late: this number was seen.
    Stale(Order),
}

/// Whether the host has a record of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Here,
    Absent,
}

impl Fence {
    /// The highest epoch that was seen.
    pub(crate) fn epoch(&self) -> Option<Order> {
        self.epoch
    }

    pub(crate) fn check_epoch(&self, epoch: Option<Order>) -> EpochVerdict {
        match (epoch, self.epoch) {
            (Some(given), None) => EpochVerdict::Raise(given),
            (Some(given), Some(seen)) if given > seen => EpochVerdict::Raise(given),
            (None, Some(seen)) => EpochVerdict::Old(seen),
            (Some(given), Some(seen)) if given < seen => {
                if lochness_mutant::is(Mutant::EpochIgnored) {
                    return EpochVerdict::Current;
                }
                EpochVerdict::Old(seen)
            }
            (Some(_), Some(_)) | (None, None) => EpochVerdict::Current,
        }
    }

    /// A request without a stamp is taken only where none has ever been: a guest that is under fence stays so.
    pub(crate) fn admit(
        &self,
        guest: GuestId,
        presence: Presence,
        stamp: Option<Stamp>,
    ) -> Admission {
        if lochness_mutant::is(Mutant::OrderIgnored) {
            return Admission::Accept;
        }
        if let Some(mark) = self.marks.get(&guest) {
            return match stamp {
                Some(stamp) if stamp.order > mark.order && stamp.job == mark.job => {
                    Admission::Renumber(Mark { order: stamp.order, ..mark.clone() })
                }
                Some(stamp) if stamp.order > mark.order => Admission::Accept,
                Some(stamp) if stamp.order == mark.order && stamp.job == mark.job => {
                    if lochness_mutant::is(Mutant::OrderRunsTwice) {
                        return Admission::Accept;
                    }
                    Admission::Repeat(mark.remote.clone())
                }
                Some(_) | None => Admission::Stale(mark.order),
            };
        }
        match (presence, self.floor) {
            (Presence::Absent, Some(floor)) if stamp.is_none_or(|stamp| stamp.order <= floor) => {
                Admission::Stale(floor)
            }
            _ => Admission::Accept,
        }
    }

    /// Whether a job that was accepted for `cause` is still the guest's newest, when it is about to start. Its number may
    /// have risen since.
    pub(crate) fn is_current(&self, guest: GuestId, cause: StoredCause) -> bool {
        match (self.marks.get(&guest), cause.order) {
            (Some(mark), Some(_)) => cause.job == Some(mark.job),
            (Some(_), None) => false,
            (None, Some(order)) => self.floor.is_none_or(|floor| order > floor),
            (None, None) => true,
        }
    }

    /// The change that makes a guest's mark a tombstone, if it has one.
    pub(crate) fn bury(&self, guest: GuestId, now: Timestamp) -> Option<FenceRecord> {
        let mark = self.marks.get(&guest)?;
        Some(FenceRecord::Mark(guest, Mark { gone_at: Some(now), ..mark.clone() }))
    }

    /// The changes that fold tombstones older than a day into the floor.
    pub(crate) fn fold(&self, now: Timestamp) -> Vec<FenceRecord> {
        let old = |mark: &Mark| {
            mark.gone_at.is_some_and(|gone| now.duration_since(gone) >= TOMBSTONE_LIFE)
        };
        let folded: Vec<_> = self.marks.iter().filter(|(_, mark)| old(mark)).collect();
        let Some(highest) = folded.iter().map(|(_, mark)| mark.order).max() else {
            return Vec::new();
        };
        let floor = self.floor.map_or(highest, |floor| floor.max(highest));
        let forget = folded.iter().map(|(guest, _)| FenceRecord::Forget(**guest));
        std::iter::once(FenceRecord::Floor(floor)).chain(forget).collect()
    }

    pub(crate) fn apply(&mut self, record: FenceRecord) {
        match record {
            FenceRecord::Epoch(epoch) => self.epoch = Some(epoch),
            FenceRecord::Floor(floor) => self.floor = Some(floor),
            FenceRecord::Mark(guest, mark) => {
                self.marks.insert(guest, mark);
            }
            FenceRecord::Forget(guest) => {
                self.marks.remove(&guest);
            }
        }
    }

    /// How many guests have a number.
    pub(crate) fn len(&self) -> usize {
        self.marks.len()
    }

    /// The records that rebuild this fence.
    pub(crate) fn records(&self) -> impl Iterator<Item = FenceRecord> {
        let epoch = self.epoch.map(FenceRecord::Epoch);
        let floor = self.floor.map(FenceRecord::Floor);
        let marks = self.marks.iter().map(|(guest, mark)| FenceRecord::Mark(*guest, mark.clone()));
        epoch.into_iter().chain(floor).chain(marks)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    /// One thing that happens to a host under test. Guests, orders and jobs are small numbers, so that they meet.
    #[derive(Debug, Clone)]
    enum Step {
        /// A request arrives. Its job is `order` itself, or another one that stole the number.
        Request { guest: u8, order: u8, stolen: bool },
        /// A request without order arrives.
        Bare { guest: u8 },
        /// The guest's newest job was a delete, and is done.
        Gone { guest: u8 },
        /// Time passes, and tombstones are folded.
        Hours(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0u8..3, 0u8..12, prop::bool::weighted(0.1))
                .prop_map(|(guest, order, stolen)| Step::Request { guest, order, stolen }),
            1 => (0u8..3).prop_map(|guest| Step::Bare { guest }),
            3 => (0u8..3).prop_map(|guest| Step::Gone { guest }),
            2 => (0u8..40).prop_map(Step::Hours),
        ];
        prop::collection::vec(step, 1..60)
    }

    fn guest(number: u8) -> GuestId {
        GuestId::new(Uuid::from_u128(u128::from(number) + 1))
    }

    fn stamp(order: u8, stolen: bool) -> Stamp {
        let job = u128::from(order) + if stolen { 1000 } else { 500 };
        Stamp { order: Order::new(1, u64::from(order)), job: JobId::new(Uuid::from_u128(job)) }
    }

    fn cause(stamp: Stamp) -> StoredCause {
        StoredCause { job: Some(stamp.job), order: Some(stamp.order) }
    }

    proptest! {
        #[test]
        fn whatever_arrives_late_or_twice_the_accepted_orders_of_a_guest_only_rise(steps in steps()) {
            let mut fence = Fence::default();
            let mut now = Timestamp::UNIX_EPOCH;
            let mut accepted: BTreeMap<u8, Vec<Stamp>> = BTreeMap::new();
            let mut here: BTreeMap<u8, bool> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Request { guest: number, order, stolen } => {
                        let stamp = stamp(order, stolen);
                        let is_here = here.get(&number).copied().unwrap_or_default();
                        let presence = if is_here { Presence::Here } else { Presence::Absent };
                        let before = accepted.entry(number).or_default();
                        match fence.admit(guest(number), presence, Some(stamp)) {
                            Admission::Accept => {
                                prop_assert!(before.iter().all(|old| old.order < stamp.order));
                                let mark = Mark {
                                    order: stamp.order, job: stamp.job,
                                    remote: Some(stamp.job.to_string()), gone_at: None,
                                };
                                fence.apply(FenceRecord::Mark(guest(number), mark));
                                prop_assert!(fence.is_current(guest(number), cause(stamp)));
                                before.push(stamp);
                                here.insert(number, true);
                            }
                            Admission::Repeat(remote) => {
                                prop_assert_eq!(before.last(), Some(&stamp));
                                prop_assert_eq!(remote, Some(stamp.job.to_string()));
                            }
                            Admission::Renumber(_) => prop_assert!(false, "no job has two numbers"),
                            Admission::Stale(seen) => prop_assert!(stamp.order <= seen),
                        }
                    }
                    Step::Bare { guest: number } => {
                        let is_here = here.get(&number).copied().unwrap_or_default();
                        let presence = if is_here { Presence::Here } else { Presence::Absent };
                        let admitted = fence.admit(guest(number), presence, None);
                        if !accepted.get(&number).is_none_or(Vec::is_empty) {
                            prop_assert!(matches!(admitted, Admission::Stale(_)), "{admitted:?}");
                        }
                    }
                    Step::Gone { guest: number } => {
                        if here.insert(number, false) == Some(true)
                            && let Some(record) = fence.bury(guest(number), now)
                        {
                            fence.apply(record);
                        }
                    }
                    Step::Hours(hours) => {
                        now += SignedDuration::from_hours(i64::from(hours));
                        for record in fence.fold(now) {
                            fence.apply(record);
                        }
                    }
                }
            }
        }

        #[test]
        fn a_fence_is_rebuilt_from_its_records(steps in steps()) {
            let mut fence = Fence::default();
            for (nth, step) in steps.into_iter().enumerate() {
                if let Step::Request { guest: number, order, stolen } = step {
                    let Stamp { order, job } = stamp(order, stolen);
                    let mark = Mark { order, job, remote: None, gone_at: None };
                    fence.apply(FenceRecord::Mark(guest(number), mark));
                    fence.apply(FenceRecord::Floor(order));
                    fence.apply(FenceRecord::Epoch(Order::new(nth as u64, 0)));
                }
            }
            let mut again = Fence::default();
            for record in fence.records() {
                again.apply(record);
            }
            prop_assert_eq!(again, fence);
        }
    }

    #[test]
    fn an_epoch_only_rises_and_a_missing_one_is_the_lowest() {
        let mut fence = Fence::default();
        let (low, high) = (Order::new(1, 5), Order::new(2, 1));
        assert_eq!(fence.check_epoch(None), EpochVerdict::Current);
        assert_eq!(fence.check_epoch(Some(high)), EpochVerdict::Raise(high));
        fence.apply(FenceRecord::Epoch(high));
        assert_eq!(fence.check_epoch(Some(high)), EpochVerdict::Current);
        assert_eq!(fence.check_epoch(Some(low)), EpochVerdict::Old(high));
        assert_eq!(fence.check_epoch(None), EpochVerdict::Old(high));
    }

    #[test]
    fn after_a_day_a_tombstone_is_a_floor_that_still_refuses_what_is_older() {
        let mut fence = Fence::default();
        let gone_at = Some(Timestamp::UNIX_EPOCH);
        let Stamp { order, job } = stamp(5, false);
        fence.apply(FenceRecord::Mark(guest(0), Mark { order, job, remote: None, gone_at }));
        let almost = Timestamp::UNIX_EPOCH + SignedDuration::from_hours(23);
        assert_eq!(fence.fold(almost), []);
        for record in fence.fold(Timestamp::UNIX_EPOCH + TOMBSTONE_LIFE) {
            fence.apply(record);
        }
        assert_eq!(fence.len(), 0);
        let late = fence.admit(guest(0), Presence::Absent, Some(stamp(5, false)));
        assert_eq!(late, Admission::Stale(order));
        assert_eq!(fence.admit(guest(1), Presence::Absent, None), Admission::Stale(order));
        let newer = fence.admit(guest(1), Presence::Absent, Some(stamp(6, false)));
        assert_eq!(newer, Admission::Accept);
        // A guest that was here before there were orders is not unknown.
        assert_eq!(fence.admit(guest(2), Presence::Here, Some(stamp(2, false))), Admission::Accept);
    }

    #[test]
    fn a_job_that_waited_is_not_begun_when_a_newer_order_came() {
        let mut fence = Fence::default();
        let Stamp { order, job } = stamp(6, false);
        fence.apply(FenceRecord::Mark(guest(0), Mark { order, job, remote: None, gone_at: None }));
        assert!(!fence.is_current(guest(0), cause(stamp(5, false))));
        assert!(!fence.is_current(guest(0), StoredCause::default()));
        assert!(fence.is_current(guest(0), cause(stamp(6, false))));
    }

    #[test]
    fn a_job_that_comes_again_with_a_higher_number_is_the_same_job() {
        let mut fence = Fence::default();
        let first = stamp(6, false);
        let Stamp { order, job } = first;
        let remote = Some("remote".to_owned());
        let mark = Mark { order, job, remote: remote.clone(), gone_at: None };
        fence.apply(FenceRecord::Mark(guest(0), mark.clone()));
        // A store was accepted: the incarnation that leads all numbers has risen.
        let again = Stamp { order: Order::new(2, 6), job };
        let raised = Mark { order: again.order, ..mark };
        let admitted = fence.admit(guest(0), Presence::Here, Some(again));
        assert_eq!(admitted, Admission::Renumber(raised.clone()));
        fence.apply(FenceRecord::Mark(guest(0), raised));
        assert!(fence.is_current(guest(0), cause(first)), "it waits in the queue still");
        let twice = fence.admit(guest(0), Presence::Here, Some(again));
        assert_eq!(twice, Admission::Repeat(remote));
        let older = fence.admit(guest(0), Presence::Here, Some(stamp(7, false)));
        assert_eq!(older, Admission::Stale(again.order));
    }
}
