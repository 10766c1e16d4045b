//! What a subnet's status says, and which of its reservations must be put right. Pure.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use lochness_api::document::Subnet;
use lochness_api::status::{Condition, ConditionType, Reason, SubnetStatus};
use lochness_api::{GuestId, Kind, SubnetId};
use tokio::time::Instant;

use crate::knowledge::is_complete;
use crate::reports::Inner;
use crate::statuses::Conditions;
use crate::world::{AddressEntry, GuestEntry, SubnetEntry, World};

/// What a subnet is judged by.
pub(super) struct Facts<'a> {
    pub(super) world: &'a World,
    pub(super) reports: &'a Inner,
    pub(super) id: SubnetId,
    pub(super) entry: &'a SubnetEntry,
    pub(super) now: Instant,
    /// The wall clock, for documents.
    pub(super) wall: Timestamp,
    pub(super) reachable_window: Duration,
}

/// An address whose guest is placed with it and has no reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreserved {
    pub(super) ip: IpAddr,
    pub(super) guest: GuestId,
    /// The revision of the status that says so.
    pub(super) status_revision: i64,
}

/// What is wrong with the reservations of a subnet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// To be reserved again.
    pub(super) unreserved: Vec<Unreserved>,
    /// Reserved for one guest while another one has it: reported and left.
    pub(super) contested: Vec<(IpAddr, GuestId)>,
    /// Reserved for guests that do not exist.
    pub(super) leaked: BTreeSet<(IpAddr, GuestId)>,
}

/// How much room a subnet has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Room {
    /// More than a tenth of its addresses.
    Free,
    /// A tenth, or less.
    NearlyExhausted,
    /// None.
    Exhausted,
}

impl Room {
    pub(crate) const ALL: [Self; 3] = [Self::Free, Self::NearlyExhausted, Self::Exhausted];

    /// The room of a subnet that has a document; one without takes no guests anyway.
    pub(crate) fn of_subnet(entry: &SubnetEntry) -> Option<Self> {
        entry.declared().map(|_| Self::of(&counted(entry)))
    }

    fn of(status: &SubnetStatus) -> Self {
        if status.free == 0 {
            Self::Exhausted
        } else if status.free <= status.capacity / 10 {
            Self::NearlyExhausted
        } else {
            Self::Free
        }
    }

    /// As a label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::NearlyExhausted => "nearly_exhausted",
            Self::Exhausted => "exhausted",
        }
    }
}

/// The status that a subnet should have; `None` when nothing of it is left.
pub(super) fn status(facts: &Facts<'_>, audit: &Audit) -> Option<SubnetStatus> {
    let entry = facts.entry;
    if entry.document.is_none() && entry.addresses.taken() == 0 {
        return None;
    }
    let former = entry.status.as_ref().and_then(|status| status.value.as_deref());
    let former: &[Condition] = former.map_or(&[], |status| &status.conditions);
    let mut status = counted(entry);
    let mut conditions = Conditions::after(former, facts.wall);
    validity(facts, &mut conditions);
    readiness(facts, audit, &mut conditions);
    room(&status, entry, &mut conditions);
    status.conditions = conditions.into_vec();
    Some(status)
}

/// How many addresses of the subnet are used and free; addresses outside of it do not count.
fn counted(entry: &SubnetEntry) -> SubnetStatus {
    let (mut used, mut quarantined) = (0, 0);
    for (ip, address) in entry.addresses.iter() {
        if entry.declared().is_some_and(|subnet| !subnet.contains(ip)) {
            continue;
        }
        if address.reservation.is_some_and(|it| it.quarantined) && address.placed.is_none() {
            quarantined += 1;
        } else {
            used += 1;
        }
    }
    let capacity = entry.declared().map_or(0, Subnet::capacity);
    let capacity = u64::try_from(capacity).unwrap_or(u64::MAX);
    let free = capacity.saturating_sub(used + quarantined);
    SubnetStatus { capacity, used, quarantined, free, conditions: Vec::new() }
}

fn validity(facts: &Facts<'_>, conditions: &mut Conditions) {
    let kind = ConditionType::Valid;
    let Some(document) = &facts.entry.document else {
        let held = facts.entry.addresses.taken();
        let message = format!("its document is gone, and {held} addresses are still held");
        return conditions.no(kind, Reason::NotGiven, message);
    };
    if let Some(invalid) = &document.invalid {
        let goes_on = "; the subnet goes on as last understood";
        return conditions.no(kind, Reason::Invalid, format!("{invalid}{goes_on}"));
    }
    if let Some(elder) = name_taken_by(facts.world, facts.id) {
        let message = format!("{} {elder} had the name first", Kind::Subnet);
        return conditions.no(kind, Reason::NameTaken, message);
    }
    let others = overlapping(facts.world, facts.id);
    if !others.is_empty() {
        let others: Vec<_> = others.iter().map(SubnetId::to_string).collect();
        let message = format!(
            "addresses of subnet {} are those of subnet {} of the same network too",
            facts.id,
            others.join(" and ")
        );
        return conditions.no(kind, Reason::SubnetsOverlap, message);
    }
    conditions.yes(kind, Reason::Accepted, "");
}

