//! The conditions of a placed guest: every word that its status says to people is chosen here.

use std::net::IpAddr;

use jiff::Timestamp;
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::{
    Condition, ConditionStatus, ConditionType, GuestStatus, Reason, set_condition,
};
use lochness_api::{GuestId, HypervisorId, Invalid};

use crate::firewall::rules::ClosedGroup;
use crate::job::plan::Waiting;
use crate::knowledge::not_asked;

/// Writes conditions into one status.
pub(super) struct Conditions<'a> {
    conditions: &'a mut Vec<Condition>,
    now: Timestamp,
}

impl<'a> Conditions<'a> {
    pub(super) fn of(status: &'a mut GuestStatus, now: Timestamp) -> Self {
        Self { conditions: &mut status.conditions, now }
    }

    pub(super) fn set(
        &mut self,
        kind: ConditionType,
        status: ConditionStatus,
        reason: Reason,
        message: impl Into<String>,
    ) {
        let last_transition = self.now;
        let message = message.into();
        let condition = Condition { kind, status, reason, message, last_transition };
        set_condition(self.conditions, condition);
    }

    pub(super) fn remove(&mut self, kind: ConditionType) {
        self.conditions.retain(|condition| condition.kind != kind);
    }

    pub(super) fn ready(&mut self, reason: Reason) {
        self.set(ConditionType::Ready, ConditionStatus::True, reason, "");
        self.remove(ConditionType::Progressing);
    }

    pub(super) fn not_ready(&mut self, reason: Reason, message: impl Into<String>) {
        self.set(ConditionType::Ready, ConditionStatus::False, reason, message);
    }

    pub(super) fn unknown(&mut self, reason: Reason, message: impl Into<String>) {
        self.set(ConditionType::Ready, ConditionStatus::Unknown, reason, message);
        self.remove(ConditionType::Progressing);
    }

    /// Another host than its own has it, as after a store that went back to before it was placed there.
    pub(super) fn elsewhere(&mut self, host: HypervisorId) {
        let message = format!(
            "hypervisor {host} lists it: it is not made a second time here; delete it there, or put this status right"
        );
        self.not_ready(Reason::AdoptionConflict, message);
        self.remove(ConditionType::Progressing);
    }

    /// Its host has it with another address, as after a store that went back to before it was placed anew.
    pub(super) fn other_address(&mut self, there: IpAddr, here: IpAddr) {
        let message = format!(
            "its hypervisor has it with address {there}, and {here} is reserved for it: nothing is done until it is deleted there, or this status is put right"
        );
        self.not_ready(Reason::AdoptionConflict, message);
        self.remove(ConditionType::Progressing);
    }

    /// Another guest has its address, as after a store that went back to before that one got it.
    pub(super) fn address_used(&mut self, other: GuestId, ip: IpAddr) {
        let message = format!(
            "a hypervisor has guest {other} with its address {ip}: it is not let run until that one is deleted there, or has another address"
        );
        self.not_ready(Reason::AdoptionConflict, message);
        self.remove(ConditionType::Progressing);
    }

    /// Another host may have it, and was not asked yet.
    pub(super) fn not_asked(&mut self, host: HypervisorId) {
        self.not_ready(Reason::HostNotAsked, not_asked(host));
        self.remove(ConditionType::Progressing);
    }

    pub(super) fn stuck(&mut self, reason: Reason, message: impl Into<String>) {
        self.set(ConditionType::Progressing, ConditionStatus::False, reason, message);
    }

    pub(super) fn created(&mut self, created: Result<(), (Reason, String)>) {
        match created {
            Ok(()) => self.set(ConditionType::Created, ConditionStatus::True, Reason::Created, ""),
            Err((reason, message)) => {
                self.set(ConditionType::Created, ConditionStatus::False, reason, message);
            }
        }
    }

    /// Whether the newest document can be used; what runs goes on as last understood either way.
    pub(super) fn validity(&mut self, fault: Option<&Invalid>, name_taken_by: Option<&str>) {
        let (status, reason, message) = match (fault, name_taken_by) {
            (Some(fault), _) => (
                ConditionStatus::False,
                Reason::Invalid,
                format!("{fault}; the guest goes on as last understood"),
            ),
            (None, Some(other)) => (
                ConditionStatus::False,
                Reason::NameTaken,
                format!("its name is guest {other}'s, which was there first: choose another"),
            ),
            (None, None) => (ConditionStatus::True, Reason::Accepted, String::new()),
        };
        self.set(ConditionType::Valid, status, reason, message);
    }

    /// Which fields of the document wait for the guest to be made anew.
    pub(super) fn placement(&mut self, waiting: &[&str]) {
        let former = self.conditions.iter().find(|c| c.kind == ConditionType::Placed);
        let reason = match former.map(|condition| condition.reason) {
            Some(Reason::Adopted) => Reason::Adopted,
            Some(_) | None => Reason::Placed,
        };
        let message = if waiting.is_empty() {
            String::new()
        } else {
            format!(
                "{} of the document differ from the placement: that takes effect when the guest is deleted and created again",
                waiting.join(", ")
            )
        };
        self.set(ConditionType::Placed, ConditionStatus::True, reason, message);
    }

    /// What of its firewall is not as wished: the guest waits for its host's, or its group lets nothing in. A group
    /// without rules that were ever understood stops nothing: the guest runs, and nobody from outside can say so.
    pub(super) fn firewall(&mut self, waiting: Option<&Waiting>, closed: Option<ClosedGroup>) {
        let kind = ConditionType::FirewallApplied;
        let told = match (waiting, closed) {
            (Some(waiting @ (Waiting::FirewallFailed(..) | Waiting::NoFirewall(..))), _) => {
                Some((waiting.reason(), waiting.message()))
            }
            (_, Some(closed)) => Some((Reason::FwGroupMissing, closed.to_string())),
            (_, None) => None,
        };
        match told {
            None => self.remove(kind),
            Some((reason, message)) => self.set(kind, ConditionStatus::False, reason, message),
        }
    }

    /// A job is under way: what it is, and what it waits for.
    pub(super) fn job_under_way(&mut self, job: &Job, waiting: Option<&Waiting>) {
        let reason = reason_of(job.action);
        // What was said when the attempt began, the words of the former failure included, holds until it ends.
        let begun = self
            .conditions
            .iter()
            .find(|condition| condition.kind == ConditionType::Ready && condition.reason == reason);
        let message = match (job.attempt, begun) {
            (0, _) => String::new(),
            (_, Some(begun)) if !begun.message.is_empty() => begun.message.clone(),
            (attempt, _) => format!("attempt {}", attempt + 1),
        };
        self.not_ready(reason, message.clone());
        if job.action == JobAction::Create {
            self.created(Err((reason, message)));
        }
        match (waiting, job.status) {
            (Some(waiting), JobStatus::New) => {
                self.stuck(waiting.reason(), waiting.message());
            }
            (_, _) => self.remove(ConditionType::Progressing),
        }
    }
}

/// Why a guest is not ready while an action is under way.
pub(super) fn reason_of(action: JobAction) -> Reason {
    match action {
        JobAction::Create => Reason::Creating,
        JobAction::Start => Reason::Starting,
        JobAction::Shutdown => Reason::Stopping,
        JobAction::Poweroff => Reason::PoweringOff,
        JobAction::Reboot | JobAction::Restart => Reason::Rebooting,
        JobAction::Suspend => Reason::Suspending,
        JobAction::Resume => Reason::Resuming,
        JobAction::Delete => Reason::Deleting,
    }
}
