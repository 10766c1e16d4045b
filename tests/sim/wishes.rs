//! The documents of a history, with ids that are the same in all.

use lochness_api::{FlavorId, FwGroupId, GuestId, HypervisorId, ImageId, Key, NetworkId, SubnetId};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) const FLAVOR: FlavorId = FlavorId::new(Uuid::from_u128(0xf1));
pub(crate) const IMAGE: ImageId = ImageId::new(Uuid::from_u128(0x1a));
pub(crate) const NETWORK: NetworkId = NetworkId::new(Uuid::from_u128(0x2e));
pub(crate) const SUBNET: SubnetId = SubnetId::new(Uuid::from_u128(0x5b));
pub(crate) const FWGROUP: FwGroupId = FwGroupId::new(Uuid::from_u128(0xf6));

/// Guest number `number`.
pub(crate) fn guest_id(number: u64) -> GuestId {
    GuestId::new(Uuid::from_u128(0x6e00 + u128::from(number)))
}

/// Host number `number`.
pub(crate) fn host_id(number: u64) -> HypervisorId {
    HypervisorId::new(Uuid::from_u128(0xb000 + u128::from(number)))
}

/// What every history begins with.
pub(crate) fn basics(hosts: u64) -> Vec<(Key, Value)> {
    let mut entries = vec![
        (Key::Config("quarantine_seconds".to_owned()), json!(30)),
        (Key::Image(IMAGE), json!({ "source": "http://images.invalid/one.img" })),
        (Key::Flavor(FLAVOR), json!({ "image": IMAGE, "memory": 512, "disk": 1024, "cpu": 1 })),
        (Key::Network(NETWORK), json!({ "metadata": { "name": "net" } })),
        (
            Key::Subnet(SUBNET),
            json!({ "network": NETWORK, "cidr": "10.1.0.0/24", "gateway": "10.1.0.1",
                "start": "10.1.0.10", "end": "10.1.0.25" }),
        ),
        (Key::FwGroup(FWGROUP), fwgroup(80)),
    ];
    entries.extend((1..=hosts).map(|n| (Key::HypervisorSubnet(host_id(n), SUBNET), json!("br0"))));
    entries
}

/// A group that lets one port in.
pub(crate) fn fwgroup(port: u64) -> Value {
    json!({ "rules": [{ "source": "0.0.0.0/0", "portStart": port, "portEnd": port,
        "protocol": "tcp", "action": "allow" }] })
}
