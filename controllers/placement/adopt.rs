//! Guests that exist before they have a status: those of a store that the original wrote, and those whose status was lost.
//!
//! The agents' lists are believed before the index, the index before the document: what runs is what is.

use std::net::IpAddr;

use lochness_agent::wire::{AgentGuest, Power};
use lochness_api::document::{Guest, Resources};
use lochness_api::status::{Phase, Placement};
use lochness_api::{GuestId, HypervisorId, Mac, NetworkId, SubnetId};
use lochness_mutant::Mutant;

use super::address::{allowed, eligible, offers};
use super::filter::Fleet;
use super::plan::{check_mac, resources_of, vlans_of};
use super::refusal::{Refusal, holder};
use crate::reports::ReportedGuest;
use crate::world::GuestEntry;

/// What was found of a guest, and what is missing of its keys.
#[derive(Debug, Clone)]
pub(super) struct Adoption {
    pub(super) placement: Placement,
    /// What the guest does now, by its agent's word.
    pub(super) phase: Phase,
    /// The agent's own word.
    pub(super) agent_state: Option<String>,
    /// Whether the address must still be reserved.
    pub(super) reserve: bool,
    /// Whether the index key must still be written.
    pub(super) index: bool,
}

/// Whether an agent lists the guest, or an index key names it.
pub(super) fn is_somewhere(fleet: Fleet<'_>, id: GuestId, entry: &GuestEntry) -> bool {
    let is_known = !fleet.reports.hosts_of(id).is_empty() || !entry.index.is_empty();
    is_known && !lochness_mutant::is(Mutant::PlacesWithoutLook)
}

/// Puts together what was found.
///
/// # Errors
/// What contradicts itself or another guest: that is reported and left.
pub(super) fn adopt(
    fleet: Fleet<'_>,
    id: GuestId,
    entry: &GuestEntry,
    document: &Guest,
) -> Result<Adoption, Refusal> {
    let hypervisor = host_of(fleet, id, entry, document)?;
    let reported = fleet.reports.host(hypervisor).and_then(|report| report.guest(id)).flatten();
    let record = reported.map(|guest| &*guest.record);
    let (subnet, ip) = address_of(fleet, id, entry, document, hypervisor, reported)?;
    let held = fleet.world.address(subnet, ip);
    let declared = fleet.world.subnet(subnet).and_then(|entry| entry.declared());
    let network = declared.map(|subnet| subnet.network).or(document.network);
    check_holder(fleet, id, subnet, network, ip)?;
    let host = fleet.world.host(hypervisor);
    let nic = record.and_then(|record| record.nics.first());
    let flavor = fleet.world.flavor(document.flavor).and_then(|declared| declared.valid());
    let mac = mac_of(document, record);
    check_mac(fleet, id, mac)?;
    let placement = Placement {
        hypervisor,
        subnet,
        network,
        ip,
        cidr: declared.map_or_else(|| ip.into(), |subnet| subnet.cidr),
        gateway: declared.and_then(|subnet| subnet.gateway),
        mac,
        bridge: nic
            .map(|nic| nic.network.clone())
            .filter(|bridge| !bridge.is_empty())
            .or_else(|| Some(host?.bridges.get(&subnet)?.clone()))
            .or_else(|| document.bridge.clone())
            .unwrap_or_default(),
        vlans: vlans_of(fleet, document).unwrap_or_default(),
        fwgroup: document.fwgroup,
        image: flavor.map(|flavor| flavor.image),
        resources: match (flavor, record) {
            (Some(flavor), _) => resources_of(flavor),
            (None, Some(record)) => resources_by_record(record),
            (None, None) => Resources::default(),
        },
    };
    Ok(Adoption {
        placement,
        phase: reported.map_or(Phase::Scheduled, |guest| phase_of(guest.state.power())),
        agent_state: record.map(|record| record.state.clone()),
        reserve: held.reservation.is_none(),
        index: !entry.index.contains_key(&hypervisor),
    })
}

/// The one host that has the guest.
fn host_of(
    fleet: Fleet<'_>,
    id: GuestId,
    entry: &GuestEntry,
    document: &Guest,
) -> Result<HypervisorId, Refusal> {
    let conflict = |hosts: Vec<String>, who: &str| {
        Refusal::AdoptionConflict(format!(
            "{who} hypervisors {}: nothing is done until it is one; delete it on the others",
            hosts.join(" and ")
        ))
    };
    match fleet.reports.hosts_of(id) {
        [host] => return Ok(*host),
        [] => {}
        several => {
            let hosts = several.iter().map(ToString::to_string).collect();
            return Err(conflict(hosts, "it is listed by"));
        }
    }
    let mut index = entry.index.keys();
    match (index.next(), index.next(), document.hypervisor) {
        (Some(host), None, _) => Ok(*host),
        (Some(_), Some(_), Some(pinned)) if entry.index.contains_key(&pinned) => Ok(pinned),
        (_, _, _) => {
            let hosts = entry.index.keys().map(ToString::to_string).collect();
            Err(conflict(hosts, "the index of placements names it under"))
        }
    }
}

