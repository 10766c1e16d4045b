//! The statuses that this loop writes: not placed and why, just placed, adopted.

use jiff::Timestamp;
use lochness_api::JobId;
use lochness_api::status::{
    Condition, ConditionStatus, ConditionType, GuestStatus, Phase, Placement, Reason, set_condition,
};

use super::adopt::Adoption;
use super::refusal::Refusal;
use crate::world::GuestEntry;

/// The status of a guest that is not placed.
pub(super) fn refused(entry: &GuestEntry, refusal: &Refusal, now: Timestamp) -> GuestStatus {
    let mut status = carried(entry);
    status.phase = Phase::Pending;
    let mut set = |kind, answer, reason, message| {
        let condition = Condition { kind, status: answer, reason, message, last_transition: now };
        set_condition(&mut status.conditions, condition);
    };
    if refusal.is_invalid_document() {
        set(ConditionType::Valid, ConditionStatus::False, refusal.reason(), refusal.message());
        let message = "the document cannot be used, see Valid".to_owned();
        set(ConditionType::Placed, ConditionStatus::False, Reason::Invalid, message);
    } else {
        set(ConditionType::Valid, ConditionStatus::True, Reason::Accepted, String::new());
        set(ConditionType::Placed, ConditionStatus::False, refusal.reason(), refusal.message());
    }
    let message = "it has no place, see Placed".to_owned();
    set(ConditionType::Ready, ConditionStatus::False, Reason::NotPlaced, message);
    status
}

/// The status of a guest whose place is being reserved with it.
pub(super) fn placed(
    entry: &GuestEntry,
    placement: Placement,
    job: JobId,
    now: Timestamp,
) -> GuestStatus {
    let mut status = carried(entry);
    status.phase = Phase::Scheduled;
    status.job = Some(job);
    status.reboot = entry.understood().and_then(|document| document.reboot.clone());
    let mut set = |kind, answer, reason, message| {
        let condition = Condition { kind, status: answer, reason, message, last_transition: now };
        set_condition(&mut status.conditions, condition);
    };
    set(ConditionType::Valid, ConditionStatus::True, Reason::Accepted, String::new());
    set(ConditionType::Placed, ConditionStatus::True, Reason::Placed, String::new());
    set(ConditionType::Ready, ConditionStatus::False, Reason::Creating, String::new());
    status.placement = Some(placement);
    status
}

/// The status of a guest that was found.
pub(super) fn adopted(entry: &GuestEntry, found: Adoption, now: Timestamp) -> GuestStatus {
    let mut status = carried(entry);
    status.phase = found.phase;
    status.agent_state = found.agent_state;
    status.job = None;
    status.reboot = entry.understood().and_then(|document| document.reboot.clone());
    let mut set = |kind, answer, reason, message| {
        let condition = Condition { kind, status: answer, reason, message, last_transition: now };
        set_condition(&mut status.conditions, condition);
    };
    let message = format!("found on hypervisor {}", found.placement.hypervisor);
    set(ConditionType::Valid, ConditionStatus::True, Reason::Accepted, String::new());
    set(ConditionType::Placed, ConditionStatus::True, Reason::Adopted, message);
    status.placement = Some(found.placement);
    status
}

/// What a new status takes from the former: the times of answers that stay, and the digest of the document it answers.
fn carried(entry: &GuestEntry) -> GuestStatus {
    let is_valid = entry.document.as_ref().is_some_and(|declared| declared.valid().is_some());
    let observed = entry.digest().filter(|_| is_valid);
    let conditions = entry.status().map(|former| former.conditions.clone()).unwrap_or_default();
    GuestStatus { observed, conditions, ..GuestStatus::default() }
}
