//! The filters that a host must pass, in the order in which a refusal names them.

use std::collections::BTreeMap;
use std::time::Duration;

use lochness_api::document::Resources;
use lochness_api::{FwGroupId, GuestId, HypervisorId, SubnetId};
use lochness_mutant::Mutant;
use tokio::time::Instant;

use super::claims::Claims;
use crate::firewall::plan::keeps_groups;
use crate::reports::Inner as Reports;
use crate::world::{HostEntry, World};

/// A filter, in the order in which they are tried. To add one: a variant here, its words, and its line in [`Fleet::admit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Filter {
    Alive,
    Reachable,
    Paused,
    Cordoned,
    Draining,
    Fenced,
    StaleGuests,
    Orphaned,
    Pinned,
    Labels,
    Firewall,
    Subnet,
    Memory,
    Disk,
    Cpu,
    AntiAffinity,
}

impl Filter {
    /// How a refusal speaks of the hosts that it turned away.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Alive => "not alive",
            Self::Reachable => "not reachable",
            Self::Paused => "paused",
            Self::Cordoned => "cordoned",
            Self::Draining => "draining",
            Self::Fenced => "fenced",
            Self::StaleGuests => "waiting for fenced guests to be deleted",
            Self::Orphaned => "without a document",
            Self::Pinned => "not the one asked for",
            Self::Labels => "without the labels asked for",
            Self::Firewall => "without a firewall for its group",
            Self::Subnet => "without a bridge to a subnet that has a free address",
            Self::Memory => "short of memory",
            Self::Disk => "short of disk",
            Self::Cpu => "short of cpu",
            Self::AntiAffinity => "with a guest of the same set",
        }
    }
}

/// What a guest needs of a host.
#[derive(Debug, Clone)]
pub(super) struct Need<'a> {
    pub(super) guest: GuestId,
    pub(super) resources: Resources,
    pub(super) pinned: Option<HypervisorId>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) set: Option<&'a str>,
    /// The group whose rules must be kept.
    pub(super) fwgroup: Option<FwGroupId>,
    /// Subnets in which an address can be had, the preferred first.
    pub(super) subnets: &'a [SubnetId],
}

/// What a plan reads: the world, the reports, the claims, and the time.
#[derive(Clone, Copy)]
pub(super) struct Fleet<'a> {
    pub(super) world: &'a World,
    pub(super) reports: &'a Reports,
    pub(super) claims: &'a Claims,
    pub(super) now: Instant,
    pub(super) reachable_window: Duration,
}

/// A host that passed all filters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) host: &'a HostEntry,
    /// Which of the subnets in [`Need`] it is: 0 is the preferred one.
    pub(super) rank: usize,
    pub(super) bridge: &'a str,
    /// What would be free after the placement.
    pub(super) left: Resources,
    pub(super) allocatable: Resources,
}

impl<'a> Fleet<'a> {
    /// What can still be placed on a host.
    pub(super) fn free(&self, host: &HostEntry) -> Resources {
        host.allocatable().saturating_sub(host.used).saturating_sub(self.claims.on(host.id))
    }

