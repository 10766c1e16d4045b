//! The indexes of the world, kept by the only functions that change an entry: take its share out, change it, put its
//! share back in. So an index cannot drift from what it indexes.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::IpAddr;

use lochness_api::document::{Hypervisor, Subnet};
use lochness_api::status::{GuestStatus, Phase};
use lochness_api::{FwGroupId, GuestId, HypervisorId, ImageId, Kind, SubnetId};

use super::addresses::Fit;
use super::numbered::Place;
use super::overlaps::Extent;
use super::packed::Keys;
use super::sorted::SortedMap;
use super::stored::{Declared, Stored};
use super::{GuestEntry, HostEntry, Reservation, SubnetEntry, World};

impl World {
    /// Changes a guest's entry and everything that is derived from it.
    pub(super) fn change_guest(&mut self, id: GuestId, change: impl FnOnce(&mut GuestEntry)) {
        let (place, mut entry) = self.guests.take(id);
        self.unindex_guest(id, place, &entry);
        let member_before = membership(&entry);
        change(&mut entry);
        self.group_members.moved(member_before, membership(&entry));
        if entry.is_empty() {
            self.guests.give_up(id);
        } else {
            self.index_guest(id, place, &entry);
            self.guests.put(id, entry);
        }
    }

    /// Changes the status of a guest that has one afterwards, and what is derived from it: most of what is written is that.
    pub(super) fn change_guest_status(
        &mut self,
        id: GuestId,
        change: impl FnOnce(&mut Option<Stored<GuestStatus>>),
    ) {
        let mut lifted = self.guests.lift(id);
        let (place, entry) = (lifted.place, &mut lifted.entry);
        let former = entry.status.clone();
        change(&mut entry.status);
        if !derives_the_same(former.as_ref(), entry) {
            let status = std::mem::replace(&mut entry.status, former);
            self.unindex_guest(id, place, entry);
            let member_before = membership(entry);
            entry.status = status;
            self.group_members.moved(member_before, membership(entry));
            self.index_guest(id, place, entry);
        }
        self.guests.put_status(id, lifted);
    }

    /// Derives from all guests of a list what is derived from a guest, once.
    pub(super) fn index_guests(&mut self) {
        for id in self.guests.sorted() {
            let (Some(place), Some(entry)) = (self.guests.place(id), self.guests.look(id)) else {
                continue;
            };
            self.index_guest(id, place, &entry);
            self.group_members.moved(None, membership(&entry));
        }
    }

    /// Changes the keys that name a guest, from which nothing is derived.
    pub(super) fn change_guest_keys(&mut self, id: GuestId, change: impl FnOnce(&mut Keys)) {
        self.guests.change_keys(id, change);
    }

    fn unindex_guest(&mut self, id: GuestId, place: Place, entry: &GuestEntry) {
        self.pending.remove(&id);
        self.awaiting_teardown.remove(&id);
        self.unconfirmed_teardowns.remove(&id);
        self.macs.remove(id, place, entry);
        let Some(placement) = entry.placement() else { return };
        self.placed -= 1;
        self.held.remove(placement);
        let (subnet, ip) = (placement.subnet, placement.ip);
        let image = needed_image(entry);
        self.change_load(placement.hypervisor, |host| {
            host.placed.remove(&id);
            if let Some(image) = image {
                count_less(&mut host.images, image);
            }
            host.used = host.used.saturating_sub(placement.resources);
        });
        self.change_subnet(subnet, |entry| entry.addresses.clear_placed(ip, id));
        if let Some(group) = placement.fwgroup {
            self.leave_fwgroup(group, id, placement.hypervisor);
        }
        if let Some(set) = set_of(entry)
            && let Some(members) = self.sets.get_mut(set)
        {
            members.remove(&id);
            if members.is_empty() {
                self.sets.remove(set);
            }
        }
    }

    fn index_guest(&mut self, id: GuestId, place: Place, entry: &GuestEntry) {
        if entry.wants_placement() {
            self.pending.insert(id);
        }
        if entry.awaits_teardown() {
            self.awaiting_teardown.insert(id);
            if !self.is_confirmed(entry.gone_at) {
                self.unconfirmed_teardowns.insert(id);
            }
        }
        self.macs.insert(id, place, entry);
        let Some(placement) = entry.placement() else { return };
        self.placed += 1;
        self.held.insert(placement);
        let (subnet, ip) = (placement.subnet, placement.ip);
        let declared = self.subnets.get(&subnet).and_then(SubnetEntry::declared);
        let fit = declared.map_or(Fit::AsDeclared, |subnet| fit(entry, subnet));
        let image = needed_image(entry);
        self.change_load(placement.hypervisor, |host| {
            host.placed.insert(id);
            if let Some(image) = image {
                *host.images.entry(image).or_default() += 1;
            }
            host.used = host.used.saturating_add(placement.resources);
        });
        self.change_subnet(subnet, |entry| entry.addresses.set_placed(ip, id, fit));
        if let Some(group) = placement.fwgroup {
            self.fwgroup_members.entry(group).or_default().insert(id);
            let hosts = self.fwgroup_hosts.entry(group).or_default();
            *hosts.entry(placement.hypervisor).or_default() += 1;
        }
        if let Some(set) = set_of(entry) {
            self.sets.entry(set.into()).or_default().insert(id, placement.hypervisor);
        }
    }

