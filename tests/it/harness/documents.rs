//! Documents as users put them, with ids that are the same in every run.

use lochness_api::manifest::id_of;
use lochness_api::{FlavorId, GuestId, HypervisorId, ImageId, Kind, NetworkId, SubnetId};
use serde_json::{Value, json};
use uuid::Uuid;

/// The flavor of every guest that says nothing else: 512 MB, 1024 MB of disk, one core.
pub(crate) const FLAVOR: FlavorId = FlavorId::new(Uuid::from_u128(0xf1a0_0000_0001));
/// The image of that flavor.
pub(crate) const IMAGE: ImageId = ImageId::new(Uuid::from_u128(0x1a6e_0000_0001));
/// The network.
pub(crate) const NETWORK: NetworkId = NetworkId::new(Uuid::from_u128(0x2e70_0000_0001));
/// Its subnet.
pub(crate) const SUBNET: SubnetId = SubnetId::new(Uuid::from_u128(0x5b2e_0000_0001));

/// Guest number `number` of any test.
pub(crate) fn guest_id(number: u32) -> GuestId {
    GuestId::new(id_of(Kind::Guest, &format!("guest-{number}")))
}

/// The host of this name.
pub(crate) fn host_id(name: &str) -> HypervisorId {
    HypervisorId::new(id_of(Kind::Hypervisor, name))
}

/// A guest that asks for nothing special.
pub(crate) fn guest() -> Value {
    json!({ "type": "kvm", "flavor": FLAVOR, "network": NETWORK })
}

/// [`FLAVOR`]'s document.
pub(crate) fn flavor() -> Value {
    json!({ "image": IMAGE, "memory": 512, "disk": 1024, "cpu": 1 })
}

/// [`IMAGE`]'s document.
pub(crate) fn image() -> Value {
    json!({ "source": "http://images.invalid/one.img" })
}

/// [`NETWORK`]'s document.
pub(crate) fn network() -> Value {
    json!({ "metadata": { "name": "net" } })
}

/// [`SUBNET`]'s document: 10.1.0.10 to 10.1.0.250.
pub(crate) fn subnet() -> Value {
    json!({
        "network": NETWORK,
        "cidr": "10.1.0.0/24",
        "gateway": "10.1.0.1",
        "start": "10.1.0.10",
        "end": "10.1.0.250",
    })
}
