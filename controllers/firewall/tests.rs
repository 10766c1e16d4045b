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

use super::agreement::Rules;
use super::compile::compile;
use super::content::{Difference, Ruleset};
use super::input::{Input, LocalGuest, input};
use super::plan::hosts_naming;
use super::rules::{RulesInForce, rules_in_force};
use crate::test_world::{TestWorld, id};
use crate::world::{Change, Family, Members};

pub(super) fn group(number: usize) -> FwGroupId {
    id(number)
}

fn rules(rules: &Value) -> Vec<Rule> {
    let text = json!({"rules": rules}).to_string();
    FwGroup::parse(&group(1).to_string(), text.as_bytes()).unwrap().rules
}

pub(super) fn mac(number: u8) -> Mac {
    format!("02:00:00:00:00:{number:02x}").parse().unwrap()
}

fn guest(ip: &str, number: u8, fwgroup: Option<FwGroupId>) -> LocalGuest {
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
    fn of_group(rules: Vec<Rule>) -> Self {
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

/// The ruleset of a host with one guest in a group with these rules.
fn text_of(written: &Value, members: &[(usize, &[&str])]) -> String {
    let members = members
        .iter()
        .map(|(number, ips)| (group(*number), ips.iter().map(|ip| ip.parse().unwrap()).collect()))
        .collect();
    let guests = vec![guest("10.0.0.5", 5, Some(group(1)))];
    Facts { guests, members, ..Facts::of_group(rules(written)) }.text()
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
    let members = BTreeMap::from([(group(2), BTreeSet::new())]);
    let text = Facts { members, ..Facts::of_group(vec![rule]) }.text();
    let (own, other) = (group(1).uuid().simple(), group(2).uuid().simple());
    assert_eq!(
        chain(&text)[0],
        format!("ip saddr @ln_from4_{own}_0 ip saddr @ln_members4_{other} accept")
    );
}

#[test]
fn every_guest_keeps_to_its_own_addresses_and_one_without_group_is_open() {
    let guests = vec![guest("10.0.0.5", 5, None), guest("fd00::6", 6, None)];
    let text = Facts { guests, ..Facts::default() }.text();
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
    let text = Facts { guests: vec![one, other], ..Facts::of_group(Vec::new()) }.text();
    assert!(text.contains("\"br-one\" . 10.0.0.5 : goto ln_group_"), "{text}");
    assert!(text.contains("\"br-two\" . 10.0.0.5 : accept"), "{text}");
    assert!(text.contains("10.0.0.5 : goto ln_rest"), "{text}");
}

#[test]
fn what_a_user_writes_as_a_bridge_is_no_part_of_the_ruleset_unless_it_is_a_name() {
    let hostile = "br0\" . 10.0.0.5 : accept }\nflush ruleset #";
    let mut one = guest("10.0.0.5", 1, Some(group(1)));
    hostile.clone_into(&mut one.bridge);
    let guests = vec![one, guest("10.0.0.5", 2, None)];
    let text = Facts { guests, ..Facts::of_group(Vec::new()) }.text();
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
    assert_eq!(local.members.keys().collect::<Vec<_>>(), [&group(2)]);
    let members = local.members[&group(2)].unwrap();
    assert_eq!(&*members.rendered(Family::V4), "10.0.0.12");
    assert_eq!(hosts_naming(&world, group(2)).collect::<Vec<_>>(), [here]);
    assert_eq!(hosts_naming(&world, group(1)).count(), 0);
}

#[test]
fn the_rules_of_a_group_outlive_a_broken_document_and_the_leader_that_understood_them() {
    let mut world = TestWorld::new();
    let key = Key::FwGroup(group(1));
    let broken = json!({"rules": [{"protocol": "tcp", "portStart": 9, "portEnd": 8}]});
    assert_eq!(rules_in_force(&world, group(1)), RulesInForce::Missing);
    world.put_json(&key, &broken);
    assert_eq!(rules_in_force(&world, group(1)), RulesInForce::NeverUnderstood);
    let good = json!([{"protocol": "tcp", "portStart": 80}]);
    let status = Key::FwGroupStatus(group(1));
    world.put_json(&status, &json!({ "rules": good }));
    assert_eq!(rules_in_force(&world, group(1)), RulesInForce::Known(&rules(&good)));
    let newer = json!([{"protocol": "udp"}]);
    world.put_json(&key, &json!({ "rules": newer }));
    world.put_json(&key, &broken);
    let known = RulesInForce::Known(&rules(&newer)[..]);
    assert_eq!(rules_in_force(&world, group(1)), known, "what this leader understood is newer");
}

#[test]
fn who_joins_or_leaves_a_group_is_a_change_of_the_group_and_nothing_else_is() {
    let mut world = TestWorld::new();
    let host = world.host(1);
    let subnet = world.subnet(1, "10.0.0.0/16");
    world.placed_with(1, host, subnet, |placement| placement.fwgroup = Some(group(2)));
    let members = |world: &TestWorld| world.member_addresses(group(2)).unwrap().digest(Family::V4);
    let joined = members(&world);
    assert!(world.take_changes().contains(&Change::Members(group(2))));
    world.put(&Key::Guest(id(1)), "{}");
    assert!(!world.take_changes().contains(&Change::Members(group(2))));
    world.delete(&Key::GuestStatus(id(1)));
    assert!(world.take_changes().contains(&Change::Members(group(2))));
    assert_ne!(members(&world), joined);
}

#[test]
fn a_guest_sends_frames_with_its_own_tags_and_from_a_port_of_its_own_name() {
    let mut one = guest("10.0.0.5", 5, None);
    one.vlans = vec![7, 12];
    let text = Facts { guests: vec![one], ..Facts::default() }.text();
    assert!(text.contains("02:00:00:00:00:05 . 12,"), "{text}");
    assert!(text.contains("02:00:00:00:00:05 . 7,"), "{text}");
    assert!(text.contains("\"lng020000000005\" . 02:00:00:00:00:05,"), "{text}");
}

#[test]
fn a_joining_member_is_one_element_and_a_new_guest_of_a_known_group_a_few() {
    let members = BTreeMap::from([(group(2), BTreeSet::from(["10.0.0.9".parse().unwrap()]))]);
    let own = rules(&json!([{"group": group(2).to_string()}]));
    let guests = vec![guest("10.0.0.5", 5, Some(group(1)))];
    let facts = Facts { guests, members, ..Facts::of_group(own) };
    let (before, _) = facts.compile();

    let mut all = BTreeMap::from([(group(2), members_of(&facts.members[&group(2)]))]);
    all.get_mut(&group(2)).unwrap().join("10.0.0.8".parse().unwrap());
    let joined = compile(&facts.input(&all));
    let difference = before.content.difference(&joined.content, |group| all.get(&group)).unwrap();
    let set = format!("ln_members4_{}", group(2).uuid().simple());
    assert_eq!(difference.add, BTreeMap::from([(set, vec!["10.0.0.8".to_owned()])]));
    assert_eq!(difference.remove, BTreeMap::new());

    let mut more = facts.clone();
    more.guests.push(guest("10.0.0.6", 6, Some(group(1))));
    let grown = compile(&more.input(&all));
    let difference = joined.content.difference(&grown.content, |group| all.get(&group)).unwrap();
    let touched: Vec<_> = difference.add.keys().map(String::as_str).collect();
    let wanted = ["ln_closed", "ln_guests4", "ln_macs", "ln_ports", "ln_source4", "ln_vlans"];
    assert_eq!((touched, difference.remove.len()), (wanted.to_vec(), 0));

    more.groups.insert(group(3), Vec::new());
    let other = compile(&more.input(&all));
    assert_eq!(grown.content.difference(&other.content, |group| all.get(&group)), None);
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

/// The text with the elements of its sets as they are after the changes.
fn patched(text: &str, difference: &Difference) -> BTreeMap<String, BTreeSet<String>> {
    let mut sets = Rules::parse(text).elements();
    for (set, elements) in &difference.remove {
        let own = sets.get_mut(set).expect("a patch names sets of the text");
        for element in elements {
            assert!(own.remove(element), "{element} was no element of {set}");
        }
    }
    for (set, elements) in &difference.add {
        let own = sets.get_mut(set).expect("a patch names sets of the text");
        for element in elements {
            assert!(own.insert(element.clone()), "{element} was an element of {set}");
        }
    }
    sets
}

proptest! {
    #[test]
    fn the_same_guests_in_another_order_give_the_same_bytes(
        (facts, shuffled) in any_facts().prop_flat_map(|facts| {
            let shuffled = Just(facts.guests.clone()).prop_shuffle();
            (Just(facts), shuffled)
        }),
    ) {
        let (ruleset, text) = facts.compile();
        let (other, same) = Facts { guests: shuffled, ..facts }.compile();
        prop_assert_eq!((other.content, same), (ruleset.content.clone(), text));
        prop_assert_eq!(ruleset.content.hash.len(), 64);
    }

    #[test]
    fn what_patches_lead_to_is_what_a_put_says(
        facts in any_facts(),
        histories in prop::collection::vec(
            (prop::collection::vec(any_guest(), 0..8), any_group(), any_ip(), any::<bool>()), 1..12),
    ) {
        let mut now = facts;
        let mut members: BTreeMap<_, _> =
            now.members.iter().map(|(group, ips)| (*group, members_of(ips))).collect();
        let mut before = compile(&now.input(&members));
        let mut text = before.text(|group| members.get(&group));
        for (guests, group, ip, joins) in histories {
            now.guests = guests;
            if let Some(ips) = now.members.get_mut(&group) {
                let members = members.get_mut(&group).unwrap();
                if joins && ips.insert(ip) {
                    members.join(ip);
                } else if !joins && ips.remove(&ip) {
                    members.leave(ip);
                }
            }
            let after = compile(&now.input(&members));
            let difference = before.content.difference(&after.content, |group| members.get(&group));
            let reached = patched(&text, &difference.expect("the rules are the same"));
            let (put, put_text) = now.compile();
            prop_assert_eq!(&put.content.hash, &after.content.hash);
            prop_assert_eq!(&reached, &Rules::parse(&put_text).elements());
            text = after.text(|group| members.get(&group));
            prop_assert_eq!(&text, &put_text);
            before = after;
        }
    }

    #[test]
    fn rulesets_of_one_hash_say_the_same(one in any_facts(), other in any_facts()) {
        let ((first, text), (second, other_text)) = (one.compile(), other.compile());
        prop_assert_eq!(first.content.hash == second.content.hash, text == other_text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nft_takes_every_ruleset_where_it_is_installed(facts in any_facts()) {
        let text = facts.text();
        if has_nft() {
            prop_assert_eq!(nft_refuses(&text), None, "{}", text);
        }
    }
}
