//! The addresses of one subnet: who holds which, and which is free.
//!
//! An address is taken when a reservation key names it or a guest's status claims it: either alone is enough, so that a
//! reservation that somebody deleted by hand is not given away under a running guest. What is counted is counted as it
//! changes: no question costs more with more addresses.

mod entries;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::range_set::RangeSet;
use entries::Entries;
use lochness_api::GuestId;
use lochness_api::document::Subnet;

/// A reservation key as it stands in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Who holds the address; `None` when the text is not a guest's id.
    pub holder: Option<GuestId>,
    /// Whether the address only waits to be free again.
    pub quarantined: bool,
    /// Whether the key goes by itself, with its lease.
    pub leased: bool,
    /// Revision of the put that created the key.
    pub create_revision: i64,
    /// Revision of the last put.
    pub mod_revision: i64,
}

/// What is known of one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AddressEntry {
    /// The reservation key, if there is one.
    pub reservation: Option<Reservation>,
    /// The guest whose status says that it has this address.
    pub placed: Option<GuestId>,
}

/// How many addresses are taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// By guests and by hand.
    pub used: u64,
    /// By guests that went, for a while.
    pub quarantined: u64,
}

/// Whether a guest was placed with what the subnet's document says now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    /// It was.
    AsDeclared,
    /// Network, range, gateway or address is another.
    Outdated,
}

/// The addresses of one subnet.
#[derive(Debug, Default)]
pub struct Addresses {
    /// The document that says which addresses count; without one all do.
    subnet: Option<Arc<Subnet>>,
    entries: Entries,
    taken: RangeSet,
    all: Tally,
    inside: Tally,
    outdated: BTreeSet<IpAddr>,
}

impl Addresses {
    /// What is known of an address.
    pub fn get(&self, ip: IpAddr) -> AddressEntry {
        self.entries.get(ip).unwrap_or_default()
    }

