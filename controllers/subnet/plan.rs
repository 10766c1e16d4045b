//! What a subnet's status says. Pure.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use lochness_api::document::{Document, Subnet};
use lochness_api::status::{Condition, ConditionType, Reason, SubnetStatus};
use lochness_api::{GuestId, Kind, SubnetId};
use tokio::time::Instant;

use super::audit::{Audit, Cause, Leak};
use crate::reports::Inner;
use crate::statuses::Conditions;
use crate::world::{SubnetEntry, Tally, World};

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
    fitness(facts, &mut conditions);
    room(&status, entry, &mut conditions);
    status.conditions = conditions.into_vec();
    Some(status)
}

/// How many addresses of the subnet are used and free; addresses outside of it do not count.
fn counted(entry: &SubnetEntry) -> SubnetStatus {
    let Tally { used, quarantined } = entry.addresses.inside();
    let capacity = entry.declared().map_or(0, Subnet::capacity);
    let capacity = u64::try_from(capacity).unwrap_or(u64::MAX);
    let free = capacity.saturating_sub(used + quarantined);
    SubnetStatus { capacity, used, quarantined, free, conditions: Vec::new() }
}

fn validity(facts: &Facts<'_>, conditions: &mut Conditions) {
    let kind = ConditionType::Valid;
    let Some(document) = &facts.entry.document else {
        let held = facts.entry.addresses.taken();
        let message = format!("it has no document, and {held} of its addresses are held");
        return conditions.no(kind, Reason::NotGiven, message);
    };
    if let Some(invalid) = &document.invalid {
        let until = "; its guests stay, and it takes no new ones until this is mended";
        return conditions.no(kind, Reason::Invalid, format!("{invalid}{until}"));
    }
    if let Some(elder) = name_taken_by(facts.world, facts.id) {
        let message = format!("{} {elder} had the name first", Kind::Subnet);
        return conditions.no(kind, Reason::NameTaken, message);
    }
    if let Some(elder) = facts.world.overlapped_by(facts.id) {
        let message = format!(
            "{} overlaps {}, which was there first: this one takes no new guests until they differ; its guests stay",
            ranged(facts.world, facts.id),
            ranged(facts.world, elder),
        );
        return conditions.no(kind, Reason::SubnetsOverlap, message);
    }
    let doubts = facts.entry.declared().map(Document::doubts).unwrap_or_default();
    if let Some(doubt) = doubts.first() {
        let message = format!("{}: {}; it is as if it were not given", doubt.field, doubt.reason);
        return conditions.no(kind, Reason::Invalid, message);
    }
    let mut younger = facts.world.overlapping(facts.id);
    let message = younger.next().map(|younger| {
        format!("{} overlaps it and takes no new guests", ranged(facts.world, younger))
    });
    conditions.yes(kind, Reason::Accepted, message.unwrap_or_default());
}

/// A subnet with its range, for people.
fn ranged(world: &World, id: SubnetId) -> String {
    let subnet = world.subnet(id).and_then(SubnetEntry::declared);
    let range = subnet.map(|subnet| format!(" with {}", subnet.cidr)).unwrap_or_default();
    format!("{}{range}", world.subnet_words(id))
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

fn readiness(facts: &Facts<'_>, audit: &Audit, conditions: &mut Conditions) {
    let kind = ConditionType::Ready;
    let remarks = remarks(audit);
    let is_invalid = facts.entry.document.as_ref().is_some_and(|it| it.invalid.is_some());
    let Some(document) = facts.entry.declared().filter(|_| !is_invalid) else {
        let reason = if is_invalid { Reason::Invalid } else { Reason::NotGiven };
        let message = std::iter::once("takes no new guests, see Valid".to_owned()).chain(remarks);
        return conditions.no(kind, reason, message.collect::<Vec<_>>().join("; "));
    };
    if facts.world.network(document.network).is_none() {
        let message = format!("network {} has no document", document.network);
        return conditions.no(kind, Reason::NetworkMissing, message);
    }
    if let Some((ip, guest)) = audit.contested.first() {
        let message = std::iter::once(contested(facts, audit.contested.len(), *ip, *guest));
        let message = message.chain(remarks).collect::<Vec<_>>().join("; ");
        return conditions.no(kind, Reason::AddressTaken, message);
    }
    if facts.world.overlapped_by(facts.id).is_some() {
        return conditions.no(kind, Reason::SubnetsOverlap, "takes no new guests, see Valid");
    }
    let reason = if remarks.is_empty() { Reason::Accepted } else { Reason::Unused };
    conditions.yes(kind, reason, remarks.join("; "));
}

/// What is to be said of guests whose addresses are reserved for somebody else.
fn contested(facts: &Facts<'_>, count: usize, ip: IpAddr, guest: GuestId) -> String {
    let held = facts.entry.addresses.get(ip).reservation;
    let whose = match held.map(|held| (held.quarantined, held.holder)) {
        Some((true, _)) => "in quarantine".to_owned(),
        Some((false, Some(other))) => format!("reserved for {}", facts.world.guest_words(other)),
        Some((false, None)) | None => "reserved by hand".to_owned(),
    };
    format!(
        "{count} guests are placed with addresses that are not reserved for them, such as {} with {ip}, which is {whose}; \
         give that key the guest's id, or delete it",
        facts.world.guest_words(guest)
    )
}

/// What is to be said of reservations that nobody uses.
fn remarks(audit: &Audit) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(first) = audit.leaked.first() {
        let count = audit.leaked.len();
        remarks.push(format!(
            "{count} reservations have no use, such as {}; they are freed soon",
            words(first)
        ));
    }
    if let Some(first) = audit.suspected.first() {
        let count = audit.suspected.len();
        remarks.push(format!(
            "{count} reservations seem to have no use, such as {}; they stay until every hypervisor has said what it runs",
            words(first)
        ));
    }
    if let Some(first) = audit.by_hand.first() {
        let count = audit.by_hand.len();
        remarks.push(format!(
            "{count} reservations name no guest, such as {first}; each stays until somebody deletes its key"
        ));
    }
    remarks
}

fn words(leak: &Leak) -> String {
    let ip = leak.ip;
    match leak.cause {
        Cause::NoGuest(guest) => format!("{ip} for guest {guest}, which does not exist"),
        Cause::Elsewhere(guest) => format!("{ip} for guest {guest}, which has another address"),
        Cause::NoLease => format!("{ip} in a quarantine without an end"),
    }
}

/// Whether the guests have what the document says.
fn fitness(facts: &Facts<'_>, conditions: &mut Conditions) {
    let Some(document) = facts.entry.declared() else { return };
    let kind = ConditionType::InRange;
    let mut outdated = facts.entry.addresses.outdated();
    let count = outdated.len();
    let outside = facts.entry.addresses.outdated().filter(|ip| !document.contains(*ip)).count();
    let example = facts.entry.addresses.outdated().find(|ip| !document.contains(*ip));
    let Some(ip) = example.or_else(|| outdated.next()) else {
        return conditions.yes(kind, Reason::Accepted, "");
    };
    let guest = facts.entry.addresses.get(ip).placed;
    let guest = guest.map(|guest| facts.world.guest_words(guest)).unwrap_or_default();
    let message = format!(
        "{count} guests keep what they were placed with before the document changed, such as {ip} of {guest}; \
         {outside} have an address outside of {}-{}, the others another range, gateway or network",
        document.start, document.end
    );
    conditions.no(kind, Reason::RangeChanged, message);
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
