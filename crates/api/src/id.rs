//! Ids: lower-case UUIDs, one type a kind, so that a subnet's id never stands where a guest's is meant.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::document::{Flavor, FwGroup, Guest, Hypervisor, Image, Network, Subnet, VlanGroup};
use crate::job::Job;

/// The id of a `K`. Written in lower case with dashes; read in any spelling that UUIDs have.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

/// A guest's id.
pub type GuestId = Id<Guest>;
/// A hypervisor's id.
pub type HypervisorId = Id<Hypervisor>;
/// A network's id.
pub type NetworkId = Id<Network>;
/// A subnet's id.
pub type SubnetId = Id<Subnet>;
/// A flavor's id.
pub type FlavorId = Id<Flavor>;
/// An image's id.
pub type ImageId = Id<Image>;
/// A firewall group's id.
pub type FwGroupId = Id<FwGroup>;
/// A VLAN group's id.
pub type VlanGroupId = Id<VlanGroup>;
/// A job's id.
pub type JobId = Id<Job>;

impl<K> Id<K> {
    /// Wraps a UUID.
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// The bare UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Id<K> {}

impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<K> Eq for Id<K> {}

impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl<K> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<K> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<K> FromStr for Id<K> {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::parse_str(text).map(Self::new)
    }
}

impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::new)
    }
}
