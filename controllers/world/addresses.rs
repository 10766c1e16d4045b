//! The addresses of one subnet: who holds which, and which is free.
//!
//! An address is taken when a reservation key names it or a guest's status claims it: either alone is enough, so that a
//! reservation that somebody deleted by hand is not given away under a running guest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lochness_api::GuestId;
use lochness_api::document::Subnet;
use rustc_hash::FxHashMap;

use super::range_set::RangeSet;

/// A reservation key as it stands in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reservation {
    /// Who holds the address; `None` when the text is not a guest's id.
    pub holder: Option<GuestId>,
    /// Whether the address only waits to be free again.
    pub quarantined: bool,
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

/// The addresses of one subnet.
#[derive(Debug, Default)]
pub struct Addresses {
    entries: FxHashMap<IpAddr, AddressEntry>,
    taken: RangeSet,
    quarantined: u64,
}

impl Addresses {
    /// What is known of an address.
    pub fn get(&self, ip: IpAddr) -> AddressEntry {
        self.entries.get(&ip).copied().unwrap_or_default()
    }

    /// Every address that is taken, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, AddressEntry)> + '_ {
        self.entries.iter().map(|(ip, entry)| (*ip, *entry))
    }

    /// How many addresses are taken, quarantined ones included.
    pub fn taken(&self) -> u64 {
        self.taken.len()
    }

    /// How many addresses wait in quarantine.
    pub fn quarantined(&self) -> u64 {
        self.quarantined
    }

    /// The first address of the subnet at or above `from` that nobody holds.
    pub fn first_free(&self, subnet: &Subnet, from: Option<IpAddr>) -> Option<IpAddr> {
        let last = address_number(subnet.end);
        let mut next = address_number(from.unwrap_or(subnet.start).max(subnet.start));
        while next <= last {
            next = self.taken.first_absent(next)?;
            let ip = number_address(next, subnet.start);
            if next <= last && subnet.is_assignable(ip) {
                return Some(ip);
            }
            next = next.checked_add(1)?;
        }
        None
    }

    pub(super) fn set_reservation(&mut self, ip: IpAddr, reservation: Option<Reservation>) {
        self.update(ip, |entry| entry.reservation = reservation);
    }

    pub(super) fn set_placed(&mut self, ip: IpAddr, guest: GuestId) {
        self.update(ip, |entry| entry.placed = Some(guest));
    }

    /// Takes the claim of `guest` away, if it is still that guest's.
    pub(super) fn clear_placed(&mut self, ip: IpAddr, guest: GuestId) {
        self.update(ip, |entry| {
            if entry.placed == Some(guest) {
                entry.placed = None;
            }
        });
    }

    fn update(&mut self, ip: IpAddr, change: impl FnOnce(&mut AddressEntry)) {
        let entry = self.entries.entry(ip).or_default();
        let quarantined = entry.is_quarantined();
        change(entry);
        self.quarantined -= u64::from(quarantined);
        self.quarantined += u64::from(entry.is_quarantined());
        if entry.reservation.is_none() && entry.placed.is_none() {
            self.entries.remove(&ip);
            self.taken.remove(address_number(ip));
        } else {
            self.taken.insert(address_number(ip));
        }
    }
}

impl AddressEntry {
    /// Whether anybody holds the address.
    pub fn is_taken(&self) -> bool {
        self.reservation.is_some() || self.placed.is_some()
    }

    fn is_quarantined(&self) -> bool {
        self.reservation.is_some_and(|reservation| reservation.quarantined)
    }
}

/// The address after this one; `None` after the last of its family.
pub fn successor(ip: IpAddr) -> Option<IpAddr> {
    match ip {
        IpAddr::V4(v4) => u32::from(v4).checked_add(1).map(|next| Ipv4Addr::from(next).into()),
        IpAddr::V6(v6) => u128::from(v6).checked_add(1).map(|next| Ipv6Addr::from(next).into()),
    }
}

/// The address as a number, for range sets of one family.
pub fn address_number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

/// The address with this number, in the family of `like`.
pub fn number_address(number: u128, like: IpAddr) -> IpAddr {
    match (like, u32::try_from(number)) {
        (IpAddr::V4(_), Ok(v4)) => Ipv4Addr::from(v4).into(),
        (IpAddr::V4(_), Err(_)) => Ipv4Addr::BROADCAST.into(),
        (IpAddr::V6(_), _) => Ipv6Addr::from(number).into(),
    }
}
