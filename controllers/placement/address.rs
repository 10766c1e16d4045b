//! Which subnets a guest may use, in which order, and which address it gets there.
//!
//! Guarantees: no address is offered that a status, an open commit or a listed guest has anywhere in the network, or a
//! reservation in a subnet that has the address. A search walks over runs of taken addresses, never over the
//! addresses in them.

use std::cmp::{Ordering, Reverse};
use std::net::IpAddr;
use std::sync::Arc;

use lochness_api::document::{Guest, Subnet, SubnetChoice};
use lochness_api::status::Reason;
use lochness_api::{GuestId, NetworkId, SubnetId};

use super::filter::Fleet;
use super::refusal::{Refusal, barred, holder, no_valid_subnet, occupancy, some_of};
use crate::knowledge::address_used_by;
use crate::world::{Reservation, successor};

/// A subnet in which the guest can have an address, and the address.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) id: SubnetId,
    pub(super) subnet: Arc<Subnet>,
    pub(super) ip: IpAddr,
}

/// A subnet with its document.
pub(super) type Choice = (SubnetId, Arc<Subnet>);

/// The subnets that a document allows: the one that it names, or those of its network, by id.
///
/// # Errors
/// What is missing.
pub(super) fn allowed(fleet: Fleet<'_>, document: &Guest) -> Result<Vec<Choice>, Refusal> {
    if let Some(id) = document.subnet {
        let subnet = valid_subnet(fleet, id)?;
        if let Some(network) = document.network
            && network != subnet.network
        {
            return Err(Refusal::Reference {
                reason: Reason::SubnetNotInNetwork,
                message: format!(
                    "{} belongs to {}, the guest asks for {}",
                    fleet.world.subnet_words(id),
                    fleet.world.network_words(subnet.network),
                    fleet.world.network_words(network),
                ),
            });
        }
        return Ok(vec![(id, subnet)]);
    }
    let Some(network) = document.network else {
        return Err(Refusal::Invalid("network: give a network or a subnet".to_owned()));
    };
    check_network(fleet, network)?;
    let subnets: Vec<_> = fleet
        .world
        .subnets_of(network)
        .filter_map(|id| Some((id, valid_subnet(fleet, id).ok()?)))
        .collect();
    if subnets.is_empty() {
        let message = no_valid_subnet(fleet.world, network);
        return Err(Refusal::Reference { reason: Reason::SubnetMissing, message });
    }
    Ok(subnets)
}

/// Whether the network has a document that can be used.
fn check_network(fleet: Fleet<'_>, id: NetworkId) -> Result<(), Refusal> {
    let text = id.to_string();
    match fleet.world.network(id).map(|declared| &declared.invalid) {
        None => Err(missing(Reason::NetworkMissing, "network", &text)),
        Some(Some(fault)) => Err(invalid(Reason::NetworkMissing, "network", &text, fault)),
        Some(None) => Ok(()),
    }
}

/// Of the allowed subnets those that take new guests, the preferred first.
///
/// # Errors
/// What is missing, or which other subnet is in the way.
pub(super) fn eligible(fleet: Fleet<'_>, document: &Guest) -> Result<Vec<Choice>, Refusal> {
    let allowed = allowed(fleet, document)?;
    // A guest that names a subnet alone is in that one's network all the same.
    if let Some((_, subnet)) = allowed.first() {
        check_network(fleet, subnet.network)?;
    }
    let overlap = |id: SubnetId| fleet.world.overlapped_by(id);
    let refused = allowed.iter().find_map(|(id, _)| Some((*id, overlap(*id)?)));
    let mut subnets = allowed;
    subnets.retain(|(id, _)| overlap(*id).is_none());
    match (refused, subnets.first()) {
        (Some((id, elder)), None) => Err(Refusal::Reference {
            reason: Reason::SubnetsOverlap,
            message: format!(
                "{} overlaps {}, which was there first, and takes no new guests",
                fleet.world.subnet_words(id),
                fleet.world.subnet_words(elder),
            ),
        }),
        (_, Some((_, first))) => {
            let network = first.network;
            sort(fleet, network, &mut subnets);
            Ok(subnets)
        }
        (None, None) => Ok(subnets),
    }
}

