//! Addresses that the guests of a network have, from whatever subnet: a range may be changed, or its document deleted,
//! under its guests, and another subnet may come to have their addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lochness_api::status::Placement;
use lochness_api::{GuestId, NetworkId};
use rustc_hash::FxHashMap;

use super::addresses::{address_number, number_address};
use super::range_set::RangeSet;
use super::{GuestEntry, World};

/// Addresses of placed guests, by network.
#[derive(Debug, Default)]
pub(super) struct Held(BTreeMap<NetworkId, Addresses>);

#[derive(Debug, Default)]
struct Addresses {
    held: RangeSet,
    /// Where several guests have one address: how many more than one.
    more: FxHashMap<IpAddr, u32>,
}

impl Held {
    pub(super) fn insert(&mut self, placement: &Placement) {
        let Some(network) = placement.network else { return };
        let addresses = self.0.entry(network).or_default();
        if !addresses.held.insert(address_number(placement.ip)) {
            *addresses.more.entry(placement.ip).or_default() += 1;
        }
    }

    pub(super) fn remove(&mut self, placement: &Placement) {
        let Some(network) = placement.network else { return };
        let Some(addresses) = self.0.get_mut(&network) else { return };
        if let Some(more) = addresses.more.get_mut(&placement.ip) {
            *more -= 1;
            if *more == 0 {
                addresses.more.remove(&placement.ip);
            }
        } else {
            addresses.held.remove(address_number(placement.ip));
            if addresses.held.len() == 0 {
                self.0.remove(&network);
            }
        }
    }
}

impl World {
    /// The first address at or above `from` that no guest of the network has; `None` after the last of its family.
    pub fn first_unheld(&self, network: NetworkId, from: IpAddr) -> Option<IpAddr> {
        let Some(addresses) = self.held.0.get(&network) else { return Some(from) };
        number_address(addresses.held.first_absent(address_number(from))?, from)
    }

    /// A guest of the network that has the address, other than `but`. Looks through the subnets when there is one.
    pub fn held_by_another(&self, network: NetworkId, ip: IpAddr, but: GuestId) -> Option<GuestId> {
        let addresses = self.held.0.get(&network)?;
        if !addresses.held.contains(address_number(ip)) {
            return None;
        }
        let is_here = |guest: &GuestId| {
            let placement = self.guest(*guest).and_then(GuestEntry::placement);
            placement.is_some_and(|it| it.network == Some(network) && it.ip == ip)
        };
        let holders = self.subnets().filter_map(|(_, entry)| entry.addresses.get(ip).placed);
        holders.filter(|holder| *holder != but).find(is_here)
    }
}
