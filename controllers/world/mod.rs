//! The world: everything that the store says, decoded once, indexed, at one complete revision.
//!
//! Guarantees: there is one writer (the watcher, through [`WorldCell`]); a reader sees whole revisions only; applying an
//! event is total (what does not decode is kept as such and counted, never an error). What the agents report is not here:
//! it belongs to no revision (see [`crate::reports`]).

mod addresses;
mod apply;
mod awaited;
mod cell;
mod change;
mod configure;
mod guest;
mod held;
mod host;
mod index;
mod intake;
mod macs;
mod members;
mod names;
mod numbered;
mod objects;
mod overlaps;
mod packed;
pub(crate) mod range_set;
mod server;
mod sorted;
mod stored;
#[cfg(test)]
mod tests;
mod unseen;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use lochness_api::document::{
    ClusterConfig, Flavor, FwGroup, Guest, Image, Network, Subnet, Vlan, VlanGroup, VlanTag,
};
use lochness_api::job::Job;
use lochness_api::status::{ClusterStatus, ObjectStatus, Placement, SubnetStatus};
use lochness_api::{
    FieldError, FlavorId, FwGroupId, GuestId, HypervisorId, ImageId, JobId, Kind, NetworkId,
    Prefix, SubnetId, VlanGroupId,
};
use lochness_kv::Header;
use rustc_hash::{FxHashMap, FxHashSet};

use configure::Texts;
use held::Held;
use macs::Macs;
use overlaps::Overlaps;
use packed::{Guests, Jobs};

pub use addresses::{
    AddressEntry, Addresses, Reservation, Tally, address_number, number_address, successor,
};
pub(crate) use apply::QUARANTINE;
pub use cell::{Connection, Replacement, WorldCell, WorldSink};
pub use change::Change;
pub use guest::GuestEntry;
pub use host::{DEFAULT_AGENT_PORT, HeartbeatEntry, HostEntry};
pub use intake::Page;
pub use macs::MacHolder;
pub(crate) use members::SEPARATOR;
pub use members::{Family, Members, SetChange, SetDigest};
pub use names::Names;
pub use packed::Outline;
pub use server::{Server, ServerTrouble};
pub use sorted::{SortedMap, SortedSet};
pub use stored::{Declared, Stored};

/// A subnet with its addresses and its status.
#[derive(Debug, Default)]
pub struct SubnetEntry {
    /// Its document; `None` when it was deleted, or is only named by reservations.
    pub document: Option<Declared<Subnet>>,
    /// Who holds which address.
    pub addresses: Addresses,
    /// Its status.
    pub status: Option<Stored<SubnetStatus>>,
}

impl SubnetEntry {
    /// The document as last understood.
    pub fn declared(&self) -> Option<&Subnet> {
        self.document.as_ref()?.understood.as_deref()
    }
}

/// Everything that the store says at one revision.
#[derive(Debug, Default)]
pub struct World {
    prefix: Prefix,
    header: Header,
    guests: Guests,
    /// Declared and not placed.
    pending: FxHashSet<GuestId>,
    /// Placed, the document gone, teardown not begun.
    awaiting_teardown: BTreeSet<GuestId>,
    /// Those of them that went after the revision that a person has confirmed, if one has.
    unconfirmed_teardowns: BTreeSet<GuestId>,
    placed: usize,
    hosts: Vec<HostEntry>,
    host_positions: FxHashMap<HypervisorId, usize>,
    /// The addresses that hosts' documents give.
    host_addresses: BTreeSet<(IpAddr, HypervisorId)>,
    flavors: BTreeMap<FlavorId, Declared<Flavor>>,
    images: BTreeMap<ImageId, Declared<Image>>,
    networks: BTreeMap<NetworkId, Declared<Network>>,
    subnets: BTreeMap<SubnetId, SubnetEntry>,
    overlaps: Overlaps,
    held: Held,
    /// The hosts that have a bridge to the subnet, sorted.
    reaching: BTreeMap<SubnetId, Vec<HypervisorId>>,
    macs: Macs,
    fwgroups: BTreeMap<FwGroupId, Declared<FwGroup>>,
    fwgroup_members: BTreeMap<FwGroupId, BTreeSet<GuestId>>,
    /// The hosts of these members, with how many of them each has.
    fwgroup_hosts: BTreeMap<FwGroupId, BTreeMap<HypervisorId, usize>>,
    group_members: members::GroupMembers,
    vlans: BTreeMap<VlanTag, Declared<Vlan>>,
    vlangroups: BTreeMap<VlanGroupId, Declared<VlanGroup>>,
    vlangroup_members: BTreeMap<VlanGroupId, BTreeSet<VlanTag>>,
    /// Placed guests of an anti-affinity set, and where each is.
    sets: FxHashMap<Box<str>, BTreeMap<GuestId, HypervisorId>>,
    names: names::NameTable,
    /// Names of guests that came to another bearer, until those who ask for them were named among the changes.
    renamed: BTreeSet<String>,
    jobs: Jobs,
    object_statuses: BTreeMap<(Kind, String), Stored<ObjectStatus>>,
    cluster_status: Option<Stored<ClusterStatus>>,
    config: ClusterConfig,
    config_errors: BTreeMap<String, FieldError>,
    config_texts: Texts,
    incarnation: Option<u64>,
    /// Revision of the last put of that number; 0 when there is none.
    incarnation_at: i64,
    /// Revision of the last put of `config/accept_store`; 0 when there is none.
    accepted_at: i64,
    unseen: unseen::Unseen,
    unknown_keys: u64,
    malformed_keys: u64,
}

