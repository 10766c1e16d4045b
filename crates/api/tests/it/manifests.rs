//! Manifests: strict, all errors at once with their places, and the same ids everywhere.

use std::fmt::Write as _;

use lochness_api::document::Kind;
use lochness_api::manifest::{self, Manifest, Source};
use lochness_api::{Invalid, Prefix};
use proptest::prelude::*;
use serde_json::{Value, json};

fn errors(text: &str) -> Vec<String> {
    match manifest::parse("a.yaml", text) {
        Ok(manifests) => panic!("accepted: {manifests:#?}"),
        Err(errors) => errors.iter().map(ToString::to_string).collect(),
    }
}

fn entries(text: &str) -> Vec<(String, String)> {
    let prefix = Prefix::default();
    let manifests = manifest::parse("a.yaml", text).unwrap_or_else(|errors| panic!("{errors:#?}"));
    manifests
        .iter()
        .flat_map(Manifest::entries)
        .map(|(key, value)| (prefix.key(&key), String::from_utf8(value).unwrap()))
        .collect()
}

const GUEST: &str = "
apiVersion: lochness/v1
kind: Guest
metadata: {name: web-1, labels: {app: web}}
spec: {flavor: small, network: prod, fwgroup: web}
";

/// The test vectors of docs/manifests.md.
#[test]
fn ids_are_made_of_kind_and_name() {
    for (kind, name, id) in [
        (Kind::Guest, "web-1", "5ebd53e1-7b8e-53bc-977d-4ac2e4ef98b0"),
        (Kind::Hypervisor, "host-01", "e78fc436-10f0-5d1e-9814-d5694d6f3e5b"),
        (Kind::Subnet, "prod-v4", "f58fe3af-0bd5-5fd3-bbc5-a76766362420"),
    ] {
        assert_eq!(manifest::id_of(kind, name).to_string(), id, "{kind}/{name}");
    }
}

#[test]
fn a_guest_by_names_becomes_its_document() {
    let document = json!({
        "id": manifest::id_of(Kind::Guest, "web-1"),
        "metadata": {"name": "web-1", "label/app": "web"},
        "flavor": manifest::id_of(Kind::Flavor, "small"),
        "network": manifest::id_of(Kind::Network, "prod"),
        "fwgroup": manifest::id_of(Kind::FwGroup, "web"),
    });
    let key = "lochness/guests/5ebd53e1-7b8e-53bc-977d-4ac2e4ef98b0/metadata";
    assert_eq!(entries(GUEST), [(key.to_owned(), document.to_string())]);
}

#[test]
fn json_is_read_as_yaml_is() {
    let text = json!({
        "apiVersion": "lochness/v1", "kind": "Guest",
        "metadata": {"name": "web-1", "labels": {"app": "web"}},
        "spec": {"flavor": "small", "network": "prod", "fwgroup": "web"},
    });
    assert_eq!(entries(&text.to_string()), entries(GUEST));
    assert_eq!(entries(&format!("{text:#}")), entries(GUEST));
}

#[test]
fn a_name_means_the_manifest_that_declares_it_in_whichever_file() {
    let network = "
apiVersion: lochness/v1
kind: Network
metadata: {name: prod, id: 00000000-0000-4000-8000-000000000009}
";
    let sources = [Source { name: "a", text: GUEST }, Source { name: "b", text: network }];
    let manifests = manifest::parse_all(&sources).unwrap();
    assert_eq!(manifests[0].document["network"], "00000000-0000-4000-8000-000000000009");
    assert_eq!((manifests[1].location.file.as_str(), manifests[1].location.line), ("b", 2));
}

