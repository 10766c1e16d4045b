//! The JSON Schemas in the repository are what the code says, and accept what the parser accepts.

use std::fs;
use std::path::PathBuf;

use lochness_api::{Kind, manifest, schema};
use serde_json::{Value, json};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../manifests/schema")
}

/// Run with `UPDATE_SCHEMAS=1` to write them anew.
#[test]
fn the_schemas_in_the_repository_are_current() {
    let mut files: Vec<_> = Kind::ALL
        .into_iter()
        .map(|kind| (format!("{}.json", kind.name().to_lowercase()), schema::of(kind)))
        .collect();
    files.push(("manifest.json".to_owned(), schema::of_all()));
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    for (name, schema) in files {
        let path = folder().join(&name);
        let text = serde_json::to_string_pretty(&schema).unwrap() + "\n";
        if update {
            fs::create_dir_all(folder()).unwrap();
            fs::write(&path, &text).unwrap();
        }
        let found = fs::read_to_string(&path).unwrap_or_default();
        assert!(found == text, "{name} is not current; run this test with UPDATE_SCHEMAS=1");
    }
}

#[test]
fn every_schema_is_itself_valid() {
    for kind in Kind::ALL {
        assert!(jsonschema::meta::is_valid(&schema::of(kind)), "{kind}");
        jsonschema::validator_for(&schema::of(kind)).unwrap();
    }
}

fn check(manifest: &Value, accepted: bool) {
    let validator = jsonschema::validator_for(&schema::of_all()).unwrap();
    let by_parser = manifest::parse("m.json", &manifest.to_string());
    assert_eq!(by_parser.is_ok(), accepted, "{by_parser:#?}");
    assert_eq!(validator.is_valid(manifest), accepted, "{manifest:#}");
}

#[test]
fn schema_and_parser_agree() {
    let guest = |metadata: Value, spec: Value| json!({"apiVersion": "lochness/v1", "kind": "Guest", "metadata": metadata, "spec": spec});
    let spec = json!({"flavor": "small", "network": "prod"});
    check(
        &guest(
            json!({"name": "a", "labels": {"x": 1}, "priority": 5, "more": "text"}),
            spec.clone(),
        ),
        true,
    );
    check(&guest(json!({"name": "a", "pause": true, "fwgroup": null}), spec.clone()), true);
    check(&guest(json!({}), spec.clone()), false);
    check(&guest(json!({"name": "a", "more": [1]}), spec), false);
    check(
        &guest(json!({"name": "a"}), json!({"flavor": "s", "network": "n", "flavour": "s"})),
        false,
    );
    check(&guest(json!({"name": "a"}), json!({"network": "n"})), false);
    check(
        &guest(json!({"name": "a"}), json!({"flavor": "s", "network": "n", "state": "dead"})),
        false,
    );
    check(&json!({"apiVersion": "lochness/v1", "kind": "Vlan", "metadata": {"name": 100}}), true);
    check(&json!({"apiVersion": "lochness/v2", "kind": "Vlan", "metadata": {"name": 100}}), false);
}
