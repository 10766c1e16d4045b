//! How keys become the world: one `match` over the contract's keys, for puts and for deletions.

use std::sync::OnceLock;

use bytes::Bytes;
use lochness_api::document::{Document, Guest, Heartbeat};
use lochness_api::keys::{Key, KeyError};
use lochness_api::status::{GuestStatus, Phase, Placement};
use lochness_api::{GuestId, Kind};
use lochness_kv::{Event, KeyValue};
use lochness_mutant::Mutant;
use tracing::debug;

use super::stored::{Declared, Stored};
use super::{Change, HeartbeatEntry, Reservation, World};

/// What the value of a quarantined address begins with, before the id of the guest that had it.
pub(crate) const QUARANTINE: &str = "quarantine:";
/// The name under `config/` by which a person accepts a store.
const ACCEPT_STORE: &str = "accept_store";

impl World {
    /// Applies the events of whole revisions, the last of which is `revision`.
    pub fn apply(&mut self, events: &[Event], revision: i64, changes: &mut Vec<Change>) {
        self.shrink();
        for event in events {
            let change = match event {
                Event::Put(kv) => self.put(kv, None),
                Event::Delete { key, mod_revision } => self.delete(key, *mod_revision),
            };
            changes.extend(change);
        }
        // Who bears a name concerns all who ask for it.
        for name in std::mem::take(&mut self.renamed) {
            let asking = self.names.of(&self.guests).bearers(Kind::Guest, &name);
            changes.extend(asking.filter_map(|id| id.parse().ok()).map(Change::Guest));
        }
        changes.extend(self.macs.take_concerned().into_iter().map(Change::Guest));
        if self.take_relief() {
            changes.push(Change::Everything);
        }
        changes.extend(self.group_members.take_changed().into_iter().map(Change::Members));
        self.header.revision = self.header.revision.max(revision);
    }

    /// Takes one key with its value in; `None` when the contract does not know the key. `former` lends what was understood
    /// of a value that does not parse, where this world is listed anew.
    fn put(&mut self, kv: &KeyValue, former: Option<&Self>) -> Option<Change> {
        let key = self.key(&kv.key)?;
        self.put_key(key, kv, former)
    }

