//! Which reservations of a subnet are not as they should be. Pure.
//!
//! Guarantees: nothing is called a leak whose guest, or whose address, any hypervisor lists; while one hypervisor has not
//! said what it runs, a leak is only suspected. A text that names no guest is somebody's own reservation: told, and left.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lochness_api::GuestId;

use super::plan::Facts;
use crate::knowledge::is_complete;
use crate::world::{AddressEntry, GuestEntry, Reservation};

/// An address whose guest is placed with it and has no reservation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unreserved {
    pub(super) ip: IpAddr,
    pub(super) guest: GuestId,
    /// The revision of the status that says so.
    pub(super) status_revision: i64,
}

/// A reservation that nothing will ever end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Leak {
    pub(super) ip: IpAddr,
    /// The revision of the reservation.
    pub(super) revision: i64,
    pub(super) cause: Cause,
}

/// Why nothing will end it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The guest does not exist.
    NoGuest(GuestId),
    /// The guest is placed with another address.
    Elsewhere(GuestId),
    /// A quarantine without a lease: it was copied, or written by hand.
    NoLease,
}

/// What is wrong with the reservations of a subnet.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    /// To be reserved again.
    pub(super) unreserved: Vec<Unreserved>,
    /// Reserved for one guest while another one has it: reported and left.
    pub(super) contested: Vec<(IpAddr, GuestId)>,
    /// Leaks, by the word of every hypervisor.
    pub(super) leaked: BTreeSet<Leak>,
    /// What looks like a leak while some hypervisor has not answered.
    pub(super) suspected: BTreeSet<Leak>,
    /// Reserved with a text that names no guest: reported and left.
    pub(super) by_hand: BTreeSet<IpAddr>,
}

/// Holds the reservations against what guests have.
pub(super) fn audit(facts: &Facts<'_>) -> Audit {
    let mut audit = Audit::default();
    for (ip, address) in facts.entry.addresses.iter() {
        examine(facts, ip, address, &mut audit);
    }
    // The table of addresses has no order of its own.
    audit.unreserved.sort_unstable_by_key(|it| it.ip);
    audit.contested.sort_unstable();
    if !audit.leaked.is_empty() {
        audit.leaked.retain(|leak| !is_listed(facts, leak));
        if !is_complete(facts.world, facts.reports, facts.now, facts.reachable_window) {
            audit.suspected = std::mem::take(&mut audit.leaked);
        }
    }
    audit
}

fn examine(facts: &Facts<'_>, ip: IpAddr, address: AddressEntry, audit: &mut Audit) {
    match (address.reservation, address.placed) {
        (None, None) => {}
        (None, Some(guest)) => {
            let status_revision = facts.world.guest(guest).map_or(0, GuestEntry::status_revision);
            audit.unreserved.push(Unreserved { ip, guest, status_revision });
        }
        (Some(reservation), Some(guest)) => {
            if reservation.holder != Some(guest) || reservation.quarantined {
                audit.contested.push((ip, guest));
            }
        }
        (Some(reservation), None) => match (reservation.quarantined, reservation.holder) {
            (false, None) => {
                audit.by_hand.insert(ip);
            }
            (_, holder) => {
                let cause = cause(facts, ip, reservation, holder);
                let revision = reservation.mod_revision;
                audit.leaked.extend(cause.map(|cause| Leak { ip, revision, cause }));
            }
        },
    }
}

/// Why a reservation that no placed guest claims has no end; `None` when it has, or when its guest may still claim it.
fn cause(
    facts: &Facts<'_>,
    ip: IpAddr,
    reservation: Reservation,
    holder: Option<GuestId>,
) -> Option<Cause> {
    if reservation.quarantined {
        return (!reservation.leased).then_some(Cause::NoLease);
    }
    let guest = holder?;
    let Some(entry) = facts.world.guest(guest) else { return Some(Cause::NoGuest(guest)) };
    if entry.document.is_none() && entry.status.is_none() {
        return Some(Cause::NoGuest(guest));
    }
    let placement = entry.placement()?;
    let is_elsewhere = (placement.subnet, placement.ip) != (facts.id, ip);
    is_elsewhere.then_some(Cause::Elsewhere(guest))
}

/// Whether a hypervisor lists the guest, or a guest with the address that is not known to have it from another subnet.
fn is_listed(facts: &Facts<'_>, leak: &Leak) -> bool {
    if let Cause::NoGuest(guest) = leak.cause
        && !facts.reports.hosts_of(guest).is_empty()
    {
        return true;
    }
    let is_of_another_subnet = |other: GuestId| {
        let placement = facts.world.guest(other).and_then(GuestEntry::placement);
        placement.is_some_and(|it| it.ip == leak.ip && it.subnet != facts.id)
    };
    facts.reports.guests_with(leak.ip).iter().any(|other| !is_of_another_subnet(*other))
}
