//! Why a guest is not placed: a closed set, rendered for people in one place.

use std::fmt::Write;
use std::net::IpAddr;

use lochness_api::document::{Resources, Subnet};
use lochness_api::status::Reason;
use lochness_api::{HypervisorId, Mac, NetworkId, SubnetId};

use super::filter::Rejections;
use crate::knowledge::not_asked;
use crate::world::{Reservation, Tally, World};

/// Why a guest is not placed now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Its document cannot be used; says what is wrong.
    Invalid(String),
    /// Another guest bears the name.
    NameTaken {
        /// The name.
        name: String,
        /// Who bears it.
        by: String,
    },
    /// Another guest has the hardware address.
    MacTaken {
        /// The hardware address.
        mac: Mac,
        /// Who has it, and what may be done.
        by: String,
    },
    /// Somebody paused the guest or the cluster.
    Paused(&'static str),
    /// The operator holds.
    Held(String),
    /// A document that it refers to is missing or invalid: reason, kind and id, and what is wrong.
    Reference {
        /// The reason for the condition.
        reason: Reason,
        /// What is wrong, for people.
        message: String,
    },
    /// The wished address lies in no subnet that it may use.
    AddressNotUsable {
        /// The wished address.
        ip: IpAddr,
        /// Why not.
        why: String,
    },
    /// The wished address is another's.
    AddressTaken {
        /// The wished address.
        ip: IpAddr,
        /// Who has it.
        by: String,
    },
    /// An open commit will take what the guest needs, or not: nobody knows yet.
    Claimed,
    /// No subnet has a free address left.
    NoAddressFree {
        /// The subnets that were looked at, for people.
        subnets: Vec<String>,
    },
    /// No host passed all filters.
    NoHostFits {
        /// What it needs.
        need: Resources,
        /// How many hosts each filter turned away.
        rejections: Rejections,
    },
    /// What was found of it contradicts itself or another guest.
    AdoptionConflict(String),
    /// A host may run it without the store knowing it.
    HostNotAsked(HypervisorId),
}

impl Refusal {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::Invalid,
            Self::NameTaken { .. } => Reason::NameTaken,
            Self::MacTaken { .. } => Reason::MacTaken,
            Self::Paused(_) => Reason::Paused,
            Self::Held(_) => Reason::Held,
            Self::Reference { reason, .. } => *reason,
            Self::AddressNotUsable { .. } => Reason::AddressNotUsable,
            Self::AddressTaken { .. } => Reason::AddressTaken,
            Self::Claimed => Reason::Waiting,
            Self::NoAddressFree { .. } => Reason::NoAddressFree,
            Self::NoHostFits { .. } => Reason::NoHostFits,
            Self::AdoptionConflict(_) => Reason::AdoptionConflict,
            Self::HostNotAsked(_) => Reason::HostNotAsked,
        }
    }

    /// Whether the document itself is at fault.
    pub(super) fn is_invalid_document(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::NameTaken { .. } | Self::MacTaken { .. })
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Invalid(what) | Self::AdoptionConflict(what) => what.clone(),
            Self::NameTaken { name, by } => {
                format!("the name {name:?} is guest {by}'s, which was there first: choose another")
            }
            Self::MacTaken { mac, by } => format!("cannot have hardware address {mac}: {by}"),
            Self::Paused(what) => format!("paused: {what}"),
            Self::Held(why) => format!("the operator holds: {why}"),
            Self::Reference { message, .. } => message.clone(),
            Self::AddressNotUsable { ip, why } => format!("cannot have address {ip}: {why}"),
            Self::AddressTaken { ip, by } => format!("cannot have address {ip}: {by}"),
            Self::Claimed => "another guest is just getting what it asks for".to_owned(),
            Self::NoAddressFree { subnets } => match &subnets[..] {
                [subnet] => format!("no address is free in {subnet}"),
                several => format!(
                    "no address is free in any of {} subnets: {}",
                    several.len(),
                    some_of(several)
                ),
            },
            Self::NoHostFits { need, rejections } => no_host_fits(*need, rejections),
            Self::HostNotAsked(host) => not_asked(*host),
        }
    }
}

