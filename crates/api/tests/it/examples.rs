//! The example manifests of the repository are what the demo needs, and valid against parser and schema.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use lochness_api::document::{Document as _, Subnet};
use lochness_api::manifest::{self, Manifest, Source};
use lochness_api::{Key, Kind, schema};
use serde_json::Value;

fn files() -> Vec<(String, String)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests/examples");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.display().to_string(), fs::read_to_string(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

fn examples() -> Vec<Manifest> {
    let files = files();
    let sources: Vec<_> = files.iter().map(|(name, text)| Source { name, text }).collect();
    manifest::parse_all(&sources).unwrap_or_else(|errors| panic!("{errors:#?}"))
}

#[test]
fn the_examples_are_what_the_demo_needs() {
    let mut counts = BTreeMap::new();
    for manifest in examples() {
        *counts.entry(manifest.kind.name()).or_insert(0) += 1;
    }
    let wanted = [
        ("Flavor", 3),
        ("FwGroup", 3),
        ("Guest", 30),
        ("Hypervisor", 10),
        ("Image", 2),
        ("Network", 2),
        ("Subnet", 2),
        ("Vlan", 2),
        ("VlanGroup", 1),
    ];
    assert_eq!(counts.into_iter().collect::<Vec<_>>(), wanted);
}

/// Whatever kind of field it is, an id in a document is one of those that the examples declare.
#[test]
fn every_reference_of_the_examples_is_declared_among_them() {
    let examples = examples();
    let declared: Vec<_> =
        examples.iter().map(|manifest| (manifest.kind, manifest.id.to_string())).collect();
    let mut checked = 0;
    for manifest in &examples {
        for (field, kind) in [
            ("flavor", Kind::Flavor),
            ("network", Kind::Network),
            ("subnet", Kind::Subnet),
            ("fwgroup", Kind::FwGroup),
            ("vlangroup", Kind::VlanGroup),
            ("image", Kind::Image),
        ] {
            if let Some(id) = manifest.document[field].as_str() {
                assert!(declared.contains(&(kind, id.to_owned())), "{manifest:#?}");
                checked += 1;
            }
        }
    }
    assert!(checked > 60, "{checked}");
}

#[test]
fn every_host_of_the_examples_reaches_both_subnets() {
    for host in examples().iter().filter(|manifest| manifest.kind == Kind::Hypervisor) {
        let bridges = host
            .entries()
            .iter()
            .filter(|(key, _)| matches!(key, Key::HypervisorSubnet(..)))
            .count();
        assert_eq!(bridges, 2, "{host:#?}");
        assert!(host.document.get("total_resources").is_none());
    }
}

#[test]
fn an_address_that_an_example_asks_for_is_in_its_network() {
    let examples = examples();
    let of = |kind| examples.iter().filter(move |manifest| manifest.kind == kind);
    let subnets: Vec<_> = of(Kind::Subnet)
        .map(|manifest| {
            let value = manifest.document.to_string();
            Subnet::parse(&manifest.id.to_string(), value.as_bytes()).unwrap()
        })
        .collect();
    for guest in of(Kind::Guest) {
        let Some(ip) = guest.document["ip"].as_str() else { continue };
        let ip = ip.parse().unwrap();
        let network = guest.document["network"].as_str().unwrap().parse().unwrap();
        assert!(subnets.iter().any(|subnet| subnet.network == network && subnet.contains(ip)));
    }
}

#[test]
fn the_examples_satisfy_the_schema_that_editors_use() {
    let validator = jsonschema::validator_for(&schema::of_all()).unwrap();
    for (name, text) in files() {
        for value in serde_saphyr::from_multiple::<Value>(&text).unwrap() {
            assert!(validator.is_valid(&value), "{name}: {value:#}");
        }
    }
    for manifest in examples() {
        let value = manifest.to_json();
        assert!(validator.is_valid(&value), "{value:#}");
    }
}
