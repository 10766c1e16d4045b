//! The keys of the contract, built and parsed in this one place.
//!
//! Guarantees: [`Prefix::parse`] is the exact inverse of [`Prefix::key`]. A key has one spelling: ids are lower-case UUIDs,
//! tags decimal without leading zeros, addresses as RFC 5952 writes them; another spelling is [`KeyError::Malformed`] and
//! the reason says the right one, so that no object exists twice.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use uuid::Uuid;

use crate::document::VlanTag;
use crate::text::quote;
use crate::{
    FlavorId, FwGroupId, GuestId, HypervisorId, Id, ImageId, JobId, Kind, NetworkId, SubnetId,
    VlanGroupId,
};

/// What all keys begin with. Ends with `/`, may begin with one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix(String);

/// A key of the contract without its prefix. Texts in it are single segments: not empty and without `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// `guests/<id>/metadata`, the user's.
    Guest(GuestId),
    /// `flavors/<id>/metadata`, the user's.
    Flavor(FlavorId),
    /// `images/<id>/metadata`, the user's.
    Image(ImageId),
    /// `networks/<id>/metadata`, the user's.
    Network(NetworkId),
    /// `subnets/<id>/metadata`, the user's.
    Subnet(SubnetId),
    /// `fwgroups/<id>/metadata`, the user's.
    FwGroup(FwGroupId),
    /// `vlans/<tag>/metadata`, the user's.
    Vlan(VlanTag),
    /// `vlangroups/<id>/metadata`, the user's.
    VlanGroup(VlanGroupId),
    /// `vlangroups/<id>/vlans/<tag>`, the user's: the tag belongs to the group. The value does not matter.
    VlanGroupMember(VlanGroupId, VlanTag),
    /// `hypervisors/<id>/metadata`, the user's; an agent creates it if absent.
    Hypervisor(HypervisorId),
    /// `hypervisors/<id>/subnets/<subnet>`, the user's: the bridge, as text.
    HypervisorSubnet(HypervisorId, SubnetId),
    /// `hypervisors/<id>/config/<key>`, the user's: text.
    HypervisorConfig(HypervisorId, String),
    /// `config/<key>`, the user's: text.
    Config(String),
    /// `hypervisors/<id>/heartbeat`, the agent's.
    Heartbeat(HypervisorId),
    /// `hypervisors/<id>/guests/<guest>`, the operator's index of placements.
    Placement(HypervisorId, GuestId),
    /// `subnets/<id>/addresses/<ip>`, the operator's reservations.
    Address(SubnetId, IpAddr),
    /// `jobs/<id>`, the operator's.
    Job(JobId),
    /// `status/guests/<id>`, the operator's.
    GuestStatus(GuestId),
    /// `status/hypervisors/<id>`, the operator's.
    HypervisorStatus(HypervisorId),
    /// `status/subnets/<id>`, the operator's.
    SubnetStatus(SubnetId),
    /// `status/fwgroups/<id>`, the operator's.
    FwGroupStatus(FwGroupId),
    /// `status/<plural>/<id>` of the kinds that have no variant of their own, the operator's.
    KindStatus(Kind, String),
    /// `status/cluster`, the operator's.
    ClusterStatus,
    /// `events/<plural>/<id>/<reason>`, the operator's.
    Event {
        /// What kind of object it happened to.
        kind: Kind,
        /// Which one: a UUID, or a VLAN's tag.
        id: String,
        /// What happened; one key a reason, counted.
        reason: String,
    },
    /// `events/cluster/cluster/<reason>`, the operator's.
    ClusterEvent(String),
    /// `operator/leader`.
    Leader,
    /// `operator/incarnation`.
    Incarnation,
    /// `operator/stale/<host>/<guest>`: a guest that was freed by a fence and must be deleted there.
    Stale(HypervisorId, GuestId),
}

