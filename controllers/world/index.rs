//! The indexes of the world, kept by the only functions that change an entry: take its share out, change it, put its
//! share back in. So an index cannot drift from what it indexes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use lochness_api::document::Document;
use lochness_api::keys::Key;
use lochness_api::{FwGroupId, GuestId, HypervisorId, Kind, SubnetId};
use lochness_kv::KeyValue;

use super::apply::{before_name, name_of};
use super::stored::Declared;
use super::{Change, GuestEntry, HostEntry, Reservation, SubnetEntry, World};

impl World {
    /// Changes a guest's entry and everything that is derived from it.
    pub(super) fn change_guest(&mut self, id: GuestId, change: impl FnOnce(&mut GuestEntry)) {
        let mut entry = self.guests.remove(&id).unwrap_or_default();
        self.unindex_guest(id, &entry);
        let member_before = membership(&entry);
        change(&mut entry);
        self.group_members.moved(member_before, membership(&entry));
        if !entry.is_empty() {
            self.index_guest(id, &entry);
            self.guests.insert(id, entry);
        }
    }

    fn unindex_guest(&mut self, id: GuestId, entry: &GuestEntry) {
        self.pending.remove(&id);
        self.awaiting_teardown.remove(&id);
        self.unconfirmed_teardowns.remove(&id);
        let Some(placement) = entry.placement() else { return };
        self.placed -= 1;
        let (subnet, ip) = (placement.subnet, placement.ip);
        self.change_host(placement.hypervisor, |host| {
            host.placed.remove(&id);
            host.used = host.used.saturating_sub(placement.resources);
        });
        self.change_subnet(subnet, |entry| entry.addresses.clear_placed(ip, id));
        if let Some(group) = placement.fwgroup {
            self.leave_fwgroup(group, id);
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

    fn index_guest(&mut self, id: GuestId, entry: &GuestEntry) {
        if entry.wants_placement() {
            self.pending.insert(id);
        }
        if entry.awaits_teardown() {
            self.awaiting_teardown.insert(id);
            if !self.is_confirmed(entry.gone_at) {
                self.unconfirmed_teardowns.insert(id);
            }
        }
        let Some(placement) = entry.placement() else { return };
        self.placed += 1;
        let (subnet, ip) = (placement.subnet, placement.ip);
        self.change_host(placement.hypervisor, |host| {
            host.placed.insert(id);
            host.used = host.used.saturating_add(placement.resources);
        });
        self.change_subnet(subnet, |entry| entry.addresses.set_placed(ip, id));
        if let Some(group) = placement.fwgroup {
            self.fwgroup_members.entry(group).or_default().insert(id);
        }
        if let Some(set) = set_of(entry) {
            self.sets.entry(set.into()).or_default().insert(id, placement.hypervisor);
        }
    }

    fn leave_fwgroup(&mut self, group: FwGroupId, guest: GuestId) {
        if let Some(members) = self.fwgroup_members.get_mut(&group) {
            members.remove(&guest);
            if members.is_empty() {
                self.fwgroup_members.remove(&group);
            }
        }
    }

    /// Changes a host's entry; one of which nothing is left is dropped.
    pub(super) fn change_host(&mut self, id: HypervisorId, change: impl FnOnce(&mut HostEntry)) {
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
    }

    /// Changes a subnet's entry; one of which nothing is left is dropped.
    pub(super) fn change_subnet(&mut self, id: SubnetId, change: impl FnOnce(&mut SubnetEntry)) {
        let entry = self.subnets.entry(id).or_default();
        change(entry);
        if entry.document.is_none() && entry.status.is_none() && entry.addresses.taken() == 0 {
            self.subnets.remove(&id);
        }
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
            self.change_guest(guest, |entry| {
                entry.addresses.remove(&(subnet, ip));
            });
        }
        if let Some(guest) = after {
            self.change_guest(guest, |entry| {
                entry.addresses.insert((subnet, ip));
            });
        }
    }

    /// Moves an object from one name to another.
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
        if kind == Kind::Guest {
            let names = before.iter().chain(&after).map(|(name, _)| name.clone());
            self.renamed.extend(names);
        }
        if let Some((name, created)) = before {
            self.names.remove(kind, &name, created, id.to_owned());
        }
        if let Some((name, created)) = after {
            self.names.insert(kind, &name, created, id.to_owned());
        }
    }

    /// Sets or unsets a key of the cluster's configuration; what does not parse leaves the former value.
    pub(super) fn configure(&mut self, name: &str, value: Option<&Bytes>) {
        let confirmed = self.config.confirm_deletion;
        match self.config.apply(name, value.map(|bytes| &bytes[..])) {
            Ok(_) => {
                self.config_errors.remove(name);
            }
            Err(error) => {
                self.config_errors.insert(name.to_owned(), error);
            }
        }
        if self.config.confirm_deletion != confirmed {
            let gone_at = |id: &GuestId| self.guests.get(id).map_or(0, |entry| entry.gone_at);
            let waiting = self.awaiting_teardown.iter().copied();
            self.unconfirmed_teardowns =
                waiting.filter(|id| !self.is_confirmed(gone_at(id))).collect();
        }
    }

    /// Sets or unsets a key of a host's configuration; what does not parse leaves the former value.
    pub(super) fn configure_host(&mut self, host: HypervisorId, name: &str, value: Option<&Bytes>) {
        self.change_host(host, |entry| {
            match entry.config.apply(name, value.map(|bytes| &bytes[..])) {
                Ok(_) => {
                    entry.config_errors.remove(name);
                }
                Err(error) => {
                    entry.config_errors.insert(name.to_owned(), error);
                }
            }
        });
    }