    /// Every address that is taken, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, AddressEntry)> + '_ {
        self.entries.iter()
    }

    /// How many addresses are taken, quarantined ones included.
    pub fn taken(&self) -> u64 {
        self.taken.len()
    }

    /// How many addresses are taken.
    pub fn tally(&self) -> Tally {
        self.all
    }

    /// How many of those that the subnet gives to guests are taken; all of them when it has no document.
    pub fn inside(&self) -> Tally {
        self.inside
    }

    /// Addresses of guests that were placed with another network, range or gateway than the document has now, or whose
    /// address lies outside of it; in order.
    pub fn outdated(&self) -> impl ExactSizeIterator<Item = IpAddr> + '_ {
        self.outdated.iter().copied()
    }

    /// The first address at or above `from` that is not taken; `None` after the last of its family.
    pub fn first_untaken(&self, from: IpAddr) -> Option<IpAddr> {
        number_address(self.taken.first_absent(address_number(from))?, from)
    }

    /// The first address of the subnet at or above `from` that nobody holds.
    pub fn first_free(&self, subnet: &Subnet, from: Option<IpAddr>) -> Option<IpAddr> {
        let mut from = from.unwrap_or(subnet.start).max(subnet.start);
        loop {
            let ip = self.first_untaken(from).filter(|ip| *ip <= subnet.end)?;
            if subnet.is_assignable(ip) {
                return Some(ip);
            }
            from = successor(ip)?;
        }
    }

    pub(super) fn set_reservation(&mut self, ip: IpAddr, reservation: Option<Reservation>) {
        self.update(ip, |entry| entry.reservation = reservation);
    }

    pub(super) fn set_placed(&mut self, ip: IpAddr, guest: GuestId, fit: Fit) {
        self.update(ip, |entry| entry.placed = Some(guest));
        self.set_fit(ip, fit);
    }

    /// Takes the claim of `guest` away, if it is still that guest's.
    pub(super) fn clear_placed(&mut self, ip: IpAddr, guest: GuestId) {
        self.update(ip, |entry| {
            if entry.placed == Some(guest) {
                entry.placed = None;
            }
        });
        if self.get(ip).placed.is_none() {
            self.outdated.remove(&ip);
        }
    }

    /// Takes in the document that says which addresses count. `fit` judges the guests anew, and is asked only when the
    /// document gives other addresses than the former one.
    pub(super) fn set_subnet(
        &mut self,
        subnet: Option<Arc<Subnet>>,
        fit: impl Fn(GuestId, &Subnet) -> Fit,
    ) {
        let is_new = match (&self.subnet, &subnet) {
            (Some(former), Some(new)) => !gives_the_same(former, new),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        };
        self.subnet = subnet;
        if !is_new {
            return;
        }
        self.inside = Tally::default();
        let mut inside = Tally::default();
        for (ip, entry) in self.entries.iter() {
            if self.counts(ip) {
                inside.add(entry);
            }
        }
        self.inside = inside;
        let Some(subnet) = &self.subnet else { return self.outdated.clear() };
        let is_outdated = |guest: GuestId| fit(guest, subnet) == Fit::Outdated;
        self.outdated = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.placed.is_some_and(is_outdated))
            .map(|(ip, _)| ip)
            .collect();
    }

    fn set_fit(&mut self, ip: IpAddr, fit: Fit) {
        match fit {
            Fit::AsDeclared => self.outdated.remove(&ip),
            Fit::Outdated => self.outdated.insert(ip),
        };
    }

    fn counts(&self, ip: IpAddr) -> bool {
        self.subnet.as_ref().is_none_or(|subnet| subnet.contains(ip))
    }

    fn update(&mut self, ip: IpAddr, change: impl FnOnce(&mut AddressEntry)) {
        let before = self.get(ip);
        let mut entry = before;
        change(&mut entry);
        self.all.remove(before);
        self.all.add(entry);
        if self.counts(ip) {
            self.inside.remove(before);
            self.inside.add(entry);
        }
        if entry.is_taken() {
            self.entries.set(ip, Some(entry));
            self.taken.insert(address_number(ip));
        } else {
            self.entries.set(ip, None);
            self.taken.remove(address_number(ip));
        }
    }
}

impl AddressEntry {
    /// Whether anybody holds the address.
    pub fn is_taken(&self) -> bool {
        self.reservation.is_some() || self.placed.is_some()
    }

    /// Whether the address only waits to be free again.
    pub fn is_quarantined(&self) -> bool {
        self.placed.is_none() && self.reservation.is_some_and(|it| it.quarantined)
    }
}

impl Tally {
    /// All that are taken.
    pub fn total(self) -> u64 {
        self.used + self.quarantined
    }

    fn add(&mut self, entry: AddressEntry) {
        self.used += u64::from(entry.is_taken() && !entry.is_quarantined());
        self.quarantined += u64::from(entry.is_quarantined());
    }

    fn remove(&mut self, entry: AddressEntry) {
        self.used -= u64::from(entry.is_taken() && !entry.is_quarantined());
        self.quarantined -= u64::from(entry.is_quarantined());
    }
}

fn gives_the_same(one: &Subnet, other: &Subnet) -> bool {
    (one.network, one.cidr, one.start, one.end, one.gateway)
        == (other.network, other.cidr, other.start, other.end, other.gateway)
}

/// The address after this one; `None` after the last of its family.
pub fn successor(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

/// The address as a number, of its own among both families: an IPv4 address counts as its IPv6 form `::ffff:a.b.c.d`.
pub fn address_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address with this number, in the family of `like`; `None` when that family has none.
pub fn number_address(number: u128, like: IpAddr) -> Option<IpAddr> {
    let v6 = Ipv6Addr::from_bits(number);
    match like {
        IpAddr::V4(_) => v6.to_ipv4_mapped().map(IpAddr::V4),
        IpAddr::V6(_) => Some(v6.into()),
    }
}

#[cfg(test)]
mod tests;
