//! From manifests to text, such that reading it gives the same manifests.

use serde_json::{Map, Value, json};

use super::{API_VERSION, Manifest, ObjectId, id_of};
use crate::{Key, Kind, schema};

/// The manifest as JSON, and the names of the document's fields that manifests do not know.
pub(super) fn to_json(manifest: &Manifest) -> (Value, Vec<String>) {
    let mut unknown = Vec::new();
    let empty = Map::new();
    let document = manifest.document.as_object().unwrap_or(&empty);
    let known = &schema::spec(manifest.kind)["properties"];
    let mut spec = Map::new();
    for (name, value) in document {
        if matches!(name.as_str(), "id" | "metadata" | "tag") {
            continue;
        }
        if known.get(name).is_some() {
            spec.insert(name.clone(), value.clone());
        } else {
            unknown.push(name.clone());
        }
    }
    add_extra(manifest, &mut spec);
    let mut whole = json!({
        "apiVersion": API_VERSION,
        "kind": manifest.kind.name(),
        "metadata": metadata(manifest, document.get("metadata")),
    });
    if !spec.is_empty() {
        whole["spec"] = spec.into();
    }
    (whole, unknown)
}

fn metadata(manifest: &Manifest, texts: Option<&Value>) -> Value {
    let mut metadata = Map::new();
    let (mut labels, mut annotations) = (Map::new(), Map::new());
    for (name, text) in texts.and_then(Value::as_object).into_iter().flatten() {
        let (group, name) = if let Some(label) = name.strip_prefix("label/") {
            (&mut labels, label)
        } else if let Some(annotation) = name.strip_prefix("annotation/") {
            (&mut annotations, annotation)
        } else {
            (&mut metadata, name.as_str())
        };
        group.insert(name.to_owned(), text.clone());
    }
    for (name, group) in [("labels", labels), ("annotations", annotations)] {
        if !group.is_empty() {
            metadata.insert(name.to_owned(), group.into());
        }
    }
    match manifest.id {
        ObjectId::Tag(tag) => {
            metadata.insert("name".into(), tag.to_string().into());
        }
        ObjectId::Uuid(id) => {
            let made_of_name =
                manifest.name.as_deref().is_some_and(|name| id_of(manifest.kind, name) == id);
            if !made_of_name {
                metadata.insert("id".into(), id.to_string().into());
            }
        }
    }
    metadata.into()
}

fn add_extra(manifest: &Manifest, spec: &mut Map<String, Value>) {
    let (mut subnets, mut config, mut vlans) = (Map::new(), Map::new(), Vec::new());
    for (key, text) in &manifest.extra {
        if let Key::HypervisorSubnet(_, subnet) = key {
            subnets.insert(subnet.to_string(), text.as_str().into());
        } else if let Key::HypervisorConfig(_, name) = key {
            config.insert(name.clone(), text.as_str().into());
        } else if let Key::VlanGroupMember(_, tag) = key {
            vlans.push(Value::from(tag.get()));
        }
    }
    if manifest.kind == Kind::Hypervisor {
        for (name, group) in [("subnets", subnets), ("config", config)] {
            if !group.is_empty() {
                spec.insert(name.into(), group.into());
            }
        }
    }
    if manifest.kind == Kind::VlanGroup && !vlans.is_empty() {
        spec.insert("vlans".into(), vlans.into());
    }
}

/// The manifest as YAML; what manifests do not know is told in comments.
pub(super) fn to_yaml(manifest: &Manifest) -> String {
    let (value, unknown) = to_json(manifest);
    let mut text = String::from("---\n");
    for name in unknown {
        let name = serde_json::to_string(&name).expect("any text is a JSON string");
        text.push_str("# the document's field ");
        text.push_str(&name);
        text.push_str(" is unknown to manifests and left out\n");
    }
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    let yaml = serde_saphyr::to_string_with_options(&value, options);
    text.push_str(&yaml.expect("a JSON value is a YAML value"));
    text
}
