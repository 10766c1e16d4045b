//! Statuses of everything that is not a guest.

use serde::{Deserialize, Serialize};

use super::Condition;
use crate::Digest;
use crate::document::Resources;

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
    /// Sorted by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
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
    /// Sorted by type.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
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
