//! The whole store at one revision, taken apart.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lochness_api::document::{self, Document as _, Heartbeat, Hypervisor};
use lochness_api::job::Job;
use lochness_api::keys::KeyError;
use lochness_api::status::{GuestStatus, HypervisorStatus, Placement};
use lochness_api::{GuestId, HypervisorId, JobId, Key, Prefix, SubnetId};
use lochness_kv::{Compare, KeyValue};

use super::finding::{Finding, Rule};

/// Where an agent listens when nothing says otherwise.
const AGENT_PORT: u16 = 8080;

/// The store at one revision.
pub(crate) struct Store {
    pub(super) prefix: Prefix,
    keys: BTreeMap<Key, KeyValue>,
    pub(super) guests: BTreeMap<GuestId, GuestStatus>,
    pub(super) hosts: BTreeMap<HypervisorId, HypervisorStatus>,
    pub(super) jobs: BTreeMap<JobId, Job>,
    misread: Vec<Finding>,
}

impl Store {
    /// Takes a list of everything under the prefix.
    pub(crate) fn new(prefix: Prefix, list: Vec<KeyValue>) -> Self {
        let mut store = Self {
            prefix,
            keys: BTreeMap::new(),
            guests: BTreeMap::new(),
            hosts: BTreeMap::new(),
            jobs: BTreeMap::new(),
            misread: Vec::new(),
        };
        for kv in list {
            store.take(kv);
        }
        store
    }

    fn take(&mut self, kv: KeyValue) {
        let key = match self.prefix.parse(&kv.key) {
            Ok(key) => key,
            Err(KeyError::Foreign | KeyError::Unknown(_)) => return,
            Err(KeyError::Malformed { key, reason }) => {
                let advice = "delete it, or put its value under the right key";
                self.misread.push(Finding::for_people(Rule::Unreadable, key, reason, advice));
                return;
            }
        };
        if let Err(reason) = self.understand(&key, &kv) {
            let advice = "look who wrote it; the operator keeps its hands off what it cannot read";
            let subject = key.to_string();
            let found = Finding::for_people(Rule::Unreadable, subject, reason.to_string(), advice);
            self.misread.push(found);
        }
        if let Some((kind, id)) = key.as_document()
            && let Err(invalid) = document::normalize(kind, &id, &kv.value)
        {
            let advice = "put a valid document; what runs keeps running as last understood";
            let subject = format!("{}/{id}", kind.plural());
            let found = Finding::for_people(Rule::Invalid, subject, invalid.to_string(), advice);
            self.misread.push(found);
        }
        self.keys.insert(key, kv);
    }

    /// Keeps what the operator wrote, where more than text is meant.
    fn understand(&mut self, key: &Key, kv: &KeyValue) -> Result<(), serde_json::Error> {
        if let Key::GuestStatus(id) = key {
            self.guests.insert(*id, GuestStatus::parse(&kv.value)?);
        } else if let Key::HypervisorStatus(id) = key {
            self.hosts.insert(*id, serde_json::from_slice(&kv.value)?);
        } else if let Key::Job(id) = key {
            self.jobs.insert(*id, Job::parse(&kv.value)?);
        }
        Ok(())
    }

    /// What could not be read.
    pub(super) fn misread(&self) -> Vec<Finding> {
        self.misread.clone()
    }

    /// One key.
    pub(super) fn get(&self, key: &Key) -> Option<&KeyValue> {
        self.keys.get(key)
    }

    /// One key's value as text.
    pub(super) fn text(&self, key: &Key) -> Option<&str> {
        std::str::from_utf8(&self.keys.get(key)?.value).ok().map(str::trim)
    }

    /// The key is as it was read, or still absent.
    pub(super) fn unchanged(&self, key: &Key) -> Compare {
        let revision = self.keys.get(key).map_or(0, |kv| kv.mod_revision);
        Compare::ModRevision(self.prefix.key(key).into(), revision)
    }

    /// Every guest that has a place.
    pub(super) fn placements(&self) -> impl Iterator<Item = (GuestId, &Placement)> {
        self.guests.iter().filter_map(|(id, status)| Some((*id, status.placement.as_ref()?)))
    }

    /// Whether a guest's status is there and cannot be read: then nothing is known of its place.
    pub(super) fn is_unreadable(&self, guest: GuestId) -> bool {
        self.keys.contains_key(&Key::GuestStatus(guest)) && !self.guests.contains_key(&guest)
    }

    /// Every reservation.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (SubnetId, IpAddr, &KeyValue)> {
        self.keys.iter().filter_map(|(key, kv)| {
            if let Key::Address(subnet, ip) = key { Some((*subnet, *ip, kv)) } else { None }
        })
    }

    /// Every entry of the hosts' indexes.
    pub(super) fn index(&self) -> impl Iterator<Item = (HypervisorId, GuestId)> {
        self.keys.keys().filter_map(|key| {
            if let Key::Placement(host, guest) = key { Some((*host, *guest)) } else { None }
        })
    }

    /// Every host that any key names.
    pub(super) fn every_host(&self) -> BTreeSet<HypervisorId> {
        let named = self.keys.keys().filter_map(|key| {
            if let Key::Hypervisor(host) | Key::Heartbeat(host) = key { Some(*host) } else { None }
        });
        named.collect()
    }

    /// Where a host's agent is asked, as the operator does; `None` when it has no heartbeat or no address.
    pub(super) fn agent(&self, host: HypervisorId) -> Option<String> {
        let beat = Heartbeat::parse(&self.keys.get(&Key::Heartbeat(host))?.value);
        let document = self.keys.get(&Key::Hypervisor(host));
        let document = document.and_then(|kv| Hypervisor::parse(&host.to_string(), &kv.value).ok());
        let ip = document.and_then(|document| document.ip).or(beat.address)?;
        let configured = |name: &str| self.text(&Key::HypervisorConfig(host, name.to_owned()));
        let port = configured("agent_port").and_then(|port| port.parse().ok());
        let port = port.or(beat.port).unwrap_or(AGENT_PORT);
        let scheme = if configured("agent_tls") == Some("true") { "https://" } else { "" };
        Some(match ip {
            IpAddr::V4(ip) => format!("{scheme}{ip}:{port}"),
            IpAddr::V6(ip) => format!("{scheme}[{ip}]:{port}"),
        })
    }
}