impl World {
    /// Whether more is unpacked than is worked on.
    pub(super) fn is_swollen(&self) -> bool {
        self.guests.is_swollen() || self.jobs.is_swollen()
    }

    /// Lets go of what can be unpacked again, if that is much.
    pub(super) fn shrink(&mut self) {
        self.guests.shrink();
        self.jobs.shrink();
    }

    /// An empty world for the keys under `prefix`.
    pub fn new(prefix: Prefix) -> Self {
        Self { prefix, ..Self::default() }
    }

    /// Where the keys lie.
    pub fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// The complete revision that this view shows.
    pub fn revision(&self) -> i64 {
        self.header.revision
    }

    /// One guest, if any key names it.
    pub fn guest(&self, id: GuestId) -> Option<&GuestEntry> {
        self.guests.get(id)
    }

    /// The outline of one guest, if any key names it: what can be told of it at no cost.
    pub fn outline(&self, id: GuestId) -> Option<Outline> {
        self.guests.outline(id)
    }

    /// The job that a guest's status names, at little cost.
    pub fn job_of(&self, id: GuestId) -> Option<JobId> {
        self.guests.job(id)
    }

    /// Where a guest's status says that it is, for whoever asks for many: the rest stays packed.
    pub fn placement_of(&self, id: GuestId) -> Option<Placement> {
        self.guests.placement(id)
    }

