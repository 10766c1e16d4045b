//! The guest as its agent is asked to make it: from the status alone, but for what only the document has (its type and
//! its metadata). Pure.

use lochness_agent::wire::{AgentGuest, Disk, Nic};
use lochness_api::document::Guest;
use lochness_api::status::Placement;

use crate::firewall::input::vlans_of;

/// The one nic of a guest, as the original names it.
const NIC: &str = "eth0";
/// The kind of nic and disk bus that the original asks for.
const MODEL: &str = "virtio";

/// The guest as it is sent with `POST /guests`.
pub(super) fn agent_guest(document: &Guest, placement: &Placement) -> AgentGuest {
    let image = placement.image.map(|id| id.to_string()).unwrap_or_default();
    let disk = Disk {
        size: placement.resources.disk,
        image: image.clone(),
        source: image.clone(),
        ..Disk::default()
    };
    AgentGuest {
        guest_type: document.guest_type.clone(),
        image,
        nics: vec![nic(placement)],
        disks: vec![disk],
        memory: placement.resources.memory,
        cpu: placement.resources.cpu,
        metadata: document.metadata.0.clone(),
        ..AgentGuest::new(document.id)
    }
}

fn nic(placement: &Placement) -> Nic {
    Nic {
        name: NIC.to_owned(),
        network: placement.bridge.clone(),
        model: MODEL.to_owned(),
        mac: placement.mac.to_string(),
        address: placement.ip.to_string(),
        netmask: netmask(placement),
        gateway: placement.gateway.map(|ip| ip.to_string()).unwrap_or_default(),
        device: String::new(),
        vlans: vlans_of(placement).to_vec(),
    }
}

/// In hex for IPv4, as the original writes it; the length of the prefix for IPv6, which it never knew.
fn netmask(placement: &Placement) -> String {
    match placement.cidr {
        ipnetwork::IpNetwork::V4(cidr) => format!("{:08x}", u32::from(cidr.mask())),
        ipnetwork::IpNetwork::V6(cidr) => cidr.prefix().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use lochness_api::Document;
    use lochness_api::document::Resources;

    use super::*;

    const ID: &str = "2b28c3a1-5f0e-4b9e-8d5c-0a3f1f0f6c11";
    const IMAGE: &str = "00000000-0000-4000-8000-0000000000aa";

    fn document() -> Guest {
        let text = format!(
            r#"{{"id":"{ID}","type":"kvm","flavor":"{IMAGE}","network":"{IMAGE}",
            "metadata":{{"name":"web-1","user_data":"x"}}}}"#
        );
        Guest::parse(ID, text.as_bytes()).unwrap()
    }

    fn placement() -> Placement {
        Placement {
            hypervisor: IMAGE.parse().unwrap(),
            subnet: IMAGE.parse().unwrap(),
            network: None,
            ip: "10.0.0.7".parse().unwrap(),
            cidr: "10.0.0.0/22".parse().unwrap(),
            gateway: Some("10.0.0.1".parse().unwrap()),
            mac: "02:00:00:00:00:07".parse().unwrap(),
            bridge: "br0".to_owned(),
            vlans: Vec::new(),
            fwgroup: None,
            image: Some(IMAGE.parse().unwrap()),
            resources: Resources { memory: 512, disk: 8_192, cpu: 2 },
        }
    }

    #[test]
    fn a_guest_is_sent_as_the_original_sends_it() {
        let sent = serde_json::to_value(agent_guest(&document(), &placement())).unwrap();
        let expected = serde_json::json!({
            "id": ID, "type": "kvm", "image": IMAGE, "memory": 512, "cpu": 2,
            "metadata": {"name": "web-1", "user_data": "x"},
            "nics": [{"name": "eth0", "network": "br0", "model": "virtio",
                "mac": "02:00:00:00:00:07", "address": "10.0.0.7", "netmask": "fffffc00",
                "gateway": "10.0.0.1", "vlans": [1]}],
            "disks": [{"size": 8192, "image": IMAGE, "source": IMAGE}],
        });
        assert_eq!(sent, expected);
    }

    #[test]
    fn the_tags_of_a_vlan_group_are_sent_as_they_are() {
        let placement = Placement { vlans: vec![7, 12], ..placement() };
        assert_eq!(agent_guest(&document(), &placement).nics[0].vlans, [7, 12]);
    }

    #[test]
    fn an_ipv6_netmask_is_the_length_of_the_prefix() {
        let placement = Placement {
            ip: "fd00::7".parse().unwrap(),
            cidr: "fd00::/64".parse().unwrap(),
            gateway: None,
            ..placement()
        };
        let nic = &agent_guest(&document(), &placement).nics[0];
        assert_eq!((nic.address.as_str(), nic.netmask.as_str()), ("fd00::7", "64"));
        assert_eq!(nic.gateway, "");
    }

    #[test]
    fn a_placement_without_image_sends_a_disk_without_one() {
        let placement = Placement { image: None, ..placement() };
        let guest = agent_guest(&document(), &placement);
        assert_eq!((guest.image.as_str(), guest.disks[0].image.as_str()), ("", ""));
    }
}