    /// Takes in a document of a kind whose entry is nothing but the document (and, for subnets, their addresses).
    pub(super) fn put_object(&mut self, key: &Key, kv: &KeyValue) -> Change {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has matched the other keys")]
        match *key {
            Key::Flavor(id) => {
                let names = declare(&mut self.flavors, id, &id.to_string(), kv);
                self.declared(Kind::Flavor, id.to_string(), names)
            }
            Key::Image(id) => {
                let names = declare(&mut self.images, id, &id.to_string(), kv);
                self.declared(Kind::Image, id.to_string(), names)
            }
            Key::Network(id) => {
                let names = declare(&mut self.networks, id, &id.to_string(), kv);
                self.declared(Kind::Network, id.to_string(), names)
            }
            Key::FwGroup(id) => {
                let names = declare(&mut self.fwgroups, id, &id.to_string(), kv);
                self.declared(Kind::FwGroup, id.to_string(), names)
            }
            Key::VlanGroup(id) => {
                let names = declare(&mut self.vlangroups, id, &id.to_string(), kv);
                self.declared(Kind::VlanGroup, id.to_string(), names)
            }
            Key::Vlan(tag) => {
                let names = declare(&mut self.vlans, tag, &tag.to_string(), kv);
                self.declared(Kind::Vlan, tag.to_string(), names)
            }
            Key::VlanGroupMember(group, tag) => {
                self.vlangroup_members.entry(group).or_default().insert(tag);
                Change::Object(Kind::VlanGroup, group.to_string())
            }
            Key::Subnet(id) => {
                let text = id.to_string();
                let before = self.subnets.get(&id).and_then(|entry| entry.document.as_ref());
                let declared = Declared::decode(before, &text, kv);
                let names = (before_name(before), name_of(&declared));
                self.set_subnet_document(id, Some(declared));
                self.declared(Kind::Subnet, text, names)
            }
            _ => unreachable!("put_object is called for the kinds above only"),
        }
    }

    /// Takes such a document out.
    pub(super) fn delete_object(&mut self, key: &Key) -> Change {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has matched the other keys")]
        match *key {
            Key::Flavor(id) => {
                let names = (before_name(self.flavors.remove(&id).as_ref()), None);
                self.declared(Kind::Flavor, id.to_string(), names)
            }
            Key::Image(id) => {
                let names = (before_name(self.images.remove(&id).as_ref()), None);
                self.declared(Kind::Image, id.to_string(), names)
            }
            Key::Network(id) => {
                let names = (before_name(self.networks.remove(&id).as_ref()), None);
                self.declared(Kind::Network, id.to_string(), names)
            }
            Key::FwGroup(id) => {
                let names = (before_name(self.fwgroups.remove(&id).as_ref()), None);
                self.declared(Kind::FwGroup, id.to_string(), names)
            }
            Key::VlanGroup(id) => {
                let names = (before_name(self.vlangroups.remove(&id).as_ref()), None);
                self.declared(Kind::VlanGroup, id.to_string(), names)
            }
            Key::Vlan(tag) => {
                let names = (before_name(self.vlans.remove(&tag).as_ref()), None);
                self.declared(Kind::Vlan, tag.to_string(), names)
            }
            Key::VlanGroupMember(group, tag) => {
                if let Some(tags) = self.vlangroup_members.get_mut(&group) {
                    tags.remove(&tag);
                    if tags.is_empty() {
                        self.vlangroup_members.remove(&group);
                    }
                }
                Change::Object(Kind::VlanGroup, group.to_string())
            }
            Key::Subnet(id) => {
                let before = self.subnets.get(&id).and_then(|entry| entry.document.as_ref());
                let names = (before_name(before), None);
                self.set_subnet_document(id, None);
                self.declared(Kind::Subnet, id.to_string(), names)
            }
            _ => unreachable!("delete_object is called for the kinds above only"),
        }
    }

    fn set_subnet_document(
        &mut self,
        id: SubnetId,
        document: Option<Declared<lochness_api::document::Subnet>>,
    ) {
        let network = |entry: Option<&SubnetEntry>| Some(entry?.declared()?.network);
        if let Some(network) = network(self.subnets.get(&id))
            && let Some(subnets) = self.network_subnets.get_mut(&network)
        {
            subnets.remove(&id);
            if subnets.is_empty() {
                self.network_subnets.remove(&network);
            }
        }
        self.change_subnet(id, |entry| entry.document = document);
        if let Some(network) = network(self.subnets.get(&id)) {
            self.network_subnets.entry(network).or_default().insert(id);
        }
    }

    fn declared(&mut self, kind: Kind, id: String, (before, after): NameChange) -> Change {
        self.rename(kind, &id, before, after);
        Change::Object(kind, id)
    }
}

/// The firewall group that a guest is a member of, and its address there.
fn membership(entry: &GuestEntry) -> Option<(FwGroupId, IpAddr)> {
    let placement = entry.placement()?;
    Some((placement.fwgroup?, placement.ip))
}

/// The anti-affinity set that a guest's document names.
fn set_of(entry: &GuestEntry) -> Option<&str> {
    entry.understood()?.metadata.set()
}

/// The name that an object had, and the one that it has now.
type NameChange = (Option<(String, i64)>, Option<(String, i64)>);

fn declare<I: Ord, T: Document>(
    table: &mut BTreeMap<I, Declared<T>>,
    id: I,
    text: &str,
    kv: &KeyValue,
) -> NameChange {
    let before = table.get(&id);
    let declared = Declared::decode(before, text, kv);
    let names = (before_name(before), name_of(&declared));
    table.insert(id, declared);
    names
}
