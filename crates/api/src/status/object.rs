//! Statuses of everything that is not a guest.

use std::net::IpAddr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use super::Condition;
use crate::document::{Document, FwGroup, Resources, Rule};
use crate::{Digest, GuestId};

/// The document under `status/hypervisors/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct HypervisorStatus {
    /// Its heartbeat is there.
    pub alive: bool,
    /// Its agent answered within 30 s.
    pub reachable: bool,
    /// Where its agent was last known to listen, `host:port`; kept when its document is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The host's boot, as its agent says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_id: Option<String>,
    /// The agent's version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What the agent can do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// What the host has.
    pub total: Resources,
    /// What may be promised: total × overcommit − reserve.
    pub allocatable: Resources,
    /// What placements use.
    pub used: Resources,
    /// Guests placed here.
    pub guests: u32,
    /// Guests that run here and that nobody declared.
    pub undeclared: u32,
    /// Guests that its agent lists and that are not placed here, or not with the address that they have here, at most [`UNPLACED`](Self::UNPLACED) of them: while the
    /// host cannot be asked, none of them is placed anywhere, and nobody gets one of their addresses.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unplaced: Vec<UnplacedGuest>,
    /// The `operator/incarnation` in which its agent last gave a complete list of its guests. After a store was restored
    /// and accepted, nothing is placed before every host has given one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listed_in: Option<u64>,
    /// Sorted by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// A guest on a hypervisor on which nobody placed it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnplacedGuest {
    /// The guest.
    pub guest: GuestId,
    /// Its addresses, as the agent has them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
}

impl HypervisorStatus {
    /// As many guests are named in [`unplaced`](Self::unplaced); a host that has that many may have more.
    pub const UNPLACED: usize = 64;
}

/// The document under `status/subnets/<id>`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SubnetStatus {
    /// Addresses that can be assigned, at most [`u64::MAX`].
    pub capacity: u64,
    /// Addresses that guests have.
    pub used: u64,
    /// Addresses that wait after their guest went.
    pub quarantined: u64,
    /// Addresses that are left.
    pub free: u64,
    /// Sorted by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// The document under `status/<plural>/<id>` of the kinds that have nothing more to tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ObjectStatus {
    /// Digest of the document that this status answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Digest>,
    /// Of a firewall group: its rules as last understood. They hold while the newest document cannot be understood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rules: Option<AcceptedRules>,
    /// Sorted by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

/// Rules of a firewall group that were understood, spelled as in its document.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AcceptedRules(pub Vec<Rule>);

impl Serialize for AcceptedRules {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(Rule::to_json))
    }
}

impl<'de> Deserialize<'de> for AcceptedRules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rules = Vec::<Value>::deserialize(deserializer)?;
        let document = json!({ "rules": rules }).to_string();
        // Any id will do: a document need not name its own.
        let id = uuid::Uuid::nil().to_string();
        let group = FwGroup::parse(&id, document.as_bytes()).map_err(D::Error::custom)?;
        Ok(Self(group.rules))
    }
}

/// The document under `status/cluster`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ClusterStatus {
    /// Who leads, as it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// `<incarnation>.<create revision of operator/leader>`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<String>,
    /// What etcd says it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etcd_version: Option<String>,
    /// Guest documents.
    pub guests: u64,
    /// Guests with a placement.
    pub placed: u64,
    /// Hypervisor documents.
    pub hypervisors: u64,
    /// Hypervisors with a heartbeat.
    pub alive: u64,
    /// Documents that do not parse or validate.
    pub invalid: u64,
    /// Guests whose document is gone and whose teardown has not begun.
    pub deletions_waiting: u64,
    /// The revision to confirm while deletions are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirm_revision: Option<i64>,
    /// Sorted by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_were_understood_are_read_back_as_they_were() {
        let document = json!({"rules": [
            {"source": "10.0.0.0/8", "protocol": "tcp", "portStart": 80, "portEnd": 90},
            {"action": "deny"},
        ]});
        let id = uuid::Uuid::nil().to_string();
        let rules = FwGroup::parse(&id, document.to_string().as_bytes()).unwrap().rules;
        let rules = Some(AcceptedRules(rules));
        let status = ObjectStatus { rules, ..ObjectStatus::default() };
        let text = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<ObjectStatus>(&text).unwrap(), status);
        let none = serde_json::to_string(&ObjectStatus::default()).unwrap();
        assert!(!none.contains("rules"), "{none}");
    }
}
