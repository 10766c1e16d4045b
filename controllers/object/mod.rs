//! The object loop: says of flavors, images, networks, firewall groups, VLANs and VLAN groups whether they are understood
//! and whether what they name exists.
//!
//! Guarantees: writes `status/<kind>/` of these kinds alone, and deletes the status of what has no document any more.

mod plan;

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use lochness_api::Kind;
use lochness_api::keys::Key;
use lochness_api::status::ObjectStatus;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use lochness_runtime::metrics::Metrics;

use crate::context::Context;
use crate::dependents::Dependents;
use crate::statuses::{Found, Statuses};
use crate::world::World;
use plan::ObjectKey;

/// Keeps the statuses of objects that have no loop of their own.
pub struct ObjectReconciler {
    context: Context,
    statuses: Statuses<ObjectKey>,
    /// Objects that said something because of another: its name, or that it is missing.
    dependents: Dependents<ObjectKey>,
}

impl ObjectReconciler {
    /// A reconciler for one term.
    pub fn new(context: Context, _metrics: &Metrics) -> Self {
        Self { context, statuses: Statuses::default(), dependents: Dependents::default() }
    }

    fn look(&self, key: &ObjectKey) -> (Found<ObjectStatus>, Option<ObjectStatus>) {
        let world = self.context.world.read();
        self.wake_concerned(&world, key);
        let found = Found::of(world.object_status(key.0, &key.1));
        (found, plan::status(&world, key, self.context.now()))
    }

    /// Wakes those who say something of this object as it was, and remembers of whom this one speaks.
    fn wake_concerned(&self, world: &World, key: &ObjectKey) {
        let queue = &self.context.queues.object;
        let version_of =
            |key: &ObjectKey| world.object(key.0, &key.1).map_or(0, |object| object.mod_revision);
        let version = version_of(key);
        for other in self.dependents.outdated(key, version) {
            queue.add(other);
        }
        if let Some(elder) = plan::name_taken_by(world, key) {
            let elder = (key.0, elder);
            let seen = version_of(&elder);
            self.dependents.depend(key.clone(), elder, seen);
        } else {
            for younger in plan::namesakes(world, key) {
                if !self.dependents.has_seen(&younger, key, version) {
                    queue.add(younger);
                }
            }
        }
        for reference in plan::references(world, key) {
            if reference.object != *key {
                self.dependents.depend(key.clone(), reference.object, reference.version);
            }
        }
    }
}

#[async_trait]
impl Reconciler for ObjectReconciler {
    type Key = ObjectKey;

    fn name(&self) -> &'static str {
        "object"
    }

    async fn reconcile(&self, key: &ObjectKey) -> Result<Outcome, ReconcileError> {
        // These have loops of their own.
        if matches!(key.0, Kind::Guest | Kind::Hypervisor | Kind::Subnet) {
            return Ok(Outcome::unchanged());
        }
        let Some(status_key) = Key::status(key.0, &key.1) else { return Ok(Outcome::unchanged()) };
        let (found, wanted) = self.look(key);
        self.statuses.settle(&self.context, key, &status_key, found, wanted).await
    }
}
