//! From sources to manifests: names become ids, specs become documents, every fault is told with its place.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::draft::{self, Draft, reference_as_id, unique};
use super::faults::{At, Faults};
use super::tree::{self, Node, Tree};
use super::{Manifest, ManifestError, ObjectId, Source, id_of};
use crate::document::{HypervisorConfig, VlanTag, normalize_strictly};
use crate::schema::{self, REFERENCE};
use crate::text::quote;
use crate::{HypervisorId, Key, Kind, SubnetId, VlanGroupId};

/// Reads all sources together.
pub(super) fn read_all(sources: &[Source<'_>]) -> Result<Vec<Manifest>, Vec<ManifestError>> {
    let mut faults = Faults::new(sources);
    let mut drafts = Vec::new();
    for (source, text) in sources.iter().enumerate() {
        match tree::parse(text.text) {
            Ok(trees) => {
                drafts.extend(
                    trees.into_iter().filter_map(|tree| draft::read(source, tree, &mut faults)),
                );
            }
            Err((place, message)) => faults.push(At { source, place }, message),
        }
    }
    let names = collect_names(&drafts, &mut faults);
    let manifests: Vec<_> =
        drafts.into_iter().filter_map(|draft| finish(draft, &names, &mut faults)).collect();
    faults.finish().map(|()| manifests)
}

/// Names that manifests declare, and their ids.
struct Names(BTreeMap<(Kind, String), ObjectId>);

impl Names {
    fn resolve(&self, kind: Kind, reference: &str) -> ObjectId {
        if let Some(uuid) = reference_as_id(reference) {
            return ObjectId::Uuid(uuid);
        }
        let declared = self.0.get(&(kind, reference.to_owned()));
        declared.copied().unwrap_or_else(|| ObjectId::Uuid(id_of(kind, reference)))
    }
}

fn collect_names(drafts: &[Draft], faults: &mut Faults<'_>) -> Names {
    let mut names = BTreeMap::new();
    let mut by_name: BTreeMap<(Kind, &str), At> = BTreeMap::new();
    let mut by_id: BTreeMap<(Kind, ObjectId), At> = BTreeMap::new();
    for draft in drafts {
        let kind = draft.kind;
        if let Some(name) = &draft.name {
            if let Some(first) = by_name.get(&(kind, name.as_str())) {
                let first = faults.location(*first);
                let message = format!("{kind} {} is declared at {first} too", quote(name));
                faults.push(draft.at, message);
                continue;
            }
            by_name.insert((kind, name), draft.at);
            names.insert((kind, name.clone()), draft.id);
        }
        if let Some(first) = by_id.insert((kind, draft.id), draft.at) {
            let first = faults.location(first);
            faults.push(draft.at, format!("{kind} {} is declared at {first} too", draft.id));
        }
    }
    Names(names)
}

fn finish(mut draft: Draft, names: &Names, faults: &mut Faults<'_>) -> Option<Manifest> {
    let mut document = match draft.spec.take() {
        None => Map::new(),
        Some(Tree { node: Node::Object(fields), place }) => {
            draft.places.insert(String::new(), place);
            let schema = schema::spec(draft.kind);
            Converter { draft: &mut draft, names, faults }.object(fields, schema, "")
        }
        Some(tree) => {
            let message = format!("spec must be a mapping, is {}", tree.node.type_name());
            faults.push(draft.place(tree.place), message);
            return None;
        }
    };
    let extra = take_extra(&draft, &mut document, names, faults);
    if !draft.metadata.is_empty() {
        let metadata: Map<_, _> = std::mem::take(&mut draft.metadata)
            .into_iter()
            .map(|(name, text)| (name, Value::String(text)))
            .collect();
        document.insert("metadata".into(), metadata.into());
    }
    let id = draft.id.to_string();
    match normalize_strictly(draft.kind, &id, Value::Object(document).to_string().as_bytes()) {
        Ok(document) => Some(Manifest {
            kind: draft.kind,
            id: draft.id,
            name: draft.name,
            document,
            extra,
            location: faults.location(draft.at),
        }),
        Err(invalid) => {
            for fault in invalid.0 {
                let at = nearest(&draft, &fault.field);
                faults.push(at, describe(&fault.field, &fault.reason));
            }
            None
        }
    }
}

/// Where a document's field comes from, or else what it would stand in.
fn nearest(draft: &Draft, field: &str) -> At {
    let mut path = field;
    loop {
        if let Some(place) = draft.places.get(path) {
            return draft.place(*place);
        }
        match path.rfind(['.', '[']) {
            Some(end) => path = &path[..end],
            None => return draft.places.get("").map_or(draft.at, |spec| draft.place(*spec)),
        }
    }
}

fn describe(field: &str, reason: &str) -> String {
    match field {
        "" => reason.to_owned(),
        _ if field.starts_with("metadata") => format!("{field}: {reason}"),
        _ => format!("spec.{field}: {reason}"),
    }
}

/// Turns a tree into JSON along a schema.
struct Converter<'a, 'f, 's> {
    draft: &'a mut Draft,
    names: &'a Names,
    faults: &'f mut Faults<'s>,
}

