//! What hosts may run without this store knowing it, until they are asked: after a store was restored, anything; and
//! always the guests that they listed although nobody had placed them there.
//!
//! A standby may lead after the host that listed such a guest has fallen silent, and somebody may declare the guest then:
//! so hosts' statuses keep what must not be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lochness_api::status::{HypervisorStatus, UnplacedGuest};
use lochness_api::{GuestId, HypervisorId};

use super::World;
use super::host::HostEntry;
use super::stored::Stored;

/// Kept beside the hosts' entries, so that nobody has to look through them for each guest.
#[derive(Debug, Default)]
pub(super) struct Unseen {
    /// Hosts that may run anything.
    hosts: BTreeSet<HypervisorId>,
    /// Guests that hosts have listed and that are not placed there.
    guests: BTreeMap<GuestId, BTreeSet<HypervisorId>>,
    /// The addresses that they had.
    addresses: BTreeMap<IpAddr, BTreeSet<(HypervisorId, GuestId)>>,
    /// A host is no longer among those that may run anything: who waits for a place may get one.
    is_relieved: bool,
}

impl World {
    /// Hosts that may run this guest without the store knowing it, by what their statuses say: whoever has heard them since
    /// knows better.
    pub fn may_run(&self, guest: GuestId) -> impl Iterator<Item = HypervisorId> + '_ {
        let named = self.unseen.guests.get(&guest).into_iter().flatten();
        self.unseen.hosts.iter().chain(named).copied()
    }

    /// Guests that had this address on hosts on which nobody had placed them, by what the hosts' statuses say.
    pub fn may_have(&self, ip: IpAddr) -> impl Iterator<Item = (HypervisorId, GuestId)> + '_ {
        self.unseen.addresses.get(&ip).into_iter().flatten().copied()
    }

    /// Whether a host was asked that might have run anything, since this was last called.
    pub(super) fn take_relief(&mut self) -> bool {
        std::mem::take(&mut self.unseen.is_relieved)
    }

    /// Sets or unsets a host's status, and keeps what it says of guests that are not placed there.
    pub(super) fn set_host_status(
        &mut self,
        host: HypervisorId,
        status: Option<Stored<HypervisorStatus>>,
    ) {
        let former = self.host(host).and_then(|entry| entry.status.clone());
        let Unseen { guests, addresses, .. } = &mut self.unseen;
        for it in unplaced(former.as_ref()) {
            forget(guests, &it.guest, &host);
            it.addresses.iter().for_each(|ip| forget(addresses, ip, &(host, it.guest)));
        }
        for it in unplaced(status.as_ref()) {
            guests.entry(it.guest).or_default().insert(host);
            for ip in &it.addresses {
                addresses.entry(*ip).or_default().insert((host, it.guest));
            }
        }
        self.change_host(host, |entry| entry.status = status);
    }

    /// A host's entry has changed: whether it may run anything.
    pub(super) fn judge_host(&mut self, id: HypervisorId) {
        if self.host(id).is_some_and(|entry| self.may_run_anything(entry)) {
            self.unseen.hosts.insert(id);
        } else if self.unseen.hosts.remove(&id) {
            self.unseen.is_relieved |= self.unseen.hosts.is_empty();
        }
    }

    /// The store was accepted, or has begun to count anew: that concerns all hosts.
    pub(super) fn judge_hosts(&mut self) {
        let ids: Vec<_> = self.hosts.iter().map(|entry| entry.id).collect();
        for id in ids {
            self.judge_host(id);
        }
    }

    /// Whether the host may run anything: nobody has asked it since the store was accepted, and it may have been there
    /// before; or it listed more than its status could name.
    fn may_run_anything(&self, entry: &HostEntry) -> bool {
        if entry.config.fenced.is_some() {
            return false;
        }
        let status = entry.status.as_ref().and_then(|status| status.value.as_deref());
        if status.is_some_and(|status| status.unplaced.len() >= HypervisorStatus::UNPLACED) {
            return true;
        }
        let listed_in = status.and_then(|status| status.listed_in);
        let was_declared =
            entry.document.as_ref().is_some_and(|it| it.create_revision <= self.accepted_at);
        self.was_accepted()
            && (was_declared || entry.is_alive())
            && (listed_in.is_none() || listed_in != self.incarnation)
    }
}

fn unplaced(status: Option<&Stored<HypervisorStatus>>) -> &[UnplacedGuest] {
    status.and_then(|status| status.value.as_deref()).map_or(&[], |status| &status.unplaced)
}

fn forget<K: Ord, V: Ord>(map: &mut BTreeMap<K, BTreeSet<V>>, key: &K, value: &V) {
    if let Some(values) = map.get_mut(key) {
        values.remove(value);
        if values.is_empty() {
            map.remove(key);
        }
    }
}