/// Puts the subnets of one network into the order in which they are used.
fn sort(fleet: Fleet<'_>, network: NetworkId, subnets: &mut [Choice]) {
    if subnets.len() < 2 {
        return;
    }
    let rank = |(id, subnet): &Choice| {
        let name = subnet.metadata.name().unwrap_or_default().to_owned();
        (Reverse(subnet.metadata.priority()), name, *id)
    };
    subnets.sort_by_cached_key(rank);
    let declared = fleet.world.network(network).and_then(|declared| declared.understood.as_ref());
    let choice = declared.and_then(|network| network.subnet_choice().ok()).unwrap_or_default();
    match choice {
        SubnetChoice::Fill => {}
        SubnetChoice::Spread => {
            let used = |(id, subnet): &Choice| {
                let taken = fleet.world.subnet(*id).map_or(0, |it| it.addresses.inside().total());
                (taken + fleet.claims.addresses_of(*id), subnet.capacity())
            };
            subnets.sort_by(|one, other| compare_shares(used(one), used(other)));
        }
    }
}

/// Compares two shares `part / whole` exactly, also those of ranges that hold more addresses than floats tell apart.
fn compare_shares(one: (u64, u128), other: (u64, u128)) -> Ordering {
    product(one.0, other.1).cmp(&product(other.0, one.1))
}

/// The product in full: what exceeds 64 bits, and the 64 bits below.
fn product(a: u64, b: u128) -> (u128, u64) {
    const LOW: u128 = u64::MAX as u128;
    let low = u128::from(a) * (b & LOW);
    let high = u128::from(a) * (b >> 64) + (low >> 64);
    (high, u64::try_from(low & LOW).expect("the upper bits are cut off"))
}

/// One offer a subnet that has one for the guest: the wished address, one that is reserved for it already, or the lowest
/// that is free.
///
/// # Errors
/// Why no subnet has one.
pub(super) fn offers(
    fleet: Fleet<'_>,
    guest: GuestId,
    wish: Option<IpAddr>,
    subnets: &[Choice],
) -> Result<Vec<Offer>, Refusal> {
    if let Some(ip) = wish {
        return wished(fleet, guest, ip, subnets).map(|offer| vec![offer]);
    }
    let offers: Vec<_> = subnets
        .iter()
        .filter_map(|(id, subnet)| {
            let ip = reserved(fleet, guest, *id, subnet)
                .or_else(|| lowest_free(fleet, guest, *id, subnet))?;
            Some(Offer { id: *id, subnet: Arc::clone(subnet), ip })
        })
        .collect();
    if offers.is_empty() {
        let subnets =
            subnets.iter().map(|(id, subnet)| occupancy(fleet.world, *id, subnet)).collect();
        return Err(Refusal::NoAddressFree { subnets });
    }
    Ok(offers)
}

fn wished(
    fleet: Fleet<'_>,
    guest: GuestId,
    ip: IpAddr,
    subnets: &[Choice],
) -> Result<Offer, Refusal> {
    let not_usable = |why: String| Refusal::AddressNotUsable { ip, why };
    // Of two parts of one range, the one that gives this address to guests.
    let holds = |(_, subnet): &&Choice| subnet.cidr.contains(ip);
    let found = subnets.iter().find(|(_, subnet)| subnet.contains(ip));
    let Some((id, subnet)) = found.or_else(|| subnets.iter().find(holds)) else {
        let ranges: Vec<_> = subnets.iter().map(|(_, subnet)| subnet.cidr.to_string()).collect();
        let ranges = some_of(&ranges);
        let network = subnets.first().map(|(_, subnet)| subnet.network);
        let barred =
            network.and_then(|network| barred(fleet.world, network, ip)).unwrap_or_default();
        return Err(not_usable(format!(
            "it lies in no subnet that the guest may use ({ranges}){barred}"
        )));
    };
    let words = fleet.world.subnet_words(*id);
    if !subnet.is_assignable(ip) {
        let what = if Some(ip) == subnet.gateway {
            "gateway"
        } else if ip == subnet.cidr.network() {
            "network"
        } else {
            "broadcast"
        };
        return Err(not_usable(format!("it is the {what} address of {words}, {}", subnet.cidr)));
    }
    let neighbour = fleet.world.neighbours(*id).find_map(|(other, entry)| {
        let declared = entry.declared()?;
        let gives = declared.contains(ip) && !subnet.contains(ip);
        (declared.gateway == Some(ip) || gives).then_some((other, declared.gateway == Some(ip)))
    });
    if let Some((other, is_gateway)) = neighbour {
        let other = fleet.world.subnet_words(other);
        return Err(not_usable(if is_gateway {
            format!("it is the gateway of {other}")
        } else {
            format!("it is one of those that {other} gives to guests; ask for that subnet")
        }));
    }
    match taken_by(fleet, guest, *id, subnet, ip) {
        None => Ok(Offer { id: *id, subnet: Arc::clone(subnet), ip }),
        Some(Taken::By(by)) => Err(Refusal::AddressTaken { ip, by }),
        Some(Taken::Claimed) => Err(Refusal::Claimed),
    }
}

