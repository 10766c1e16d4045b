//! A guest's status: where it is, what it does, and why not what was wished.

use std::fmt;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use super::Condition;
use crate::document::Resources;
use crate::{Digest, FwGroupId, HypervisorId, ImageId, JobId, Mac, NetworkId, SubnetId};

/// The document under `status/guests/<id>`. Every agent request is built from it alone, so that later edits of a flavor or
/// a subnet disturb nothing that runs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GuestStatus {
    /// Where it is in its life.
    pub phase: Phase,
    /// Digest of the document that this status answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<Digest>,
    /// Order of the last job that reached the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// What was chosen and reserved for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,
    /// The one job that may act on it now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// The reboot token that counts as done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reboot: Option<String>,
    /// The agent's own word for what it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_state: Option<String>,
    /// Sorted by type; see [`super::set_condition`].
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
}

impl GuestStatus {
    /// Reads the value of a status key.
    ///
    /// # Errors
    /// Says what is not as the operator writes it.
    pub fn parse(value: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(value)
    }
}

/// Where a guest is and what is reserved for it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// The host.
    pub hypervisor: HypervisorId,
    /// Where the address is from.
    pub subnet: SubnetId,
    /// The subnet's network at the time of placement.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<NetworkId>,
    /// The reserved address.
    pub ip: IpAddr,
    /// The subnet's range.
    pub cidr: IpNetwork,
    /// The subnet's gateway.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<IpAddr>,
    /// The nic's hardware address.
    pub mac: Mac,
    /// The bridge through which the host reaches the subnet.
    #[serde(default)]
    pub bridge: String,
    /// VLAN tags of the nic; empty means `[1]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
    /// Firewall group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fwgroup: Option<FwGroupId>,
    /// Disk image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<ImageId>,
    /// What is counted against the host.
    #[serde(default)]
    pub resources: Resources,
}

/// Where a guest is in its life.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
pub enum Phase {
    /// Not placed.
    #[default]
    Pending,
    /// Placed; its agent does not have it yet.
    Scheduled,
    /// Its agent makes it.
    Creating,
    /// It runs.
    Running,
    /// It is being shut down.
    Stopping,
    /// It is shut down.
    Stopped,
    /// It is paused in memory.
    Suspended,
    /// Its document is gone; past the point of no return.
    Deleting,
    /// Its agent cannot do it; tried again with backoff.
    Failed,
    /// Its host is silent. Also what a word of a newer operator reads as.
    #[serde(other)]
    Unknown,
}

impl Phase {
    /// All phases, in the order of a guest's life.
    pub const ALL: [Self; 10] = [
        Self::Pending,
        Self::Scheduled,
        Self::Creating,
        Self::Running,
        Self::Stopping,
        Self::Stopped,
        Self::Suspended,
        Self::Deleting,
        Self::Failed,
        Self::Unknown,
    ];

    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Scheduled => "Scheduled",
            Self::Creating => "Creating",
            Self::Running => "Running",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Suspended => "Suspended",
            Self::Deleting => "Deleting",
            Self::Failed => "Failed",
            Self::Unknown => "Unknown",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
