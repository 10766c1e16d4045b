//! The way to the agents: one gate for every request, and the tasks that read what the agents report.
//!
//! Guarantees: every request to an agent goes through [`Agent`], which holds at most
//! [`Settings::requests_per_agent`](crate::settings::Settings) of them at a time, leaves an agent alone that fails, and
//! sends no mutation that could outlast the term. A host that is silent, slow or wrong costs the other hosts nothing.
//! One task a host (`poller`) writes that host's report; absent is not unknown ([`accept`]).

pub mod accept;
mod agent;
mod breaker;
mod listing;
mod metrics;
mod notes;
mod poll;
mod poller;
mod waking;
mod witness;

#[cfg(test)]
pub(crate) mod bench;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use lochness_agent::wire::Order;
use lochness_agent::{AgentClient, Transport};
use lochness_api::HypervisorId;
use lochness_runtime::leader::Term;

pub use agent::{Agent, CallError, Numbers};
pub use metrics::{AgentMetrics, Operation};
pub use poll::poll_hosts;
pub use waking::{wake_guests_on, wake_jobs_on};
pub use witness::{Testimony, Witness};

use crate::reports::{self, Reports};
use crate::settings::Settings;
use crate::world::{HostEntry, World, WorldCell};
use agent::{Ears, Lane};

/// The way to every agent, for one term of leadership.
pub struct Agents {
    transport: Arc<dyn Transport>,
    epoch: Order,
    term: Term,
    reports: Arc<Reports>,
    settings: Arc<Settings>,
    metrics: AgentMetrics,
    witness: Witness,
    /// Says whether the store is still believed to be the one that was there before.
    world: Option<Arc<WorldCell>>,
    /// What all requests to one host share, whatever its address.
    lanes: Mutex<BTreeMap<HypervisorId, Arc<Lane>>>,
}

impl Agents {
    /// No request yet. `epoch` goes with each of them.
    pub fn new(
        transport: Arc<dyn Transport>,
        epoch: Order,
        term: Term,
        reports: Arc<Reports>,
        settings: Arc<Settings>,
        metrics: AgentMetrics,
    ) -> Self {
        let lanes = Mutex::default();
        let witness = Witness::default();
        let world = None;
        Self { transport, epoch, term, reports, settings, metrics, witness, world, lanes }
    }

    /// Lets `witness` hear what agents tell of other leaders.
    #[must_use]
    pub fn with_witness(self, witness: Witness) -> Self {
        Self { witness, ..self }
    }

    /// Lets no request for a change go out while the store is held, also none of a reconcile that began before.
    #[must_use]
    pub fn with_world(self, world: Arc<WorldCell>) -> Self {
        Self { world: Some(world), ..self }
    }

    /// The way to a host's agent at `target` (`host:port`, or `https://host:port`).
    pub fn agent_at(&self, host: HypervisorId, target: String) -> Agent {
        let client = AgentClient::new(Arc::clone(&self.transport), target, Some(self.epoch));
        let lane = {
            let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
            let lane = lanes.entry(host);
            Arc::clone(lane.or_insert_with(|| Arc::new(Lane::new(&self.settings, &self.metrics))))
        };
        let (witness, world) = (self.witness.clone(), self.world.clone());
        let ears = Ears { witness, host, epoch: self.epoch, world };
        Agent::new(client, lane, self.term.clone(), self.metrics.clone(), ears)
    }

    /// What is counted about agents and jobs.
    pub fn metrics(&self) -> &AgentMetrics {
        &self.metrics
    }

    /// Whether every host that has a heartbeat has given a complete list in this term, and so has each of these that is
    /// still there.
    pub fn every_host_listed(&self, world: &World, awaited: &BTreeSet<HypervisorId>) -> bool {
        let reports = self.reports.read();
        let is_listed = |host: &HostEntry| reports.was_heard(host.id);
        let mut awaited = awaited.iter().filter_map(|host| world.host(*host));
        every_live_host_listed(world, &reports) && awaited.all(is_listed)
    }
}

/// Hosts that a new leader hears before it places anything: those that have a heartbeat, and those that had one when
/// somebody last led. When everything comes up at once, a leader would otherwise place on the host that registers first, and
/// of a store that went back it would not know what the others run.
pub fn hosts_to_hear(world: &World) -> BTreeSet<HypervisorId> {
    let is_awaited = |host: &&HostEntry| host.is_alive() || host.was_alive();
    world.hosts().iter().filter(is_awaited).map(|host| host.id).collect()
}

/// Whether every host that has a heartbeat has given a complete list since the reports began.
pub fn every_live_host_listed(world: &World, reports: &reports::Inner) -> bool {
    world.hosts().iter().filter(|host| host.is_alive()).all(|host| reports.was_heard(host.id))
}

/// Where a host's agent listens: as its keys say, or, while guests are placed on a host that lost them, as its status
/// last knew. An agent that speaks TLS is named as `https://`.
pub fn target(entry: &HostEntry) -> Option<String> {
    let last_known = || {
        let status = entry.status.as_ref()?.value.as_ref()?;
        let needed = !(entry.placed.is_empty() && entry.index.is_empty() && entry.stale.is_empty());
        status.address.clone().filter(|_| needed)
    };
    let authority = entry.authority().or_else(last_known)?;
    Some(match entry.config.agent_tls {
        Some(true) => format!("https://{authority}"),
        Some(false) | None => authority,
    })
}
