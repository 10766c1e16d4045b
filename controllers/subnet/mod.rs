//! The subnet loop: says how full each subnet is, and keeps its reservations true.
//!
//! Guarantees: writes `status/subnets/` and reservations alone. A guest that is placed with an address has it reserved; a
//! reservation that nothing will end (its guest does not exist or has another address, or it is a quarantine without a
//! lease) is freed, once it has looked so for a while and every host has said that it has neither that guest nor that
//! address. Addresses in quarantine expire by themselves.

mod audit;
pub(crate) mod plan;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use lochness_api::SubnetId;
use lochness_api::keys::Key;
use lochness_api::status::SubnetStatus;
use lochness_kv::{Compare, Op};
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use lochness_runtime::metrics::Metrics;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::context::Context;
use crate::dependents::Dependents;
use crate::pace::Pace;
use crate::statuses::{Found, Statuses};
use crate::suspects::Suspects;
use crate::world::{GuestEntry, World};
use audit::{Audit, Cause, Leak, Unreserved};
use plan::Facts;

/// So many reservations of one subnet are put right at once; the rest follows.
const REPAIRS_AT_ONCE: usize = 64;

/// Keeps subnets' statuses and reservations.
pub struct SubnetReconciler {
    context: Context,
    /// Looking walks over all addresses that are taken.
    looks: Pace<SubnetId>,
    statuses: Statuses<SubnetId>,
    /// Subnets that contradict each other: one name, or the same addresses.
    dependents: Dependents<SubnetId>,
    leaks: Suspects<SubnetId, Leak>,
    /// Quarantines without a lease: they last as long as those with one.
    endless: Suspects<SubnetId, Leak>,
}

/// What one look at a subnet found to do.
struct Look {
    found: Found<SubnetStatus>,
    wanted: Option<SubnetStatus>,
    repairs: Vec<Commit>,
    has_suspects: bool,
}

impl SubnetReconciler {
    /// A reconciler for one term.
    pub fn new(context: Context, _metrics: &Metrics) -> Self {
        Self {
            context,
            looks: Pace::default(),
            statuses: Statuses::default(),
            dependents: Dependents::default(),
            leaks: Suspects::default(),
            endless: Suspects::default(),
        }
    }

    fn look(&self, id: SubnetId) -> Option<Look> {
        let context = &self.context;
        let (world, reports) = (context.world.read(), context.reports.read());
        self.wake_contradicted(&world, id);
        let entry = world.subnet(id)?;
        let facts = Facts {
            world: &world,
            reports: &reports,
            id,
            entry,
            now: Instant::now(),
            wall: context.now(),
            reachable_window: context.settings.reachable_window,
        };
        let audit = audit::audit(&facts);
        Some(Look {
            found: Found::of(entry.status.as_ref()),
            wanted: plan::status(&facts, &audit),
            repairs: self.repairs(&facts, &audit),
            has_suspects: !audit.leaked.is_empty(),
        })
    }

    /// The repairs that a look would hand in now, for tests that decide what becomes of them.
    #[cfg(test)]
    pub(crate) fn repairs_now(&self, id: SubnetId) -> Vec<Commit> {
        self.look(id).map(|look| look.repairs).unwrap_or_default()
    }

    /// Wakes the subnets that contradict this one, or did, until each has seen the other as it is.
    fn wake_contradicted(&self, world: &World, id: SubnetId) {
        let version = version(world, id);
        for other in self.dependents.outdated(&id, version) {
            self.context.queues.subnet.add(other);
        }
        let mut contradicted: Vec<_> = world.overlapping(id).collect();
        for other in &contradicted {
            self.dependents.depend(id, *other, self::version(world, *other));
        }
        if let Some(elder) = plan::name_taken_by(world, id) {
            self.dependents.depend(id, elder, self::version(world, elder));
        } else {
            contradicted.extend(plan::namesakes(world, id));
        }
        for other in contradicted {
            if !self.dependents.has_seen(&other, &id, version) {
                self.context.queues.subnet.add(other);
            }
        }
    }

