//! One hypervisor as the store shows it: its document, heartbeat, configuration and what is placed on it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lochness_api::document::{ClusterConfig, Heartbeat, Hypervisor, HypervisorConfig, Resources};
use lochness_api::status::HypervisorStatus;
use lochness_api::{FieldError, GuestId, HypervisorId, ImageId, SubnetId};

use super::configure::Texts;
use super::sorted::{SortedMap, SortedSet};
use super::stored::{Declared, Stored};

/// The agent's port when neither heartbeat nor configuration names one.
pub const DEFAULT_AGENT_PORT: u16 = 8080;

/// A heartbeat as it stands in the store.
#[derive(Debug, Clone)]
pub struct HeartbeatEntry {
    /// Revision of the put that created the key: a new one is a new life of the lease.
    pub create_revision: i64,
    /// What the agent says of itself.
    pub heartbeat: Heartbeat,
}

/// One hypervisor as the store shows it.
#[derive(Debug)]
pub struct HostEntry {
    /// The host's id.
    pub id: HypervisorId,
    /// Its document; `None` when it has none (deleted under its guests, or never declared).
    pub document: Option<Declared<Hypervisor>>,
    /// Its heartbeat; `None` means not alive.
    pub heartbeat: Option<HeartbeatEntry>,
    /// The bridge through which it reaches a subnet.
    pub bridges: SortedMap<SubnetId, String>,
    /// Its configuration, as last understood.
    pub config: HypervisorConfig,
    /// Configuration keys whose text could not be understood.
    pub config_errors: BTreeMap<String, FieldError>,
    /// The texts of the configuration that is in force.
    pub(super) config_texts: Texts,
    /// Its status.
    pub status: Option<Stored<HypervisorStatus>>,
    /// Guests whose status places them here.
    pub placed: SortedSet<GuestId>,
    /// The images that these guests need until they are torn down, with how many need each.
    pub images: BTreeMap<ImageId, usize>,
    /// What these guests use. Never a stored counter.
    pub used: Resources,
    pub(super) standing: Standing,
    /// The index of placements: guest and create revision of its key.
    pub index: SortedMap<GuestId, i64>,
    /// Guests that were freed by a fence and must still be deleted here, with the record's revision.
    pub stale: BTreeMap<GuestId, i64>,
}

/// What each placement asks of each host that it looks at, worked out when the host changes: a look then touches few
/// places in memory.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Standing {
    allocatable: Resources,
    is_open: bool,
}

impl HostEntry {
    pub(super) fn new(id: HypervisorId) -> Self {
        Self {
            id,
            document: None,
            heartbeat: None,
            bridges: SortedMap::default(),
            config: HypervisorConfig::default(),
            config_errors: BTreeMap::new(),
            config_texts: Texts::default(),
            status: None,
            placed: SortedSet::default(),
            images: BTreeMap::new(),
            used: Resources::default(),
            standing: Standing::default(),
            index: SortedMap::default(),
            stale: BTreeMap::new(),
        }
    }

    /// The document as last understood.
    pub fn declared(&self) -> Option<&Hypervisor> {
        self.document.as_ref()?.understood.as_deref()
    }

    /// Whether a heartbeat stands in the store.
    pub fn is_alive(&self) -> bool {
        self.heartbeat.is_some()
    }

    /// Whether it had a heartbeat when its status was last written.
    pub fn was_alive(&self) -> bool {
        let status = self.status.as_ref().and_then(|stored| stored.value.as_deref());
        status.is_some_and(|status| status.alive)
    }

    /// What the host has: the document's word, or else the heartbeat's.
    pub fn total(&self) -> Resources {
        let declared = self.declared().map(|document| document.total_resources);
        declared
            .filter(|total| *total != Resources::default())
            .or_else(|| self.heartbeat.as_ref()?.heartbeat.total_resources)
            .unwrap_or_default()
    }

    /// What may be placed on the host: total × overcommit − reserve.
    pub fn allocatable(&self) -> Resources {
        self.standing.allocatable
    }

    /// Whether nothing in the store forbids to place guests here: it is declared and alive, not paused, cordoned, drained or
    /// fenced, and nothing on it waits to be deleted.
    pub fn is_open(&self) -> bool {
        self.standing.is_open
    }

    /// Works out anew what follows from the host's keys and the cluster's configuration.
    pub(super) fn stand(&mut self, cluster: &ClusterConfig) {
        let config = &self.config;
        let is_barred = config.pause || config.cordon || config.drain || config.fenced.is_some();
        let is_open =
            !is_barred && self.is_alive() && self.stale.is_empty() && self.document.is_some();
        self.standing = Standing { allocatable: self.share(cluster), is_open };
    }

    fn share(&self, cluster: &ClusterConfig) -> Resources {
        let total = self.total();
        let factor = |own: Option<f64>, default: f64| own.unwrap_or(default);
        let cpu = f64::from(total.cpu) * factor(self.config.overcommit_cpu, cluster.overcommit.cpu);
        Resources {
            memory: scaled(
                total.memory,
                factor(self.config.overcommit_memory, cluster.overcommit.memory),
            )
            .saturating_sub(self.config.reserve_memory.unwrap_or(0)),
            disk: scaled(total.disk, factor(self.config.overcommit_disk, cluster.overcommit.disk)),
            cpu: whole(cpu).try_into().unwrap_or(u32::MAX),
        }
    }

    /// Where its agent answers, as `host:port`: the document's address (an administrator's word) before the
    /// heartbeat's, the configured port before the heartbeat's.
    pub fn authority(&self) -> Option<String> {
        let heartbeat = self.heartbeat.as_ref().map(|entry| &entry.heartbeat);
        let ip = self
            .declared()
            .and_then(|document| document.ip)
            .or_else(|| heartbeat.and_then(|heartbeat| heartbeat.address))?;
        let port = self
            .config
            .agent_port
            .or_else(|| heartbeat.and_then(|heartbeat| heartbeat.port))
            .unwrap_or(DEFAULT_AGENT_PORT);
        Some(match ip {
            IpAddr::V4(v4) => format!("{v4}:{port}"),
            IpAddr::V6(v6) => format!("[{v6}]:{port}"),
        })
    }

    /// Whether nothing at all is left of the host in the store.
    pub(super) fn is_empty(&self) -> bool {
        self.document.is_none()
            && self.heartbeat.is_none()
            && self.bridges.is_empty()
            && self.status.is_none()
            && self.placed.is_empty()
            && self.index.is_empty()
            && self.stale.is_empty()
            && self.config == HypervisorConfig::default()
            && self.config_errors.is_empty()
    }
}

fn scaled(total: u64, factor: f64) -> u64 {
    #[expect(
        clippy::cast_precision_loss,
        reason = "capacities are megabytes; above 2^53 of them rounding does no harm"
    )]
    whole(total as f64 * factor)
}

fn whole(value: f64) -> u64 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the cast saturates, and a share of a unit cannot be given away"
    )]
    {
        value.max(0.0).floor() as u64
    }
}
