//! Why an object is not as it should be: the first thing that a person wants to know.

use lochness_api::document::Guest;
use lochness_api::status::{Condition, ConditionStatus, ConditionType, GuestStatus};
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
    if object.document.is_none() {
        return Some(Why::new("Deleting", "its document is gone; teardown is not over"));
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
    let conditions = object.conditions();
    let problem = conditions.iter().find(|condition| is_problem(condition))?;
    Some(Why { reason: problem.reason.to_string(), message: problem.message.clone() })
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
        | ConditionType::ConfigValid => condition.status != ConditionStatus::True,
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
