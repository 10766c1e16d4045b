//! The queues of the loops: where a change, a report or another loop says "look at this again".

use std::sync::Arc;

use lochness_api::{GuestId, HypervisorId, JobId, Kind, SubnetId};
use lochness_runtime::backoff::BackoffOptions;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::queue::Queue;

use crate::settings::Settings;

/// One queue a loop.
#[derive(Clone)]
pub struct Queues {
    /// Guests that may have to be placed.
    pub placement: Arc<Queue<GuestId>>,
    /// Guests that are placed.
    pub guest: Arc<Queue<GuestId>>,
    /// Jobs under way.
    pub job: Arc<Queue<JobId>>,
    /// Subnets.
    pub subnet: Arc<Queue<SubnetId>>,
    /// Hosts.
    pub host: Arc<Queue<HypervisorId>>,
    /// Hosts whose ruleset may have to change.
    pub firewall: Arc<Queue<HypervisorId>>,
    /// Objects of kinds without a loop of their own.
    pub object: Arc<Queue<(Kind, String)>>,
    /// The cluster's status.
    pub cluster: Arc<Queue<()>>,
}

impl Queues {
    /// Empty queues, named as their loops.
    pub fn new(settings: &Settings, metrics: &Metrics) -> Self {
        let backoff = BackoffOptions {
            min: settings.retry_min / 10,
            max: settings.retry_max,
            seed: settings.seed,
            ..BackoffOptions::default()
        };
        Self {
            placement: Queue::new("placement", backoff, metrics),
            guest: Queue::new("guest", backoff, metrics),
            job: Queue::new("job", backoff, metrics),
            subnet: Queue::new("subnet", backoff, metrics),
            host: Queue::new("host", backoff, metrics),
            firewall: Queue::new("firewall", backoff, metrics),
            object: Queue::new("object", backoff, metrics),
            cluster: Queue::new("cluster", backoff, metrics),
        }
    }
}
