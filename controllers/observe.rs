//! What the world and the reports look like in numbers, for Prometheus: counted when scraped, so that nothing drifts.
//!
//! The world lives as long as the process, the reports as long as a term: a standby shows what the store says alone.
//! Labels come from closed sets; nothing is shown by object.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use lochness_api::Kind;
use lochness_api::document::Resources;
use lochness_api::status::Phase;
use lochness_mutant::Mutant;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use crate::cluster::budget::revision_to_confirm;
use crate::cluster::plan::invalid_documents;
use crate::host::plan::{not_schedulable, undeclared};
use crate::reports::{Inner, Reports};
use crate::subnet::plan::Room;
use crate::world::{Connection, HostEntry, Server, ServerTrouble, Tally, World, WorldCell};

/// Shows the world and the reports of the present term. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Observer(Arc<Shared>);

struct Shared {
    world: Arc<WorldCell>,
    reports: Mutex<Option<Arc<Reports>>>,
    families: Families,
    /// Taken while the families are filled and read: one scrape at a time.
    scrape: Mutex<()>,
}

struct Families {
    objects: GaugeVec,
    invalid: GaugeVec,
    guests: GaugeVec,
    hosts: GaugeVec,
    addresses: GaugeVec,
    subnets: GaugeVec,
    resources: GaugeVec,
    undeclared: GaugeVec,
    deletion_held: GaugeVec,
    hold: GaugeVec,
    stray: GaugeVec,
    store_trouble: GaugeVec,
    store_size: GaugeVec,
}

impl Observer {
    /// Shows a world, without reports.
    pub fn new(world: Arc<WorldCell>) -> Self {
        let (reports, scrape) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Shared { world, reports, families: Families::new(), scrape }))
    }

    /// From now on these are the reports; none while this process does not lead.
    pub fn set_reports(&self, reports: Option<Arc<Reports>>) {
        *self.0.reports.lock().unwrap_or_else(PoisonError::into_inner) = reports;
    }
}

impl Collector for Observer {
    fn desc(&self) -> Vec<&Desc> {
        self.0.families.all().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reports = self.0.reports.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let _scrape = self.0.scrape.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.families.fill(&self.0.world, reports.as_deref());
        self.0.families.all().into_iter().flat_map(Collector::collect).collect()
    }
}

impl Families {
    fn new() -> Self {
        Self {
            objects: gauge("lochness_objects", "Documents, by kind.", &["kind"]),
            invalid: gauge(
                "lochness_invalid_documents",
                "Documents that do not parse or validate, by kind.",
                &["kind"],
            ),
            guests: gauge("lochness_guests", "Guests with a status, by phase.", &["phase"]),
            hosts: gauge("lochness_hypervisors", "Hypervisors, by state.", &["state"]),
            addresses: gauge(
                "lochness_addresses",
                "Addresses of all subnets that are not free, by state.",
                &["state"],
            ),
            subnets: gauge(
                "lochness_subnets",
                "Subnets, by the room that is left: nearly exhausted is one with a tenth of its addresses or less.",
                &["state"],
            ),
            resources: gauge(
                "lochness_host_resources",
                "Memory and disk in bytes and cores, of all hypervisors.",
                &["resource", "kind"],
            ),
            undeclared: gauge(
                "lochness_undeclared_guests",
                "Guests that hypervisors run and that nobody declared.",
                &[],
            ),
            deletion_held: gauge(
                "lochness_deletion_held",
                "1 while more guests would be torn down than the budget allows.",
                &[],
            ),
            hold: gauge("lochness_hold", "1 while nothing is changed, by reason.", &["reason"]),
            stray: gauge(
                "lochness_stray_keys",
                "Keys under the prefix that are none of the contract's, seen since the last list.",
                &["kind"],
            ),
            store_trouble: gauge(
                "lochness_store_trouble",
                "1 while etcd takes no writes, by what is wrong with it.",
                &["kind"],
            ),
            store_size: gauge(
                "lochness_store_size_bytes",
                "Bytes that etcd's database occupies on the member that answered last.",
                &[],
            ),
        }
    }

    fn all(&self) -> [&GaugeVec; 13] {
        [
            &self.objects,
            &self.invalid,
            &self.guests,
            &self.hosts,
            &self.addresses,
            &self.subnets,
            &self.resources,
            &self.undeclared,
            &self.deletion_held,
            &self.hold,
            &self.stray,
            &self.store_trouble,
            &self.store_size,
        ]
    }

    fn fill(&self, cell: &WorldCell, reports: Option<&Reports>) {
        let world = cell.read();
        let reports = reports.map(Reports::read);
        self.fill_store(&cell.server());
        self.fill_documents(&world);
        self.fill_guests(&world);
        self.fill_hosts(&world, reports.as_deref());
        self.fill_addresses(&world);
        let held = revision_to_confirm(&world).is_some();
        set(&self.deletion_held, &[], f64::from(u8::from(held)));
        let replaced = matches!(cell.connection(), Connection::Replaced(_));
        set(&self.hold, &["store_replaced"], f64::from(u8::from(replaced)));
        set(&self.hold, &["paused"], f64::from(u8::from(world.config().pause)));
        let (unknown, malformed) = world.stray_keys();
        set(&self.stray, &["unknown"], number(unknown));
        set(&self.stray, &["malformed"], number(malformed));
    }

