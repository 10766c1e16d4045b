//! Conditions: one answer a question, with a reason from a closed set and a message for people.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Reason;

/// One answer about an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Condition {
    /// The question.
    #[serde(rename = "type")]
    pub kind: ConditionType,
    /// The answer.
    pub status: ConditionStatus,
    /// Why, for programs.
    pub reason: Reason,
    /// Why, for people, with numbers.
    #[serde(default)]
    pub message: String,
    /// When the answer last changed; a new reason or message alone does not move it.
    pub last_transition: Timestamp,
}

/// The questions that conditions answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionType {
    /// Every object: its document parses, and nothing in it contradicts another's.
    Valid,
    /// Guest: host, subnet and address are chosen and reserved.
    Placed,
    /// Guest: its agent has it.
    Created,
    /// Guest: its host acknowledged a ruleset that covers it. Host: the compiled ruleset is in force.
    FirewallApplied,
    /// Guest: it is what the owner wants it to be. Other objects: they can be used.
    Ready,
    /// Something is on its way.
    Progressing,
    /// Host: its heartbeat is there.
    Alive,
    /// Host: its agent answered within 30 s, and is the right one.
    Reachable,
    /// Host: it takes new guests.
    Schedulable,
    /// Host: known not to run its guests any more.
    Fenced,
    /// Host or subnet: there is room.
    Capacity,
    /// Host: its images are there.
    ImagesReady,
    /// Host: its agent's refusals, clock or identity are as they should be.
    AgentHealthy,
    /// Cluster: the store went back in time or was swapped, and the operator holds.
    StoreRestored,
    /// Cluster: more guests would be deleted than the budget allows.
    DeletionHeld,
    /// Somebody paused the cluster, the host or the guest.
    Paused,
    /// Every `config/` value parses.
    ConfigValid,
    /// Its host's or parent's document is gone.
    Orphaned,
    /// What runs and nobody declared.
    Undeclared,
    /// Subnet: its guests have addresses, range and gateway as its document says.
    InRange,
    /// A word of a newer operator; its text is lost when written again.
    #[serde(other)]
    Other,
}

impl ConditionType {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Valid => "Valid",
            Self::Placed => "Placed",
            Self::Created => "Created",
            Self::FirewallApplied => "FirewallApplied",
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Alive => "Alive",
            Self::Reachable => "Reachable",
            Self::Schedulable => "Schedulable",
            Self::Fenced => "Fenced",
            Self::Capacity => "Capacity",
            Self::ImagesReady => "ImagesReady",
            Self::AgentHealthy => "AgentHealthy",
            Self::StoreRestored => "StoreRestored",
            Self::DeletionHeld => "DeletionHeld",
            Self::Paused => "Paused",
            Self::ConfigValid => "ConfigValid",
            Self::Orphaned => "Orphaned",
            Self::Undeclared => "Undeclared",
            Self::InRange => "InRange",
            Self::Other => "Other",
        }
    }
}

impl std::fmt::Display for ConditionType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The answer of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConditionStatus {
    /// Yes.
    True,
    /// No.
    False,
    /// Not known, for example because the host is silent.
    Unknown,
}

impl ConditionStatus {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::True => "True",
            Self::False => "False",
            Self::Unknown => "Unknown",
        }
    }
}

impl std::fmt::Display for ConditionStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Puts a condition among others: in the place of the one of its type, or in its place by type. The time of the former
/// stays when the answer does.
pub fn set_condition(conditions: &mut Vec<Condition>, mut new: Condition) {
    match conditions.binary_search_by_key(&new.kind, |condition| condition.kind) {
        Ok(index) => {
            let former = &mut conditions[index];
            if former.status == new.status {
                new.last_transition = former.last_transition;
            }
            *former = new;
        }
        Err(index) => conditions.insert(index, new),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn condition(kind: ConditionType, status: ConditionStatus, second: i64) -> Condition {
        Condition {
            kind,
            status,
            reason: Reason::Converged,
            message: String::new(),
            last_transition: Timestamp::from_second(second).unwrap(),
        }
    }

    #[test]
    fn the_time_moves_only_with_the_answer() {
        let mut all = Vec::new();
        set_condition(&mut all, condition(ConditionType::Ready, ConditionStatus::True, 1));
        set_condition(&mut all, condition(ConditionType::Ready, ConditionStatus::True, 2));
        assert_eq!(all[0].last_transition.as_second(), 1);
        set_condition(&mut all, condition(ConditionType::Ready, ConditionStatus::False, 3));
        assert_eq!((all.len(), all[0].last_transition.as_second()), (1, 3));
    }

    #[test]
    fn conditions_stay_sorted_by_type() {
        let mut all = Vec::new();
        for kind in [ConditionType::Ready, ConditionType::Valid, ConditionType::Placed] {
            set_condition(&mut all, condition(kind, ConditionStatus::True, 1));
        }
        let kinds: Vec<_> = all.iter().map(|condition| condition.kind).collect();
        assert_eq!(kinds, [ConditionType::Valid, ConditionType::Placed, ConditionType::Ready]);
    }

    #[test]
    fn words_of_a_newer_operator_do_not_spoil_a_condition() {
        let text = r#"{"type":"Frobnicated","status":"True","reason":"NewWord","message":"m",
            "last_transition":"2026-01-01T00:00:00Z","more":1}"#;
        let condition: Condition = serde_json::from_str(text).unwrap();
        assert_eq!((condition.kind, condition.reason), (ConditionType::Other, Reason::Other));
    }
}
