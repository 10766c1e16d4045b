//! Why an object is not as it should be: the first thing that a person wants to know.

use lochness_api::document::Guest;
use lochness_api::status::{Condition, ConditionStatus, ConditionType, GuestStatus, Reason};
use lochness_api::{Document as _, Kind};

use crate::object::Object;

/// One reason, for a column, and its explanation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Why {
    /// One word.
    pub(crate) reason: String,
    /// A sentence with numbers; may be empty.
    pub(crate) message: String,
}

impl Why {
    fn new(reason: &str, message: &str) -> Self {
        Self { reason: reason.to_owned(), message: message.to_owned() }
    }

    fn of(condition: &Condition) -> Self {
        Self { reason: condition.reason.to_string(), message: condition.message.clone() }
    }

    /// The word, and the sentence where there is one.
    pub(crate) fn sentence(&self) -> String {
        if self.message.is_empty() {
            self.reason.clone()
        } else {
            format!("{}: {}", self.reason, self.message)
        }
    }
}

/// What keeps an object from being as declared; `None` when nothing does.
pub(crate) fn why(object: &Object) -> Option<Why> {
    let conditions = object.conditions();
    if object.document.is_none() && object.kind != Kind::Guest {
        let gone =
            || Why::new("NotGiven", "its document is gone; what is left of it is still in use");
        let told = conditions.iter().find(|condition| is_problem(condition));
        return Some(told.map_or_else(gone, Why::of));
    }
    if object.document.is_none() {
        let held_up = stuck(&conditions).or_else(|| paused(&conditions)).map(Why::of);
        let deleting = || Why::new("Deleting", "its document is gone; teardown is not over");
        return Some(held_up.unwrap_or_else(deleting));
    }
    if object.status.is_none() && has_status(object.kind) {
        return Some(Why::new("NoStatus", "no operator has answered yet"));
    }
    if object.kind == Kind::Guest {
        match object.guest_status() {
            None => return Some(Why::new("StatusUnreadable", "the status is not as expected")),
            Some(status) if !answers_document(object, &status) => {
                return Some(Why::new("NotYetSeen", "the status answers an older document"));
            }
            Some(_) => {}
        }
    }
    let problem = conditions.iter().find(|condition| is_problem(condition));
    let stuck = stuck(&conditions);
    match (problem, stuck) {
        // A job is under way, and what it waits for says more than that it is.
        (Some(problem), Some(stuck)) if is_under_way(problem) => Some(Why::of(stuck)),
        (Some(problem), _) => Some(Why::of(problem)),
        (None, stuck) => stuck.map(Why::of),
    }
}

/// What keeps the next step from being taken; a step that is only due later is none.
fn stuck(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| {
        condition.kind == ConditionType::Progressing
            && condition.status == ConditionStatus::False
            && condition.reason != Reason::BackingOff
    })
}

fn paused(conditions: &[Condition]) -> Option<&Condition> {
    conditions.iter().find(|condition| is_problem(condition) && condition.reason == Reason::Paused)
}

fn is_under_way(problem: &Condition) -> bool {
    matches!(problem.kind, ConditionType::Created | ConditionType::Ready)
}

/// Whether a running operator gives every object of the kind a status.
fn has_status(kind: Kind) -> bool {
    match kind {
        Kind::Guest | Kind::Hypervisor | Kind::Subnet => true,
        Kind::Network
        | Kind::Flavor
        | Kind::Image
        | Kind::FwGroup
        | Kind::Vlan
        | Kind::VlanGroup => false,
    }
}

/// Whether a guest's status answers its document as it is now. A document that does not validate has no digest that both
/// sides must agree on: it is answered when the status says that it is invalid.
pub(crate) fn answers_document(object: &Object, status: &GuestStatus) -> bool {
    let Some(document) = &object.document else { return false };
    let declared_invalid = status.conditions.iter().any(|condition| {
        condition.kind == ConditionType::Valid && condition.status == ConditionStatus::False
    });
    match Guest::parse(&object.id, &document.value) {
        Ok(_) => status.observed.is_some() && status.observed == object.digest(),
        Err(_) => declared_invalid,
    }
}

