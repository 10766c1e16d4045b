//! The compiler, held against what a ruleset must say and, where it is installed, against nft itself.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use lochness_api::document::{Action, Document as _, FwGroup, PortRange, Protocol, Rule};
use lochness_api::keys::Key;
use lochness_api::{FwGroupId, Mac};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::compile::compile;
use super::input::{Input, LocalGuest, input};
use super::plan::{changed_groups, hosts_naming, local_members};
use crate::test_world::{TestWorld, id};

fn group(number: usize) -> FwGroupId {
    id(number)
}

fn rules(rules: &Value) -> Vec<Rule> {
    let text = json!({"rules": rules}).to_string();
    FwGroup::parse(&group(1).to_string(), text.as_bytes()).unwrap().rules
}

fn mac(number: u8) -> Mac {
    format!("02:00:00:00:00:{number:02x}").parse().unwrap()
}

fn guest(ip: &str, number: u8, fwgroup: Option<FwGroupId>) -> LocalGuest {
    LocalGuest { ip: ip.parse().unwrap(), bridge: "br0".to_owned(), mac: mac(number), fwgroup }
}

/// The ruleset of a host with one guest in a group with these rules.
fn text_of(written: &Value, members: &[(usize, &[&str])]) -> String {
    let members = members
        .iter()
        .map(|(number, ips)| (group(*number), ips.iter().map(|ip| ip.parse().unwrap()).collect()))
        .collect();
    let guests = vec![guest("10.0.0.5", 5, Some(group(1)))];
    let groups = BTreeMap::from([(group(1), rules(written))]);
    compile(&Input { guests, groups, members }).text
}

/// The rules of the group's chain, without indent.
fn chain(text: &str) -> Vec<&str> {
    let head = format!("chain ln_group_{}", group(1).uuid().simple());
    let lines = text.lines().map(str::trim);
    lines
        .skip_while(|line| !line.starts_with(&head))
        .skip(1)
        .take_while(|line| *line != "}")
        .collect()
}

#[test]
fn rules_stand_in_their_order_and_what_none_matches_is_rejected() {
    let text = text_of(
        &json!([
            {"protocol": "tcp", "portStart": 80, "portEnd": 90},
            {"protocol": "udp", "portStart": 53, "action": "deny"},
            {"protocol": "icmp", "action": "reject"},
            {"action": "accept"},
        ]),
        &[],
    );
    assert_eq!(
        chain(&text),
        [
            "tcp dport 80-90 accept",
            "udp dport 53 drop",
            "meta nfproto ipv4 meta l4proto icmp goto ln_rest",
            "accept",
            "goto ln_rest",
        ]
    );
    assert!(text.contains("10.0.0.5 : goto ln_group_"), "{text}");
}

#[test]
fn neighbouring_rules_that_differ_in_their_source_alone_are_one_and_its_set_has_no_overlap() {
    let text = text_of(
        &json!([
            {"source": "10.1.0.0/16", "protocol": "tcp"},
            {"source": "10.1.2.0/24", "protocol": "tcp"},
            {"source": "fd00::/64", "protocol": "tcp"},
            {"source": "192.0.2.1/32", "protocol": "tcp", "action": "deny"},
        ]),
        &[],
    );
    let own = group(1).uuid().simple().to_string();
    assert_eq!(
        chain(&text),
        [
            format!("ip saddr @ln_from4_{own}_0 meta l4proto tcp accept"),
            format!("ip6 saddr @ln_from6_{own}_0 meta l4proto tcp accept"),
            format!("ip saddr @ln_from4_{own}_1 meta l4proto tcp drop"),
            "goto ln_rest".to_owned(),
        ]
    );
    assert!(text.contains("10.1.0.0/16") && !text.contains("10.1.2.0/24"), "{text}");
}

#[test]
fn a_source_of_everything_is_everything_of_its_family() {
    let text = text_of(&json!([{"source": "0.0.0.0/0"}, {"source": "10.0.0.0/8"}]), &[]);
    assert_eq!(chain(&text), ["meta nfproto ipv4 accept", "goto ln_rest"]);
}

