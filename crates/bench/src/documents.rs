//! The documents that a measurement begins with, with ids that follow from a number.

use futures::stream::{FuturesUnordered, StreamExt as _};
use lochness_api::{
    FlavorId, FwGroupId, GuestId, HypervisorId, ImageId, Key, NetworkId, Prefix, SubnetId,
};
use lochness_kv::{EtcdKv, Kv as _, Op, Txn};
use serde_json::json;
use uuid::Uuid;

pub(crate) const FLAVOR: FlavorId = FlavorId::new(Uuid::from_u128(0xf1));
const WITHOUT_IMAGE: FlavorId = FlavorId::new(Uuid::from_u128(0xf2));
pub(crate) const IMAGE: ImageId = ImageId::new(Uuid::from_u128(0x1a));
pub(crate) const NETWORK: NetworkId = NetworkId::new(Uuid::from_u128(0x2e));
pub(crate) const SUBNET: SubnetId = SubnetId::new(Uuid::from_u128(0x5b));

/// A group whose members reach each other.
pub(crate) const GROUP: FwGroupId = FwGroupId::new(Uuid::from_u128(0xf6));

/// etcd takes at most 128 operations in a transaction.
const PUTS_A_TRANSACTION: usize = 100;
/// So many transactions are under way while documents are written.
const WRITERS: usize = 4;

/// Guest number `number`.
pub(crate) fn guest_id(number: u32) -> GuestId {
    // Spread as random ids are, so that maps and etcd's tree see what they see in life.
    let mixed = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    GuestId::new(Uuid::from_u128(mixed))
}

/// The names of hosts, as the agent's `--name-pattern` has it.
pub(crate) const HOST_PATTERN: &str = "host-%05d";

/// Host number `number`, from 1.
pub(crate) fn host_id(number: u32) -> HypervisorId {
    let name = format!("host-{number:05}");
    HypervisorId::new(lochness_api::manifest::id_of(lochness_api::Kind::Hypervisor, &name))
}

/// Everything but the subnet and the guests.
pub(crate) fn basics(hosts: u32) -> Vec<(Key, String)> {
    let mut all = vec![
        (Key::Image(IMAGE), json!({ "source": "http://images.invalid/one.img" }).to_string()),
        (
            Key::Flavor(FLAVOR),
            json!({ "image": IMAGE, "memory": 128, "disk": 64, "cpu": 1 }).to_string(),
        ),
        (Key::Network(NETWORK), json!({ "metadata": { "name": "prod" } }).to_string()),
    ];
    for number in 1..=hosts {
        let host = host_id(number);
        all.push((Key::HypervisorSubnet(host, SUBNET), "br0".to_owned()));
        // The guests are small; what is measured is not how a fleet fills up.
        let overcommit = Key::HypervisorConfig(host, "overcommit_cpu".to_owned());
        all.push((overcommit, "64".to_owned()));
    }
    all
}

/// The subnet, without which no guest can be placed.
pub(crate) fn subnet() -> (Key, String) {
    let document = json!({ "network": NETWORK, "cidr": "10.0.0.0/8", "gateway": "10.0.0.1" });
    (Key::Subnet(SUBNET), document.to_string())
}

/// A guest as a pipeline would write it.
pub(crate) fn guest(number: u32) -> (Key, String) {
    let document = json!({
        "type": "kvm", "flavor": FLAVOR, "network": NETWORK,
        "metadata": { "name": format!("guest-{number:06}"), "label/app": "web" },
    });
    (Key::Guest(guest_id(number)), document.to_string())
}

/// A flavor whose image has no document, so that nobody fetches it.
pub(crate) fn flavor_without_image() -> (Key, String) {
    let image = ImageId::new(Uuid::from_u128(0x1b));
    let document = json!({ "image": image, "memory": 128, "disk": 64, "cpu": 1 });
    (Key::Flavor(WITHOUT_IMAGE), document.to_string())
}

/// A guest of that flavor.
pub(crate) fn without_image(number: u32) -> (Key, String) {
    let document = json!({
        "type": "kvm", "flavor": WITHOUT_IMAGE, "network": NETWORK,
        "metadata": { "name": format!("guest-{number:06}"), "label/app": "web" },
    });
    (Key::Guest(guest_id(number)), document.to_string())
}

/// A guest that no other host than this one may have.
pub(crate) fn pinned(number: u32, host: u32) -> (Key, String) {
    let document = json!({
        "type": "kvm", "flavor": FLAVOR, "network": NETWORK, "hypervisor": host_id(host),
        "metadata": { "name": format!("guest-{number:06}"), "label/app": "web" },
    });
    (Key::Guest(guest_id(number)), document.to_string())
}

/// A guest in the group.
pub(crate) fn member(number: u32) -> (Key, String) {
    let document = json!({
        "type": "kvm", "flavor": FLAVOR, "network": NETWORK, "fwgroup": GROUP,
        "metadata": { "name": format!("guest-{number:06}") },
    });
    (Key::Guest(guest_id(number)), document.to_string())
}

/// The group: its members on these ports, and nothing else.
pub(crate) fn group(ports: &[u16]) -> (Key, String) {
    let rules: Vec<_> = ports
        .iter()
        .map(|port| {
            json!({ "group": GROUP, "protocol": "tcp", "portStart": port, "portEnd": port,
                "action": "allow" })
        })
        .collect();
    (Key::FwGroup(GROUP), json!({ "rules": rules }).to_string())
}

/// Puts them all, many in a transaction.
pub(crate) async fn put_all(
    kv: &EtcdKv,
    documents: impl IntoIterator<Item = (Key, String)>,
) -> anyhow::Result<usize> {
    let prefix = Prefix::default();
    let mut puts = documents.into_iter().map(|(key, value)| Op::put(prefix.key(&key), value));
    let mut running = FuturesUnordered::new();
    let mut written = 0;
    loop {
        let chunk: Vec<Op> = puts.by_ref().take(PUTS_A_TRANSACTION).collect();
        let is_last = chunk.is_empty();
        if !is_last {
            written += chunk.len();
            running.push(kv.txn(Txn { success: chunk, ..Txn::default() }));
        }
        if running.len() >= WRITERS || is_last {
            match running.next().await {
                Some(answer) => drop(answer?),
                None => return Ok(written),
            }
        }
    }
}
