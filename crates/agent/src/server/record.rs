//! What a host stores: changes of its state, each whole. The state is what they add up to, and changes in no other way.

use lochness_api::{GuestId, JobId};
use serde::{Deserialize, Serialize};

use super::fence::FenceRecord;
use super::firewall::{Firewall, Patched};
use super::guests::GuestRecord;
use super::history::Effect;
use super::jobs::JobRecord;
use crate::wire::{AgentImage, Order};

/// One change. Changes that belong together are stored together, as one batch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Record {
    /// The agent was started for the so many-th time.
    Opened(u64),
    /// The host booted, and calls that boot so.
    Boot(String),
    /// Epoch and order.
    Fence(FenceRecord),
    /// A guest is so now.
    Guest(Box<GuestRecord>),
    /// A guest's record is gone.
    GuestGone(GuestId),
    /// A job is so now.
    Job(Box<JobRecord>),
    /// A job was cut from the log.
    JobGone(String),
    /// An image is there.
    Image(AgentImage),
    /// The firewall is so now.
    Firewall(Box<Firewall>),
    /// The firewall's sets were changed so.
    FirewallPatched(Box<Patched>),
    /// The firewall could not be changed, for this reason.
    FirewallFailed(String),
    /// Something happened.
    Effect(Box<Effect>),
}

/// Why something happens: the operator's job and the agent's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cause {
    pub(crate) job: Option<JobId>,
    pub(crate) remote: Option<String>,
    pub(crate) order: Option<Order>,
}
