//! What one host is like. Given once.

use std::time::Duration;

use lochness_api::HypervisorId;
use lochness_api::document::Resources;

use super::faults::Faults;
use super::nft::Nft;

/// One host.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Its id.
    pub id: HypervisorId,
    /// Its name, in metadata and logs.
    pub name: String,
    /// What it has, for its document and its heartbeat.
    pub total_resources: Resources,
    /// Which protocol it speaks.
    pub compat: Compat,
    /// Which words the original's sub-agent uses for states; our own protocol has its own four.
    pub state_words: StateWords,
    /// Who puts rulesets in force.
    pub firewall: FirewallConfig,
    /// How long things take.
    pub delays: Delays,
    /// What goes wrong from the start; the running host can be told more.
    pub faults: Faults,
    /// Promises to stop guests marked `evacuate: recreate` within so many seconds without a living lease.
    pub self_fence_seconds: Option<u64>,
    /// Requests must carry this bearer token.
    pub bearer: Option<String>,
    /// All randomness of the host comes from it.
    pub seed: u64,
}

/// Who puts a host's rulesets in force.
#[derive(Debug, Clone, Default)]
pub enum FirewallConfig {
    /// Nobody, and the host says so: it does not offer a firewall.
    None,
    /// Nobody; rulesets are stored and said to be in force.
    #[default]
    Simulated,
    /// The kernel, by the program nft. The host's network is real then, so that its ports are put into their VLANs too.
    Nft(Nft),
}

/// Which protocol a host speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compat {
    /// The original's, with our extensions.
    #[default]
    Lochness,
    /// The original's alone, with its traps.
    Mistify,
}

/// The words of the original's sub-agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StateWords {
    /// `running`, `paused`, `shutoff`, `crashed`.
    #[default]
    Libvirt,
    /// `running`, `paused`, `stopped`.
    Docker,
    /// `create`, for ever.
    Echo,
}

/// How long jobs and answers take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delays {
    /// To create a guest.
    pub create: Duration,
    /// To start, resume or suspend one.
    pub start: Duration,
    /// To shut one down, power it off, reboot or restart it.
    pub shutdown: Duration,
    /// To delete one.
    pub delete: Duration,
    /// To fetch an image.
    pub image: Duration,
    /// To put a firewall in force.
    pub firewall: Duration,
    /// Before every answer.
    pub reply: Duration,
    /// At most so much is added to each, at random.
    pub jitter: Duration,
}

impl HostConfig {
    /// A host without delays, faults or promises.
    pub fn new(id: HypervisorId, name: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            total_resources: Resources::default(),
            compat: Compat::default(),
            state_words: StateWords::default(),
            firewall: FirewallConfig::default(),
            delays: Delays::default(),
            faults: Faults::default(),
            self_fence_seconds: None,
            bearer: None,
            seed: 0,
        }
    }
}
