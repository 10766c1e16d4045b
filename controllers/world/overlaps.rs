//! Which subnets have addresses in common: kept as documents come and go, so that nobody compares all with all.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use lochness_api::{NetworkId, SubnetId};

use super::{SubnetEntry, World};

/// Where the addresses of a subnet lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) network: NetworkId,
    pub(super) cidr: IpNetwork,
}

/// Extents of subnets, by network, and the pairs of one network that have addresses in common.
#[derive(Debug, Default)]
pub(super) struct Overlaps {
    extents: BTreeMap<SubnetId, Extent>,
    networks: BTreeMap<NetworkId, BTreeSet<SubnetId>>,
    /// Both ways.
    pairs: BTreeMap<SubnetId, BTreeSet<SubnetId>>,
}

impl Overlaps {
    /// Sets a subnet's extent, or forgets the subnet.
    pub(super) fn set(&mut self, id: SubnetId, extent: Option<Extent>) {
        if self.extents.get(&id) == extent.as_ref() {
            return;
        }
        self.forget(id);
        let Some(extent) = extent else { return };
        let members = self.networks.entry(extent.network).or_default();
        let others = members.iter().copied();
        let met: BTreeSet<_> = others
            .filter(|other| self.extents.get(other).is_some_and(|it| meet(it.cidr, extent.cidr)))
            .collect();
        members.insert(id);
        self.extents.insert(id, extent);
        for other in &met {
            self.pairs.entry(*other).or_default().insert(id);
        }
        if !met.is_empty() {
            self.pairs.insert(id, met);
        }
    }

    fn forget(&mut self, id: SubnetId) {
        let Some(former) = self.extents.remove(&id) else { return };
        remove(&mut self.networks, &former.network, id);
        for other in self.pairs.remove(&id).unwrap_or_default() {
            remove(&mut self.pairs, &other, id);
        }
    }
}

impl World {
    /// Every subnet of a network, also those whose documents went while addresses are held.
    pub(super) fn extents_of(&self, network: NetworkId) -> impl Iterator<Item = SubnetId> + '_ {
        self.overlaps.networks.get(&network).into_iter().flatten().copied()
    }

    /// The other subnets of the network that have addresses of this one: what is reserved there is not given here.
    pub fn neighbours(&self, id: SubnetId) -> impl Iterator<Item = (SubnetId, &SubnetEntry)> + '_ {
        let others = self.overlaps.pairs.get(&id).into_iter().flatten();
        others.filter_map(|other| Some((*other, self.subnets.get(other)?)))
    }

    /// The subnets that this one may not be used beside, as [`lochness_api::document::Subnet::overlaps`] says.
    pub fn overlapping(&self, id: SubnetId) -> impl Iterator<Item = SubnetId> + '_ {
        let own = self.subnet(id).and_then(SubnetEntry::declared);
        self.neighbours(id)
            .filter(move |(_, other)| {
                own.zip(other.declared()).is_some_and(|(own, other)| own.overlaps(other))
            })
            .map(|(other, _)| other)
    }

    /// Of these, the eldest that is older than this one: while there is one, this one takes no new guests.
    pub fn overlapped_by(&self, id: SubnetId) -> Option<SubnetId> {
        let age = |id: SubnetId| {
            let document = self.subnet(id).and_then(|entry| entry.document.as_ref());
            (document.map_or(i64::MAX, |document| document.create_revision), id)
        };
        let eldest = self.overlapping(id).map(age).min()?;
        (eldest < age(id)).then_some(eldest.1)
    }
}

/// Whether two ranges have addresses in common: then one holds the other.
fn meet(one: IpNetwork, other: IpNetwork) -> bool {
    one.contains(other.network()) || other.contains(one.network())
}

fn remove<K: Ord>(sets: &mut BTreeMap<K, BTreeSet<SubnetId>>, key: &K, id: SubnetId) {
    if let Some(set) = sets.get_mut(key) {
        set.remove(&id);
        if set.is_empty() {
            sets.remove(key);
        }
    }
}