/// Why a key is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not under the prefix.
    #[error("not under the prefix")]
    Foreign,
    /// Under the prefix, but not a key of the contract: ignored and counted.
    #[error("unknown key {0}")]
    Unknown(String),
    /// A key of the contract with a part that cannot be, or in a spelling that is not the one.
    #[error("malformed key {key}: {reason}")]
    Malformed {
        /// The key after the prefix, cut to 64 bytes.
        key: String,
        /// What is wrong and what would be right.
        reason: String,
    },
}

impl Prefix {
    /// A prefix; `/` is added at its end when it is missing. An empty one means the whole store.
    pub fn new(text: impl Into<String>) -> Self {
        let mut text = text.into();
        if !text.is_empty() && !text.ends_with('/') {
            text.push('/');
        }
        Self(text)
    }

    /// The prefix as text, with the `/` at its end.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The whole key.
    pub fn key(&self, key: &Key) -> String {
        // As long as the longest keys, so that the text need not grow while it is written.
        let mut text = String::with_capacity(self.0.len() + LONGEST);
        write!(text, "{}{key}", self.0).expect("writing to a String does not fail");
        // Without room at its end, it becomes shared bytes as it is.
        text.shrink_to_fit();
        text
    }

    /// What all documents of a kind lie under, such as `lochness/guests/`.
    pub fn kind(&self, kind: Kind) -> String {
        format!("{}{}/", self.0, kind.plural())
    }

    /// Takes a whole key apart.
    ///
    /// # Errors
    /// [`KeyError`]; no key of the contract gives [`KeyError::Unknown`].
    pub fn parse(&self, key: &[u8]) -> Result<Key, KeyError> {
        let rest = key.strip_prefix(self.0.as_bytes()).ok_or(KeyError::Foreign)?;
        let Ok(rest) = std::str::from_utf8(rest) else {
            let key = quote(&String::from_utf8_lossy(rest));
            return Err(KeyError::Malformed { key, reason: "not UTF-8".into() });
        };
        parse_segments(rest).map_err(|fault| match fault {
            Fault::Unknown => KeyError::Unknown(quote(rest)),
            Fault::Malformed(reason) => KeyError::Malformed { key: quote(rest), reason },
        })
    }
}

impl Default for Prefix {
    fn default() -> Self {
        Self::new("lochness/")
    }
}

/// Bytes of the longest keys that are often written, `hypervisors/<id>/guests/<id>`, below the prefix.
const LONGEST: usize = 92;

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Key {
    /// The key of a kind's document. `None` when the id is not one of that kind: a UUID, or a tag for a VLAN.
    pub fn document(kind: Kind, id: &str) -> Option<Self> {
        document_key(kind, id).ok()
    }

    /// The key of a kind's status; `None` as for [`Key::document`].
    pub fn status(kind: Kind, id: &str) -> Option<Self> {
        status_key(kind, id).ok()
    }

    /// For the key of a document: its kind and its id segment.
    pub fn as_document(&self) -> Option<(Kind, String)> {
        Some(match self {
            Self::Guest(id) => (Kind::Guest, id.to_string()),
            Self::Flavor(id) => (Kind::Flavor, id.to_string()),
            Self::Image(id) => (Kind::Image, id.to_string()),
            Self::Network(id) => (Kind::Network, id.to_string()),
            Self::Subnet(id) => (Kind::Subnet, id.to_string()),
            Self::FwGroup(id) => (Kind::FwGroup, id.to_string()),
            Self::Vlan(tag) => (Kind::Vlan, tag.to_string()),
            Self::VlanGroup(id) => (Kind::VlanGroup, id.to_string()),
            Self::Hypervisor(id) => (Kind::Hypervisor, id.to_string()),
            Self::VlanGroupMember(..)
            | Self::HypervisorSubnet(..)
            | Self::HypervisorConfig(..)
            | Self::Config(_)
            | Self::Heartbeat(_)
            | Self::Placement(..)
            | Self::Address(..)
            | Self::Job(_)
            | Self::GuestStatus(_)
            | Self::HypervisorStatus(_)
            | Self::SubnetStatus(_)
            | Self::FwGroupStatus(_)
            | Self::KindStatus(..)
            | Self::ClusterStatus
            | Self::Event { .. }
            | Self::ClusterEvent(_)
            | Self::Leader
            | Self::Incarnation
            | Self::Stale(..) => return None,
        })
    }
}