    fn repairs(&self, facts: &Facts<'_>, audit: &Audit) -> Vec<Commit> {
        let context = &self.context;
        if context.hold(facts.world).is_some() {
            return Vec::new();
        }
        let grace = context.settings.vanish_confirmation;
        let quarantine = Duration::from_secs(facts.world.config().quarantine_seconds);
        let (endless, leaks): (BTreeSet<_>, BTreeSet<_>) =
            audit.leaked.iter().partition(|leak| leak.cause == Cause::NoLease);
        let mut leaked = self.leaks.observe(facts.id, &leaks, facts.now, grace);
        leaked.extend(self.endless.observe(facts.id, &endless, facts.now, grace.max(quarantine)));
        let reserve = audit.unreserved.iter().map(|address| self.reserve(facts.id, *address));
        let free = leaked.into_iter().map(|leak| self.free(facts, leak));
        reserve.chain(free).take(REPAIRS_AT_ONCE).collect()
    }

    fn reserve(&self, subnet: SubnetId, address: Unreserved) -> Commit {
        let Unreserved { ip, guest, status_revision } = address;
        info!(%subnet, %ip, %guest, "the address of a placed guest is not reserved, putting it right");
        let key = self.context.key(&Key::Address(subnet, ip));
        let status = self.context.key(&Key::GuestStatus(guest));
        Commit {
            compares: vec![
                Compare::absent(key.clone()),
                Compare::ModRevision(status.into(), status_revision),
            ],
            writes: vec![Op::put(key, guest.to_string())],
        }
    }

    fn free(&self, facts: &Facts<'_>, leak: Leak) -> Commit {
        let (subnet, Leak { ip, revision, cause }) = (facts.id, leak);
        warn!(%subnet, %ip, ?cause, "a reservation has no use, freeing the address");
        let key = self.context.key(&Key::Address(subnet, ip));
        let mut compares = vec![Compare::ModRevision(key.clone().into(), revision)];
        match cause {
            Cause::NoGuest(guest) => compares.extend([
                Compare::absent(self.context.key(&Key::Guest(guest))),
                Compare::absent(self.context.key(&Key::GuestStatus(guest))),
            ]),
            Cause::Elsewhere(guest) => {
                let revision = facts.world.guest(guest).map_or(0, GuestEntry::status_revision);
                let status = self.context.key(&Key::GuestStatus(guest));
                compares.push(Compare::ModRevision(status.into(), revision));
            }
            Cause::NoLease => {}
        }
        Commit { compares, writes: vec![Op::delete(key)] }
    }
}

#[async_trait]
impl Reconciler for SubnetReconciler {
    type Key = SubnetId;

    fn name(&self) -> &'static str {
        "subnet"
    }

    async fn reconcile(&self, id: &SubnetId) -> Result<Outcome, ReconcileError> {
        let settings = &self.context.settings;
        if let Err(wait) = self.looks.take(*id, settings.status_interval) {
            return Ok(Outcome::unchanged().after(wait));
        }
        let Some(look) = self.look(*id) else {
            self.looks.forget(id);
            return Ok(Outcome::unchanged());
        };
        let repairs = look.repairs.into_iter().map(|commit| self.context.commits.commit(commit));
        let repaired = join_all(repairs).await;
        let key = Key::SubnetStatus(*id);
        let mut outcome =
            self.statuses.settle(&self.context, id, &key, look.found, look.wanted).await?;
        for result in repaired {
            result?;
            outcome.changed = true;
        }
        // Nothing announces that a suspect has been one long enough.
        Ok(if look.has_suspects { outcome.after(settings.vanish_confirmation) } else { outcome })
    }
}

/// What others may say something about: a subnet's document.
fn version(world: &World, id: SubnetId) -> i64 {
    let document = world.subnet(id).and_then(|entry| entry.document.as_ref());
    document.map_or(0, |document| document.mod_revision)
}
