//! A store in miniature for tests of plans: keys are put by name, and the world that they make is read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bytes::Bytes;
use lochness_agent::wire::{AgentGuest, Capabilities};
use lochness_api::keys::Key;
use lochness_api::{GuestId, HypervisorId, Id, Prefix};
use lochness_kv::{Event, KeyValue};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::reports::{Contact, GuestReport, HostReport, Protocol, ReportedGuest, Reports};
use crate::world::{Change, World};

/// The id that ends in this number.
pub(crate) fn id<K>(number: u128) -> Id<K> {
    Id::new(Uuid::from_u128(number))
}

/// A world that is made by puts and deletes, each at a revision of its own.
pub(crate) struct Store {
    pub(crate) world: World,
    pub(crate) revision: i64,
    created: BTreeMap<String, i64>,
}

impl Default for Store {
    fn default() -> Self {
        Self { world: World::new(Prefix::default()), revision: 1, created: BTreeMap::new() }
    }
}

impl Store {
    pub(crate) fn put(&mut self, key: &Key, value: &Value) -> Vec<Change> {
        self.put_text(key, &value.to_string())
    }

    pub(crate) fn put_text(&mut self, key: &Key, value: &str) -> Vec<Change> {
        self.revision += 1;
        let name = self.world.prefix().key(key);
        let create_revision = *self.created.entry(name.clone()).or_insert(self.revision);
        let event = Event::Put(KeyValue {
            key: name.into(),
            value: Bytes::from(value.to_owned()),
            create_revision,
            mod_revision: self.revision,
            version: 1,
            lease: None,
        });
        self.apply(event)
    }

    pub(crate) fn delete(&mut self, key: &Key) -> Vec<Change> {
        self.revision += 1;
        let name = self.world.prefix().key(key);
        self.created.remove(&name);
        self.apply(Event::Delete { key: name.into(), mod_revision: self.revision })
    }

    fn apply(&mut self, event: Event) -> Vec<Change> {
        let mut changes = Vec::new();
        self.world.apply(&[event], self.revision, &mut changes);
        changes
    }

    /// Network 1 with subnet 2 (10.0.0.0/24), flavor 3 (1024 MB, 10 MB, 1 core), image 4.
    pub(crate) fn basics() -> Self {
        let mut store = Self::default();
        store.put(&Key::Network(id(1)), &json!({}));
        store.put(
            &Key::Subnet(id(2)),
            &json!({"network": id::<()>(1), "cidr": "10.0.0.0/24", "gateway": "10.0.0.1"}),
        );
        let flavor = json!({"image": id::<()>(4), "memory": 1024, "disk": 10, "cpu": 1});
        store.put(&Key::Flavor(id(3)), &flavor);
        store
    }

    /// A host that is alive, reaches subnet 2 and has this much memory, in MB.
    pub(crate) fn host(&mut self, number: u128, memory: u64) -> HypervisorId {
        let host = id(number);
        self.put(
            &Key::Hypervisor(host),
            &json!({"total_resources": {"memory": memory, "disk": 1000, "cpu": 8}}),
        );
        self.put_text(&Key::Heartbeat(host), "alive");
        self.put_text(&Key::HypervisorSubnet(host, id(2)), "br0");
        host
    }

    /// A guest of flavor 3 in network 1, with more fields.
    pub(crate) fn guest(&mut self, number: u128, more: &Value) -> GuestId {
        let guest = id(number);
        let mut document = json!({"flavor": id::<()>(3), "network": id::<()>(1)});
        let fields = document.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        self.put(&Key::Guest(guest), &document);
        guest
    }
}

/// A report of a host whose agent has order and has just answered with these guests: id, state, address.
pub(crate) fn report(host: HypervisorId, guests: &[(GuestId, &str, &str)]) -> HostReport {
    let guests = guests
        .iter()
        .map(|(id, state, address)| {
            let mut record = AgentGuest::new(*id);
            record.state = (*state).to_owned();
            let addresses: Vec<IpAddr> = address.parse().into_iter().collect();
            let state = record.known_state();
            (*id, ReportedGuest { state, addresses, record: record.into() })
        })
        .collect();
    let asked_at = Instant::now();
    HostReport {
        contact: Contact::Answered(asked_at),
        protocol: Some(Protocol::Lochness(Capabilities {
            id: host,
            boot_id: "boot".to_owned(),
            version: String::new(),
            capabilities: vec!["order".to_owned(), "suspend".to_owned()],
            self_fence_seconds: None,
            epoch: None,
        })),
        guests: Some(GuestReport { guests, asked_at, sequence: 1 }.into()),
        ..HostReport::default()
    }
}

/// Reports of hosts that have just answered with no guests.
pub(crate) fn answering(hosts: &[HypervisorId]) -> Reports {
    let reports = Reports::default();
    for host in hosts {
        reports.change(*host, |former| *former = report(*host, &[]));
    }
    reports
}
