//! What holds of every ruleset, and what nft itself makes of it where it is installed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::agreement::Rules;
use super::compile::compile;
use super::content::Difference;
use super::facts::{Facts, any_facts, any_group, any_guest, any_ip, members_of};

/// Whether nft is installed and may be used here.
fn has_nft() -> bool {
    let listed = Command::new("nft").args(["list", "tables"]).output();
    listed.is_ok_and(|output| output.status.success())
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

/// A ruleset and what it becomes when guests and members come and go, as a put and as a patch.
fn any_step() -> impl Strategy<Value = (Facts, Facts)> {
    let others = (prop::collection::vec(any_guest(), 0..8), any_group(), any_ip());
    (any_facts(), others).prop_map(|(before, (guests, group, ip))| {
        let mut after = Facts { guests, ..before.clone() };
        if let Some(members) = after.members.get_mut(&group) {
            members.insert(ip);
        }
        (before, after)
    })
}

/// What leads from one to the other, in nft's language.
fn commands(text: &str, difference: &Difference) -> String {
    let bridge = text.split("table inet lochness {").next().unwrap_or_default();
    let line = |verb: &str, set: &String, elements: &Vec<String>| {
        let declared = |kind: &str| bridge.contains(&format!("{kind} {set} {{"));
        let family = if declared("set") || declared("map") { "bridge" } else { "inet" };
        format!("{verb} element {family} lochness {set} {{ {} }}\n", elements.join(", "))
    };
    let removed = difference.remove.iter().map(|(set, elements)| line("delete", set, elements));
    let added = difference.add.iter().map(|(set, elements)| line("add", set, elements));
    removed.chain(added).collect()
}

/// What nft lists after these scripts, each of them a transaction, in a network namespace that goes with the process; `Err`
/// has nft's words.
fn listed_after(scripts: &[String]) -> Result<Vec<String>, String> {
    let mut shell = String::from("set -e\n");
    for script in scripts {
        let _infallible = writeln!(shell, "nft -f - <<'END'\n{script}\nEND");
    }
    shell.push_str("nft list ruleset\n");
    let (ok, listed, words) = run("unshare", &["--net", "sh", "-s"], &shell);
    if !ok {
        return Err(words);
    }
    // nft lists the elements of a set in an order of its own.
    let mut parts: Vec<_> =
        listed.split([',', '\n', '{', '}', '=']).map(|part| part.trim().to_owned()).collect();
    parts.sort_unstable();
    Ok(parts)
}

fn run(program: &str, arguments: &[&str], input: &str) -> (bool, String, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

/// Whether a network namespace can be made here, with nft in it.
fn has_namespaces() -> bool {
    let tried = Command::new("unshare").args(["--net", "nft", "list", "tables"]).output();
    tried.is_ok_and(|output| output.status.success())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn nft_takes_every_ruleset_where_it_is_installed(facts in any_facts()) {
        let text = facts.text();
        if has_nft() {
            let (taken, _, words) = run("nft", &["--check", "--file", "-"], &text);
            prop_assert!(taken, "{}\n{}", words, text);
        }
    }

    #[test]
    fn the_kernel_has_the_same_after_a_patch_as_after_a_put((before, after) in any_step()) {
        if !has_namespaces() {
            return Ok(());
        }
        let mut members: BTreeMap<_, _> =
            before.members.iter().map(|(group, ips)| (*group, members_of(ips))).collect();
        let first = compile(&before.input(&members));
        for (group, ips) in &after.members {
            let members = members.get_mut(group).unwrap();
            ips.difference(&before.members[group]).for_each(|ip| members.join(*ip));
        }
        let second = compile(&after.input(&members));
        let difference = first.content.difference(&second.content, |group| members.get(&group));
        let patch = commands(&before.text(), &difference.expect("the rules are the same"));
        let put = listed_after(&[after.text()]);
        prop_assert!(put.is_ok(), "{:?}\n{}", put, after.text());
        let patched = listed_after(&[before.text(), patch.clone()]);
        prop_assert_eq!(patched, put, "{}\n{}", before.text(), patch);
    }
}