impl Converter<'_, '_, '_> {
    fn object(
        &mut self,
        fields: Vec<(tree::Name, Tree)>,
        schema: &Value,
        path: &str,
    ) -> Map<String, Value> {
        let mut converted = Map::new();
        for (name, value) in unique(self.draft.at.source, fields, self.faults) {
            let inner =
                if path.is_empty() { name.text.clone() } else { format!("{path}.{}", name.text) };
            match field_schema(schema, &name.text) {
                Ok(schema) => {
                    self.draft.places.insert(inner.clone(), value.place);
                    let value = self.value(value, schema, &inner);
                    converted.insert(name.text, value);
                }
                Err(known) => {
                    let message = format!(
                        "unknown field {}; known are {known}",
                        quote(&format!("spec.{inner}"))
                    );
                    self.faults.push(self.draft.place(name.place), message);
                }
            }
        }
        converted
    }

    fn value(&mut self, tree: Tree, schema: &Value, path: &str) -> Value {
        match tree.node {
            Node::Null => Value::Null,
            Node::Bool(flag) => flag.into(),
            Node::Number(number) => Value::Number(number),
            Node::Text(text) => {
                match schema.get(REFERENCE).and_then(Value::as_str).and_then(Kind::from_name) {
                    Some(kind) if !text.is_empty() => {
                        self.names.resolve(kind, &text).to_string().into()
                    }
                    _ => text.into(),
                }
            }
            Node::List(elements) => elements
                .into_iter()
                .enumerate()
                .map(|(index, element)| {
                    let path = format!("{path}[{index}]");
                    self.draft.places.insert(path.clone(), element.place);
                    self.value(element, schema.get("items").unwrap_or(&Value::Null), &path)
                })
                .collect(),
            Node::Object(fields) => self.object(fields, schema, path).into(),
        }
    }
}

/// The schema of a field, or the names of those that exist.
fn field_schema<'s>(schema: &'s Value, name: &str) -> Result<&'s Value, String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    if let Some(found) = properties.and_then(|properties| properties.get(name)) {
        return Ok(found);
    }
    match schema.get("additionalProperties") {
        Some(Value::Bool(false)) => {
            let known: Vec<_> =
                properties.into_iter().flat_map(Map::keys).map(String::as_str).collect();
            Err(if known.is_empty() { "none".into() } else { known.join(", ") })
        }
        Some(more) => Ok(more),
        // Not a mapping at all: the document says so.
        None => Ok(&Value::Null),
    }
}