/// The key without its prefix.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Guest(id) => write!(f, "guests/{id}/metadata"),
            Self::Flavor(id) => write!(f, "flavors/{id}/metadata"),
            Self::Image(id) => write!(f, "images/{id}/metadata"),
            Self::Network(id) => write!(f, "networks/{id}/metadata"),
            Self::Subnet(id) => write!(f, "subnets/{id}/metadata"),
            Self::FwGroup(id) => write!(f, "fwgroups/{id}/metadata"),
            Self::Vlan(tag) => write!(f, "vlans/{tag}/metadata"),
            Self::VlanGroup(id) => write!(f, "vlangroups/{id}/metadata"),
            Self::VlanGroupMember(id, tag) => write!(f, "vlangroups/{id}/vlans/{tag}"),
            Self::Hypervisor(id) => write!(f, "hypervisors/{id}/metadata"),
            Self::HypervisorSubnet(id, subnet) => write!(f, "hypervisors/{id}/subnets/{subnet}"),
            Self::HypervisorConfig(id, name) => write!(f, "hypervisors/{id}/config/{name}"),
            Self::Config(name) => write!(f, "config/{name}"),
            Self::Heartbeat(id) => write!(f, "hypervisors/{id}/heartbeat"),
            Self::Placement(id, guest) => write!(f, "hypervisors/{id}/guests/{guest}"),
            Self::Address(id, ip) => write!(f, "subnets/{id}/addresses/{ip}"),
            Self::Job(id) => write!(f, "jobs/{id}"),
            Self::GuestStatus(id) => write!(f, "status/guests/{id}"),
            Self::HypervisorStatus(id) => write!(f, "status/hypervisors/{id}"),
            Self::SubnetStatus(id) => write!(f, "status/subnets/{id}"),
            Self::FwGroupStatus(id) => write!(f, "status/fwgroups/{id}"),
            Self::KindStatus(kind, id) => write!(f, "status/{}/{id}", kind.plural()),
            Self::ClusterStatus => f.write_str("status/cluster"),
            Self::Event { kind, id, reason } => write!(f, "events/{}/{id}/{reason}", kind.plural()),
            Self::ClusterEvent(reason) => write!(f, "events/cluster/cluster/{reason}"),
            Self::Leader => f.write_str("operator/leader"),
            Self::Incarnation => f.write_str("operator/incarnation"),
            Self::Stale(host, guest) => write!(f, "operator/stale/{host}/{guest}"),
        }
    }
}

enum Fault {
    Unknown,
    Malformed(String),
}

fn parse_segments(rest: &str) -> Result<Key, Fault> {
    let mut segments = [""; 4];
    let mut count = 0;
    for segment in rest.split('/') {
        *segments.get_mut(count).ok_or(Fault::Unknown)? = segment;
        count += 1;
    }
    match segments[..count] {
        ["hypervisors", host, "metadata"] => Ok(Key::Hypervisor(id(host)?)),
        ["hypervisors", host, "heartbeat"] => Ok(Key::Heartbeat(id(host)?)),
        ["hypervisors", host, "guests", guest] => Ok(Key::Placement(id(host)?, id(guest)?)),
        ["hypervisors", host, "subnets", subnet] => {
            Ok(Key::HypervisorSubnet(id(host)?, id(subnet)?))
        }
        ["hypervisors", host, "config", name] => Ok(Key::HypervisorConfig(id(host)?, text(name)?)),
        ["subnets", subnet, "addresses", ip] => Ok(Key::Address(id(subnet)?, address(ip)?)),
        ["vlangroups", group, "vlans", member] => {
            Ok(Key::VlanGroupMember(id(group)?, tag(member)?))
        }
        ["config", name] => Ok(Key::Config(text(name)?)),
        ["jobs", job] => Ok(Key::Job(id(job)?)),
        ["status", "cluster"] => Ok(Key::ClusterStatus),
        ["status", plural, object] => {
            status_key(Kind::from_plural(plural).ok_or(Fault::Unknown)?, object)
        }
        ["events", "cluster", "cluster", reason] => Ok(Key::ClusterEvent(text(reason)?)),
        ["events", plural, object, reason] => {
            let kind = Kind::from_plural(plural).ok_or(Fault::Unknown)?;
            document_key(kind, object)?;
            Ok(Key::Event { kind, id: object.to_owned(), reason: text(reason)? })
        }
        ["operator", "leader"] => Ok(Key::Leader),
        ["operator", "incarnation"] => Ok(Key::Incarnation),
        ["operator", "stale", host, guest] => Ok(Key::Stale(id(host)?, id(guest)?)),
        [plural, object, "metadata"] => {
            document_key(Kind::from_plural(plural).ok_or(Fault::Unknown)?, object)
        }
        _ => Err(Fault::Unknown),
    }
}

