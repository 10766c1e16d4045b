//! A host's firewall: one ruleset, applied whole or not at all.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Order, null_as_empty};

/// The body of `PUT /firewall`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallPut {
    /// Names the content; a later patch says on which one it builds.
    pub hash: String,
    /// At which state of the world it was compiled. A lower one than the stored is refused.
    pub revision: Order,
    /// The whole ruleset, in nft's own language.
    pub ruleset: String,
}

/// The body of `PATCH /firewall`: members of named sets come and go, the rules stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FirewallPatch {
    /// The hash of what it builds on.
    pub base: String,
    /// The hash of what results.
    pub hash: String,
    /// As in [`FirewallPut`].
    pub revision: Order,
    /// Members to add, by set.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub add: BTreeMap<String, Vec<String>>,
    /// Members to remove, by set.
    #[serde(default, deserialize_with = "null_as_empty")]
    pub remove: BTreeMap<String, Vec<String>>,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FirewallState {
    /// The hash of what is in force; none before the first.
    #[serde(default)]
    pub hash: Option<String>,
    /// Its revision.
    #[serde(default)]
    pub revision: Option<Order>,
    /// When it came in force.
    #[serde(default)]
    pub applied_at: Option<Timestamp>,
    /// Why the last attempt failed, if it did; what was in force before still is.
    #[serde(default)]
    pub error: Option<String>,
    /// How often somebody else changed it and the agent put it right, since the agent was started.
    #[serde(default)]
    pub repairs: u64,
    /// When that happened last.
    #[serde(default)]
    pub repaired_at: Option<Timestamp>,
}
