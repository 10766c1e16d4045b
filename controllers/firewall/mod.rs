//! The firewall loop: every host with guests has a ruleset that was compiled at or after their placement.
//!
//! Guarantees: one ruleset is on its way to a host at a time, and the next one covers everything that came meanwhile; a
//! ruleset carries the revision of the view that it was compiled on, so that an agent refuses an older one that arrives
//! late; nothing is sent while the one in force does. What is acknowledged goes into the reports, where the job loop reads
//! it before it lets a guest start (INVARIANTS.md, S13).
//!
//! A group's members are named by rulesets of other hosts. The host that a member came to or went from is queued by the
//! change itself; here it finds that its own members are others than before, and queues those hosts.

pub mod compile;
pub mod input;
mod nft;
pub mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lochness_agent::AgentError;
use lochness_agent::wire::{FirewallPut, FirewallState, Order};
use lochness_api::{FwGroupId, HypervisorId};
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use lochness_runtime::metrics::Metrics;
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::agents::{Agent, CallError, target};
use crate::context::Context;
use crate::reports::FirewallReport;
use crate::world::World;
use compile::compile;
use plan::LocalMembers;

/// Keeps hosts' rulesets.
pub struct FirewallReconciler {
    context: Context,
    /// The members on each host as last seen.
    members: Mutex<FxHashMap<HypervisorId, LocalMembers>>,
}

/// A ruleset that must be sent.
struct Due {
    agent: Agent,
    put: FirewallPut,
    /// What is in force so far; `None` when that is not known.
    before: Option<FirewallReport>,
}

impl FirewallReconciler {
    /// A reconciler for one term.
    pub fn new(context: Context, _metrics: &Metrics) -> Self {
        Self { context, members: Mutex::default() }
    }

    /// The ruleset that the host lacks, if it lacks one and may be sent one.
    fn due(&self, host: HypervisorId) -> Option<Due> {
        let context = &self.context;
        let (world, reports) = (context.world.read(), context.reports.read());
        let Some(entry) = world.host(host) else {
            self.note_members(&world, host, LocalMembers::new());
            return None;
        };
        let input = input::input(&world, entry);
        self.note_members(&world, host, plan::local_members(&input.guests));
        let (report, target) = (reports.host(host)?, target(entry)?);
        let reachable = report.is_reachable(Instant::now(), context.settings.reachable_window);
        let held = context.hold(&world).is_some() || entry.config.pause;
        if held || !reachable || !report.is_from(&target) || !plan::is_wanted(entry, report) {
            return None;
        }
        let newest = context.order(plan::newest_placement(&world, entry));
        if report.firewall.is_none() && newest.revision == 0 {
            return None;
        }
        let ruleset = compile(&input);
        let before = report.firewall.clone();
        if !plan::must_send(before.as_ref(), &ruleset.hash, newest) {
            return None;
        }
        let put = FirewallPut {
            hash: ruleset.hash,
            revision: context.order(world.revision()),
            ruleset: ruleset.text,
        };
        Some(Due { agent: context.agents.agent_at(host, target), put, before })
    }

    /// Queues the hosts whose rules name a group that has other members on this host than before.
    fn note_members(&self, world: &World, host: HypervisorId, now: LocalMembers) {
        let changed: BTreeSet<FwGroupId> = {
            let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
            let nothing = LocalMembers::new();
            let changed = plan::changed_groups(members.get(&host).unwrap_or(&nothing), &now);
            if now.is_empty() {
                members.remove(&host);
            } else {
                members.insert(host, now);
            }
            changed
        };
        if changed.is_empty() {
            return;
        }
        for other in plan::hosts_naming(world, &changed) {
            if other != host {
                self.context.queues.firewall.add(other);
            }
        }
    }

    /// Notes what is in force now, and wakes those who wait for it.
    fn acknowledged(
        &self,
        host: HypervisorId,
        before: Option<&FirewallReport>,
        now: FirewallReport,
    ) {
        let context = &self.context;
        context.reports.change(host, |report| report.firewall = Some(now));
        context.queues.host.add(host);
        let world = context.world.read();
        let Some(entry) = world.host(host) else { return };
        let order = |revision| context.order(revision);
        for guest in plan::newly_covered(&world, entry, before, order) {
            context.queues.guest.add(guest);
            if let Some(job) = world.guest(guest).and_then(|guest| guest.status()?.job) {
                context.queues.job.add(job);
            }
        }
    }

    /// Notes that the agent did not take a ruleset: the former one stays in force.
    fn refused(&self, host: HypervisorId, before: Option<FirewallReport>, error: &AgentError) {
        if matches!(error, AgentError::NotSent(_)) {
            return;
        }
        let nothing =
            || FirewallReport { hash: String::new(), revision: Order::default(), error: None };
        let before = before.unwrap_or_else(nothing);
        let failed = FirewallReport { error: Some(error.to_string()), ..before };
        self.context.reports.change(host, |report| report.firewall = Some(failed));
        self.context.queues.host.add(host);
    }

    /// Reads what is in force on a host of which that is not known; `Err` when the agent does not say.
    async fn read(&self, host: HypervisorId, agent: &Agent) -> Result<bool, CallError> {
        let Some(known) = in_force(agent.firewall().await?) else { return Ok(false) };
        self.acknowledged(host, None, known);
        Ok(true)
    }
}

#[async_trait]
impl Reconciler for FirewallReconciler {
    type Key = HypervisorId;

    fn name(&self) -> &'static str {
        "firewall"
    }

    async fn reconcile(&self, host: &HypervisorId) -> Result<Outcome, ReconcileError> {
        let Some(mut due) = self.due(*host) else { return Ok(Outcome::unchanged()) };
        if due.before.is_none() {
            match self.read(*host, &due.agent).await {
                Ok(false) => {}
                Ok(true) => match self.due(*host) {
                    Some(still_due) => due = still_due,
                    None => return Ok(Outcome::unchanged()),
                },
                Err(error) => return later(&error),
            }
        }
        let Due { agent, put, before } = due;
        debug!(%host, hash = put.hash, revision = %put.revision, "a ruleset is sent");
        match agent.put_firewall(&put).await {
            Ok(state) => {
                let revision = state.revision.unwrap_or(put.revision);
                let hash = state.hash.unwrap_or_default();
                let error = state.error.or_else(|| {
                    (hash != put.hash).then(|| "the agent says that another is in force".to_owned())
                });
                let now = FirewallReport { hash, revision, error: error.clone() };
                self.acknowledged(*host, before.as_ref(), now);
                match error {
                    None => {
                        info!(%host, revision = %put.revision, "a ruleset is in force");
                        Ok(Outcome::changed())
                    }
                    Some(words) => Err(ReconcileError::failed("RulesetRefused", words)),
                }
            }
            Err(error) => {
                if let CallError::Agent(error) = &error {
                    self.refused(*host, before, error);
                }
                later(&error)
            }
        }
    }
}

/// What is in force, if anything is.
fn in_force(state: FirewallState) -> Option<FirewallReport> {
    Some(FirewallReport { hash: state.hash?, revision: state.revision?, error: state.error })
}

/// A request that could not be sent now is made again in time; one that failed, with backoff.
fn later(error: &CallError) -> Result<Outcome, ReconcileError> {
    match error {
        CallError::LeftAlone { retry_in } => Ok(Outcome::unchanged().after(*retry_in)),
        CallError::NoBudget | CallError::Busy => {
            Ok(Outcome::unchanged().after(Duration::from_millis(100)))
        }
        CallError::Agent(inner) => Err(ReconcileError::failed(inner.reason(), error.to_string())),
    }
}