fn document_key(kind: Kind, object: &str) -> Result<Key, Fault> {
    Ok(match kind {
        Kind::Guest => Key::Guest(id(object)?),
        Kind::Hypervisor => Key::Hypervisor(id(object)?),
        Kind::Network => Key::Network(id(object)?),
        Kind::Subnet => Key::Subnet(id(object)?),
        Kind::Flavor => Key::Flavor(id(object)?),
        Kind::Image => Key::Image(id(object)?),
        Kind::FwGroup => Key::FwGroup(id(object)?),
        Kind::Vlan => Key::Vlan(tag(object)?),
        Kind::VlanGroup => Key::VlanGroup(id(object)?),
    })
}

fn status_key(kind: Kind, object: &str) -> Result<Key, Fault> {
    Ok(match kind {
        Kind::Guest => Key::GuestStatus(id(object)?),
        Kind::Hypervisor => Key::HypervisorStatus(id(object)?),
        Kind::Subnet => Key::SubnetStatus(id(object)?),
        Kind::FwGroup => Key::FwGroupStatus(id(object)?),
        Kind::Network | Kind::Flavor | Kind::Image | Kind::Vlan | Kind::VlanGroup => {
            document_key(kind, object)?;
            Key::KindStatus(kind, object.to_owned())
        }
    })
}

fn id<K>(text: &str) -> Result<Id<K>, Fault> {
    parse_uuid(text).map(Id::new).map_err(Fault::Malformed)
}

/// Reads an id in its one spelling, lower case with dashes.
pub(crate) fn parse_uuid(text: &str) -> Result<Uuid, String> {
    let Ok(uuid) = Uuid::parse_str(text) else {
        return Err(format!("{} is not a UUID", quote(text)));
    };
    // Of that length there is one spelling with dashes, but for the case of its letters.
    let has_dashes = text.len() == uuid::fmt::Hyphenated::LENGTH;
    if has_dashes && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Ok(uuid)
    } else {
        Err(format!("write the id as {}", uuid.hyphenated()))
    }
}

fn tag(text: &str) -> Result<VlanTag, Fault> {
    parse_tag(text).map_err(Fault::Malformed)
}

/// Reads a VLAN's tag in its one spelling, decimal without leading zeros.
pub(crate) fn parse_tag(text: &str) -> Result<VlanTag, String> {
    let tag = text.parse().ok().and_then(VlanTag::new);
    let tag = tag.ok_or_else(|| format!("{} is not a VLAN tag from 1 to 4094", quote(text)))?;
    if tag.to_string() == text { Ok(tag) } else { Err(format!("write the tag as {tag}")) }
}

fn address(text: &str) -> Result<IpAddr, Fault> {
    let Ok(ip) = text.parse::<IpAddr>() else {
        return Err(Fault::Malformed(format!("{} is not an IP address", quote(text))));
    };
    let canonical = ip.to_canonical().to_string();
    if canonical == text {
        Ok(ip)
    } else {
        Err(Fault::Malformed(format!("write the address as {canonical}")))
    }
}

fn text(segment: &str) -> Result<String, Fault> {
    if segment.is_empty() {
        return Err(Fault::Malformed("its last part is empty".into()));
    }
    Ok(segment.to_owned())
}
