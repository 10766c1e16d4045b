//! The store at one revision, taken apart as the contract says.

use std::collections::BTreeMap;

use bytes::Bytes;
use lochness_api::document::{Heartbeat, Resources};
use lochness_api::job::Job;
use lochness_api::status::{GuestStatus, Placement};
use lochness_api::{GuestId, HypervisorId, JobId, Key, Prefix};
use lochness_kv::Event;
use serde_json::Value;

/// One key's value and versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) value: Bytes,
    pub(super) created: i64,
    pub(super) version: i64,
}

/// What a revision did to one key. A key that is none of the contract has only its text.
#[derive(Debug, Clone)]
pub(super) struct Change {
    pub(super) key: Option<Key>,
    pub(super) text: String,
    pub(super) before: Option<Stored>,
    pub(super) after: Option<Stored>,
}

/// The store at one revision.
#[derive(Clone)]
pub(super) struct View {
    prefix: Prefix,
    pub(super) keys: BTreeMap<Key, Stored>,
    pub(super) guests: BTreeMap<GuestId, GuestStatus>,
    pub(super) jobs: BTreeMap<JobId, Job>,
}

impl View {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self { prefix, keys: BTreeMap::new(), guests: BTreeMap::new(), jobs: BTreeMap::new() }
    }

    /// Takes one event in.
    pub(super) fn apply(&mut self, event: &Event) -> Change {
        let text = String::from_utf8_lossy(event.key());
        let text = text.strip_prefix(self.prefix.as_str()).unwrap_or(&text).to_owned();
        let after = match event {
            Event::Put(kv) => Some(Stored {
                value: kv.value.clone(),
                created: kv.create_revision,
                version: kv.version,
            }),
            Event::Delete { .. } => None,
        };
        let Ok(key) = self.prefix.parse(event.key()) else {
            return Change { key: None, text, before: None, after };
        };
        let before = match &after {
            Some(stored) => self.keys.insert(key.clone(), stored.clone()),
            None => self.keys.remove(&key),
        };
        self.decode(&key, after.as_ref());
        Change { key: Some(key), text, before, after }
    }

    fn decode(&mut self, key: &Key, after: Option<&Stored>) {
        match key {
            Key::GuestStatus(id) => {
                let parsed = after.map(|stored| GuestStatus::parse(&stored.value));
                replace(&mut self.guests, *id, parsed.and_then(Result::ok));
            }
            Key::Job(id) => {
                let parsed = after.map(|stored| Job::parse(&stored.value));
                replace(&mut self.jobs, *id, parsed.and_then(Result::ok));
            }
            _ => {}
        }
    }

    /// Every guest that has a place, with it.
    pub(super) fn placements(&self) -> impl Iterator<Item = (GuestId, &Placement)> {
        self.guests.iter().filter_map(|(id, status)| Some((*id, status.placement.as_ref()?)))
    }

    pub(super) fn text(&self, key: &Key) -> Option<&str> {
        self.keys.get(key).and_then(|stored| std::str::from_utf8(&stored.value).ok())
    }

    /// What a host has: its heartbeat's word, else its document's.
    pub(super) fn total(&self, host: HypervisorId) -> Option<Resources> {
        let beat = self.keys.get(&Key::Heartbeat(host));
        let beat = beat.and_then(|stored| Heartbeat::parse(&stored.value).total_resources);
        beat.or_else(|| {
            let document: Value = serde_json::from_str(self.text(&Key::Hypervisor(host))?).ok()?;
            serde_json::from_value(document.get("total_resources")?.clone()).ok()
        })
    }
}

fn replace<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: Option<V>) {
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}
