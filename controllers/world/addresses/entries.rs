//! What is known of each address, in few bytes for those of guests that rest.
//!
//! Of nearly every address the same is known: its key names a guest, was never put twice, hangs on no lease, and that guest
//! has it, or nobody, as while a list comes whose guests are looked at last. Such an entry is the guest's id and one
//! revision; any other is kept whole.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lochness_api::GuestId;
use rustc_hash::FxHashMap;

use super::{AddressEntry, Reservation};

/// Entries by address.
#[derive(Debug, Default)]
pub(super) struct Entries {
    plain_v4: FxHashMap<[u8; 4], Plain>,
    plain_v6: FxHashMap<[u8; 16], Plain>,
    others: FxHashMap<IpAddr, AddressEntry>,
}

/// An entry whose guest, if it has one, is its holder.
#[derive(Debug, Clone, Copy)]
struct Plain {
    holder: GuestId,
    /// The revision, doubled, and one more when the guest has the address. In bytes, for the sake of the gaps that it would
    /// have as a number.
    stamp: [u8; 8],
}

impl Entries {
    pub(super) fn get(&self, ip: IpAddr) -> Option<AddressEntry> {
        let plain = match ip {
            IpAddr::V4(v4) => self.plain_v4.get(&v4.octets()),
            IpAddr::V6(v6) => self.plain_v6.get(&v6.octets()),
        };
        plain.map(|plain| plain.entry()).or_else(|| self.others.get(&ip).copied())
    }

    /// Every entry, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (IpAddr, AddressEntry)> + '_ {
        let v4 = self.plain_v4.iter().map(|(ip, it)| (Ipv4Addr::from(*ip).into(), it.entry()));
        let v6 = self.plain_v6.iter().map(|(ip, it)| (Ipv6Addr::from(*ip).into(), it.entry()));
        v4.chain(v6).chain(self.others.iter().map(|(ip, entry)| (*ip, *entry)))
    }

    /// Sets what is known of an address, or forgets it.
    pub(super) fn set(&mut self, ip: IpAddr, entry: Option<AddressEntry>) {
        let plain = entry.and_then(Plain::of);
        match (ip, plain) {
            (IpAddr::V4(v4), Some(plain)) => {
                self.plain_v4.insert(v4.octets(), plain);
            }
            (IpAddr::V4(v4), None) => {
                self.plain_v4.remove(&v4.octets());
            }
            (IpAddr::V6(v6), Some(plain)) => {
                self.plain_v6.insert(v6.octets(), plain);
            }
            (IpAddr::V6(v6), None) => {
                self.plain_v6.remove(&v6.octets());
            }
        }
        match entry.filter(|_| plain.is_none()) {
            Some(entry) => {
                self.others.insert(ip, entry);
            }
            None => {
                self.others.remove(&ip);
            }
        }
    }
}

impl Plain {
    fn of(entry: AddressEntry) -> Option<Self> {
        let Reservation { holder, quarantined, leased, create_revision, mod_revision } =
            entry.reservation?;
        let holder = holder.filter(|holder| entry.placed.is_none_or(|guest| guest == *holder))?;
        let is_plain = !quarantined && !leased && create_revision == mod_revision;
        let stamp = (create_revision << 1) | i64::from(entry.placed.is_some());
        is_plain.then_some(Self { holder, stamp: stamp.to_ne_bytes() })
    }

    fn entry(self) -> AddressEntry {
        let stamp = i64::from_ne_bytes(self.stamp);
        let revision = stamp >> 1;
        let reservation = Reservation {
            holder: Some(self.holder),
            quarantined: false,
            leased: false,
            create_revision: revision,
            mod_revision: revision,
        };
        let placed = (stamp & 1 == 1).then_some(self.holder);
        AddressEntry { reservation: Some(reservation), placed }
    }
}

#[cfg(test)]
mod tests {
    use lochness_api::Id;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_kind_of_entry_is_told_as_it_was_set_and_one_takes_the_place_of_another() {
        let guest = |number| -> GuestId { Id::new(Uuid::from_u128(number)) };
        let plain = Reservation {
            holder: Some(guest(1)),
            quarantined: false,
            leased: false,
            create_revision: 7,
            mod_revision: 7,
        };
        let of = |reservation, placed| AddressEntry { reservation: Some(reservation), placed };
        let kinds = [
            of(plain, Some(guest(1))),
            of(plain, Some(guest(2))),
            of(plain, None),
            of(Reservation { quarantined: true, ..plain }, Some(guest(1))),
            of(Reservation { leased: true, ..plain }, Some(guest(1))),
            of(Reservation { mod_revision: 8, ..plain }, Some(guest(1))),
            of(Reservation { holder: None, ..plain }, None),
            AddressEntry { reservation: None, placed: Some(guest(1)) },
        ];
        for ip in ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap()) {
            let mut entries = Entries::default();
            for (first, second) in kinds.iter().flat_map(|one| kinds.map(|other| (*one, other))) {
                for entry in [Some(first), Some(second), None] {
                    entries.set(ip, entry);
                    assert_eq!(entries.get(ip), entry);
                    let all: Vec<_> = entries.iter().collect();
                    assert_eq!(all, entry.map(|entry| (ip, entry)).into_iter().collect::<Vec<_>>());
                }
            }
        }
    }
}
