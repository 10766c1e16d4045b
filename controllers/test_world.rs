//! Worlds for tests of plans: keys in, as the watcher would deliver them.

use std::net::IpAddr;
use std::ops::Deref;

use lochness_api::keys::Key;
use lochness_api::status::{GuestStatus, Phase, Placement};
use lochness_api::{
    FwGroupId, GuestId, HypervisorId, Id, ImageId, Mac, NetworkId, Prefix, SubnetId,
};
use lochness_kv::{Event, KeyValue, LeaseId};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::world::{Change, World};

/// The id of that number, of any kind.
pub(crate) fn id<K>(number: usize) -> Id<K> {
    Id::new(Uuid::from_u128(number as u128))
}

/// A world that is written key by key, each in a revision of its own.
pub(crate) struct TestWorld {
    world: World,
    revision: i64,
    changes: Vec<Change>,
    created: FxHashMap<String, i64>,
}

impl TestWorld {
    pub(crate) fn new() -> Self {
        let world = World::new(Prefix::default());
        Self { world, revision: 0, changes: Vec::new(), created: FxHashMap::default() }
    }

    /// The world itself, where its methods have the names of the ones here.
    pub(crate) fn view(&self) -> &World {
        &self.world
    }

    /// What changed since this was asked last.
    pub(crate) fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }

    pub(crate) fn put(&mut self, key: &Key, value: impl Into<Vec<u8>>) -> i64 {
        self.put_leased(key, value, None)
    }

    /// Puts a key that goes with its lease.
    pub(crate) fn put_leased(
        &mut self,
        key: &Key,
        value: impl Into<Vec<u8>>,
        lease: Option<LeaseId>,
    ) -> i64 {
        self.revision += 1;
        let key = Prefix::default().key(key);
        let created = *self.created.entry(key.clone()).or_insert(self.revision);
        let kv = KeyValue {
            key: key.into(),
            value: value.into().into(),
            create_revision: created,
            mod_revision: self.revision,
            version: 1,
            lease,
        };
        self.world.apply(&[Event::Put(kv)], self.revision, &mut self.changes);
        self.revision
    }

    pub(crate) fn delete(&mut self, key: &Key) {
        self.revision += 1;
        let key = Prefix::default().key(key);
        self.created.remove(&key);
        let event = Event::Delete { key: key.into(), mod_revision: self.revision };
        self.world.apply(&[event], self.revision, &mut self.changes);
    }

    pub(crate) fn put_json(&mut self, key: &Key, value: &Value) -> i64 {
        self.put(key, value.to_string())
    }

    /// A host with a document, a heartbeat and plenty of room.
    pub(crate) fn host(&mut self, number: usize) -> HypervisorId {
        let host = id(number);
        let resources = json!({"memory": 65536, "disk": 1_000_000, "cpu": 16});
        let ip = format!("192.0.2.{number}");
        self.put_json(&Key::Hypervisor(host), &json!({"ip": ip, "total_resources": resources}));
        self.put(&Key::Heartbeat(host), "alive");
        host
    }

    /// A subnet of network number 1, which gets a document.
    pub(crate) fn subnet(&mut self, number: usize, cidr: &str) -> SubnetId {
        let network: NetworkId = id(1);
        self.put_json(&Key::Network(network), &json!({}));
        let subnet = id(number);
        let document = json!({"network": network.to_string(), "cidr": cidr});
        self.put_json(&Key::Subnet(subnet), &document);
        subnet
    }

    pub(crate) fn config(&mut self, name: &str, value: &str) {
        self.put(&Key::Config(name.to_owned()), value);
    }

    /// A declared guest that is placed, with all its keys. Its address ends in its number plus 10.
    pub(crate) fn placed(
        &mut self,
        number: usize,
        host: HypervisorId,
        subnet: SubnetId,
    ) -> GuestId {
        self.placed_with(number, host, subnet, |_| {})
    }

    pub(crate) fn placed_with(
        &mut self,
        number: usize,
        host: HypervisorId,
        subnet: SubnetId,
        change: impl FnOnce(&mut Placement),
    ) -> GuestId {
        let guest = id(number);
        self.put_json(
            &Key::Guest(guest),
            &json!({"flavor": id::<u8>(1).to_string(), "network": id::<u8>(1).to_string()}),
        );
        let mut placement = placement(number, host, subnet);
        change(&mut placement);
        let (subnet, ip, host) = (placement.subnet, placement.ip, placement.hypervisor);
        let status = GuestStatus {
            phase: Phase::Running,
            placement: Some(placement),
            ..GuestStatus::default()
        };
        self.put_json(&Key::GuestStatus(guest), &json!(status));
        self.put(&Key::Address(subnet, ip), guest.to_string());
        self.put(&Key::Placement(host, guest), guest.to_string());
        guest
    }

    pub(crate) fn delete_guest(&mut self, number: usize) {
        self.delete(&Key::Guest(id(number)));
    }
}

impl Deref for TestWorld {
    type Target = World;

    fn deref(&self) -> &World {
        &self.world
    }
}

/// Where guest `number` is: address 10.0.x.y of its number plus 10.
pub(crate) fn placement(number: usize, hypervisor: HypervisorId, subnet: SubnetId) -> Placement {
    let low = u32::try_from(number).expect("tests have few guests") + 10;
    let ip = IpAddr::from((0x0a00_0000 + low).to_be_bytes());
    let guest: GuestId = id(number);
    Placement {
        hypervisor,
        subnet,
        network: None,
        ip,
        cidr: "10.0.0.0/16".parse().expect("is a range"),
        gateway: None,
        mac: Mac::of_guest(guest),
        bridge: "br0".to_owned(),
        vlans: Vec::new(),
        fwgroup: None::<FwGroupId>,
        image: None::<ImageId>,
        resources: lochness_api::document::Resources { memory: 1024, disk: 1024, cpu: 1 },
    }
}