#[test]
fn a_group_is_its_members_and_one_that_does_not_exist_is_nobody() {
    let other = group(2).to_string();
    let written = json!([{"group": other}]);
    assert_eq!(chain(&text_of(&written, &[])), ["goto ln_rest"]);
    let text = text_of(&written, &[(2, &["10.0.0.9", "fd00::9"])]);
    let set = group(2).uuid().simple();
    assert_eq!(
        chain(&text),
        [
            format!("ip saddr @ln_members4_{set} accept"),
            format!("ip6 saddr @ln_members6_{set} accept"),
            "goto ln_rest".to_owned(),
        ]
    );
    assert!(text.contains("10.0.0.9,") && text.contains("fd00::9,"), "{text}");
}

#[test]
fn source_and_group_must_both_match() {
    let mut rule = rules(&json!([{"source": "10.0.0.0/8"}])).remove(0);
    rule.group = Some(group(2));
    let input = Input {
        guests: Vec::new(),
        groups: BTreeMap::from([(group(1), vec![rule])]),
        members: BTreeMap::from([(group(2), BTreeSet::new())]),
    };
    let (own, other) = (group(1).uuid().simple(), group(2).uuid().simple());
    assert_eq!(
        chain(&compile(&input).text)[0],
        format!("ip saddr @ln_from4_{own}_0 ip saddr @ln_members4_{other} accept")
    );
}

#[test]
fn every_guest_keeps_to_its_own_addresses_and_one_without_group_is_open() {
    let guests = vec![guest("10.0.0.5", 5, None), guest("fd00::6", 6, None)];
    let text = compile(&Input { guests, ..Input::default() }).text;
    assert!(text.contains("02:00:00:00:00:05 . 10.0.0.5,"), "{text}");
    assert!(text.contains("02:00:00:00:00:06 . fd00::6,"), "{text}");
    assert!(!text.contains("10.0.0.5 :") && !text.contains("fd00::6 :"), "{text}");
}

#[test]
fn guests_of_two_networks_with_one_address_are_told_apart_by_their_bridge() {
    let mut one = guest("10.0.0.5", 1, Some(group(1)));
    let mut other = guest("10.0.0.5", 2, None);
    "br-one".clone_into(&mut one.bridge);
    "br-two".clone_into(&mut other.bridge);
    let groups = BTreeMap::from([(group(1), Vec::new())]);
    let text = compile(&Input { guests: vec![one, other], groups, ..Input::default() }).text;
    assert!(text.contains("\"br-one\" . 10.0.0.5 : goto ln_group_"), "{text}");
    assert!(text.contains("\"br-two\" . 10.0.0.5 : accept"), "{text}");
    assert!(text.contains("10.0.0.5 : goto ln_rest"), "{text}");
}

#[test]
fn what_a_user_writes_as_a_bridge_is_no_part_of_the_ruleset_unless_it_is_a_name() {
    let hostile = "br0\" . 10.0.0.5 : accept }\nflush ruleset #";
    let mut one = guest("10.0.0.5", 1, Some(group(1)));
    hostile.clone_into(&mut one.bridge);
    let groups = BTreeMap::from([(group(1), Vec::new())]);
    let guests = vec![one, guest("10.0.0.5", 2, None)];
    let text = compile(&Input { guests, groups, ..Input::default() }).text;
    assert!(!text.contains("flush"), "{text}");
    assert!(text.contains("10.0.0.5 : goto ln_rest"), "{text}");
}

#[test]
fn the_input_of_a_host_is_its_guests_and_the_members_everywhere_of_the_groups_that_are_named() {
    let mut world = TestWorld::new();
    let (here, there) = (world.host(1), world.host(2));
    let subnet = world.subnet(1, "10.0.0.0/16");
    let document =
        json!({"rules": [{"group": group(2).to_string()}, {"group": group(9).to_string()}]});
    world.put_json(&Key::FwGroup(group(1)), &document);
    world.put_json(&Key::FwGroup(group(2)), &json!({}));
    world.placed_with(1, here, subnet, |placement| placement.fwgroup = Some(group(1)));
    world.placed_with(2, there, subnet, |placement| placement.fwgroup = Some(group(2)));
    let local = input(&world, world.view().host(here).unwrap());
    assert_eq!(local.guests.len(), 1);
    let members: BTreeSet<IpAddr> = ["10.0.0.12".parse().unwrap()].into();
    assert_eq!(local.members, BTreeMap::from([(group(2), members)]));

    let remote = input(&world, world.view().host(there).unwrap());
    let changed = changed_groups(&local_members(&remote.guests), &BTreeMap::new());
    assert_eq!(changed, BTreeSet::from([group(2)]));
    assert_eq!(hosts_naming(&world, &changed), BTreeSet::from([here]));
}

