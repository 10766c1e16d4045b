//! What an election shows.

use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

use super::register;

#[derive(Clone)]
pub(super) struct LeaderFamilies {
    status: IntGaugeVec,
}

impl LeaderFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        let opts = Opts::new(
            "leader_election_master_status",
            "Whether this process leads: 0 for a standby, 1 for the leader, by name of the election",
        );
        Self { status: register(registry, IntGaugeVec::new(opts, &["name"])) }
    }

    pub(super) fn election(&self, name: &str) -> LeaderMetrics {
        LeaderMetrics { status: self.status.with_label_values(&[name]) }
    }
}

/// One election's share of the metrics; a standby until it says otherwise.
#[derive(Clone)]
pub struct LeaderMetrics {
    status: IntGauge,
}

impl LeaderMetrics {
    /// This process leads from now on.
    pub fn leading(&self) {
        self.status.set(1);
    }

    /// This process does not lead, or leads no more.
    pub fn standing_by(&self) {
        self.status.set(0);
    }
}
