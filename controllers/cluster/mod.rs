//! The cluster loop: one status for what concerns everybody, and the budget of deletions.
//!
//! Guarantees: writes `status/cluster` alone. Counts move it at most once in a while, and not at all while nothing moves.

pub mod budget;
pub(crate) mod plan;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use lochness_api::keys::Key;
use lochness_api::status::Condition;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use lochness_runtime::metrics::Metrics;
use tracing::warn;

use crate::context::Context;
use crate::pace::Pace;
use crate::statuses::{Found, Statuses};

/// How the view stands to the store changes without a change of the world, so it is looked at this often.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Keeps the cluster's status.
pub struct ClusterReconciler {
    context: Context,
    looks: Pace<()>,
    statuses: Statuses<()>,
}

impl ClusterReconciler {
    /// A reconciler for one term.
    pub fn new(context: Context, _metrics: &Metrics) -> Self {
        Self { context, looks: Pace::default(), statuses: Statuses::default() }
    }
}

#[async_trait]
impl Reconciler for ClusterReconciler {
    type Key = ();

    fn name(&self) -> &'static str {
        "cluster"
    }

    async fn reconcile(&self, (): &()) -> Result<Outcome, ReconcileError> {
        let context = &self.context;
        // Counting walks over the whole world.
        if let Err(wait) = self.looks.take((), context.settings.status_interval) {
            return Ok(Outcome::unchanged().after(wait));
        }
        let (found, wanted, turned) = {
            let world = context.world.read();
            let facts = plan::Facts {
                world: &world,
                hold: context.hold(&world),
                leader: &context.identity,
                epoch: context.epoch().to_string(),
                etcd_version: context.world.server().version,
                wall: context.now(),
            };
            let wanted = plan::status(&facts);
            let former = world.cluster_status().and_then(|status| status.value.as_deref());
            let turned = plan::turned(former, &wanted);
            (Found::of(world.cluster_status()), wanted, turned)
        };
        let outcome =
            self.statuses.settle(context, &(), &Key::ClusterStatus, found, Some(wanted)).await?;
        if outcome.changed {
            for Condition { kind, status, reason, message, .. } in turned {
                warn!(condition = %kind, %status, %reason, message, "the cluster's condition has changed");
            }
        }
        Ok(outcome.after(LOOK_AGAIN))
    }
}