/// The subnet that bears the name that this one asks for too.
pub(super) fn name_taken_by(world: &World, id: SubnetId) -> Option<SubnetId> {
    let name = world.subnet(id)?.declared()?.metadata.name()?;
    world.names().taken_by(Kind::Subnet, name, &id.to_string())?.parse().ok()
}

/// The other subnets that ask for the name of this one.
pub(super) fn namesakes(world: &World, id: SubnetId) -> Vec<SubnetId> {
    let document = world.subnet(id).and_then(SubnetEntry::declared);
    let Some(name) = document.and_then(|document| document.metadata.name()) else {
        return Vec::new();
    };
    let bearers = world.names().bearers(Kind::Subnet, name);
    bearers.filter_map(|other| other.parse().ok()).filter(|other| *other != id).collect()
}

/// The other subnets of the network that may give the same addresses.
pub(super) fn overlapping(world: &World, id: SubnetId) -> Vec<SubnetId> {
    let declared = |id| world.subnet(id).and_then(SubnetEntry::declared);
    let Some(own) = declared(id) else { return Vec::new() };
    let overlaps = |other: &SubnetId| {
        declared(*other).is_some_and(|other| {
            own.start.is_ipv4() == other.start.is_ipv4()
                && own.start <= other.end
                && other.start <= own.end
        })
    };
    world.subnets_of(own.network).filter(|other| *other != id).filter(overlaps).collect()
}

fn readiness(facts: &Facts<'_>, audit: &Audit, conditions: &mut Conditions) {
    let kind = ConditionType::Ready;
    let Some(document) = facts.entry.declared() else {
        return conditions.no(kind, Reason::NotGiven, "takes no new guests");
    };
    if facts.world.network(document.network).is_none() {
        let message = format!("network {} has no document", document.network);
        return conditions.no(kind, Reason::NetworkMissing, message);
    }
    if let Some((ip, guest)) = audit.contested.first() {
        let message =
            format!("{ip} is reserved, but not for guest {guest}, which is placed with it");
        return conditions.no(kind, Reason::AddressTaken, message);
    }
    if let Some((ip, guest)) = audit.leaked.first() {
        let count = audit.leaked.len();
        let message = format!(
            "{count} addresses are reserved for guests that do not exist, such as {ip} for {guest}; they are freed soon"
        );
        return conditions.yes(kind, Reason::Unused, message);
    }
    conditions.yes(kind, Reason::Accepted, "");
}

fn room(status: &SubnetStatus, entry: &SubnetEntry, conditions: &mut Conditions) {
    if entry.declared().is_none() {
        return;
    }
    let kind = ConditionType::Capacity;
    let SubnetStatus { capacity, used, quarantined, free, .. } = status;
    let message = || {
        format!(
            "{free} of {capacity} addresses are free ({used} used, {quarantined} in quarantine)"
        )
    };
    match Room::of(status) {
        Room::Exhausted => conditions.no(kind, Reason::Exhausted, message()),
        Room::NearlyExhausted => conditions.yes(kind, Reason::NearlyExhausted, message()),
        Room::Free => conditions.yes(kind, Reason::AddressesFree, ""),
    }
}

/// Holds the reservations against what guests have.
pub(super) fn audit(facts: &Facts<'_>) -> Audit {
    let mut audit = Audit::default();
    for (ip, address) in facts.entry.addresses.iter() {
        examine(facts.world, ip, address, &mut audit);
    }
    // The table of addresses has no order of its own.
    audit.unreserved.sort_unstable_by_key(|it| it.ip);
    audit.contested.sort_unstable();
    if !audit.leaked.is_empty() {
        let window = facts.reachable_window;
        let is_known = is_complete(facts.world, facts.reports, facts.now, window);
        audit.leaked.retain(|(_, guest)| is_known && facts.reports.hosts_of(*guest).is_empty());
    }
    audit
}

fn examine(world: &World, ip: IpAddr, address: AddressEntry, audit: &mut Audit) {
    match (address.reservation, address.placed) {
        (None, None) => {}
        (None, Some(guest)) => {
            let status_revision = world.guest(guest).map_or(0, GuestEntry::status_revision);
            audit.unreserved.push(Unreserved { ip, guest, status_revision });
        }
        (Some(reservation), Some(guest)) => {
            if reservation.holder != Some(guest) || reservation.quarantined {
                audit.contested.push((ip, guest));
            }
        }
        (Some(reservation), None) => {
            let holder = reservation.holder.filter(|_| !reservation.quarantined);
            let is_nobody = |guest: &GuestId| {
                world
                    .guest(*guest)
                    .is_none_or(|entry| entry.document.is_none() && entry.status.is_none())
            };
            audit.leaked.extend(holder.filter(is_nobody).map(|guest| (ip, guest)));
        }
    }
}