/// Why an address cannot be had.
enum Taken {
    /// Says whose it is.
    By(String),
    /// An open commit will take it, or not.
    Claimed,
}

/// Whether anybody but the guest itself has the address, in the subnet or in a neighbour.
fn taken_by(
    fleet: Fleet<'_>,
    guest: GuestId,
    id: SubnetId,
    subnet: &Subnet,
    ip: IpAddr,
) -> Option<Taken> {
    let world = fleet.world;
    let guests = |guest: GuestId| format!("it is {}'s", world.guest_words(guest));
    let is_other = |held: &Reservation| held.quarantined || held.holder != Some(guest);
    let neighbours = world.neighbours(id).map(|(other, _)| other);
    for at in std::iter::once(id).chain(neighbours) {
        let entry = world.address(at, ip);
        let other = entry.placed.filter(|placed| *placed != guest).map(guests);
        let held = entry.reservation.filter(|held| at != id || is_other(held));
        if let Some(by) = other.or_else(|| held.map(|held| holder(world, held))) {
            return Some(Taken::By(by));
        }
    }
    if let Some(other) = world.held_by_another(subnet.network, ip, guest) {
        return Some(Taken::By(guests(other)));
    }
    if fleet.claims.has_address(Some(subnet.network), ip) {
        return Some(Taken::Claimed);
    }
    used_by_another(fleet, guest, subnet, ip).map(|other| Taken::By(guests(other)))
}

/// An address that is reserved for the guest already, though it has no place yet: the original may have left one.
fn reserved(fleet: Fleet<'_>, guest: GuestId, id: SubnetId, subnet: &Subnet) -> Option<IpAddr> {
    let entry = fleet.world.guest(guest)?;
    let own = entry.addresses.iter().filter(|(at, _)| *at == id).map(|(_, ip)| *ip);
    let mut usable = own.filter(|ip| subnet.is_assignable(*ip));
    usable.find(|ip| taken_by(fleet, guest, id, subnet, *ip).is_none())
}

/// The lowest address that nobody has.
fn lowest_free(fleet: Fleet<'_>, guest: GuestId, id: SubnetId, subnet: &Subnet) -> Option<IpAddr> {
    let addresses = &fleet.world.subnet(id)?.addresses;
    let mut from = subnet.start;
    loop {
        let ip = addresses.first_free(subnet, Some(from))?;
        let mut next = fleet.claims.first_unclaimed(subnet.network, ip)?;
        next = next.max(fleet.world.first_unheld(subnet.network, ip)?);
        for (_, entry) in fleet.world.neighbours(id) {
            next = next.max(entry.addresses.first_untaken(ip)?);
            if next == ip && entry.declared().is_some_and(|other| other.gateway == Some(ip)) {
                next = successor(ip)?;
            }
        }
        if next != ip {
            from = next;
        } else if used_by_another(fleet, guest, subnet, ip).is_some() {
            from = successor(ip)?;
        } else {
            return Some(ip);
        }
    }
}

/// Another guest that has the address on a host.
fn used_by_another(
    fleet: Fleet<'_>,
    guest: GuestId,
    subnet: &Subnet,
    ip: IpAddr,
) -> Option<GuestId> {
    address_used_by(fleet.world, fleet.reports, guest, Some(subnet.network), ip)
}

fn valid_subnet(fleet: Fleet<'_>, id: SubnetId) -> Result<Arc<Subnet>, Refusal> {
    let text = id.to_string();
    let Some(declared) = fleet.world.subnet(id).and_then(|entry| entry.document.as_ref()) else {
        return Err(missing(Reason::SubnetMissing, "subnet", &text));
    };
    match (&declared.invalid, declared.valid()) {
        (None, Some(subnet)) => Ok(Arc::clone(subnet)),
        (Some(fault), _) => Err(invalid(Reason::SubnetMissing, "subnet", &text, fault)),
        (None, None) => Err(missing(Reason::SubnetMissing, "subnet", &text)),
    }
}

pub(super) fn missing(reason: Reason, kind: &str, id: &str) -> Refusal {
    Refusal::Reference { reason, message: format!("{kind} {id} does not exist") }
}

pub(super) fn invalid(
    reason: Reason,
    kind: &str,
    id: &str,
    fault: &lochness_api::Invalid,
) -> Refusal {
    Refusal::Reference { reason, message: format!("{kind} {id} is invalid: {fault}") }
}
