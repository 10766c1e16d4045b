//! What a guest may send: from its own address, its own hardware address, and in its own VLANs.

use lochness_api::status::Phase;
use lochness_api::{Key, Mac, VlanGroupId};
use serde_json::json;
use uuid::Uuid;

use super::frames::{Mark, Wire, arp, datagram, ethernet};
use super::sandbox::sandboxed;
use super::world::{Family, Plugged, World};
use crate::harness::guest_id;

const VLANS: VlanGroupId = VlanGroupId::new(Uuid::from_u128(0xf911));
/// What is sent last, and arrives.
const LAST: Mark = *b"ln--last";
/// What is sent until it arrives: cables just plugged in carry nothing for a moment.
const FIRST: Mark = *b"ln-first";

/// Sends frames and then one that is right, and says which arrived.
fn arrivals(
    from: &Plugged,
    to: &Plugged,
    frames: &[(Mark, Vec<u8>)],
    right: impl Fn(Mark) -> Vec<u8>,
) -> Vec<Mark> {
    let (wire, there) = (Wire::tap(&from.namespace), Wire::tap(&to.namespace));
    there.until_it_carries(FIRST, || wire.send(&right(FIRST)));
    for (_, frame) in frames {
        wire.send(frame);
    }
    wire.send(&right(LAST));
    let mut known: Vec<Mark> = frames.iter().map(|(mark, _)| *mark).collect();
    known.push(LAST);
    there.marks_until(&known, LAST)
}

/// A frame with a datagram between these.
fn frame(
    mac: (Mac, Mac),
    vlan: Option<u16>,
    ip: (std::net::IpAddr, std::net::IpAddr),
    mark: Mark,
) -> Vec<u8> {
    let (kind, packet) = datagram(ip.0, ip.1, mark);
    ethernet(mac.0, mac.1, vlan, kind, &packet)
}

#[test]
fn a_guest_sends_from_its_own_addresses_alone() {
    sandboxed(a_guest_sends_from_its_own_addresses_alone, async {
        const FOREIGN: Mac = Mac::new([2, 0xee, 0xee, 0xee, 0xee, 0xee]);
        let mut world = World::new().await;
        for family in [Family::V4, Family::V6] {
            let from = world.guest(0, family, json!({})).await;
            let to = world.guest(1, family, json!({})).await;
            let other = world.guest(1, family, json!({})).await;
            let macs = (from.placement.mac, to.placement.mac);
            let ips = (from.ip(), to.ip());
            let own = |mark| frame(macs, None, ips, mark);
            let mut frames = vec![
                (*b"ln-fo-ip", frame(macs, None, (other.ip(), to.ip()), *b"ln-fo-ip")),
                (*b"ln-fomac", frame((FOREIGN, macs.1), None, ips, *b"ln-fomac")),
                (
                    *b"ln-other",
                    frame((other.placement.mac, macs.1), None, (other.ip(), to.ip()), *b"ln-other"),
                ),
            ];
            if family == Family::V4 {
                let (kind, packet) = arp((macs.0, other.ip()), to.ip(), *b"ln-foarp");
                frames.push((*b"ln-foarp", ethernet(macs.0, macs.1, None, kind, &packet)));
                let (kind, packet) = arp((other.placement.mac, from.ip()), to.ip(), *b"ln-arpmc");
                frames.push((*b"ln-arpmc", ethernet(FOREIGN, macs.1, None, kind, &packet)));
            }
            assert_eq!(arrivals(&from, &to, &frames, own), [LAST], "{family:?}");
            if family == Family::V4 {
                let (kind, packet) = arp((macs.0, from.ip()), to.ip(), *b"ln-myarp");
                let request = (*b"ln-myarp", ethernet(macs.0, macs.1, None, kind, &packet));
                assert_eq!(arrivals(&from, &to, &[request], own), [*b"ln-myarp", LAST]);
            }
        }
        world.finish().await;
    });
}

#[test]
fn tagged_frames_pass_in_the_guests_own_vlans_alone() {
    sandboxed(tagged_frames_pass_in_the_guests_own_vlans_alone, async {
        let mut world = World::new().await;
        for tag in [20, 30] {
            let vlan = Key::document(lochness_api::Kind::Vlan, &tag.to_string()).expect("a tag");
            world.stage.store.put(&vlan, &json!({ "description": "a test's" })).await;
            let tag = serde_json::from_value(json!(tag)).expect("a tag");
            world.stage.store.put(&Key::VlanGroupMember(VLANS, tag), &json!("")).await;
        }
        world.stage.store.put(&Key::VlanGroup(VLANS), &json!({ "description": "both" })).await;
        let from = world.guest(0, Family::V4, json!({ "vlangroup": VLANS })).await;
        let to = world.guest(1, Family::V4, json!({ "vlangroup": VLANS })).await;
        assert_eq!(from.placement.vlans, [20, 30]);
        let macs = (from.placement.mac, to.placement.mac);
        let ips = (from.ip(), to.ip());
        let spoofed = ("10.1.0.249".parse().expect("an address"), to.ip());
        let frames = [
            (*b"ln-vl-40", frame(macs, Some(40), ips, *b"ln-vl-40")),
            (*b"ln-vl-20", frame(macs, Some(20), ips, *b"ln-vl-20")),
            (*b"ln-vlbad", frame(macs, Some(20), spoofed, *b"ln-vlbad")),
        ];
        let own = |mark| frame(macs, Some(30), ips, mark);
        assert_eq!(arrivals(&from, &to, &frames, own), [*b"ln-vl-20", LAST]);
        world.finish().await;
    });
}

#[test]
fn a_bridge_that_separates_no_vlans_is_named_and_its_guests_start() {
    sandboxed(a_bridge_that_separates_no_vlans_is_named_and_its_guests_start, async {
        let mut world = World::new().await;
        world.port_of_next(0);
        let number = world.declare(0, Family::V4, json!({})).await;
        world.stage.reach(&[guest_id(number)], Phase::Running).await;
        let log = world.agent_log(0);
        let told = log.lines().find(|line| line.contains("Unsupported") && line.contains("br0"));
        assert!(told.is_some_and(|line| line.contains("vlan_filtering")), "{log}");
        world.finish().await;
    });
}
