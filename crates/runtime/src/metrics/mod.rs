//! What the machinery counts, for Prometheus.
//!
//! Names, labels and buckets are those of controller-runtime where the meaning is the same, so that dashboards and
//! alerts made for it work; the rest begins with `lochness_`. A state (the depth of a queue, the workers at work) is
//! read when it is scraped and not kept beside, so it cannot drift. Labels come from closed sets: never an error's text,
//! never a key.
//!
//! Reconcilers touch none of this: the engine measures them. Controllers register collectors of their own in
//! [`Metrics::registry`].

mod commit;
mod controller;
mod leader;
mod watch;
mod workqueue;

#[cfg(test)]
mod tests;

use prometheus::core::Collector;
use prometheus::{Registry, TextEncoder};

pub use commit::{CommitMetrics, SentGroup};
pub use leader::LeaderMetrics;
pub use watch::WatchMetrics;

pub(crate) use controller::{ControllerMetrics, ReconcileResult};
pub(crate) use workqueue::{QueueLoad, QueueMetrics, QueueProbe};

use controller::ControllerFamilies;
use leader::LeaderFamilies;
use workqueue::QueueFamilies;

/// All metrics of one process. Cloning is cheap and gives the same metrics.
#[derive(Clone)]
pub struct Metrics {
    /// Where everything is registered; for collectors of other crates.
    pub registry: Registry,
    controllers: ControllerFamilies,
    queues: QueueFamilies,
    watch: WatchMetrics,
    commits: CommitMetrics,
    leaders: LeaderFamilies,
}

impl Metrics {
    /// Registers every metric of this crate in a registry of its own.
    pub fn new() -> Self {
        let registry = Registry::new();
        Self {
            controllers: ControllerFamilies::new(&registry),
            queues: QueueFamilies::new(&registry),
            watch: WatchMetrics::new(&registry),
            commits: CommitMetrics::new(&registry),
            leaders: LeaderFamilies::new(&registry),
            registry,
        }
    }

    /// The watcher's share.
    pub fn watch(&self) -> WatchMetrics {
        self.watch.clone()
    }

    /// The committer's share.
    pub fn commits(&self) -> CommitMetrics {
        self.commits.clone()
    }

    /// The share of the election of that name.
    pub fn leader(&self, name: &str) -> LeaderMetrics {
        self.leaders.election(name)
    }

    /// The share of one controller.
    pub(crate) fn controller(&self, name: &'static str) -> ControllerMetrics {
        self.controllers.controller(name)
    }

    /// The families of queues, where a queue takes its share and leaves its probe.
    pub(crate) fn queues(&self) -> &QueueFamilies {
        &self.queues
    }

    /// Everything, in Prometheus' text format, as it is now.
    pub fn gather_text(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("every family has at least one metric, and its values are numbers")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// Registers a collector of constant, distinct names.
fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names and buckets are valid constants");
    registry.register(Box::new(collector.clone())).expect("names are distinct constants");
    collector
}
