//! What to do about a guest that has no placement: place it, adopt what is already there, or say why not.
//!
//! Looking comes before acting: an index key that names the guest, or an agent that lists it, *is* its placement.

use std::sync::Arc;

use lochness_api::document::{Flavor, Guest, Resources, VlanTag};
use lochness_api::status::{Placement, Reason};
use lochness_api::{GuestId, Kind, Mac, SubnetId};
use lochness_mutant::Mutant;
use rand::Rng;

use super::address::{Offer, eligible, invalid, missing, offers};
use super::adopt::{Adoption, adopt, is_somewhere};
use super::choose::choose;
use super::filter::{Fleet, Need};
use super::refusal::Refusal;
use crate::context::Hold;
use crate::knowledge::may_run_on;
use crate::world::{GuestEntry, MacHolder};

/// What to do about one guest.
#[derive(Debug, Clone)]
pub(super) enum Decision {
    /// Nothing: it is placed, or there is nothing of it.
    Leave,
    /// Its document is gone and it was never placed: forget its status.
    Forget,
    /// Reserve this for it, in one transaction.
    Place(Box<Placement>),
    /// It exists already: write down what was found.
    Adopt(Box<Adoption>),
    /// Say why it is not placed.
    Refuse(Refusal),
    /// An open commit decides whether it can have what it needs: plan again in a moment.
    Later,
}

/// Decides about one guest.
pub(super) fn plan(
    fleet: Fleet<'_>,
    id: GuestId,
    hold: Option<&Hold>,
    random: &mut impl Rng,
) -> Decision {
    let Some(entry) = fleet.world.guest(id) else { return Decision::Leave };
    if entry.placement().is_some() {
        return Decision::Leave;
    }
    if entry.document.is_none() {
        return if entry.status.is_some() { Decision::Forget } else { Decision::Leave };
    }
    match decide(fleet, id, entry, hold, random) {
        Ok(decision) => decision,
        Err(Refusal::Claimed) => Decision::Later,
        Err(refusal) => Decision::Refuse(refusal),
    }
}

fn decide(
    fleet: Fleet<'_>,
    id: GuestId,
    entry: &GuestEntry,
    hold: Option<&Hold>,
    random: &mut impl Rng,
) -> Result<Decision, Refusal> {
    let document = usable_document(fleet, id, entry)?;
    if let Some(hold) = hold {
        return Err(match hold {
            Hold::StoreReplaced(found) => Refusal::Held(found.what.clone()),
            Hold::Paused => Refusal::Paused("the cluster (config/pause)"),
            Hold::Suspected => return Ok(Decision::Later),
        });
    }
    if is_somewhere(fleet, id, entry) {
        return adopt(fleet, id, entry, document).map(|found| Decision::Adopt(Box::new(found)));
    }
    if let Some(host) = may_run_on(fleet.world, fleet.reports, id) {
        return Err(Refusal::HostNotAsked(host));
    }
    if document.metadata.is_paused() {
        return Err(Refusal::Paused("the guest (metadata.pause)"));
    }
    let flavor = flavor_of(fleet, document)?;
    let vlans = vlans_of(fleet, document)?;
    check_mac(fleet, id, document.effective_mac())?;
    let subnets = eligible(fleet, document)?;
    let mut offers = offers(fleet, id, document.ip, &subnets)?;
    // A subnet that no host reaches would make every plan look at all hosts in vain.
    let is_reached = |offer: &Offer| !fleet.world.hosts_reaching(offer.id).is_empty();
    if offers.iter().any(is_reached) {
        offers.retain(is_reached);
    }
    let ids: Vec<SubnetId> = offers.iter().map(|offer| offer.id).collect();
    let need = Need {
        guest: id,
        resources: resources_of(&flavor),
        pinned: pinned(fleet, document)?,
        labels: document.metadata.place(),
        set: document.metadata.set(),
        fwgroup: document.fwgroup,
        subnets: &ids,
    };
    let candidate = choose(fleet, &need, random)
        .map_err(|rejections| Refusal::NoHostFits { need: need.resources, rejections })?;
    let offer = offers.get(candidate.rank).expect("a rank counts the subnets that were offered");
    Ok(Decision::Place(Box::new(placement(
        document,
        &flavor,
        offer,
        vlans,
        candidate.host.id,
        candidate.bridge,
    ))))
}