    /// Tries one host.
    ///
    /// # Errors
    /// The first filter that turns it away.
    pub(super) fn admit(
        &self,
        host: &'a HostEntry,
        need: &Need<'_>,
    ) -> Result<Candidate<'a>, Filter> {
        self.check_state(host)?;
        if need.pinned.is_some_and(|pinned| pinned != host.id) {
            return Err(Filter::Pinned);
        }
        if !need.labels.is_empty() && !bears(host, &need.labels) {
            return Err(Filter::Labels);
        }
        if need.fwgroup.is_some() && !keeps_groups(host, self.reports.host(host.id)) {
            return Err(Filter::Firewall);
        }
        let (rank, bridge) = need
            .subnets
            .iter()
            .enumerate()
            .find_map(|(rank, subnet)| Some((rank, host.bridges.get(subnet)?.as_str())))
            .ok_or(Filter::Subnet)?;
        let allocatable = host.allocatable();
        let free = self.free(host);
        let is_short = free.memory < need.resources.memory;
        if is_short && !lochness_mutant::is(Mutant::MemoryIgnored) {
            return Err(Filter::Memory);
        }
        if free.disk < need.resources.disk {
            return Err(Filter::Disk);
        }
        if free.cpu < need.resources.cpu {
            return Err(Filter::Cpu);
        }
        if need.set.is_some_and(|set| self.has_member(host, set, need.guest)) {
            return Err(Filter::AntiAffinity);
        }
        let left = free.saturating_sub(need.resources);
        Ok(Candidate { host, rank, bridge, left, allocatable })
    }

    fn check_state(&self, host: &HostEntry) -> Result<(), Filter> {
        let report = self.reports.host(host.id);
        let reachable =
            report.is_some_and(|report| report.is_reachable(self.now, self.reachable_window));
        if host.is_open() {
            return if reachable { Ok(()) } else { Err(Filter::Reachable) };
        }
        if !host.is_alive() {
            return Err(Filter::Alive);
        }
        if !reachable {
            return Err(Filter::Reachable);
        }
        if host.config.pause {
            return Err(Filter::Paused);
        }
        if host.config.cordon {
            return Err(Filter::Cordoned);
        }
        if host.config.drain {
            return Err(Filter::Draining);
        }
        if host.config.fenced.is_some() {
            return Err(Filter::Fenced);
        }
        if !host.stale.is_empty() {
            return Err(Filter::StaleGuests);
        }
        if host.document.is_none() {
            return Err(Filter::Orphaned);
        }
        Ok(())
    }

    fn has_member(&self, host: &HostEntry, set: &str, guest: GuestId) -> bool {
        self.claims.has_set(set, host.id)
            || self.world.set_members(set).any(|(member, on)| on == host.id && member != guest)
    }
}

fn bears(host: &HostEntry, labels: &BTreeMap<String, String>) -> bool {
    host.declared().is_some_and(|document| {
        labels.iter().all(|(key, value)| document.metadata.label(key) == Some(value))
    })
}

/// How many hosts each filter turned away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Rejections {
    counts: BTreeMap<Filter, usize>,
    /// The most that any host which failed on a resource still had free.
    most_free: Resources,
}

impl Rejections {
    pub(super) fn note(&mut self, filter: Filter, free: Resources) {
        *self.counts.entry(filter).or_default() += 1;
        match filter {
            Filter::Memory => self.most_free.memory = self.most_free.memory.max(free.memory),
            Filter::Disk => self.most_free.disk = self.most_free.disk.max(free.disk),
            Filter::Cpu => self.most_free.cpu = self.most_free.cpu.max(free.cpu),
            Filter::Alive
            | Filter::Reachable
            | Filter::Paused
            | Filter::Cordoned
            | Filter::Draining
            | Filter::Fenced
            | Filter::StaleGuests
            | Filter::Orphaned
            | Filter::Pinned
            | Filter::Labels
            | Filter::Firewall
            | Filter::Subnet
            | Filter::AntiAffinity => {}
        }
    }

    pub(super) fn total(&self) -> usize {
        self.counts.values().sum()
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (Filter, usize)> + '_ {
        self.counts.iter().map(|(filter, count)| (*filter, *count))
    }

    /// What was needed and the most that was free, for the filters that weigh a resource.
    pub(super) fn shortage(
        &self,
        filter: Filter,
        need: Resources,
    ) -> Option<(u64, u64, &'static str)> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only three filters weigh a resource")]
        match filter {
            Filter::Memory => Some((need.memory, self.most_free.memory, " MB")),
            Filter::Disk => Some((need.disk, self.most_free.disk, " MB")),
            Filter::Cpu => Some((need.cpu.into(), self.most_free.cpu.into(), " cores")),
            _ => None,
        }
    }
}
