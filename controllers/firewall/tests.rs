//! The compiler, held against what a ruleset must say.

use std::collections::{BTreeMap, BTreeSet};

use lochness_api::document::{Document as _, FwGroup, Rule};
use lochness_api::keys::Key;
use serde_json::{Value, json};

use super::compile::compile;
use super::facts::{Facts, group, guest, members_of};
use super::input::input;
use super::plan::hosts_naming;
use super::rules::{RulesInForce, rules_in_force};
use crate::test_world::{TestWorld, id};
use crate::world::{Change, Family};

fn rules(rules: &Value) -> Vec<Rule> {
    let text = json!({"rules": rules}).to_string();
    FwGroup::parse(&group(1).to_string(), text.as_bytes()).unwrap().rules
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
fn a_group_that_is_put_again_has_no_rules_of_the_one_that_was_deleted() {
    let mut world = TestWorld::new();
    let key = Key::FwGroup(group(1));
    let good = json!({"rules": [{"protocol": "tcp", "portStart": 22}]});
    world.put_json(&key, &good);
    world.put_json(&Key::FwGroupStatus(group(1)), &good);
    // Before anybody took its status away, or while nobody led.
    world.delete(&key);
    world.put_json(&key, &json!({"rules": [{"portStart": 9, "portEnd": 8}]}));
    assert_eq!(rules_in_force(&world, group(1)), RulesInForce::NeverUnderstood);
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
        |world: &TestWorld| super::plan::newest_placement(world.view().host(host).unwrap());
    assert_eq!(newest(&world), world.revision());
    world.delete(&Key::Placement(host, id(1)));
    assert_eq!(newest(&world), 0);
}
