//! The queues of the loops: where a change, a report or another loop says "look at this again".

use std::sync::Arc;

use lochness_api::{GuestId, HypervisorId, JobId, Kind, SubnetId};
use lochness_runtime::backoff::BackoffOptions;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::queue::Queue;

use crate::afterwards::Afterwards;
use crate::settings::Settings;

/// One queue a loop.
#[derive(Clone)]
pub struct Queues {
    /// Guests that may have to be placed, in lanes by network: one network's thousands do not delay another's one.
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
    /// What follows from placements, while very many are being made.
    pub(crate) afterwards: Arc<Afterwards>,
    rush: usize,
}

/// A rush is over when no more than one in so many guests of what makes a rush are left.
const REST_OF_RUSH: usize = 16;

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
            afterwards: Arc::default(),
            rush: settings.placement_rush,
        }
    }

    /// Whether very many guests are due to be placed, or being placed.
    pub(crate) fn is_rush(&self) -> bool {
        self.placement.backlog() > self.rush
    }

    /// Whether a rush that began is not over yet. What waits for its end would keep its last ones from being placed.
    pub(crate) fn is_rush_going_on(&self) -> bool {
        self.placement.backlog() > self.rush / REST_OF_RUSH
    }

    /// How many keys each of them has, waiting or being worked on, by its name.
    pub(crate) fn lengths(&self) -> [(&'static str, usize); 8] {
        [
            ("placement", self.placement.len()),
            ("guest", self.guest.len()),
            ("job", self.job.len()),
            ("subnet", self.subnet.len()),
            ("host", self.host.len()),
            ("firewall", self.firewall.len()),
            ("object", self.object.len()),
            ("cluster", self.cluster.len()),
        ]
    }

    /// How many keys are due in the loops that a placement wakes.
    pub(crate) fn due_after_placement(&self) -> usize {
        self.guest.due() + self.job.due() + self.host.due() + self.firewall.due()
    }
}