/// Takes out of a spec what is not the document's, as keys and values.
fn take_extra(
    draft: &Draft,
    document: &mut Map<String, Value>,
    names: &Names,
    faults: &mut Faults<'_>,
) -> Vec<(Key, String)> {
    let ObjectId::Uuid(uuid) = draft.id else { return Vec::new() };
    match draft.kind {
        Kind::Hypervisor => {
            let host = HypervisorId::new(uuid);
            let mut extra = bridges(draft, host, document.remove("subnets"), names, faults);
            extra.extend(config(draft, host, document.remove("config"), faults));
            extra
        }
        Kind::VlanGroup => members(draft, VlanGroupId::new(uuid), document.remove("vlans"), faults),
        Kind::Guest
        | Kind::Network
        | Kind::Subnet
        | Kind::Flavor
        | Kind::Image
        | Kind::FwGroup
        | Kind::Vlan => Vec::new(),
    }
}

fn bridges(
    draft: &Draft,
    host: HypervisorId,
    subnets: Option<Value>,
    names: &Names,
    faults: &mut Faults<'_>,
) -> Vec<(Key, String)> {
    let mut extra = Vec::new();
    let mut seen = BTreeMap::new();
    for (subnet, bridge) in mapping(draft, "subnets", subnets, faults) {
        let at = nearest(draft, &format!("subnets.{subnet}"));
        let Some(bridge) = bridge.as_str().filter(|bridge| is_bridge(bridge)) else {
            faults.push(at, format!("spec.subnets.{subnet}: must be the name of a bridge"));
            continue;
        };
        let ObjectId::Uuid(id) = names.resolve(Kind::Subnet, &subnet) else { continue };
        if let Some(other) = seen.insert(id, subnet.clone()) {
            let message = format!("spec.subnets.{subnet}: the same subnet as {}", quote(&other));
            faults.push(at, message);
        }
        extra.push((Key::HypervisorSubnet(host, SubnetId::new(id)), bridge.to_owned()));
    }
    extra
}

fn is_bridge(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
}

fn config(
    draft: &Draft,
    host: HypervisorId,
    config: Option<Value>,
    faults: &mut Faults<'_>,
) -> Vec<(Key, String)> {
    let mut extra = Vec::new();
    for (name, value) in mapping(draft, "config", config, faults) {
        let field = format!("config.{name}");
        let text = match value {
            Value::Null => continue,
            Value::Number(number) => number.to_string(),
            Value::Bool(flag) => flag.to_string(),
            Value::String(text) => text,
            Value::Array(_) | Value::Object(_) => {
                faults.push(nearest(draft, &field), format!("spec.{field}: must be a scalar"));
                continue;
            }
        };
        match HypervisorConfig::default().apply(&name, Some(text.as_bytes())) {
            Ok(_) => extra.push((Key::HypervisorConfig(host, name), text)),
            Err(fault) => {
                faults.push(nearest(draft, &field), format!("spec.{field}: {}", fault.reason));
            }
        }
    }
    extra
}

fn members(
    draft: &Draft,
    group: VlanGroupId,
    vlans: Option<Value>,
    faults: &mut Faults<'_>,
) -> Vec<(Key, String)> {
    let elements = match vlans {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::Array(elements)) => elements,
        Some(_) => {
            faults.push(nearest(draft, "vlans"), "spec.vlans: must be a list of tags");
            return Vec::new();
        }
    };
    let mut extra = BTreeMap::new();
    for (index, element) in elements.into_iter().enumerate() {
        let at = nearest(draft, &format!("vlans[{index}]"));
        let tag = element.as_u64().and_then(|tag| u16::try_from(tag).ok()).and_then(VlanTag::new);
        let Some(tag) = tag else {
            faults.push(at, format!("spec.vlans[{index}]: must be a tag from 1 to 4094"));
            continue;
        };
        if extra.insert(Key::VlanGroupMember(group, tag), tag.to_string()).is_some() {
            faults.push(at, format!("spec.vlans[{index}]: {tag} stands twice"));
        }
    }
    extra.into_iter().collect()
}

fn mapping(
    draft: &Draft,
    name: &str,
    value: Option<Value>,
    faults: &mut Faults<'_>,
) -> Map<String, Value> {
    match value {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(fields)) => fields,
        Some(_) => {
            faults.push(nearest(draft, name), format!("spec.{name}: must be a mapping"));
            Map::new()
        }
    }
}
