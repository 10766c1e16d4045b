//! What truly happened on a simulated host, for checkers to compare with what the operator believes.

use std::collections::VecDeque;

use jiff::Timestamp;
use lochness_api::{GuestId, JobId};
use serde::{Deserialize, Serialize};

use crate::wire::Order;

/// So many effects are kept a host; a checker that needs more reads in time.
const EFFECTS_KEPT: usize = 10_000;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    /// Counts from 1, and goes on across restarts of the agent.
    pub sequence: u64,
    /// When, by the host's clock.
    pub at: Timestamp,
    /// What.
    pub kind: EffectKind,
    /// To which guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guest: Option<GuestId>,
    /// For which job of the operator; none for what happened by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobId>,
    /// For which job of the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
    /// The job's order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// The firewall's revision that was in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firewall: Option<Order>,
    /// The addresses of the guest's interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<String>,
    /// Why, where that is not plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What can happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectKind {
    /// A guest was made.
    Created,
    /// The record of a guest that was there was replaced.
    Redefined,
    /// A guest began to run.
    Started,
    /// A guest ended.
    Stopped,
    /// A guest was suspended.
    Paused,
    /// A suspended guest runs again.
    Resumed,
    /// A running guest rebooted.
    Rebooted,
    /// A guest died.
    Crashed,
    /// A guest was deleted.
    Deleted,
    /// A guest vanished without a request.
    Lost,
    /// A ruleset came in force; its revision is in `firewall`.
    FirewallApplied,
    /// An image was fetched; its id is in `detail`.
    ImageFetched,
    /// The host booted.
    Booted,
}

/// The newest effects of a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct History {
    effects: VecDeque<Effect>,
    last: u64,
}

impl History {
    pub(crate) fn next_sequence(&self) -> u64 {
        self.last + 1
    }

    pub(crate) fn push(&mut self, effect: Effect) {
        self.last = self.last.max(effect.sequence);
        if self.effects.len() == EFFECTS_KEPT {
            self.effects.pop_front();
        }
        self.effects.push_back(effect);
    }

    /// The effects after `sequence`, oldest first.
    pub(crate) fn since(&self, sequence: u64) -> impl Iterator<Item = &Effect> {
        let start = self.effects.partition_point(|effect| effect.sequence <= sequence);
        self.effects.range(start..)
    }

    pub(crate) fn len(&self) -> usize {
        self.effects.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Effect> {
        self.effects.iter()
    }
}
