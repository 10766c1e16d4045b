//! The seam below the firewall: who really puts rulesets in force. It is chosen apart from the driver of the guests.
//!
//! Like a driver's, work is begun under the host's lock and run without any.

use std::sync::Arc;

use rand::rngs::StdRng;

use super::Wanted;
use crate::server::config::{FirewallConfig, HostConfig};
use crate::server::driver::{Outcome, Simulated, SimulatedCourse};
use crate::server::faults::Faults;
use crate::server::nft::Nft;

/// Who puts rulesets in force.
#[derive(Debug)]
pub(crate) enum Enforcer {
    /// Nobody: the host has no firewall of ours.
    Nobody,
    /// Nobody, and it is said to be done.
    Simulated(Simulated),
    /// The kernel, by the program nft.
    Nft(Nft),
}

/// Work under way.
pub(crate) enum Course {
    Nobody,
    Simulated(SimulatedCourse),
    Nft(Nft, Arc<Wanted>),
}

impl Enforcer {
    pub(crate) fn new(config: &HostConfig) -> Self {
        match &config.firewall {
            FirewallConfig::None => Self::Nobody,
            FirewallConfig::Simulated => Self::Simulated(Simulated::new(config.delays)),
            FirewallConfig::Nft(nft) => Self::Nft(nft.clone()),
        }
    }

    /// Whether the host can have a firewall.
    pub(crate) fn works(&self) -> bool {
        match self {
            Self::Nobody => false,
            Self::Simulated(_) => true,
            Self::Nft(nft) => nft.missing().is_empty(),
        }
    }

    /// Begins to put a ruleset in force.
    pub(crate) fn begin(&self, wanted: &Arc<Wanted>, faults: &Faults, rng: &mut StdRng) -> Course {
        match self {
            Self::Nobody => Course::Nobody,
            Self::Simulated(driver) => Course::Simulated(driver.begin_firewall(faults, rng)),
            Self::Nft(nft) => Course::Nft(nft.clone(), Arc::clone(wanted)),
        }
    }
}

impl Course {
    /// Does the work, whole or not at all.
    pub(crate) async fn run(self) -> Outcome {
        match self {
            Self::Nobody => Outcome::Failed("this host has no firewall".to_owned()),
            Self::Simulated(course) => course.run().await,
            Self::Nft(nft, wanted) => apply(&nft, &wanted).await,
        }
    }
}

async fn apply(nft: &Nft, wanted: &Wanted) -> Outcome {
    if let Some(transaction) = wanted.transaction() {
        match nft.apply(&transaction).await {
            Ok(()) => return Outcome::Done,
            // The sets are not as they should be; the whole makes them so.
            Err(error) => tracing::info!(%error, "a patch does not fit, applying the whole"),
        }
    }
    match nft.apply(&wanted.whole()).await {
        Ok(()) => Outcome::Done,
        Err(error) => Outcome::Failed(error.to_string()),
    }
}