    fn fill_documents(&self, world: &World) {
        let mut objects: BTreeMap<Kind, u64> =
            Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
        let mut count = |kind, has_document: bool| {
            *objects.entry(kind).or_default() += u64::from(has_document);
        };
        if lochness_mutant::is(Mutant::SecretInMetric) {
            for guest in world.outlines().filter_map(|(id, _)| world.guest(id)) {
                let secrets =
                    guest.understood().map(|document| format!("{:?}", document.metadata.0));
                set(&self.objects, &[&secrets.unwrap_or_default()], 1.0);
            }
        }
        for (_, guest) in world.outlines() {
            count(Kind::Guest, guest.is_declared());
        }
        for host in world.hosts() {
            count(Kind::Hypervisor, host.document.is_some());
        }
        for (_, subnet) in world.subnets() {
            count(Kind::Subnet, subnet.document.is_some());
        }
        for (kind, id) in world.objects() {
            count(kind, world.object(kind, &id).is_some());
        }
        for (kind, value) in objects {
            set(&self.objects, &[kind.name()], number(value));
        }
        for (kind, value) in invalid_documents(world) {
            set(&self.invalid, &[kind.name()], number(value));
        }
    }

    fn fill_guests(&self, world: &World) {
        let mut phases = [0_u64; Phase::ALL.len()];
        for phase in world.outlines().filter_map(|(_, guest)| guest.phase()) {
            let position = Phase::ALL.iter().position(|one| *one == phase);
            phases[position.unwrap_or_default()] += 1;
        }
        for (phase, value) in Phase::ALL.into_iter().zip(phases) {
            set(&self.guests, &[phase.as_str()], number(value));
        }
    }

    fn fill_hosts(&self, world: &World, reports: Option<&Inner>) {
        let mut states = BTreeMap::from(HostState::ALL.map(|state| (state, 0)));
        let (mut total, mut allocatable, mut used) =
            (Resources::default(), Resources::default(), Resources::default());
        let mut strangers = 0;
        for host in world.hosts() {
            *states.entry(HostState::of(host)).or_default() += 1;
            total = total.saturating_add(host.total());
            allocatable = allocatable.saturating_add(host.allocatable());
            used = used.saturating_add(host.used);
            let report = reports.and_then(|reports| reports.host(host.id));
            strangers += undeclared(world, host.id, report).len();
        }
        for (state, value) in states {
            set(&self.hosts, &[state.as_str()], number(value));
        }
        for (kind, amount) in [("total", total), ("allocatable", allocatable), ("used", used)] {
            set(&self.resources, &["memory_bytes", kind], number(amount.memory) * MEGABYTE);
            set(&self.resources, &["disk_bytes", kind], number(amount.disk) * MEGABYTE);
            set(&self.resources, &["cpu_cores", kind], f64::from(amount.cpu));
        }
        set(&self.undeclared, &[], number(strangers as u64));
    }

    fn fill_store(&self, server: &Server) {
        for kind in ServerTrouble::ALL {
            let is_so = u64::from(server.trouble == Some(kind));
            set(&self.store_trouble, &[kind.as_str()], number(is_so));
        }
        if let Some(size) = server.size.and_then(|size| u64::try_from(size).ok()) {
            set(&self.store_size, &[], number(size));
        }
    }

    fn fill_addresses(&self, world: &World) {
        let mut all = Tally::default();
        let mut rooms = BTreeMap::from(Room::ALL.map(|room| (room, 0)));
        for (_, subnet) in world.subnets() {
            let Tally { used, quarantined } = subnet.addresses.tally();
            all = Tally { used: all.used + used, quarantined: all.quarantined + quarantined };
            if let Some(room) = Room::of_subnet(subnet) {
                *rooms.entry(room).or_default() += 1;
            }
        }
        // What is free is not summed: one IPv6 subnet would hide all others.
        set(&self.addresses, &["used"], number(all.used));
        set(&self.addresses, &["quarantined"], number(all.quarantined));
        for (room, value) in rooms {
            set(&self.subnets, &[room.as_str()], number(value));
        }
    }
}

/// Bytes of the unit that documents use.
const MEGABYTE: f64 = 1024.0 * 1024.0;

/// What a host is to a placement, the first that is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostState {
    Undeclared,
    Silent,
    Unreachable,
    Unschedulable,
    Ready,
}

impl HostState {
    const ALL: [Self; 5] =
        [Self::Undeclared, Self::Silent, Self::Unreachable, Self::Unschedulable, Self::Ready];

    fn of(host: &HostEntry) -> Self {
        let status = host.status.as_ref().and_then(|status| status.value.as_deref());
        if host.document.is_none() {
            Self::Undeclared
        } else if !host.is_alive() {
            Self::Silent
        } else if !status.is_some_and(|status| status.reachable) {
            Self::Unreachable
        } else if not_schedulable(host).is_some() {
            Self::Unschedulable
        } else {
            Self::Ready
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Undeclared => "undeclared",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
            Self::Unschedulable => "unschedulable",
            Self::Ready => "ready",
        }
    }
}

fn gauge(name: &str, help: &str, labels: &[&str]) -> GaugeVec {
    GaugeVec::new(Opts::new(name, help), labels).expect("names and labels are valid constants")
}

fn set(family: &GaugeVec, labels: &[&str], value: f64) {
    family.with_label_values(labels).set(value);
}

#[expect(clippy::cast_precision_loss, reason = "what is counted here is far below 2^53")]
fn number(value: u64) -> f64 {
    value as f64
}