/// Such as `0 of 12 hypervisors fit: 3 not alive, 1 cordoned, 8 short of memory (need 4096 MB, most free 2048)`.
fn no_host_fits(need: Resources, rejections: &Rejections) -> String {
    let mut text = format!("0 of {} hypervisors fit", rejections.total());
    let mut separator = ": ";
    for (filter, count) in rejections.counts() {
        let _infallible = write!(text, "{separator}{count} {}", filter.words());
        if let Some((needed, most, unit)) = rejections.shortage(filter, need) {
            let _infallible = write!(text, " (need {needed}{unit}, most free {most})");
        }
        separator = ", ";
    }
    text
}

/// A list for people, cut where it gets long.
pub(super) fn some_of(items: &[String]) -> String {
    const SHOWN: usize = 4;
    let shown = items[..items.len().min(SHOWN)].join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// Who stands in the way of an address, for people.
pub(super) fn holder(world: &World, held: Reservation) -> String {
    let seconds = world.config().quarantine_seconds;
    match (held.holder, held.quarantined) {
        (guest, true) => {
            let whose = guest.map(|guest| format!("was {}'s and ", world.guest_words(guest)));
            let whose = whose.unwrap_or_default();
            let until = if held.leased {
                format!(
                    "it is free about {seconds} s after that guest went (config/quarantine_seconds)"
                )
            } else {
                "it has no lease and is freed soon".to_owned()
            };
            format!("it {whose}is in quarantine; {until}")
        }
        (Some(guest), false) => format!("it is {}'s", world.guest_words(guest)),
        (None, false) => {
            "it is reserved by hand, for no guest that has an id; delete that key to free it"
                .to_owned()
        }
    }
}

/// Who has the addresses of a subnet that is full, for people.
pub(super) fn occupancy(world: &World, id: SubnetId, subnet: &Subnet) -> String {
    let name = format!("{} {}-{}", world.subnet_words(id), subnet.start, subnet.end);
    let capacity = subnet.capacity();
    if capacity == 0 {
        return format!(
            "{name} (it has none to give: between start and end are only its gateway, network or broadcast address)"
        );
    }
    let Tally { used, quarantined } =
        world.subnet(id).map(|entry| entry.addresses.inside()).unwrap_or_default();
    let others = match capacity.saturating_sub((used + quarantined).into()) {
        0 => String::new(),
        others => format!(
            ", {others} about to be given, or held by guests of other subnets or undeclared ones"
        ),
    };
    format!("{name} ({capacity} addresses: {used} used, {quarantined} in quarantine{others})")
}

/// Why a network has no subnet that can be used, for people.
pub(super) fn no_valid_subnet(world: &World, network: NetworkId) -> String {
    let fault = |id: SubnetId| {
        let fault = world.subnet(id)?.document.as_ref()?.invalid.as_ref()?;
        Some(format!("{} is invalid: {fault}", world.subnet_words(id)))
    };
    let words = world.network_words(network);
    match world.subnets_of(network).find_map(fault) {
        Some(fault) => format!("{words} has no valid subnet: {fault}"),
        None => format!("{words} has no valid subnet: no valid document names it as its `network`"),
    }
}

/// Why the subnet of the network that has the address is none that the guest may use, for people.
pub(super) fn barred(world: &World, network: NetworkId, ip: IpAddr) -> Option<String> {
    let declared = |id: SubnetId| world.subnet(id)?.document.as_ref();
    let has = |id: &SubnetId| {
        let subnet = declared(*id).and_then(|document| document.understood.as_ref());
        subnet.is_some_and(|subnet| subnet.cidr.contains(ip))
    };
    let id = world.subnets_of(network).find(has)?;
    let why = if let Some(elder) = world.overlapped_by(id) {
        format!("overlaps {} and takes no new guests", world.subnet_words(elder))
    } else if let Some(fault) = declared(id).and_then(|document| document.invalid.as_ref()) {
        format!("is invalid: {fault}")
    } else {
        "is not the one that the guest asks for".to_owned()
    };
    Some(format!("; {}, which has it, {why}", world.subnet_words(id)))
}
