//! Why a guest is not placed: a closed set, rendered for people in one place.

use std::fmt::Write;
use std::net::IpAddr;

use lochness_api::GuestId;
use lochness_api::document::Resources;
use lochness_api::status::Reason;

use super::filter::Rejections;

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
    /// No subnet has a free address left.
    NoAddressFree {
        /// How many subnets were looked at.
        subnets: usize,
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
}

impl Refusal {
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Invalid(_) => Reason::Invalid,
            Self::NameTaken { .. } => Reason::NameTaken,
            Self::Paused(_) => Reason::Paused,
            Self::Held(_) => Reason::Held,
            Self::Reference { reason, .. } => *reason,
            Self::AddressNotUsable { .. } => Reason::AddressNotUsable,
            Self::AddressTaken { .. } => Reason::AddressTaken,
            Self::NoAddressFree { .. } => Reason::NoAddressFree,
            Self::NoHostFits { .. } => Reason::NoHostFits,
            Self::AdoptionConflict(_) => Reason::AdoptionConflict,
        }
    }

    /// Whether the document itself is at fault.
    pub(super) fn is_invalid_document(&self) -> bool {
        matches!(self, Self::Invalid(_) | Self::NameTaken { .. })
    }

    pub(super) fn message(&self) -> String {
        match self {
            Self::Invalid(what) | Self::AdoptionConflict(what) => what.clone(),
            Self::NameTaken { name, by } => {
                format!("the name {name:?} is guest {by}'s, which was there first: choose another")
            }
            Self::Paused(what) => format!("paused: {what}"),
            Self::Held(why) => format!("the operator holds: {why}"),
            Self::Reference { message, .. } => message.clone(),
            Self::AddressNotUsable { ip, why } => format!("cannot have address {ip}: {why}"),
            Self::AddressTaken { ip, by } => format!("cannot have address {ip}: {by}"),
            Self::NoAddressFree { subnets } => {
                format!("no address is free in any of {subnets} subnets")
            }
            Self::NoHostFits { need, rejections } => no_host_fits(*need, rejections),
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

/// Who stands in the way of a wished address, for people.
pub(super) fn holder(guest: Option<GuestId>, quarantined: bool) -> String {
    match (guest, quarantined) {
        (Some(guest), true) => {
            format!("it was guest {guest}'s until a moment ago and is in quarantine")
        }
        (Some(guest), false) => format!("it is guest {guest}'s"),
        (None, _) => "it is reserved, for no guest that has an id".to_owned(),
    }
}
