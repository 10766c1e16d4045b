//! Which subnets a guest may use, and which address it gets there.

use std::net::IpAddr;
use std::sync::Arc;

use lochness_api::document::{Guest, Subnet};
use lochness_api::status::Reason;
use lochness_api::{GuestId, SubnetId};

use super::filter::Fleet;
use super::refusal::{Refusal, holder};
use crate::world::successor;

/// A subnet in which the guest can have an address, and the address.
#[derive(Debug, Clone)]
pub(super) struct Offer {
    pub(super) id: SubnetId,
    pub(super) subnet: Arc<Subnet>,
    pub(super) ip: IpAddr,
}

/// The subnets that a document allows: the one that it names, or those of its network, by id.
///
/// # Errors
/// What is missing.
pub(super) fn allowed(
    fleet: Fleet<'_>,
    document: &Guest,
) -> Result<Vec<(SubnetId, Arc<Subnet>)>, Refusal> {
    if let Some(id) = document.subnet {
        let subnet = valid_subnet(fleet, id)?;
        if let Some(network) = document.network
            && network != subnet.network
        {
            return Err(Refusal::Reference {
                reason: Reason::SubnetNotInNetwork,
                message: format!(
                    "subnet {id} belongs to network {}, the guest asks for network {network}",
                    subnet.network
                ),
            });
        }
        return Ok(vec![(id, subnet)]);
    }
    let Some(network) = document.network else {
        return Err(Refusal::Invalid("network: give a network or a subnet".to_owned()));
    };
    match fleet.world.network(network) {
        None => return Err(missing(Reason::NetworkMissing, "network", &network.to_string())),
        Some(declared) => {
            if let Some(fault) = &declared.invalid {
                return Err(invalid(
                    Reason::NetworkMissing,
                    "network",
                    &network.to_string(),
                    fault,
                ));
            }
        }
    }
    let subnets: Vec<_> = fleet
        .world
        .subnets_of(network)
        .filter_map(|id| Some((id, valid_subnet(fleet, id).ok()?)))
        .collect();
    if subnets.is_empty() {
        return Err(Refusal::Reference {
            reason: Reason::SubnetMissing,
            message: format!("network {network} has no valid subnet"),
        });
    }
    Ok(subnets)
}

/// One offer a subnet that has one for the guest: the wished address, or the lowest that is free.
///
/// # Errors
/// Why no subnet has one.
pub(super) fn offers(
    fleet: Fleet<'_>,
    guest: GuestId,
    wish: Option<IpAddr>,
    subnets: &[(SubnetId, Arc<Subnet>)],
) -> Result<Vec<Offer>, Refusal> {
    if let Some(ip) = wish {
        return wished(fleet, guest, ip, subnets).map(|offer| vec![offer]);
    }
    let offers: Vec<_> = subnets
        .iter()
        .filter_map(|(id, subnet)| {
            let ip = lowest_free(fleet, guest, *id, subnet)?;
            Some(Offer { id: *id, subnet: Arc::clone(subnet), ip })
        })
        .collect();
    if offers.is_empty() {
        return Err(Refusal::NoAddressFree { subnets: subnets.len() });
    }
    Ok(offers)
}

fn wished(
    fleet: Fleet<'_>,
    guest: GuestId,
    ip: IpAddr,
    subnets: &[(SubnetId, Arc<Subnet>)],
) -> Result<Offer, Refusal> {
    let not_usable = |why: String| Refusal::AddressNotUsable { ip, why };
    let Some((id, subnet)) = subnets.iter().find(|(_, subnet)| subnet.cidr.contains(ip)) else {
        return Err(not_usable(format!(
            "it lies in none of the {} subnets that the guest may use",
            subnets.len()
        )));
    };
    if !subnet.is_assignable(ip) {
        return Err(not_usable(format!(
            "it is the network's, the broadcast or the gateway address of {}",
            subnet.cidr
        )));
    }
    let entry = fleet.world.address(*id, ip);
    if let Some(reservation) = entry.reservation {
        return Err(Refusal::AddressTaken {
            ip,
            by: holder(reservation.holder, reservation.quarantined),
        });
    }
    let other = entry
        .placed
        .filter(|holder| *holder != guest)
        .or_else(|| used_by_another(fleet, guest, subnet, ip));
    if let Some(other) = other {
        return Err(Refusal::AddressTaken { ip, by: holder(Some(other), false) });
    }
    if fleet.claims.has_address(*id, ip) {
        let by = "another guest is just getting it".to_owned();
        return Err(Refusal::AddressTaken { ip, by });
    }
    Ok(Offer { id: *id, subnet: Arc::clone(subnet), ip })
}

/// The lowest address that no reservation, status, open commit or listed guest has.
fn lowest_free(fleet: Fleet<'_>, guest: GuestId, id: SubnetId, subnet: &Subnet) -> Option<IpAddr> {
    let addresses = &fleet.world.subnet(id)?.addresses;
    let mut from = subnet.start;
    loop {
        let ip = addresses.first_free(subnet, Some(from))?;
        let unclaimed = fleet.claims.first_unclaimed(id, ip)?;
        if unclaimed != ip {
            from = unclaimed;
        } else if used_by_another(fleet, guest, subnet, ip).is_some() {
            from = successor(ip)?;
        } else {
            return Some(ip);
        }
    }
}

/// A listed guest that has the address, unless it is known to have it in another network.
fn used_by_another(
    fleet: Fleet<'_>,
    guest: GuestId,
    subnet: &Subnet,
    ip: IpAddr,
) -> Option<GuestId> {
    let is_elsewhere = |other: GuestId| {
        let placement = fleet.world.guest(other).and_then(|entry| entry.placement());
        placement.is_some_and(|placement| {
            placement.ip == ip && placement.network.is_some_and(|network| network != subnet.network)
        })
    };
    let others = fleet.reports.guests_with(ip).iter().copied();
    others.filter(|other| *other != guest).find(|other| !is_elsewhere(*other))
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
