//! The agent's protocol as types: what stands in bodies and headers, and nothing about how they travel.
//!
//! Guarantees: what the original agent sends decodes (absent, `null` and zero are the same, unknown fields are ignored),
//! and what we send looks like what the original expects (empty fields are absent, ids in lower case). An answer that is
//! not of the protocol is an error, never a default.

mod firewall;
mod guest;
mod host;
mod image;
mod job;
mod order;

pub use firewall::{FirewallPatch, FirewallPut, FirewallState};
pub use guest::{AgentGuest, Disk, GuestState, Nic, Power};
pub use host::{Capabilities, ErrorBody};
pub use image::{AgentImage, ImageFetch};
pub use job::{AGENT_QUEUE, AgentJob, AgentJobStatus};
pub use order::{Order, ParseOrderError};

use serde::{Deserialize, Deserializer};

/// Answer header that carries the id of the job that a request made.
pub const HEADER_REMOTE_JOB: &str = "x-guest-job-id";
/// Request header: the leader's number. The agent refuses mutations with a lower one than it has seen.
pub const HEADER_EPOCH: &str = "x-lochness-epoch";
/// Request header: the job's number. The agent accepts only rising ones for a guest.
pub const HEADER_ORDER: &str = "x-lochness-order";
/// Request header: the job's id; the same order with the same job is a repetition, with another one a refusal.
pub const HEADER_JOB: &str = "x-lochness-job-id";
/// Request header: the revision that the ruleset in force must at least be of for a guest to begin to run. Absent where
/// nobody waits for one.
pub const HEADER_RULESET: &str = "x-lochness-ruleset";
/// Answer header of the list of guests: how often the firewall came in force or ceased to be without the leader's doing,
/// since the agent began. Absent while it never did.
pub const HEADER_FIREWALL: &str = "x-lochness-firewall";

/// Capability: requests with an order are fenced.
pub const CAPABILITY_ORDER: &str = "order";
/// Capability: `/firewall` exists.
pub const CAPABILITY_FIREWALL: &str = "firewall";
/// Capability: `GET /guests` takes `wait` and `If-None-Match`.
pub const CAPABILITY_BLOCKING_LIST: &str = "blocking-list";
/// Capability: `suspend` and `resume` work.
pub const CAPABILITY_SUSPEND: &str = "suspend";
/// Capability: jobs survive a restart of the agent.
pub const CAPABILITY_JOBS_ON_DISK: &str = "jobs-on-disk";

/// Capability: guests on one bridge are kept apart by VLANs.
pub const CAPABILITY_VLAN: &str = "vlan";

/// What a damaged record of the original answers to every request, with status 500.
pub const DAMAGED_MESSAGE: &str = "guest runner not found";

/// Reads `null` as the empty value: the original writes it for empty lists and maps.
pub(crate) fn null_as_empty<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn is_zero<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}