    fn leave_fwgroup(&mut self, group: FwGroupId, guest: GuestId, host: HypervisorId) {
        if let Some(hosts) = self.fwgroup_hosts.get_mut(&group) {
            count_less(hosts, host);
            if hosts.is_empty() {
                self.fwgroup_hosts.remove(&group);
            }
        }
        if let Some(members) = self.fwgroup_members.get_mut(&group) {
            members.remove(&guest);
            if members.is_empty() {
                self.fwgroup_members.remove(&group);
            }
        }
    }

    /// Changes a host's entry and what is derived from it; one of which nothing is left is dropped.
    pub(super) fn change_host(&mut self, id: HypervisorId, change: impl FnOnce(&mut HostEntry)) {
        self.change_load(id, change);
        if let Some(position) = self.host_positions.get(&id) {
            self.hosts[*position].stand(&self.config);
        }
        self.judge_host(id);
    }

    /// Changes which guests a host has, by status or by index, from which no more is derived; one of which nothing is left
    /// is dropped.
    fn change_load(&mut self, id: HypervisorId, change: impl FnOnce(&mut HostEntry)) {
        let known = self.hosts.len();
        let position = *self.host_positions.entry(id).or_insert_with(|| {
            self.hosts.push(HostEntry::new(id));
            self.hosts.len() - 1
        });
        change(&mut self.hosts[position]);
        if self.hosts[position].is_empty() {
            self.hosts.swap_remove(position);
            self.host_positions.remove(&id);
            if let Some(moved) = self.hosts.get(position) {
                self.host_positions.insert(moved.id, position);
            }
        }
        if self.hosts.len() != known {
            self.judge_host(id);
        }
    }

    /// Changes the index of placements of a host.
    pub(super) fn change_host_index(
        &mut self,
        id: HypervisorId,
        change: impl FnOnce(&mut SortedMap<GuestId, i64>),
    ) {
        self.change_load(id, |host| change(&mut host.index));
    }

    /// The cluster's configuration has changed: that concerns all hosts.
    pub(super) fn stand_hosts(&mut self) {
        for host in &mut self.hosts {
            host.stand(&self.config);
        }
    }

    /// Sets or unsets a host's document.
    pub(super) fn set_host_document(
        &mut self,
        id: HypervisorId,
        document: Option<Declared<Hypervisor>>,
    ) {
        let address = |world: &Self| world.host(id)?.declared()?.ip.map(|ip| (ip, id));
        let before = address(self);
        self.change_host(id, |entry| entry.document = document);
        let after = address(self);
        if before != after {
            before.map(|before| self.host_addresses.remove(&before));
            self.host_addresses.extend(after);
        }
    }