    /// Takes the value of a key in.
    pub(super) fn put_key(
        &mut self,
        key: Key,
        kv: &KeyValue,
        former: Option<&Self>,
    ) -> Option<Change> {
        Some(match key {
            Key::Guest(id) => self.put_guest(id, kv),
            Key::GuestStatus(id) => {
                let status = Stored::<GuestStatus>::decode(kv);
                let mut is_moved = false;
                self.change_guest_status(id, |held| {
                    let former = held.replace(status);
                    is_moved = place_of(former.as_ref()) != place_of(held.as_ref());
                });
                if is_moved { Change::GuestPlaced(id) } else { Change::GuestStatus(id) }
            }
            Key::Placement(host, guest) => {
                self.change_guest_keys(guest, |entry| {
                    entry.index.insert(host, kv.create_revision);
                });
                self.change_host_index(host, |index| index.insert(guest, kv.create_revision));
                Change::Placement(host, guest)
            }
            Key::Address(subnet, ip) => {
                let reservation = reservation(kv);
                self.set_reservation(subnet, ip, Some(reservation));
                Change::Address(subnet, ip)
            }
            Key::Job(id) => {
                self.jobs.put(id, &Stored::decode(kv));
                Change::Job(id)
            }
            Key::Heartbeat(host) => {
                let heartbeat = Heartbeat::parse(&kv.value);
                let create_revision = kv.create_revision;
                self.change_host(host, |entry| {
                    entry.heartbeat = Some(HeartbeatEntry { create_revision, heartbeat });
                });
                Change::Heartbeat(host)
            }
            Key::Hypervisor(host) => {
                let id = host.to_string();
                let before = self.host(host).and_then(|entry| entry.document.as_ref());
                let lent = before.or_else(|| former?.host(host)?.document.as_ref());
                let declared = Declared::decode(lent, &id, kv);
                self.rename(Kind::Hypervisor, &id, before_name(before), name_of(&declared));
                self.set_host_document(host, Some(declared));
                Change::Hypervisor(host)
            }
            Key::HypervisorSubnet(host, subnet) => {
                let bridge = String::from_utf8_lossy(&kv.value).trim().to_owned();
                // An empty text is as good as no key: no nic can be put into a bridge without a name.
                self.set_bridge(host, subnet, (!bridge.is_empty()).then_some(bridge));
                Change::Hypervisor(host)
            }
            Key::HypervisorConfig(host, name) => {
                self.configure_host(host, &name, kv, former);
                Change::Hypervisor(host)
            }
            Key::HypervisorStatus(host) => {
                self.set_host_status(host, Some(Stored::decode(kv)));
                Change::HypervisorStatus(host)
            }
            Key::Stale(host, guest) => {
                self.change_host(host, |entry| {
                    entry.stale.insert(guest, kv.mod_revision);
                });
                Change::Stale(host, guest)
            }
            Key::Config(name) => {
                if name == ACCEPT_STORE {
                    self.accepted_at = kv.mod_revision;
                    self.judge_hosts();
                }
                self.configure(&name, kv, former);
                Change::Config
            }
            Key::ClusterStatus => {
                self.cluster_status = Some(Stored::decode(kv));
                Change::ClusterStatus
            }
            Key::SubnetStatus(id) => {
                self.subnets.entry(id).or_default().status = Some(Stored::decode(kv));
                Change::ObjectStatus(Kind::Subnet, id.to_string())
            }
            Key::FwGroupStatus(id) => self.put_object_status(Kind::FwGroup, id.to_string(), kv),
            Key::KindStatus(kind, id) => self.put_object_status(kind, id, kv),
            Key::Incarnation => {
                self.incarnation_at = kv.mod_revision;
                self.incarnation = std::str::from_utf8(&kv.value).ok()?.trim().parse().ok();
                self.judge_hosts();
                return None;
            }
            Key::Event { .. } | Key::ClusterEvent(_) | Key::Leader => return None,
            Key::Flavor(_)
            | Key::Image(_)
            | Key::Network(_)
            | Key::Subnet(_)
            | Key::FwGroup(_)
            | Key::Vlan(_)
            | Key::VlanGroup(_)
            | Key::VlanGroupMember(..) => self.put_object(&key, kv, former),
        })
    }

    fn put_guest(&mut self, id: GuestId, kv: &KeyValue) -> Change {
        let text = id.to_string();
        let before = self.guests.get(id).and_then(|entry| entry.document.as_ref());
        let declared = Declared::<Guest>::decode(before, &text, kv);
        let (before, after) = (before_name(before), name_of(&declared));
        let is_renamed = before != after;
        if is_renamed {
            self.unname_guest(id, before);
        }
        let is_gone = declared.invalid.is_some() && lochness_mutant::is(Mutant::UnparsedIsGone);
        self.change_guest(id, |entry| {
            entry.document = (!is_gone).then_some(declared);
            entry.digest = OnceLock::new();
            entry.gone_at = 0;
        });
        if is_renamed {
            self.name_guest(id, after);
        }
        Change::Guest(id)
    }

    fn put_object_status(&mut self, kind: Kind, id: String, kv: &KeyValue) -> Change {
        self.object_statuses.insert((kind, id.clone()), Stored::decode(kv));
        Change::ObjectStatus(kind, id)
    }

