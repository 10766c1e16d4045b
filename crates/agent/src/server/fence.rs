//! Epoch and order: why a request that arrives late or twice is harmless. Pure; the host stores what it decides.
//!
//! Guarantees, whatever arrives in whatever order:
//! * the epoch only rises, and no mutation with a lower one is accepted;
//! * the accepted orders of a guest only rise, also across its deletion and across the folding of its tombstone;
//! * one order is accepted for one job, once.
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
use serde::{Deserialize, Serialize};

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
    pub(crate) fn check_epoch(&self, epoch: Option<Order>) -> EpochVerdict {
        match (epoch, self.epoch) {
            (None, None) => EpochVerdict::Current,
            (Some(given), None) => EpochVerdict::Raise(given),
            (None, Some(seen)) => EpochVerdict::Old(seen),
            (Some(given), Some(seen)) if given > seen => EpochVerdict::Raise(given),
            (Some(given), Some(seen)) if given < seen => EpochVerdict::Old(seen),
            (Some(_), Some(_)) => EpochVerdict::Current,
        }
    }

    /// A request without a stamp is taken only where none has ever been: a guest that is under fence stays so.
    pub(crate) fn admit(
        &self,
        guest: GuestId,
        presence: Presence,
        stamp: Option<Stamp>,
    ) -> Admission {
        if let Some(mark) = self.marks.get(&guest) {
            return match stamp {
                Some(stamp) if stamp.order > mark.order => Admission::Accept,
                Some(stamp) if stamp.order == mark.order && stamp.job == mark.job => {
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

    /// Whether a job that was accepted with `order` is still the guest's newest, when it is about to start.
    pub(crate) fn is_current(&self, guest: GuestId, order: Option<Order>) -> bool {
        match (self.marks.get(&guest), order) {
            (Some(mark), Some(order)) => mark.order == order,
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

    /// The records that rebuild this fence.
    pub(crate) fn records(&self) -> impl Iterator<Item = FenceRecord> {
        let epoch = self.epoch.map(FenceRecord::Epoch);
        let floor = self.floor.map(FenceRecord::Floor);
        let marks = self.marks.iter().map(|(guest, mark)| FenceRecord::Mark(*guest, mark.clone()));
        epoch.into_iter().chain(floor).chain(marks)
    }
}