    /// The outline of every guest that any key names, in no order.
    pub fn outlines(&self) -> impl Iterator<Item = (GuestId, Outline)> + '_ {
        self.guests.outlines()
    }

    /// Guests that are declared and not placed, sorted.
    pub fn pending(&self) -> Vec<GuestId> {
        let mut pending: Vec<_> = self.pending.iter().copied().collect();
        pending.sort_unstable();
        pending
    }

    /// Whether a guest is declared and not placed.
    pub fn is_pending(&self, id: GuestId) -> bool {
        self.pending.contains(&id)
    }

    /// Guests that are placed, whose document is gone and whose teardown has not begun.
    pub fn awaiting_teardown(&self) -> &BTreeSet<GuestId> {
        &self.awaiting_teardown
    }

    /// Those of them that no person has confirmed: their documents went after the revision in `config/confirm_deletion`.
    pub fn unconfirmed_teardowns(&self) -> &BTreeSet<GuestId> {
        &self.unconfirmed_teardowns
    }

    /// Whether a person has confirmed the deletions up to this revision.
    pub fn is_confirmed(&self, gone_at: i64) -> bool {
        self.config.confirm_deletion.is_some_and(|confirmed| gone_at <= confirmed)
    }

    /// How many guests have a placement.
    pub fn placed(&self) -> usize {
        self.placed
    }

    /// One host, if any key names it.
    pub fn host(&self, id: HypervisorId) -> Option<&HostEntry> {
        self.host_positions.get(&id).map(|position| &self.hosts[*position])
    }

    /// Every host that any key names, dense, so that a planner can draw from them; in no order.
    pub fn hosts(&self) -> &[HostEntry] {
        &self.hosts
    }

    /// A flavor's document.
    pub fn flavor(&self, id: FlavorId) -> Option<&Declared<Flavor>> {
        self.flavors.get(&id)
    }

    /// An image's document.
    pub fn image(&self, id: ImageId) -> Option<&Declared<Image>> {
        self.images.get(&id)
    }

    /// A network's document.
    pub fn network(&self, id: NetworkId) -> Option<&Declared<Network>> {
        self.networks.get(&id)
    }

    /// A subnet, if any key names it.
    pub fn subnet(&self, id: SubnetId) -> Option<&SubnetEntry> {
        self.subnets.get(&id)
    }

    /// Every subnet that any key names.
    pub fn subnets(&self) -> impl Iterator<Item = (SubnetId, &SubnetEntry)> + '_ {
        self.subnets.iter().map(|(id, entry)| (*id, entry))
    }

    /// The subnets of a network, as their documents were last understood.
    pub fn subnets_of(&self, network: NetworkId) -> impl Iterator<Item = SubnetId> + '_ {
        let declares =
            move |id: &SubnetId| self.subnet(*id).and_then(SubnetEntry::declared).is_some();
        self.extents_of(network).filter(declares)
    }

    /// The hosts that have a bridge to the subnet, sorted by id.
    pub fn hosts_reaching(&self, id: SubnetId) -> &[HypervisorId] {
        self.reaching.get(&id).map_or(&[], Vec::as_slice)
    }

    /// A firewall group's document.
    pub fn fwgroup(&self, id: FwGroupId) -> Option<&Declared<FwGroup>> {
        self.fwgroups.get(&id)
    }

    /// Every firewall group that has a document.
    pub fn fwgroups(&self) -> impl Iterator<Item = (FwGroupId, &Declared<FwGroup>)> + '_ {
        self.fwgroups.iter().map(|(id, declared)| (*id, declared))
    }

    /// The guests whose placement names this firewall group.
    pub fn fwgroup_members(&self, id: FwGroupId) -> impl Iterator<Item = GuestId> + '_ {
        self.fwgroup_members.get(&id).into_iter().flatten().copied()
    }

    /// The hosts where these guests are, sorted.
    pub fn fwgroup_hosts(&self, id: FwGroupId) -> impl Iterator<Item = HypervisorId> + '_ {
        self.fwgroup_hosts.get(&id).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// The addresses of the guests whose placement names this firewall group; `None` when it never had any.
    pub fn member_addresses(&self, id: FwGroupId) -> Option<&Members> {
        self.group_members.get(id)
    }

    /// A VLAN group's document.
    pub fn vlangroup(&self, id: VlanGroupId) -> Option<&Declared<VlanGroup>> {
        self.vlangroups.get(&id)
    }

    /// The tags of a VLAN group.
    pub fn vlans_of(&self, group: VlanGroupId) -> impl Iterator<Item = VlanTag> + '_ {
        self.vlangroup_members.get(&group).into_iter().flatten().copied()
    }

    /// Where the placed guests of an anti-affinity set are.
    pub fn set_members(&self, set: &str) -> impl Iterator<Item = (GuestId, HypervisorId)> + '_ {
        self.sets.get(set).into_iter().flatten().map(|(guest, host)| (*guest, *host))
    }

    /// Who bears which name.
    pub fn names(&self) -> Names<'_> {
        self.names.of(&self.guests)
    }

    /// A job.
    pub fn job(&self, id: JobId) -> Option<&Stored<Job>> {
        self.jobs.get(id)
    }

    /// The id of every job, in no order.
    pub fn job_ids(&self) -> impl Iterator<Item = JobId> + '_ {
        self.jobs.ids()
    }

    /// The status of an object of a kind without a loop of its own.
    pub fn object_status(&self, kind: Kind, id: &str) -> Option<&Stored<ObjectStatus>> {
        self.object_statuses.get(&(kind, id.to_owned()))
    }

    /// Every such status.
    pub fn object_statuses(
        &self,
    ) -> impl Iterator<Item = (&(Kind, String), &Stored<ObjectStatus>)> {
        self.object_statuses.iter()
    }

    /// The cluster's status.
    pub fn cluster_status(&self) -> Option<&Stored<ClusterStatus>> {
        self.cluster_status.as_ref()
    }

    /// The cluster's configuration, as last understood.
    pub fn config(&self) -> &ClusterConfig {
        &self.config
    }

    /// Keys of the cluster's configuration whose text could not be understood.
    pub fn config_errors(&self) -> &BTreeMap<String, FieldError> {
        &self.config_errors
    }

    /// The number that leads every epoch and order; `None` before the first leader wrote it.
    pub fn incarnation(&self) -> Option<u64> {
        self.incarnation
    }

    /// Revision of the key of that number, understood or not; 0 when it is absent.
    pub fn incarnation_at(&self) -> i64 {
        self.incarnation_at
    }

    /// Whether somebody has ever accepted this store by `config/accept_store`.
    pub fn was_accepted(&self) -> bool {
        self.accepted_at > 0
    }

    /// Whether the store was accepted and still counts in the incarnation from before: agents may have seen numbers of it
    /// that this store has not given out yet.
    pub fn wants_new_incarnation(&self) -> bool {
        self.accepted_at > self.incarnation_at
    }

    /// Keys under the prefix that the contract does not know, and keys that are not spelled as it says.
    pub fn stray_keys(&self) -> (u64, u64) {
        (self.unknown_keys, self.malformed_keys)
    }

    /// Who holds an address of a subnet by the store's word. Its neighbours may hold it too.
    pub fn address(&self, subnet: SubnetId, ip: IpAddr) -> AddressEntry {
        self.subnets.get(&subnet).map(|entry| entry.addresses.get(ip)).unwrap_or_default()
    }

    /// Whether a guest's document would teach the same as `other` does (for tests and the audit).
    pub fn understood(&self, id: GuestId) -> Option<&Arc<Guest>> {
        self.guest(id)?.document.as_ref()?.understood.as_ref()
    }
}

