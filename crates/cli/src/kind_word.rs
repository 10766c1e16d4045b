//! The words by which people name kinds: singular, plural and short, in any case.

use std::str::FromStr;

use lochness_api::Kind;

/// A kind of object that has a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KindWord(pub(crate) Kind);

/// What `get` and `describe` can show: kinds of objects, and what the operator keeps beside them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    /// Objects with documents.
    Kind(Kind),
    /// What agents are or were asked to do.
    Jobs,
    /// What happened in the last hour.
    Events,
    /// The whole.
    Cluster,
}

const ACCEPTED: &str = "guests, hypervisors (hv), networks (net), subnets (sn), flavors, images (img), \
                        fwgroups (fw), vlans, vlangroups (vg)";

/// The singular in lower case: what output calls an object of the kind.
pub(crate) fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::Guest => "guest",
        Kind::Hypervisor => "hypervisor",
        Kind::Network => "network",
        Kind::Subnet => "subnet",
        Kind::Flavor => "flavor",
        Kind::Image => "image",
        Kind::FwGroup => "fwgroup",
        Kind::Vlan => "vlan",
        Kind::VlanGroup => "vlangroup",
    }
}

fn kind_of(word: &str) -> Option<Kind> {
    Some(match word.to_ascii_lowercase().as_str() {
        "guest" | "guests" => Kind::Guest,
        "hypervisor" | "hypervisors" | "hv" | "hvs" => Kind::Hypervisor,
        "network" | "networks" | "net" | "nets" => Kind::Network,
        "subnet" | "subnets" | "sn" => Kind::Subnet,
        "flavor" | "flavors" | "fl" => Kind::Flavor,
        "image" | "images" | "img" => Kind::Image,
        "fwgroup" | "fwgroups" | "fw" => Kind::FwGroup,
        "vlan" | "vlans" => Kind::Vlan,
        "vlangroup" | "vlangroups" | "vg" => Kind::VlanGroup,
        _ => return None,
    })
}

impl FromStr for KindWord {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        kind_of(word).map(Self).ok_or_else(|| format!("not a kind; the kinds are {ACCEPTED}"))
    }
}

impl FromStr for Subject {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        if let Some(kind) = kind_of(word) {
            return Ok(Self::Kind(kind));
        }
        match word.to_ascii_lowercase().as_str() {
            "job" | "jobs" => Ok(Self::Jobs),
            "event" | "events" | "ev" => Ok(Self::Events),
            "cluster" => Ok(Self::Cluster),
            _ => Err(format!("not a kind; the kinds are {ACCEPTED}, jobs, events, cluster")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_singular_and_its_plural() {
        for kind in Kind::ALL {
            assert_eq!(singular(kind).parse(), Ok(KindWord(kind)));
            assert_eq!(kind.plural().parse(), Ok(KindWord(kind)));
            assert_eq!(kind.name().parse(), Ok(KindWord(kind)));
        }
    }

    #[test]
    fn short_words_and_what_has_no_document_are_known_to_get() {
        assert_eq!("hv".parse(), Ok(Subject::Kind(Kind::Hypervisor)));
        assert_eq!("fw".parse(), Ok(Subject::Kind(Kind::FwGroup)));
        assert_eq!("Jobs".parse(), Ok(Subject::Jobs));
        assert!("jobs".parse::<KindWord>().is_err());
        assert!("pods".parse::<Subject>().unwrap_err().contains("guests"));
    }
}
