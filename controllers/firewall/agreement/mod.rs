//! The compiled ruleset, run by a small interpreter, says of every packet what the documents say of it.
//!
//! Two sides that share nothing: [`interpreter`] reads the text that an agent would give to nft, and [`evaluator`] reads
//! guests, groups and rules.

#![allow(clippy::wildcard_enum_match_arm, reason = "a test names the variants that it is about")]

mod evaluator;
mod interpreter;

use std::collections::BTreeMap;
use std::net::IpAddr;

use lochness_api::Mac;
use proptest::prelude::*;

use super::compile::port_name;
use super::facts::{Facts, any_facts, any_ip, mac};
use evaluator::judge;
pub(super) use interpreter::Rules;

#[derive(Debug, Clone)]
pub(super) struct Packet {
    /// The port of the bridge that the frame comes in by.
    pub(super) port: String,
    /// The bridge that it leaves by.
    pub(super) bridge: String,
    pub(super) from: Mac,
    pub(super) to: Mac,
    pub(super) tag: Option<Tag>,
    pub(super) body: Body,
    pub(super) established: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tag {
    Customer(u16),
    Service,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    Arp { sender: IpAddr },
    Ip { source: IpAddr, destination: IpAddr, carried: Carried },
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    Tcp { to: u16 },
    Udp { from: u16, to: u16 },
    Icmp,
    Icmpv6(&'static str),
    Other,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Passed,
    Dropped,
    Rejected,
}

fn any_body() -> impl Strategy<Value = Body> {
    let special = prop_oneof![Just("0.0.0.0"), Just("::"), Just("fe80::1"), Just("192.0.2.1")];
    let address =
        || prop_oneof![4 => any_ip(), 1 => special.clone().prop_map(|ip| ip.parse().unwrap())];
    let port = || prop_oneof![4 => 1_u16..12, 1 => prop_oneof![Just(67_u16), Just(68), Just(546), Just(547)]];
    let word = prop_oneof![
        Just("nd-neighbor-solicit"),
        Just("nd-neighbor-advert"),
        Just("nd-router-solicit"),
        Just("nd-router-advert"),
        Just("mld2-listener-report"),
        Just("echo-request"),
    ];
    let carried = prop_oneof![
        3 => port().prop_map(|to| Carried::Tcp { to }),
        2 => (port(), port()).prop_map(|(from, to)| Carried::Udp { from, to }),
        1 => prop_oneof![Just((67, 68)), Just((68, 67)), Just((546, 547)), Just((547, 546))]
            .prop_map(|(from, to)| Carried::Udp { from, to }),
        1 => word.prop_map(Carried::Icmpv6),
        1 => Just(Carried::Icmp),
        1 => Just(Carried::Other),
    ];
    let ip = (address(), address(), carried).prop_map(|(source, destination, carried)| {
        // A packet is of one family, and so is what it carries.
        let destination =
            if source.is_ipv4() == destination.is_ipv4() { destination } else { source };
        let carried = match carried {
            Carried::Icmp if source.is_ipv6() => Carried::Icmpv6("echo-request"),
            Carried::Icmpv6(_) if source.is_ipv4() => Carried::Icmp,
            other => other,
        };
        Body::Ip { source, destination, carried }
    });
    prop_oneof![
        8 => ip,
        1 => (1_u8..6).prop_map(|low| Body::Arp { sender: IpAddr::from([10, 0, 0, low]) }),
        1 => Just(Body::Arp { sender: IpAddr::from([0, 0, 0, 0]) }),
        1 => Just(Body::Other),
    ]
}

fn any_packet() -> impl Strategy<Value = Packet> {
    let port = prop_oneof![
        4 => Just("uplink".to_owned()),
        1 => (1_u8..9).prop_map(|number| port_name(mac(number))),
    ];
    let bridge = prop_oneof![Just("br0"), Just("br1")];
    let tag = prop_oneof![
        4 => Just(None),
        3 => (1_u16..5).prop_map(|tag| Some(Tag::Customer(tag))),
        1 => Just(Some(Tag::Service)),
    ];
    // Some come from and go to nobody's hardware address: to and from a router.
    let macs = (1_u8..14, 1_u8..14).prop_map(|(from, to)| (mac(from), mac(to)));
    (port, bridge, macs, tag, any_body(), prop::bool::weighted(0.1)).prop_map(
        |(port, bridge, (from, to), tag, body, established)| {
            let bridge = bridge.to_owned();
            Packet { port, bridge, from, to, tag, body, established }
        },
    )
}

/// A packet as a guest itself would send it to another: what only random packets would seldom be.
fn between(facts: &Facts, packet: &Packet, sender: usize, target: usize) -> Packet {
    let mut packet = packet.clone();
    let (Some(from), Some(to)) = (facts.guests.get(sender), facts.guests.get(target)) else {
        return packet;
    };
    packet.from = from.mac;
    packet.to = to.mac;
    packet.tag = packet.tag.filter(|_| from.vlans.contains(&1));
    if let Body::Ip { source, destination, .. } = &mut packet.body
        && from.ip.is_ipv4() == to.ip.is_ipv4()
        && from.ip.is_ipv4() == source.is_ipv4()
    {
        (*source, *destination) = (from.ip, to.ip);
    }
    packet
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn the_ruleset_says_of_every_packet_what_the_documents_say(
        facts in any_facts(),
        packets in prop::collection::vec((any_packet(), 0_usize..8, 0_usize..8), 40),
    ) {
        let text = facts.text();
        let rules = Rules::parse(&text);
        for (packet, sender, target) in packets {
            for packet in [between(&facts, &packet, sender, target), packet] {
                let (run, said) = (rules.run(&packet), judge(&facts, &packet));
                prop_assert_eq!(run, said, "{:?}\n{}", packet, text);
            }
        }
    }
}

#[test]
fn the_packets_of_the_agreement_meet_every_verdict() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::new();
    for _ in 0..200 {
        let facts = any_facts().new_tree(&mut runner).unwrap().current();
        let rules = Rules::parse(&facts.text());
        for sender in 0..4 {
            let packet = any_packet().new_tree(&mut runner).unwrap().current();
            let verdict = rules.run(&between(&facts, &packet, sender, 7 - sender));
            *seen.entry(format!("{verdict:?}")).or_insert(0) += 1;
        }
    }
    for verdict in [Verdict::Passed, Verdict::Dropped, Verdict::Rejected] {
        let count = seen.get(&format!("{verdict:?}")).copied().unwrap_or(0);
        assert!(count > 20, "{verdict:?}: {seen:?}");
    }
}
