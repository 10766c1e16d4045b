//! What an agent says of itself, and how it says no.

use lochness_api::HypervisorId;
use serde::{Deserialize, Serialize};

use super::{Order, null_as_empty};

/// The answer of `GET /capabilities`; the original has no such thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Which host answers. Another one than the expected is as good as unreachable.
    pub id: HypervisorId,
    /// Changes when the host boots; not when the agent restarts.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub boot_id: String,
    /// The agent's version.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub version: String,
    /// What it can do, by the words of this module (`CAPABILITY_ORDER` and so on).
    #[serde(default, deserialize_with = "null_as_empty")]
    pub capabilities: Vec<String>,
    /// Within how many seconds without a living lease it stops guests marked `evacuate: recreate`; none: it does not.
    #[serde(default)]
    pub self_fence_seconds: Option<u64>,
    /// The highest epoch of any request for a change that it was sent; none yet, or the agent does not say. A leader of a
    /// store that was rolled back learns it here, before it has changed anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Order>,
}

impl Capabilities {
    /// Whether it can do what `capability` names.
    pub fn has(&self, capability: &str) -> bool {
        self.capabilities.iter().any(|one| one == capability)
    }
}

/// The body of most refusals.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub message: String,
    /// The HTTP status again.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub code: u16,
    /// Where it went wrong, in the original's own sources.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub stack: Vec<String>,
    /// The firewall in force, when a patch had another base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hash: Option<String>,
}
