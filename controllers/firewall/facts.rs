//! What rulesets are made of in tests: written by hand, or drawn at random.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lochness_api::document::{Action, PortRange, Protocol, Rule};
use lochness_api::{FwGroupId, Mac};
use proptest::prelude::*;

use super::compile::compile;
use super::content::Ruleset;
use super::input::{Input, LocalGuest};
use crate::test_world::id;
use crate::world::Members;

pub(super) fn group(number: usize) -> FwGroupId {
    id(number)
}

pub(super) fn mac(number: u8) -> Mac {
    format!("02:00:00:00:00:{number:02x}").parse().unwrap()
}

pub(super) fn guest(ip: &str, number: u8, fwgroup: Option<FwGroupId>) -> LocalGuest {
    let ip = ip.parse().unwrap();
    LocalGuest { ip, bridge: "br0".to_owned(), mac: mac(number), vlans: vec![1], fwgroup }
}

/// Everything that a ruleset is made of, without a world to borrow it from.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    pub(super) guests: Vec<LocalGuest>,
    pub(super) groups: BTreeMap<FwGroupId, Vec<Rule>>,
    pub(super) members: BTreeMap<FwGroupId, BTreeSet<IpAddr>>,
}

impl Facts {
    pub(super) fn of_group(rules: Vec<Rule>) -> Self {
        Self { groups: BTreeMap::from([(group(1), rules)]), ..Self::default() }
    }

    /// The ruleset and its text.
    pub(super) fn compile(&self) -> (Ruleset, String) {
        let members: BTreeMap<_, _> =
            self.members.iter().map(|(group, ips)| (*group, members_of(ips))).collect();
        let ruleset = compile(&self.input(&members));
        let text = ruleset.text(|group| members.get(&group));
        (ruleset, text)
    }

    pub(super) fn text(&self) -> String {
        self.compile().1
    }

    pub(super) fn input<'a>(&'a self, members: &'a BTreeMap<FwGroupId, Members>) -> Input<'a> {
        let groups = self.groups.iter().map(|(group, rules)| (*group, rules.as_slice())).collect();
        let members = members.iter().map(|(group, members)| (*group, Some(members))).collect();
        Input { guests: self.guests.clone(), groups, members }
    }
}

pub(super) fn members_of(ips: &BTreeSet<IpAddr>) -> Members {
    let mut members = Members::default();
    for ip in ips {
        members.join(*ip);
    }
    members
}

pub(super) fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1_u8..6).prop_map(|low| IpAddr::from([10, 0, 0, low])),
        (1_u16..6).prop_map(|low| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, low])),
    ]
}

pub(super) fn any_group() -> impl Strategy<Value = FwGroupId> {
    (1_usize..5).prop_map(group)
}

pub(super) fn any_guest() -> impl Strategy<Value = LocalGuest> {
    let bridge = prop_oneof![Just("br0"), Just("br1"), Just("not a name")];
    let vlans = prop::collection::btree_set(1_u16..5, 1..3);
    (any_ip(), bridge, 1_u8..9, vlans, prop::option::of(any_group())).prop_map(
        |(ip, bridge, number, vlans, fwgroup)| LocalGuest {
            ip,
            bridge: bridge.to_owned(),
            mac: mac(number),
            vlans: vlans.into_iter().collect(),
            fwgroup,
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    // Some anywhere, most among the addresses of guests.
    let source = prop_oneof![
        1 => (any::<u32>(), 0_u8..=32)
            .prop_map(|(bits, prefix)| (IpAddr::from(bits.to_be_bytes()), prefix)),
        1 => (any::<u128>(), 0_u8..=128)
            .prop_map(|(bits, prefix)| (IpAddr::from(bits.to_be_bytes()), prefix)),
        3 => (any_ip(), 0_u8..4).prop_map(|(ip, wider)| {
            (ip, if ip.is_ipv4() { 32 } else { 128 } - wider)
        }),
    ];
    // As the parser gives them: the address is the range's first.
    let source = source.prop_map(|(ip, prefix)| {
        let range = ipnetwork::IpNetwork::new(ip, prefix).unwrap();
        ipnetwork::IpNetwork::new(range.network(), prefix).unwrap()
    });
    let kind = prop_oneof![
        Just((None, false)),
        Just((Some(Protocol::Icmp), false)),
        Just((Some(Protocol::Icmpv6), false)),
        any::<bool>().prop_map(|ports| (Some(Protocol::Tcp), ports)),
        any::<bool>().prop_map(|ports| (Some(Protocol::Udp), ports)),
    ];
    let ports = (1_u16..9, 0_u16..3)
        .prop_map(|(start, more)| PortRange { start, end: start.saturating_add(more) });
    let action = prop_oneof![Just(Action::Accept), Just(Action::Deny), Just(Action::Reject)];
    let from = (prop::option::of(source), prop::option::of(any_group()));
    (from, kind, ports, action).prop_map(
        |((source, group), (protocol, has_ports), ports, action)| {
            let ports = has_ports.then_some(ports);
            Rule { source, group, ports, protocol, action, other: serde_json::Map::new() }
        },
    )
}

pub(super) fn any_facts() -> impl Strategy<Value = Facts> {
    let guests = prop::collection::vec(any_guest(), 0..8);
    let rules = prop::collection::vec(prop::collection::vec(any_rule(), 0..6), 4);
    let members =
        prop::collection::btree_map(any_group(), prop::collection::btree_set(any_ip(), 0..4), 0..4);
    (guests, rules, members).prop_map(|(guests, rules, members)| {
        let groups = rules.into_iter().enumerate();
        let groups = groups.map(|(index, rules)| (group(index + 1), rules)).collect();
        Facts { guests, groups, members }
    })
}
