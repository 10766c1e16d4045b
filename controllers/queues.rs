//! The queues of the loops: where a change, a report or another loop says "look at this again".

use std::sync::{Arc, Mutex, PoisonError};

use lochness_api::{GuestId, HypervisorId, JobId, Kind, SubnetId};
use lochness_runtime::backoff::BackoffOptions;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::queue::{Lane, Queue};

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
    /// Guests that wait for a place.
    pub(crate) pending: Arc<PendingWake>,
    /// What follows from placements, while very many are being made.
    pub(crate) afterwards: Arc<Afterwards>,
    rush: usize,
}

/// When all guests that wait for a place were last queued.
#[derive(Default)]
pub(crate) struct PendingWake(Mutex<Option<u64>>);

impl PendingWake {
    /// Queues them, unless nothing was handed out of the queue since they last were: then each of them still waits there,
    /// for who came to wait meanwhile was queued by the change that made it so. A thousand hosts that come at once, each a
    /// hope for ten thousand guests, would otherwise cost ten million times a look at the queue.
    pub(crate) fn queue(
        &self,
        placement: &Queue<GuestId>,
        pending: impl IntoIterator<Item = (Lane, GuestId)>,
    ) {
        let mut queued_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Read before they are added: what is handed out meanwhile makes the next call add them again.
        let handed_out = placement.handed_out();
        if *queued_at == Some(handed_out) {
            return;
        }
        placement.add_all_in(pending);
        *queued_at = Some(handed_out);
    }
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
            pending: Arc::default(),
            afterwards: Arc::default(),
            rush: settings.placement_rush,
        }
    }

    /// Whether very many guests are due to be placed, or being placed.
    pub(crate) fn is_rush(&self) -> bool {
        self.placement.backlog() > self.rush
    }

    /// How many keys are due in the loops that a placement wakes.
    pub(crate) fn due_after_placement(&self) -> usize {
        self.guest.due() + self.job.due() + self.host.due() + self.firewall.due()
    }
}