impl World {
    /// Every object of a kind whose document has no loop of its own, or whose status outlived its document.
    pub fn objects(&self) -> BTreeSet<(Kind, String)> {
        let mut objects: BTreeSet<_> = self.object_statuses.keys().cloned().collect();
        objects.extend(self.flavors.keys().map(|id| (Kind::Flavor, id.to_string())));
        objects.extend(self.images.keys().map(|id| (Kind::Image, id.to_string())));
        objects.extend(self.networks.keys().map(|id| (Kind::Network, id.to_string())));
        objects.extend(self.fwgroups.keys().map(|id| (Kind::FwGroup, id.to_string())));
        objects.extend(self.vlans.keys().map(|tag| (Kind::Vlan, tag.to_string())));
        objects.extend(self.vlangroups.keys().map(|id| (Kind::VlanGroup, id.to_string())));
        objects
    }

    /// What is wrong with such an object's document: `None` when it has none, else its mod revision and the fault.
    pub fn object(&self, kind: Kind, id: &str) -> Option<ObjectDocument> {
        fn of<T: lochness_api::Document>(declared: &Declared<T>) -> ObjectDocument {
            ObjectDocument {
                mod_revision: declared.mod_revision,
                json: declared.valid().map(|document| document.to_json()),
                invalid: declared.invalid.clone(),
                doubts: declared.understood.as_ref().map(|it| it.doubts()).unwrap_or_default(),
                name: apply::name_of(declared).map(|(name, _)| name),
            }
        }
        match kind {
            Kind::Flavor => self.flavors.get(&id.parse().ok()?).map(of),
            Kind::Image => self.images.get(&id.parse().ok()?).map(of),
            Kind::Network => self.networks.get(&id.parse().ok()?).map(of),
            Kind::FwGroup => self.fwgroups.get(&id.parse().ok()?).map(of),
            Kind::Vlan => self.vlans.get(&VlanTag::new(id.parse().ok()?)?).map(of),
            Kind::VlanGroup => self.vlangroups.get(&id.parse().ok()?).map(of),
            Kind::Guest | Kind::Hypervisor | Kind::Subnet => None,
        }
    }
}

/// A document of a kind without a loop of its own, as its status needs it.
#[derive(Debug, Clone)]
pub struct ObjectDocument {
    /// Revision of the last put.
    pub mod_revision: i64,
    /// The document, if its newest version is valid.
    pub json: Option<serde_json::Value>,
    /// Why it is not.
    pub invalid: Option<Arc<lochness_api::Invalid>>,
    /// What was not understood in it, and is as if it were not given.
    pub doubts: Vec<FieldError>,
    /// The name that it asks for.
    pub name: Option<String>,
}
