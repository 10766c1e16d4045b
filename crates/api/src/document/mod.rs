//! What users write. One file a kind; each parses as the original wrote it and validates what can be judged alone.

mod config;
mod field;
mod flavor;
mod fwgroup;
mod guest;
mod heartbeat;
mod hypervisor;
mod image;
mod metadata;
mod network;
mod parse;
mod subnet;
mod vlan;

use std::fmt;

pub use config::{Applied, ClusterConfig, FirewallBy, HypervisorConfig, Overcommit};
pub use flavor::Flavor;
pub use fwgroup::{Action, FwGroup, PortRange, Protocol, Rule};
pub use guest::{DesiredState, Guest, RestartPolicy};
pub use heartbeat::Heartbeat;
pub use hypervisor::{Hypervisor, Resources};
pub use image::{Image, ImageFormat};
pub use metadata::Metadata;
pub use network::{Network, SubnetChoice};
pub use subnet::Subnet;
pub use vlan::{Vlan, VlanGroup, VlanTag};

/// A kind of resource that users declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A virtual machine.
    Guest,
    /// A host that runs guests.
    Hypervisor,
    /// A set of subnets that guests can ask for.
    Network,
    /// A range of addresses.
    Subnet,
    /// A size of guests and their image.
    Flavor,
    /// A disk image and where it comes from.
    Image,
    /// A firewall group.
    FwGroup,
    /// A VLAN tag.
    Vlan,
    /// A set of VLAN tags.
    VlanGroup,
}

impl Kind {
    /// All kinds, those that others refer to first: an order in which documents can be put.
    pub const ALL: [Self; 9] = [
        Self::Network,
        Self::Subnet,
        Self::Image,
        Self::Flavor,
        Self::FwGroup,
        Self::Vlan,
        Self::VlanGroup,
        Self::Hypervisor,
        Self::Guest,
    ];

    /// The word in manifests, such as `FwGroup`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Guest => "Guest",
            Self::Hypervisor => "Hypervisor",
            Self::Network => "Network",
            Self::Subnet => "Subnet",
            Self::Flavor => "Flavor",
            Self::Image => "Image",
            Self::FwGroup => "FwGroup",
            Self::Vlan => "Vlan",
            Self::VlanGroup => "VlanGroup",
        }
    }

    /// The word in keys, such as `fwgroups`.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Guest => "guests",
            Self::Hypervisor => "hypervisors",
            Self::Network => "networks",
            Self::Subnet => "subnets",
            Self::Flavor => "flavors",
            Self::Image => "images",
            Self::FwGroup => "fwgroups",
            Self::Vlan => "vlans",
            Self::VlanGroup => "vlangroups",
        }
    }

    /// The kind of a word in keys.
    pub fn from_plural(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.plural() == word)
    }

    /// The kind of a word in manifests, exactly as [`Kind::name`] writes it.
    pub fn from_name(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == word)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Parses a document of any kind, for those who only want to know whether it is valid and what it looks like in its one
/// spelling.
///
/// # Errors
/// As [`Document::parse`].
pub fn normalize(kind: Kind, id: &str, value: &[u8]) -> Result<serde_json::Value, Invalid> {
    normalize_with_doubts(kind, id, value).map(|(document, _)| document)
}

/// As [`normalize`], for those who take nothing that is not understood.
///
/// # Errors
/// As [`Document::parse`], and what [`Document::doubts`] says.
pub fn normalize_strictly(
    kind: Kind,
    id: &str,
    value: &[u8],
) -> Result<serde_json::Value, Invalid> {
    let (document, doubts) = normalize_with_doubts(kind, id, value)?;
    if doubts.is_empty() { Ok(document) } else { Err(Invalid(doubts)) }
}

/// A document in its one spelling, and what was not understood in it.
type Normalized = (serde_json::Value, Vec<FieldError>);

fn normalize_with_doubts(kind: Kind, id: &str, value: &[u8]) -> Result<Normalized, Invalid> {
    fn of<D: Document>(id: &str, value: &[u8]) -> Result<Normalized, Invalid> {
        D::parse(id, value).map(|document| (document.to_json(), document.doubts()))
    }
    match kind {
        Kind::Guest => of::<Guest>(id, value),
        Kind::Hypervisor => of::<Hypervisor>(id, value),
        Kind::Network => of::<Network>(id, value),
        Kind::Subnet => of::<Subnet>(id, value),
        Kind::Flavor => of::<Flavor>(id, value),
        Kind::Image => of::<Image>(id, value),
        Kind::FwGroup => of::<FwGroup>(id, value),
        Kind::Vlan => of::<Vlan>(id, value),
        Kind::VlanGroup => of::<VlanGroup>(id, value),
    }
}

/// A document that users write under a key of its own.
pub trait Document: Sized {
    /// Which kind.
    const KIND: Kind;

    /// Parses and validates the value of the key whose id segment is `id` (a UUID, or a tag for a VLAN).
    ///
    /// # Errors
    /// [`Invalid`], with every fault that was found, never only the first.
    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid>;

    /// The document as JSON, unknown fields included, what is not given left out.
    fn to_json(&self) -> serde_json::Value;

    /// The document's `metadata`; `None` for kinds that have none.
    fn metadata(&self) -> Option<&Metadata>;

    /// What cannot be understood and yet does not make the document unusable: its default is in force. Manifests refuse
    /// it.
    fn doubts(&self) -> Vec<FieldError> {
        Vec::new()
    }
}

/// A document that cannot be used, with everything that is wrong in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<FieldError>);

/// One fault of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Path of the field, such as `rules[2].portStart`; empty when the whole document is meant.
    pub field: String,
    /// What is wrong and what would be right, for people; quotes at most 64 bytes of the input.
    pub reason: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            if error.field.is_empty() {
                write!(f, "{}", error.reason)?;
            } else {
                write!(f, "{}: {}", error.field, error.reason)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