#[test]
fn a_reference_may_be_an_id() {
    let text = GUEST.replace("small", "00000000-0000-4000-8000-00000000000A");
    assert!(entries(&text)[0].1.contains(r#""flavor":"00000000-0000-4000-8000-00000000000a""#));
}

#[test]
fn all_errors_come_at_once_with_their_places() {
    let text = "
apiVersion: lochness/v1
kind: Guest
metadata:
  name: web-1
  place: nonsense
spec:
  flavour: small
  ip: 10.0.0.300
---
apiVersion: lochness/v2
kind: Gast
---
apiVersion: lochness/v1
kind: FwGroup
metadata: {name: web}
spec:
  rules:
    - {protocol: tcp, portStart: 80}
    - protocol: icmp
      portStart: 8
      prots: 9
metdata: {}
---
- 1
---
apiVersion: lochness/v1
kind: Network
metadata: {name: web, name: x}
";
    assert_eq!(
        errors(text),
        [
            "a.yaml:6:10: metadata.place: must be like zone=a,disk=ssd",
            "a.yaml:8:3: spec.flavor: required, not given",
            "a.yaml:8:3: spec.network: required, not given",
            "a.yaml:8:3: unknown field \"spec.flavour\"; known are bridge, flavor, fwgroup, hypervisor, ip, mac, \
             network, reboot, restart, state, subnet, type, vlangroup",
            "a.yaml:9:7: spec.ip: \"10.0.0.300\" is not an IP address",
            "a.yaml:11:13: apiVersion must be lochness/v1",
            "a.yaml:12:7: kind must be one of Network, Subnet, Image, Flavor, FwGroup, Vlan, VlanGroup, \
             Hypervisor, Guest",
            "a.yaml:20:17: spec.rules[1].protocol: icmp has no ports; leave portStart and portEnd out",
            "a.yaml:22:7: unknown field \"spec.rules[1].prots\"; known are action, group, portEnd, portStart, \
             protocol, source",
            "a.yaml:23:1: unknown field \"metdata\"; known are apiVersion, kind, metadata, spec",
            "a.yaml:25:1: a manifest must be a mapping, is a list",
            "a.yaml:29:23: field \"name\" stands twice",
        ]
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    let errors = errors("apiVersion: lochness/v1\nkind: [Guest\n");
    assert_eq!(errors.len(), 1);
    assert!(errors[0].starts_with("a.yaml:"), "{errors:?}");
}

#[test]
fn one_broken_file_does_not_hide_the_errors_of_another() {
    let sources =
        [Source { name: "a", text: "{" }, Source { name: "b", text: "kind: Guest\nmetadata: 1" }];
    let errors = manifest::parse_all(&sources).unwrap_err();
    let files: Vec<_> = errors.iter().map(|error| error.location.file.as_str()).collect();
    assert_eq!(files, ["a", "b", "b"]);
}

#[test]
fn one_name_or_id_is_declared_once() {
    let found = errors(&format!("{GUEST}---{GUEST}"));
    assert_eq!(found, ["a.yaml:7:1: Guest \"web-1\" is declared at a.yaml:2:1 too"]);
}

#[test]
fn a_host_brings_its_bridges_and_its_configuration() {
    let text = "
apiVersion: lochness/v1
kind: Hypervisor
metadata: {name: host-01}
spec:
  subnets: {prod-v4: br0, 00000000-0000-4000-8000-00000000000a: br1}
  config: {cordon: true, reserve_memory: 1024, overcommit_cpu: 2.5}
";
    let host = manifest::id_of(Kind::Hypervisor, "host-01");
    let v4 = manifest::id_of(Kind::Subnet, "prod-v4");
    let keys: Vec<_> =
        entries(text).into_iter().map(|(key, value)| format!("{key} = {value}")).collect();
    let mut wanted = vec![
        format!(
            r#"lochness/hypervisors/{host}/metadata = {{"id":"{host}","metadata":{{"name":"host-01"}}}}"#
        ),
        format!("lochness/hypervisors/{host}/subnets/00000000-0000-4000-8000-00000000000a = br1"),
        format!("lochness/hypervisors/{host}/subnets/{v4} = br0"),
        format!("lochness/hypervisors/{host}/config/cordon = true"),
        format!("lochness/hypervisors/{host}/config/overcommit_cpu = 2.5"),
        format!("lochness/hypervisors/{host}/config/reserve_memory = 1024"),
    ];
    wanted[1..].sort();
    let mut keys = keys;
    keys[1..].sort();
    assert_eq!(keys, wanted);
}

#[test]
fn the_extras_of_a_host_are_checked_too() {
    let text = "
apiVersion: lochness/v1
kind: Hypervisor
metadata: {name: host-01}
spec:
  subnets: {prod-v4: 'br 0'}
  config: {cordon: perhaps, cordoned: true}
";
    assert_eq!(
        errors(text),
        [
            "a.yaml:6:22: spec.subnets.prod-v4: must be the name of a bridge",
            "a.yaml:7:20: spec.config.cordon: must be true, false, 1, 0, yes, no, on or off, is \"perhaps\"",
            "a.yaml:7:29: unknown field \"spec.config.cordoned\"; known are agent_port, agent_tls, cordon, \
             drain, fenced, firewall, overcommit_cpu, overcommit_disk, overcommit_memory, pause, reserve_memory",
        ]
    );
}

#[test]
fn a_vlan_group_brings_its_members() {
    let text = "
apiVersion: lochness/v1
kind: VlanGroup
metadata: {name: office}
spec: {vlans: [100, 200], description: desks}
---
apiVersion: lochness/v1
kind: Vlan
metadata: {name: 100}
spec: {description: desks}
";
    let group = manifest::id_of(Kind::VlanGroup, "office");
    let keys: Vec<_> = entries(text).into_iter().map(|(key, _)| key).collect();
    assert_eq!(
        keys,
        [
            format!("lochness/vlangroups/{group}/metadata"),
            format!("lochness/vlangroups/{group}/vlans/100"),
            format!("lochness/vlangroups/{group}/vlans/200"),
            "lochness/vlans/100/metadata".to_owned(),
        ]
    );
}

#[test]
fn an_error_never_repeats_a_value_of_metadata() {
    let text = "
apiVersion: lochness/v1
kind: Guest
metadata: {name: a, user_data: [hunter2], place: hunter2, priority: hunter2, pause: hunter2, evacuate: hunter2}
spec: {flavor: small, network: prod}
";
    let errors = errors(text);
    assert_eq!(errors.len(), 5, "{errors:#?}");
    assert!(errors.iter().all(|error| !error.contains("hunter2")), "{errors:#?}");
}

#[test]
fn deep_nesting_and_alias_bombs_are_errors() {
    errors(&format!("a: {}", "[".repeat(1024 * 1024)));
    errors(&"- ".repeat(1024 * 1024));
    let mut bomb = String::from("a0: &a0 [x, x]\n");
    for level in 1..40 {
        writeln!(bomb, "a{level}: &a{level} [*a{0}, *a{0}, *a{0}]", level - 1).unwrap();
    }
    errors(&bomb);
}

#[test]
fn what_manifests_do_not_know_is_told_in_a_comment() {
    let id = "00000000-0000-4000-8000-000000000001";
    let manifest = Manifest::from_document(Kind::Network, id, &json!({"more": 1})).unwrap();
    assert_eq!(
        manifest.to_yaml(),
        "---\n# the document's field \"more\" is unknown to manifests and left out\n\
         apiVersion: lochness/v1\nkind: Network\nmetadata:\n  id: 00000000-0000-4000-8000-000000000001\n"
    );
    let invalid: Result<_, Invalid> = Manifest::from_document(Kind::Network, "x", &Value::Null);
    assert!(invalid.is_err());
}

proptest! {
    #[test]
    fn a_document_survives_the_way_through_yaml_and_json(
        name in "[a-z0-9][ -~é]{0,20}[a-z0-9]",
        texts in proptest::collection::btree_map("[a-z_]{1,8}", "[ -~\n\té\u{1F600}]{1,20}", 0..4),
        words in proptest::collection::btree_map(
            "[a-z]{1,4}",
            prop::sample::select(vec!["on", "null", "~", "0755", "1e3", "1_000", "true", "- a", "#", ".inf", "0x1F"]),
            0..4,
        ),
        reboot in "[ -~]{0,10}",
    ) {
        let id = manifest::id_of(Kind::Guest, &name).to_string();
        let mut metadata = serde_json::Map::new();
        for (key, text) in &texts {
            if !["priority", "place", "pause", "evacuate", "name", "id", "labels", "annotations"].contains(&key.as_str()) {
                metadata.insert(key.clone(), text.as_str().into());
            }
        }
        for (key, word) in &words {
            metadata.insert(format!("label/{key}"), (*word).into());
        }
        metadata.insert("name".into(), name.as_str().into());
        let document = json!({
            "id": id, "metadata": metadata, "reboot": reboot, "flavor": manifest::id_of(Kind::Flavor, "f"),
            "network": manifest::id_of(Kind::Network, "n"), "ip": "::ffff:10.0.0.7", "state": "stopped",
        });
        let manifest = Manifest::from_document(Kind::Guest, &id, &document).unwrap();
        for text in [manifest.to_yaml(), manifest.to_json().to_string()] {
            let read = manifest::parse("m", &text);
            prop_assert!(read.is_ok(), "{text}\n{read:?}");
            let read = read.unwrap();
            prop_assert_eq!(&read[0].document, &manifest.document, "{}", text);
        }
    }

    #[test]
    fn any_text_gives_manifests_or_errors(text in "[ -~\n]{0,200}") {
        let _ = manifest::parse("m", &text);
    }
}

#[test]
fn a_file_may_hold_thousands_of_manifests() {
    let mut text = String::new();
    for number in 0..5_000 {
        text.push_str("---");
        text.push_str(&GUEST.replace("web-1", &format!("web-{number}")));
    }
    assert_eq!(manifest::parse("a.yaml", &text).unwrap().len(), 5_000);
}
