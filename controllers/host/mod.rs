//! The host loop: says of each host whether it lives, answers and has room, brings it the images that its guests need, and
//! keeps the index of placements true.
//!
//! Guarantees: writes `status/hypervisors/` and the index alone, and asks agents for nothing but images. Which guests go
//! where is the placement loop's business.

mod fetch;
mod images;
pub mod plan;
mod repairs;

#[cfg(test)]
mod tests;

use std::hash::{Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use lochness_api::keys::Key;
use lochness_api::status::HypervisorStatus;
use lochness_api::{GuestId, HypervisorId};
use lochness_kv::{Compare, Op};
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use lochness_runtime::metrics::Metrics;
use rustc_hash::{FxHashMap, FxHasher};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::agents::wake_guests_on;
use crate::context::Context;
use crate::dependents::Dependents;
use crate::statuses::{Found, Statuses};
use crate::suspects::Suspects;
use crate::wake::wake_pending;
use crate::world::{HostEntry, World};
use fetch::Fetches;
use plan::{Facts, Usability};

pub use images::{Lack, Missing, missing_images};

/// So many keys of one host's index are repaired at once; the rest follows.
const REPAIRS_AT_ONCE: usize = 64;

/// Keeps hosts' statuses, images and indexes.
pub struct HostReconciler {
    context: Context,
    statuses: Statuses<HypervisorId>,
    /// Hosts that contradict each other: one name, or one address.
    dependents: Dependents<HypervisorId>,
    usability: Mutex<FxHashMap<HypervisorId, Usability>>,
    suspects: Suspects<HypervisorId, GuestId>,
    fetches: Fetches,
}

/// What one look at a host found to do.
struct Look {
    found: Found<HypervisorStatus>,
    wanted: Option<HypervisorStatus>,
    repairs: Vec<Commit>,
    again_in: Option<Duration>,
}

impl HostReconciler {
    /// A reconciler for one term.
    pub fn new(context: Context, _metrics: &Metrics) -> Self {
        Self {
            context,
            statuses: Statuses::default(),
            dependents: Dependents::default(),
            usability: Mutex::default(),
            suspects: Suspects::default(),
            fetches: Fetches::default(),
        }
    }

    fn look(&self, id: HypervisorId) -> Option<Look> {
        let context = &self.context;
        let (world, reports) = (context.world.read(), context.reports.read());
        self.wake_contradicted(&world, id);
        let entry = world.host(id)?;
        let facts = Facts {
            world: &world,
            reports: &reports,
            entry,
            now: Instant::now(),
            wall: context.now(),
            reachable_window: context.settings.reachable_window,
            incarnation: context.incarnation,
        };
        self.wake_on_flip(&facts);
        let (repairs, suspicious) = self.repairs(&facts);
        let grace = suspicious.then_some(context.settings.vanish_confirmation);
        // What is said of such guests hangs on their documents and on other hosts, which wake nobody here.
        let odd = plan::has_strangers(&facts).then_some(context.settings.reachable_window);
        Some(Look {
            found: Found::of(entry.status.as_ref()),
            wanted: plan::said_before_asking(&facts).or_else(|| plan::status(&facts)),
            repairs,
            again_in: [grace, odd].into_iter().flatten().min(),
        })
    }

    /// Wakes the hosts that contradict this one, or did, until each has seen the other as it is.
    fn wake_contradicted(&self, world: &World, id: HypervisorId) {
        let version = version(world.host(id));
        for other in self.dependents.outdated(&id, version) {
            self.context.queues.host.add(other);
        }
        let Some(entry) = world.host(id) else { return };
        if let Some(elder) = plan::name_taken_by(world, entry) {
            self.dependents.depend(id, elder, self::version(world.host(elder)));
        } else {
            for younger in plan::namesakes(world, entry) {
                self.wake_unless_seen(younger, id, version);
            }
        }
        if let Some(other) = plan::sharing_address(world, entry) {
            self.dependents.depend(id, other, self::version(world.host(other)));
            self.wake_unless_seen(other, id, version);
        }
    }

    fn wake_unless_seen(&self, other: HypervisorId, id: HypervisorId, version: i64) {
        if !self.dependents.has_seen(&other, &id, version) {
            self.context.queues.host.add(other);
        }
    }

    /// A host that came or went changes what its guests say, and what those without a place may hope for.
    fn wake_on_flip(&self, facts: &Facts<'_>) {
        let now = facts.usability();
        let mut known = self.usability.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.insert(facts.entry.id, now);
        drop(known);
        // At the first sight it has a heartbeat or not, but nobody has acted on its answers yet.
        let unknown = Usability { reachable: false, has_firewall: false, ..now };
        if before.unwrap_or(unknown) == now {
            return;
        }
        if before.is_some_and(|before| before.alive != now.alive) {
            tell_life(facts.entry, now.alive);
        }
        self.context.queues.firewall.add(facts.entry.id);
        wake_guests_on(facts.world, facts.entry.id, &self.context.queues);
        if now.alive && now.reachable {
            wake_pending(facts.world, &self.context.queues);
        }
    }

    /// Commits that put the index right, and whether there is more to watch.
    fn repairs(&self, facts: &Facts<'_>) -> (Vec<Commit>, bool) {
        let context = &self.context;
        if context.hold(facts.world).is_some() {
            return (Vec::new(), false);
        }
        let host = facts.entry.id;
        let suspects = repairs::leaked_keys(facts);
        let grace = context.settings.vanish_confirmation;
        let leaked = self.suspects.observe(host, &suspects, facts.now, grace);
        let missing = repairs::missing_keys(facts);
        let commits = missing
            .into_iter()
            .map(|(guest, revision)| self.put_key(host, guest, revision))
            .chain(leaked.into_iter().map(|guest| self.drop_key(facts, guest)))
            .take(REPAIRS_AT_ONCE)
            .collect();
        (commits, !suspects.is_empty())
    }

    fn put_key(&self, host: HypervisorId, guest: GuestId, status_revision: i64) -> Commit {
        info!(%host, %guest, "the index does not name a placed guest, putting it right");
        let key = self.context.key(&Key::Placement(host, guest));
        let status = self.context.key(&Key::GuestStatus(guest));
        Commit {
            compares: vec![
                Compare::absent(key.clone()),
                Compare::ModRevision(status.into(), status_revision),
            ],
            writes: vec![Op::put(key, guest.to_string())],
        }
    }

    fn drop_key(&self, facts: &Facts<'_>, guest: GuestId) -> Commit {
        let host = facts.entry.id;
        warn!(%host, %guest, "the index names a guest that is not placed there, dropping it");
        let created = facts.entry.index.get(&guest).copied().unwrap_or(0);
        let entry = facts.world.guest(guest);
        let (document, status) =
            entry.map_or((0, 0), |entry| (entry.document_revision(), entry.status_revision()));
        let key = self.context.key(&Key::Placement(host, guest));
        let compare =
            |key: &Key, revision| Compare::ModRevision(self.context.key(key).into(), revision);
        Commit {
            compares: vec![
                Compare::CreateRevision(key.clone().into(), created),
                compare(&Key::Guest(guest), document),
                compare(&Key::GuestStatus(guest), status),
            ],
            writes: vec![Op::delete(key)],
        }
    }
}

#[async_trait]
impl Reconciler for HostReconciler {
    type Key = HypervisorId;

    fn name(&self) -> &'static str {
        "host"
    }

    async fn reconcile(&self, id: &HypervisorId) -> Result<Outcome, ReconcileError> {
        let images = self.fetches.advance(&self.context, *id).await;
        let Some(look) = self.look(*id) else {
            self.usability.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
            return Ok(Outcome::unchanged());
        };
        let repairs = look.repairs.into_iter().map(|commit| self.context.commits.commit(commit));
        let repaired = join_all(repairs).await;
        let key = Key::HypervisorStatus(*id);
        let mut outcome =
            self.statuses.settle(&self.context, id, &key, look.found, look.wanted).await?;
        for result in repaired {
            result?;
            outcome.changed = true;
        }
        Ok([look.again_in, images].into_iter().flatten().fold(outcome, Outcome::after))
    }
}

/// A heartbeat that is lost is the first sign of a lost host.
fn tell_life(entry: &HostEntry, alive: bool) {
    let name = entry.declared().and_then(|document| document.metadata.name()).unwrap_or_default();
    if alive {
        info!(host = %entry.id, name, "heartbeat is there again");
    } else {
        warn!(host = %entry.id, name, guests = entry.placed.len(), "heartbeat is lost: its guests are unknown, not gone");
    }
}

/// What others may say something about: a host's name and where its agent listens.
fn version(entry: Option<&HostEntry>) -> i64 {
    let Some(entry) = entry else { return 0 };
    let mut hasher = FxHasher::default();
    let name = entry.declared().and_then(|document| document.metadata.name());
    (name, entry.authority()).hash(&mut hasher);
    entry.declared().and_then(|document| document.ip).hash(&mut hasher);
    entry.document.as_ref().map(|document| document.create_revision).hash(&mut hasher);
    hasher.finish().cast_signed()
}
