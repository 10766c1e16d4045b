//! The documents of a history, with ids that are the same in all.

use std::collections::{BTreeMap, BTreeSet};

use lochness_api::{FlavorId, FwGroupId, GuestId, HypervisorId, ImageId, Key, NetworkId, SubnetId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::course::Course;
use crate::faults::Fault;

pub(crate) const FLAVOR: FlavorId = FlavorId::new(Uuid::from_u128(0xf1));
pub(crate) const IMAGE: ImageId = ImageId::new(Uuid::from_u128(0x1a));
pub(crate) const NETWORK: NetworkId = NetworkId::new(Uuid::from_u128(0x2e));
pub(crate) const SUBNET: SubnetId = SubnetId::new(Uuid::from_u128(0x5b));
pub(crate) const FWGROUP: FwGroupId = FwGroupId::new(Uuid::from_u128(0xf6));
/// A network of addresses of the sixth version.
const NETWORK_6: NetworkId = NetworkId::new(Uuid::from_u128(0x2e6));
const SUBNET_6: SubnetId = SubnetId::new(Uuid::from_u128(0x5b6));
/// A network with two addresses.
const NETWORK_FEW: NetworkId = NetworkId::new(Uuid::from_u128(0x2ef));
const SUBNET_FEW: SubnetId = SubnetId::new(Uuid::from_u128(0x5bf));

/// Every subnet.
pub(crate) const SUBNETS: [SubnetId; 3] = [SUBNET, SUBNET_6, SUBNET_FEW];

/// Guest number `number`.
pub(crate) fn guest_id(number: u64) -> GuestId {
    GuestId::new(Uuid::from_u128(0x6e00 + u128::from(number)))
}

/// Host number `number`.
pub(crate) fn host_id(number: u64) -> HypervisorId {
    HypervisorId::new(Uuid::from_u128(0xb000 + u128::from(number)))
}

/// What every history begins with.
pub(crate) fn basics(hosts: u64, originals: u64) -> Vec<(Key, Value)> {
    let mut entries = vec![(Key::Config("quarantine_seconds".to_owned()), json!(30))];
    entries.extend(references());
    entries.extend([
        (Key::Network(NETWORK_6), json!({ "metadata": { "name": "six" } })),
        (
            Key::Subnet(SUBNET_6),
            json!({ "network": NETWORK_6, "cidr": "2001:db8::/64", "gateway": "2001:db8::1",
                "start": "2001:db8::10", "end": "2001:db8::ffff" }),
        ),
        (Key::Network(NETWORK_FEW), json!({ "metadata": { "name": "few" } })),
        (
            Key::Subnet(SUBNET_FEW),
            json!({ "network": NETWORK_FEW, "cidr": "10.2.0.0/29", "gateway": "10.2.0.1",
                "start": "10.2.0.2", "end": "10.2.0.3" }),
        ),
    ]);
    for host in 1..=hosts {
        let bridges =
            SUBNETS.map(|subnet| (Key::HypervisorSubnet(host_id(host), subnet), json!("br0")));
        entries.extend(bridges);
        if originals >> (host - 1) & 1 == 1 {
            // The original's agent has no firewall: without this, no guest with a group would ever be there.
            let by = Key::HypervisorConfig(host_id(host), "firewall".to_owned());
            entries.push((by, json!("external")));
        }
    }
    entries
}

/// What guests name, and what somebody may delete under them.
pub(crate) fn references() -> Vec<(Key, Value)> {
    vec![
        (Key::Image(IMAGE), json!({ "source": "http://images.invalid/one.img" })),
        (Key::Flavor(FLAVOR), json!({ "image": IMAGE, "memory": 512, "disk": 1024, "cpu": 1 })),
        (Key::Network(NETWORK), json!({ "metadata": { "name": "net" } })),
        (
            Key::Subnet(SUBNET),
            json!({ "network": NETWORK, "cidr": "10.1.0.0/24", "gateway": "10.1.0.1",
                "start": "10.1.0.10", "end": "10.1.0.25" }),
        ),
        (Key::FwGroup(FWGROUP), fwgroup(80)),
    ]
}

/// A group that lets one port in.
pub(crate) fn fwgroup(port: u64) -> Value {
    json!({ "rules": [{ "source": "0.0.0.0/0", "portStart": port, "portEnd": port,
        "protocol": "tcp", "action": "allow" }] })
}

/// The first document of a guest: mostly a sensible one.
pub(crate) fn guest(course: &Course, number: u64) -> Value {
    let wildness = course.profile.user;
    let mut document = json!({ "type": "kvm", "flavor": FLAVOR, "network": NETWORK });
    if number.is_multiple_of(2) {
        document["fwgroup"] = json!(FWGROUP);
    }
    if wildness.several_subnets {
        match course.below(4) {
            0 => document["network"] = json!(NETWORK_6),
            1 => {
                document["network"] = json!(NETWORK_FEW);
                course.fault(Fault::Exhausted, || format!("guest {number} wants one of few"));
            }
            _ => {}
        }
    }
    if wildness.contradictions && course.below(3) == 0 {
        course.fault(Fault::Contradiction, || format!("of guest {number}"));
        match course.below(4) {
            0 => document["mac"] = json!("02:00:00:00:00:01"),
            1 => document["metadata"] = json!({ "name": "the same" }),
            2 => document["hypervisor"] = json!(host_id(course.below(3) + 1)),
            _ if document["network"] == json!(NETWORK) => document["ip"] = json!("10.1.0.15"),
            _ => {}
        }
    }
    document
}

/// The guests that may wait for ever, since not all that is wished can be: those that bear the name or hardware address of
/// another one, those that want a certain address, which another one may have got, and those that want one of few.
pub(crate) fn excused(guests: &BTreeMap<u64, Value>) -> BTreeSet<GuestId> {
    let mut excused = BTreeSet::new();
    let mut wishes: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (number, document) in guests {
        for (what, value) in [("mac", &document["mac"]), ("name", &document["metadata"]["name"])] {
            if !value.is_null() {
                wishes.entry(format!("{what} {value}")).or_default().push(*number);
            }
        }
        if !document["ip"].is_null() || document["network"] == json!(NETWORK_FEW) {
            excused.insert(guest_id(*number));
        }
    }
    let contested = wishes.into_values().filter(|who| who.len() > 1);
    excused.extend(contested.flatten().map(guest_id));
    excused
}