    /// The hosts whose documents give them this address, by id.
    pub fn hosts_at(&self, ip: IpAddr) -> impl Iterator<Item = &HostEntry> + '_ {
        let nil = HypervisorId::new(uuid::Uuid::nil());
        let from_first = self.host_addresses.range((ip, nil)..);
        from_first.take_while(move |(at, _)| *at == ip).filter_map(|(_, id)| self.host(*id))
    }

    /// Sets or unsets the bridge through which a host reaches a subnet.
    pub(super) fn set_bridge(
        &mut self,
        host: HypervisorId,
        subnet: SubnetId,
        bridge: Option<String>,
    ) {
        let reaches = bridge.is_some();
        self.change_host(host, |entry| match bridge {
            Some(bridge) => entry.bridges.insert(subnet, bridge),
            None => entry.bridges.remove(&subnet),
        });
        let hosts = self.reaching.entry(subnet).or_default();
        match (hosts.binary_search(&host), reaches) {
            (Err(position), true) => hosts.insert(position, host),
            (Ok(position), false) => {
                hosts.remove(position);
            }
            (Ok(_), true) | (Err(_), false) => {}
        }
        if hosts.is_empty() {
            self.reaching.remove(&subnet);
        }
    }

    /// Changes a subnet's entry; one of which nothing is left is dropped.
    pub(super) fn change_subnet(&mut self, id: SubnetId, change: impl FnOnce(&mut SubnetEntry)) {
        let entry = self.subnets.entry(id).or_default();
        change(entry);
        if entry.document.is_none() && entry.status.is_none() && entry.addresses.taken() == 0 {
            self.subnets.remove(&id);
            self.overlaps.set(id, None);
        }
    }

    /// Sets or unsets a subnet's document. One that goes leaves its extent, for as long as addresses are held.
    pub(super) fn set_subnet_document(&mut self, id: SubnetId, document: Option<Declared<Subnet>>) {
        let understood = document.as_ref().and_then(|declared| declared.understood.clone());
        let guests = &self.guests;
        let judge = |guest: GuestId, subnet: &Subnet| {
            guests.look(guest).map_or(Fit::AsDeclared, |entry| fit(&entry, subnet))
        };
        let entry = self.subnets.entry(id).or_default();
        entry.addresses.set_subnet(understood.clone(), judge);
        if let Some(subnet) = understood {
            let extent = Extent { network: subnet.network, cidr: subnet.cidr };
            self.overlaps.set(id, Some(extent));
        }
        self.change_subnet(id, |entry| entry.document = document);
    }

    /// Changes a reservation and the entries of the guests that it names or named.
    pub(super) fn set_reservation(
        &mut self,
        subnet: SubnetId,
        ip: IpAddr,
        reservation: Option<Reservation>,
    ) {
        let named = |reservation: Option<Reservation>| {
            reservation.filter(|reservation| !reservation.quarantined)?.holder
        };
        let before = named(self.address(subnet, ip).reservation);
        let after = named(reservation);
        self.change_subnet(subnet, |entry| entry.addresses.set_reservation(ip, reservation));
        if before == after {
            return;
        }
        if let Some(guest) = before {
            self.change_guest_keys(guest, |entry| {
                entry.addresses.remove(&(subnet, ip));
            });
        }
        if let Some(guest) = after {
            self.change_guest_keys(guest, |entry| {
                entry.addresses.insert((subnet, ip));
            });
        }
    }

    /// A guest has the name no more. Its document is still in its record.
    pub(super) fn unname_guest(&mut self, id: GuestId, name: Option<(String, i64)>) {
        if let (Some((name, _)), Some(place)) = (name, self.guests.place(id)) {
            self.names.remove_guest(&name, place, &self.guests);
            self.renamed.insert(name);
        }
    }

    /// A guest has the name. Its document is in its record.
    pub(super) fn name_guest(&mut self, id: GuestId, name: Option<(String, i64)>) {
        if let (Some((name, _)), Some(place)) = (name, self.guests.place(id)) {
            self.names.insert_guest(&name, place, &self.guests);
            self.renamed.insert(name);
        }
    }

    /// Moves an object that is no guest from one name to another.
    pub(super) fn rename(
        &mut self,
        kind: Kind,
        id: &str,
        before: Option<(String, i64)>,
        after: Option<(String, i64)>,
    ) {
        if before == after {
            return;
        }
        if let Some((name, created)) = before {
            self.names.remove(kind, &name, created, id.to_owned());
        }
        if let Some((name, created)) = after {
            self.names.insert(kind, &name, created, id.to_owned());
        }
    }
}

/// Whether a guest has what the subnet's document says: its range, gateway and network. An address that its own document asks for may lie outside of
/// `start` and `end`.
fn fit(entry: &GuestEntry, subnet: &Subnet) -> Fit {
    let Some(placement) = entry.placement() else { return Fit::AsDeclared };
    let ip = placement.ip;
    let is_wished = entry.understood().is_some_and(|document| document.ip == Some(ip));
    let is_given = subnet.contains(ip) || (is_wished && subnet.is_assignable(ip));
    let is_here = placement.network.is_none_or(|network| network == subnet.network);
    if is_given && is_here && placement.cidr == subnet.cidr && placement.gateway == subnet.gateway {
        Fit::AsDeclared
    } else {
        Fit::Outdated
    }
}

/// Whether nothing that is derived from a guest changes with its status: it runs where it did, and nobody waits to tear it
/// down.
fn derives_the_same(former: Option<&Stored<GuestStatus>>, entry: &GuestEntry) -> bool {
    let former = former.and_then(|stored| stored.value.as_deref());
    let (Some(former), Some(latter)) = (former, entry.status()) else { return false };
    let is_leaving = |status: &GuestStatus| status.phase == Phase::Deleting;
    entry.document.is_some()
        && former.placement.is_some()
        && former.placement == latter.placement
        && is_leaving(former) == is_leaving(latter)
}

/// The image that a guest needs on its host, until it is torn down.
fn needed_image(entry: &GuestEntry) -> Option<ImageId> {
    let status = entry.status().filter(|status| status.phase != Phase::Deleting)?;
    status.placement.as_ref()?.image
}

/// Counts one less of it, and forgets what is counted no more.
fn count_less<K: Ord>(counts: &mut BTreeMap<K, usize>, of: K) {
    if let Entry::Occupied(mut entry) = counts.entry(of) {
        *entry.get_mut() -= 1;
        if *entry.get() == 0 {
            entry.remove();
        }
    }
}

/// The anti-affinity set that a guest's document names.
fn set_of(entry: &GuestEntry) -> Option<&str> {
    entry.understood()?.metadata.set()
}

/// The firewall group that a guest is a member of, and its address there.
fn membership(entry: &GuestEntry) -> Option<(FwGroupId, IpAddr)> {
    let placement = entry.placement()?;
    Some((placement.fwgroup?, placement.ip))
}