#[test]
fn a_placement_is_covered_only_from_its_index_key_on() {
    let mut world = TestWorld::new();
    let host = world.host(1);
    let subnet = world.subnet(1, "10.0.0.0/16");
    world.placed(1, host, subnet);
    let newest =
        |world: &TestWorld| super::plan::newest_placement(world, world.view().host(host).unwrap());
    assert_eq!(newest(&world), world.revision());
    world.delete(&Key::Placement(host, id(1)));
    assert_eq!(newest(&world), 0);
}

fn any_ip() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        (1_u8..6).prop_map(|low| IpAddr::from([10, 0, 0, low])),
        (1_u16..6).prop_map(|low| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, low])),
    ]
}

fn any_group() -> impl Strategy<Value = FwGroupId> {
    (1_usize..5).prop_map(group)
}

fn any_guest() -> impl Strategy<Value = LocalGuest> {
    let bridge = prop_oneof![Just("br0"), Just("br1"), Just("not a name")];
    (any_ip(), bridge, 1_u8..9, prop::option::of(any_group())).prop_map(
        |(ip, bridge, number, fwgroup)| LocalGuest {
            ip,
            bridge: bridge.to_owned(),
            mac: mac(number),
            fwgroup,
        },
    )
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let source = prop_oneof![
        (any::<u32>(), 0_u8..=32)
            .prop_map(|(bits, prefix)| (IpAddr::from(bits.to_be_bytes()), prefix)),
        (any::<u128>(), 0_u8..=128)
            .prop_map(|(bits, prefix)| (IpAddr::from(bits.to_be_bytes()), prefix)),
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
    let ports = (1_u16.., 0_u16..9)
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

fn any_input() -> impl Strategy<Value = Input> {
    let guests = prop::collection::vec(any_guest(), 0..8);
    let rules = prop::collection::vec(prop::collection::vec(any_rule(), 0..6), 4);
    let members =
        prop::collection::btree_map(any_group(), prop::collection::btree_set(any_ip(), 0..4), 0..4);
    (guests, rules, members).prop_map(|(guests, rules, members)| {
        let groups = rules.into_iter().enumerate();
        let groups = groups.map(|(index, rules)| (group(index + 1), rules)).collect();
        Input { guests, groups, members }
    })
}

/// Whether nft is installed and may be used here.
fn has_nft() -> bool {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    listed.is_ok_and(|output| output.status.success())
}

/// What nft says against a ruleset, without applying it.
fn nft_refuses(text: &str) -> Option<String> {
    let mut nft = Command::new("nft")
        .args(["--check", "--file", "-"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    nft.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = nft.wait_with_output().unwrap();
    (!output.status.success()).then(|| String::from_utf8_lossy(&output.stderr).into_owned())
}

proptest! {
    #[test]
    fn the_same_guests_in_another_order_give_the_same_bytes(
        (input, shuffled) in any_input().prop_flat_map(|input| {
            let shuffled = Just(input.guests.clone()).prop_shuffle();
            (Just(input), shuffled)
        }),
    ) {
        let ruleset = compile(&input);
        prop_assert_eq!(&compile(&Input { guests: shuffled, ..input }), &ruleset);
        prop_assert_eq!(ruleset.hash.len(), 64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nft_takes_every_ruleset_where_it_is_installed(input in any_input()) {
        let text = compile(&input).text;
        if has_nft() {
            prop_assert_eq!(nft_refuses(&text), None, "{}", text);
        }
    }
}