    /// Takes one key out.
    fn delete(&mut self, key: &Bytes, revision: i64) -> Option<Change> {
        let key = self.key(key)?;
        Some(match key {
            Key::Guest(id) => {
                let before = self.guests.get(id).and_then(|entry| entry.document.as_ref());
                let before = before_name(before);
                self.unname_guest(id, before);
                self.change_guest(id, |entry| {
                    entry.document = None;
                    entry.digest = OnceLock::new();
                    entry.gone_at = revision;
                });
                Change::Guest(id)
            }
            Key::GuestStatus(id) => {
                self.change_guest(id, |entry| entry.status = None);
                Change::GuestPlaced(id)
            }
            Key::Placement(host, guest) => {
                self.change_guest_keys(guest, |entry| {
                    entry.index.remove(&host);
                });
                self.change_host_index(host, |index| index.remove(&guest));
                Change::Placement(host, guest)
            }
            Key::Address(subnet, ip) => {
                self.set_reservation(subnet, ip, None);
                Change::Address(subnet, ip)
            }
            Key::Job(id) => {
                self.jobs.remove(id);
                Change::Job(id)
            }
            Key::Heartbeat(host) => {
                self.change_host(host, |entry| entry.heartbeat = None);
                Change::Heartbeat(host)
            }
            Key::Hypervisor(host) => {
                let before = self.host(host).and_then(|entry| entry.document.as_ref());
                self.rename(Kind::Hypervisor, &host.to_string(), before_name(before), None);
                self.set_host_document(host, None);
                Change::Hypervisor(host)
            }
            Key::HypervisorSubnet(host, subnet) => {
                self.set_bridge(host, subnet, None);
                Change::Hypervisor(host)
            }
            Key::HypervisorConfig(host, name) => {
                self.unconfigure_host(host, &name);
                Change::Hypervisor(host)
            }
            Key::HypervisorStatus(host) => {
                self.set_host_status(host, None);
                Change::HypervisorStatus(host)
            }
            Key::Stale(host, guest) => {
                self.change_host(host, |entry| {
                    entry.stale.remove(&guest);
                });
                Change::Stale(host, guest)
            }
            Key::Config(name) => {
                if name == ACCEPT_STORE {
                    self.accepted_at = 0;
                    self.judge_hosts();
                }
                self.unconfigure(&name);
                Change::Config
            }
            Key::ClusterStatus => {
                self.cluster_status = None;
                Change::ClusterStatus
            }
            Key::SubnetStatus(id) => {
                self.change_subnet(id, |entry| entry.status = None);
                Change::ObjectStatus(Kind::Subnet, id.to_string())
            }
            Key::FwGroupStatus(id) => self.delete_object_status(Kind::FwGroup, id.to_string()),
            Key::KindStatus(kind, id) => self.delete_object_status(kind, id),
            Key::Incarnation => {
                (self.incarnation, self.incarnation_at) = (None, 0);
                self.judge_hosts();
                return None;
            }
            Key::Event { .. } | Key::ClusterEvent(_) | Key::Leader => return None,
            Key::Flavor(_)
            | Key::Image(_)
            | Key::Network(_)
            | Key::Subnet(_)
            | Key::FwGroup(_)
            | Key::Vlan(_)
            | Key::VlanGroup(_)
            | Key::VlanGroupMember(..) => self.delete_object(&key),
        })
    }

    fn delete_object_status(&mut self, kind: Kind, id: String) -> Change {
        self.object_statuses.remove(&(kind, id.clone()));
        Change::ObjectStatus(kind, id)
    }

    fn key(&mut self, key: &Bytes) -> Option<Key> {
        match self.prefix.parse(key) {
            Ok(key) => Some(key),
            Err(error) => {
                self.count_stray(&error);
                None
            }
        }
    }

    pub(super) fn count_stray(&mut self, error: &KeyError) {
        match error {
            KeyError::Foreign => {}
            KeyError::Unknown(_) => self.unknown_keys += 1,
            KeyError::Malformed { .. } => {
                self.malformed_keys += 1;
                debug!(%error, "a key is not spelled as the contract says");
            }
        }
    }
}

/// What of a guest's status concerns others than the guest: its place, and whether it is about to leave it.
fn place_of(status: Option<&Stored<GuestStatus>>) -> Option<(&Placement, bool)> {
    let status = status?.value.as_deref()?;
    Some((status.placement.as_ref()?, status.phase == Phase::Deleting))
}

/// What a reservation's text says.
pub(super) fn reservation(kv: &KeyValue) -> Reservation {
    let text = std::str::from_utf8(&kv.value).unwrap_or_default().trim();
    let (text, quarantined) = match text.strip_prefix(QUARANTINE) {
        Some(rest) => (rest, true),
        None => (text, false),
    };
    Reservation {
        holder: text.parse().ok(),
        quarantined,
        leased: kv.lease.is_some(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
    }
}

/// The name that a document asks for, with the revision that decides who was first.
pub(super) fn name_of<T: Document>(declared: &Declared<T>) -> Option<(String, i64)> {
    let document = declared.understood.as_deref()?;
    let name = document.metadata()?.name()?;
    Some((name.to_owned(), declared.create_revision))
}

pub(super) fn before_name<T: Document>(before: Option<&Declared<T>>) -> Option<(String, i64)> {
    before.and_then(name_of)
}