/// The document, if its newest version is valid and its name is its own.
fn usable_document<'a>(
    fleet: Fleet<'_>,
    id: GuestId,
    entry: &'a GuestEntry,
) -> Result<&'a Guest, Refusal> {
    let declared = entry.document.as_ref().expect("the caller has seen a document");
    if let Some(fault) = &declared.invalid {
        return Err(Refusal::Invalid(fault.to_string()));
    }
    if lochness_mutant::is(Mutant::PoisonDelays)
        && fleet.world.outlines().any(|(_, guest)| guest.is_invalid())
    {
        return Err(Refusal::Claimed);
    }
    if lochness_mutant::is(Mutant::MalformedSpreads) {
        let mut all = fleet.world.outlines().filter(|(_, guest)| guest.is_invalid());
        let other = all.find_map(|(id, _)| fleet.world.guest(id)?.document.as_ref());
        if let Some(fault) = other.and_then(|other| other.invalid.as_ref()) {
            return Err(Refusal::Invalid(fault.to_string()));
        }
    }
    let document = declared.understood.as_deref().expect("what is not invalid is understood");
    if let Some(name) = document.metadata.name()
        && let Some(by) = fleet.world.names().taken_by(Kind::Guest, name, &id.to_string())
    {
        return Err(Refusal::NameTaken { name: name.to_owned(), by });
    }
    Ok(document)
}

fn flavor_of(fleet: Fleet<'_>, document: &Guest) -> Result<Arc<Flavor>, Refusal> {
    let id = document.flavor.to_string();
    let Some(declared) = fleet.world.flavor(document.flavor) else {
        return Err(missing(Reason::FlavorMissing, "flavor", &id));
    };
    match (&declared.invalid, declared.valid()) {
        (None, Some(flavor)) => Ok(Arc::clone(flavor)),
        (Some(fault), _) => Err(invalid(Reason::FlavorMissing, "flavor", &id, fault)),
        (None, None) => Err(missing(Reason::FlavorMissing, "flavor", &id)),
    }
}

/// Whether the guest can have the hardware address: nobody has it, and nobody asked for it earlier.
pub(super) fn check_mac(fleet: Fleet<'_>, id: GuestId, mac: Mac) -> Result<(), Refusal> {
    let by = match fleet.world.mac_taken_by(mac, id) {
        Some(MacHolder::Placed(other)) => {
            let other = fleet.world.guest_words(other);
            format!("it is {other}'s: give one of the two another `mac`")
        }
        Some(MacHolder::AskedEarlier(other)) => {
            let other = fleet.world.guest_words(other);
            format!("{other} asked for it earlier: give one of the two another `mac`")
        }
        None if fleet.claims.has_mac(mac) => return Err(Refusal::Claimed),
        None => return Ok(()),
    };
    Err(Refusal::MacTaken { mac, by })
}

/// The tags of the guest's VLAN group; empty without one, which agents read as `[1]`.
pub(super) fn vlans_of(fleet: Fleet<'_>, document: &Guest) -> Result<Vec<u16>, Refusal> {
    let Some(group) = document.vlangroup else { return Ok(Vec::new()) };
    match fleet.world.vlangroup(group) {
        None => Err(missing(Reason::VlanGroupMissing, "VLAN group", &group.to_string())),
        Some(declared) => match &declared.invalid {
            Some(fault) => {
                Err(invalid(Reason::VlanGroupMissing, "VLAN group", &group.to_string(), fault))
            }
            None => Ok(fleet.world.vlans_of(group).map(VlanTag::get).collect()),
        },
    }
}

/// The host that the document pins the guest to.
fn pinned(
    fleet: Fleet<'_>,
    document: &Guest,
) -> Result<Option<lochness_api::HypervisorId>, Refusal> {
    match document.hypervisor {
        Some(host) if fleet.world.host(host).is_none() => {
            Err(missing(Reason::HypervisorMissing, "hypervisor", &host.to_string()))
        }
        pinned => Ok(pinned),
    }
}

pub(super) fn resources_of(flavor: &Flavor) -> Resources {
    Resources { memory: flavor.memory, disk: flavor.disk, cpu: flavor.cpu }
}

fn placement(
    document: &Guest,
    flavor: &Flavor,
    offer: &Offer,
    vlans: Vec<u16>,
    hypervisor: lochness_api::HypervisorId,
    bridge: &str,
) -> Placement {
    Placement {
        hypervisor,
        subnet: offer.id,
        network: Some(offer.subnet.network),
        ip: offer.ip,
        cidr: offer.subnet.cidr,
        gateway: offer.subnet.gateway,
        mac: document.effective_mac(),
        bridge: bridge.to_owned(),
        vlans,
        fwgroup: document.fwgroup,
        image: Some(flavor.image),
        resources: resources_of(flavor),
    }
}