/// The address that the guest has: by its reservation, its agent or its document, or else a new one.
fn address_of(
    fleet: Fleet<'_>,
    id: GuestId,
    entry: &GuestEntry,
    document: &Guest,
    hypervisor: HypervisorId,
    reported: Option<&ReportedGuest>,
) -> Result<(SubnetId, IpAddr), Refusal> {
    let used = reported.map_or(&[][..], |guest| &guest.addresses);
    let reserved = |wanted: &dyn Fn(IpAddr) -> bool| {
        entry.addresses.iter().find(|(_, ip)| wanted(*ip)).copied()
    };
    if let Some(found) = reserved(&|ip| used.contains(&ip))
        .or_else(|| reserved(&|ip| document.ip == Some(ip)))
        .or_else(|| used.is_empty().then(|| reserved(&|_| true)).flatten())
    {
        return Ok(found);
    }
    let subnets = allowed(fleet, document)?;
    // Two parts of one range: the one that gives the address to guests.
    for ip in used.iter().copied().chain(document.ip) {
        if let Some((subnet, _)) = subnets.iter().find(|(_, subnet)| subnet.contains(ip)) {
            return Ok((*subnet, ip));
        }
    }
    for ip in used.iter().copied().chain(document.ip) {
        if let Some((subnet, _)) = subnets.iter().find(|(_, subnet)| subnet.cidr.contains(ip)) {
            return Ok((*subnet, ip));
        }
    }
    if let Some(ip) = used.first() {
        return Err(Refusal::AdoptionConflict(format!(
            "hypervisor {hypervisor} lists it with address {ip}, which lies in no subnet that its document allows"
        )));
    }
    let bridges = fleet.world.host(hypervisor).map(|host| &host.bridges);
    let subnets = eligible(fleet, document)?;
    let mut free = offers(fleet, id, None, &subnets)?;
    free.retain(|offer| bridges.is_some_and(|bridges| bridges.contains_key(&offer.id)));
    free.first().map(|offer| (offer.id, offer.ip)).ok_or_else(|| {
        let words = subnets.iter().map(|(id, _)| fleet.world.subnet_words(*id));
        Refusal::NoAddressFree { subnets: words.collect() }
    })
}

/// Whether the address is another's, in the subnet or in one that has the same addresses.
fn check_holder(
    fleet: Fleet<'_>,
    id: GuestId,
    subnet: SubnetId,
    network: Option<NetworkId>,
    ip: IpAddr,
) -> Result<(), Refusal> {
    let world = fleet.world;
    let neighbours = world.neighbours(subnet).map(|(other, _)| other);
    for at in std::iter::once(subnet).chain(neighbours) {
        let held = world.address(at, ip);
        let reserved = held
            .reservation
            .filter(|it| it.quarantined || it.holder != Some(id))
            .map(|it| holder(world, it));
        let placed = held.placed.filter(|placed| *placed != id);
        let placed = placed.map(|placed| format!("it is {}'s", world.guest_words(placed)));
        if let Some(by) = reserved.or(placed) {
            return Err(Refusal::AdoptionConflict(format!(
                "it has address {ip}, but {by}: give one of the two another address"
            )));
        }
    }
    let Some(network) = network else { return Ok(()) };
    if let Some(other) = world.held_by_another(network, ip, id) {
        let by = world.guest_words(other);
        return Err(Refusal::AdoptionConflict(format!(
            "it has address {ip}, but it is {by}'s: give one of the two another address"
        )));
    }
    if fleet.claims.has_address(Some(network), ip) { Err(Refusal::Claimed) } else { Ok(()) }
}

fn mac_of(document: &Guest, record: Option<&AgentGuest>) -> Mac {
    record
        .and_then(|record| record.nics.first()?.mac.parse().ok())
        .unwrap_or_else(|| document.effective_mac())
}

fn resources_by_record(record: &AgentGuest) -> Resources {
    let disk = record.disks.iter().map(|disk| disk.size).sum();
    Resources { memory: record.memory, disk, cpu: record.cpu }
}

fn phase_of(power: Power) -> Phase {
    match power {
        Power::Up => Phase::Running,
        Power::Paused => Phase::Suspended,
        Power::Down { .. } => Phase::Stopped,
        Power::Unclear => Phase::Unknown,
    }
}