/// Whether a condition tells of trouble. Some types ask for good things, some for bad ones.
pub(crate) fn is_problem(condition: &Condition) -> bool {
    match condition.kind {
        ConditionType::Valid
        | ConditionType::Placed
        | ConditionType::Created
        | ConditionType::FirewallApplied
        | ConditionType::Ready
        | ConditionType::Alive
        | ConditionType::Reachable
        | ConditionType::Schedulable
        | ConditionType::Capacity
        | ConditionType::ImagesReady
        | ConditionType::AgentHealthy
        | ConditionType::ConfigValid
        | ConditionType::InRange => condition.status != ConditionStatus::True,
        ConditionType::Fenced
        | ConditionType::StoreRestored
        | ConditionType::DeletionHeld
        | ConditionType::Paused
        | ConditionType::Orphaned
        | ConditionType::Undeclared => condition.status == ConditionStatus::True,
        ConditionType::Progressing | ConditionType::Other => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sample::{condition, guest_document, guest_id, object, status_of};

    #[test]
    fn a_guest_without_status_waits_for_an_operator() {
        let object = object(Kind::Guest, Some(&guest_document()), None);
        assert_eq!(why(&object).unwrap().reason, "NoStatus");
    }

    #[test]
    fn a_status_of_an_older_document_does_not_count() {
        let mut edited = guest_document();
        edited["state"] = json!("stopped");
        let status =
            status_of(&guest_document(), "Running", &[condition("Ready", "True", "Running")]);
        let object = object(Kind::Guest, Some(&edited), Some(&status));
        assert_eq!(why(&object).unwrap().reason, "NotYetSeen");
    }

    #[test]
    fn the_first_condition_that_does_not_hold_is_the_reason() {
        let conditions =
            [condition("Valid", "True", "Accepted"), condition("Placed", "False", "NoHostFits")];
        let status = status_of(&guest_document(), "Pending", &conditions);
        let object = object(Kind::Guest, Some(&guest_document()), Some(&status));
        assert_eq!(why(&object).unwrap().sentence(), "NoHostFits: NoHostFits in words");
    }

    #[test]
    fn what_a_job_waits_for_says_more_than_that_it_is_under_way() {
        let conditions = [
            condition("Created", "False", "Creating"),
            condition("Progressing", "False", "HostUnreachable"),
        ];
        let status = status_of(&guest_document(), "Scheduled", &conditions);
        let waits = object(Kind::Guest, Some(&guest_document()), Some(&status));
        assert_eq!(why(&waits).unwrap().reason, "HostUnreachable");
        let conditions = [
            condition("Ready", "False", "JobFailed"),
            condition("Progressing", "False", "BackingOff"),
        ];
        let status = status_of(&guest_document(), "Failed", &conditions);
        let failed = object(Kind::Guest, Some(&guest_document()), Some(&status));
        assert_eq!(why(&failed).unwrap().reason, "JobFailed");
    }

    #[test]
    fn only_guests_are_torn_down_when_their_document_goes() {
        let status = json!({"capacity": 0, "used": 3, "quarantined": 0, "free": 0,
            "conditions": [condition("Valid", "False", "NotGiven")]});
        let subnet = object(Kind::Subnet, None, Some(&status));
        assert_eq!(why(&subnet).unwrap().sentence(), "NotGiven: NotGiven in words");
        let network = object(Kind::Network, None, Some(&json!({"conditions": []})));
        assert_eq!(why(&network).unwrap().reason, "NotGiven");
    }

    #[test]
    fn a_deletion_that_is_held_says_so() {
        let held =
            [condition("Ready", "True", "Running"), condition("Progressing", "False", "Held")];
        let status = status_of(&guest_document(), "Running", &held);
        let gone = object(Kind::Guest, None, Some(&status));
        assert_eq!(why(&gone).unwrap().reason, "Held");
    }

    #[test]
    fn a_guest_as_declared_has_no_reason() {
        let status =
            status_of(&guest_document(), "Running", &[condition("Ready", "True", "Running")]);
        let object = object(Kind::Guest, Some(&guest_document()), Some(&status));
        assert_eq!(why(&object), None);
    }

    #[test]
    fn an_invalid_document_is_answered_by_the_status_that_says_so() {
        let broken = json!({"id": guest_id(), "flavor": 7});
        let status = json!({"phase": "Pending", "observed": "0000000000000000",
            "conditions": [condition("Valid", "False", "Invalid")]});
        let object = object(Kind::Guest, Some(&broken), Some(&status));
        assert_eq!(why(&object).unwrap().reason, "Invalid");
    }
}
