//! The outer part of a manifest: version, kind, name and metadata; its `spec` is still as it was written.

use std::collections::BTreeMap;

use uuid::Uuid;

use super::faults::{At, Faults};
use super::tree::{Name, Node, Place, Tree};
use super::{API_VERSION, ObjectId, id_of};
use crate::Kind;
use crate::keys::parse_tag;
use crate::text::quote;

/// The longest name, in bytes: what DNS takes.
const NAME_LIMIT: usize = 253;

/// A manifest whose references are not yet resolved.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) at: At,
    pub(super) kind: Kind,
    pub(super) id: ObjectId,
    pub(super) name: Option<String>,
    /// The document's metadata.
    pub(super) metadata: BTreeMap<String, String>,
    /// Where the document's fields come from, by their paths; the whole `spec` has the empty one.
    pub(super) places: BTreeMap<String, Place>,
    pub(super) spec: Option<Tree>,
}

/// Reads the outer part; `None` when it cannot be known what the object is.
pub(super) fn read(source: usize, tree: Tree, faults: &mut Faults<'_>) -> Option<Draft> {
    let at = At { source, place: tree.place };
    let Node::Object(fields) = tree.node else {
        let message = format!("a manifest must be a mapping, is {}", tree.node.type_name());
        faults.push(at, message);
        return None;
    };
    let (mut version, mut kind, mut metadata, mut spec) = (None, None, None, None);
    for (name, value) in unique(source, fields, faults) {
        match name.text.as_str() {
            "apiVersion" => version = Some(value),
            "kind" => kind = Some(value),
            "metadata" => metadata = Some(value),
            "spec" => spec = Some(value),
            other => faults.push(
                At { source, place: name.place },
                format!(
                    "unknown field {}; known are apiVersion, kind, metadata, spec",
                    quote(other)
                ),
            ),
        }
    }
    check_version(at, version, faults);
    let kind = read_kind(at, kind, faults)?;
    let mut draft = Draft {
        at,
        kind,
        id: ObjectId::Uuid(Uuid::nil()),
        name: None,
        metadata: BTreeMap::new(),
        places: BTreeMap::new(),
        spec: spec.filter(|spec| !matches!(spec.node, Node::Null)),
    };
    draft.read_metadata(metadata, faults).then_some(draft)
}

fn check_version(at: At, version: Option<Tree>, faults: &mut Faults<'_>) {
    match version {
        Some(Tree { node: Node::Text(text), .. }) if text == API_VERSION => {}
        Some(tree) => {
            let at = At { place: tree.place, ..at };
            faults.push(at, format!("apiVersion must be {API_VERSION}"));
        }
        None => faults.push(at, format!("apiVersion: required, not given; write {API_VERSION}")),
    }
}

fn read_kind(at: At, kind: Option<Tree>, faults: &mut Faults<'_>) -> Option<Kind> {
    let Some(kind) = kind else {
        faults.push(at, "kind: required, not given");
        return None;
    };
    let known = match &kind.node {
        Node::Text(text) => Kind::from_name(text),
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) => None,
    };
    if known.is_none() {
        let names = Kind::ALL.map(Kind::name).join(", ");
        faults.push(At { place: kind.place, ..at }, format!("kind must be one of {names}"));
    }
    known
}

impl Draft {
    /// Reads name, id, labels and the rest; `false` when the object has no id.
    fn read_metadata(&mut self, metadata: Option<Tree>, faults: &mut Faults<'_>) -> bool {
        let Some(metadata) = metadata else {
            faults.push(self.at, "metadata: required, not given");
            return false;
        };
        let at = self.place(metadata.place);
        let Node::Object(fields) = metadata.node else {
            let found = metadata.node.type_name();
            faults.push(at, format!("metadata must be a mapping, is {found}"));
            return false;
        };
        let mut id = None;
        for (name, value) in unique(self.at.source, fields, faults) {
            match name.text.as_str() {
                "id" => id = Some(value),
                "labels" => self.read_texts("label/", value, faults),
                "annotations" => self.read_texts("annotation/", value, faults),
                _ => self.read_text(name, value, faults),
            }
        }
        self.name = self.metadata.get("name").cloned();
        if let Some(name) = &self.name
            && let Err(reason) = check_name(name)
        {
            let place = self.places.get("metadata.name").copied().unwrap_or_default();
            faults.push(self.place(place), format!("metadata.name: {reason}"));
        }
        self.read_id(at, id, faults)
    }

    fn read_id(&mut self, at: At, id: Option<Tree>, faults: &mut Faults<'_>) -> bool {
        if self.kind == Kind::Vlan {
            return self.read_tag(at, id.as_ref(), faults);
        }
        let given = id.filter(|id| !matches!(id.node, Node::Null));
        if let Some(id) = given {
            let uuid =
                if let Node::Text(text) = &id.node { Uuid::parse_str(text).ok() } else { None };
            if uuid.is_none() {
                faults.push(self.place(id.place), "metadata.id must be a UUID");
            }
            self.id = ObjectId::Uuid(uuid.unwrap_or_default());
            return uuid.is_some();
        }
        let Some(name) = &self.name else {
            faults.push(at, "metadata: needs a name or an id");
            return false;
        };
        self.id = ObjectId::Uuid(id_of(self.kind, name));
        true
    }

    /// A VLAN is named by its tag, and has no metadata beside.
    fn read_tag(&mut self, at: At, id: Option<&Tree>, faults: &mut Faults<'_>) -> bool {
        if let Some(id) = id {
            faults.push(self.place(id.place), "metadata.id: a VLAN has none; its name is its tag");
        }
        for name in self.metadata.keys().filter(|name| *name != "name") {
            let place = self.places.get(&format!("metadata.{name}")).copied().unwrap_or_default();
            faults.push(self.place(place), "a VLAN has no metadata but its name, the tag");
        }
        self.metadata.clear();
        match self.name.as_deref().map(parse_tag) {
            Some(Ok(tag)) => {
                self.id = ObjectId::Tag(tag);
                true
            }
            Some(Err(reason)) => {
                let place = self.places.get("metadata.name").copied().unwrap_or_default();
                faults.push(self.place(place), format!("metadata.name: {reason}"));
                false
            }
            None => {
                faults.push(at, "metadata.name: required, not given; a VLAN's is its tag");
                false
            }
        }
    }

    fn read_texts(&mut self, prefix: &str, tree: Tree, faults: &mut Faults<'_>) {
        let Node::Object(fields) = tree.node else {
            if !matches!(tree.node, Node::Null) {
                let message = format!("must be a mapping, is {}", tree.node.type_name());
                faults.push(self.place(tree.place), message);
            }
            return;
        };
        for (mut name, value) in unique(self.at.source, fields, faults) {
            name.text.insert_str(0, prefix);
            self.read_text(name, value, faults);
        }
    }

    /// A text, or a whole number or boolean that becomes one. The message never repeats the value.
    fn read_text(&mut self, name: Name, value: Tree, faults: &mut Faults<'_>) {
        self.places.insert(format!("metadata.{}", name.text), value.place);
        let found = value.node.type_name();
        match scalar_text(value.node) {
            Ok(None) => {}
            Ok(Some(text)) => {
                if self.metadata.insert(name.text, text).is_some() {
                    faults.push(
                        self.place(name.place),
                        "stands twice, here and under labels or annotations",
                    );
                }
            }
            Err(()) => {
                let message = format!("must be a text, is {found}; put it in quotes");
                faults.push(self.place(value.place), message);
            }
        }
    }

    pub(super) fn place(&self, place: Place) -> At {
        At { place, ..self.at }
    }
}

/// The text of a scalar that has only one spelling; `None` when nothing is given.
pub(super) fn scalar_text(node: Node) -> Result<Option<String>, ()> {
    match node {
        Node::Null => Ok(None),
        Node::Text(text) => Ok(Some(text)),
        Node::Bool(flag) => Ok(Some(flag.to_string())),
        Node::Number(number) if !number.is_f64() => Ok(Some(number.to_string())),
        Node::Number(_) | Node::List(_) | Node::Object(_) => Err(()),
    }
}

/// The fields of a mapping, each once; the second of a name is a fault.
pub(super) fn unique(
    source: usize,
    fields: Vec<(Name, Tree)>,
    faults: &mut Faults<'_>,
) -> Vec<(Name, Tree)> {
    let mut seen = std::collections::BTreeSet::new();
    let mut kept = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        if seen.insert(name.text.clone()) {
            kept.push((name, value));
        } else {
            let message = format!("field {} stands twice", quote(&name.text));
            faults.push(At { source, place: name.place }, message);
        }
    }
    kept
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > NAME_LIMIT {
        return Err(format!("must have from 1 to {NAME_LIMIT} bytes"));
    }
    if name.trim() != name || name.chars().any(char::is_control) {
        return Err("must not begin or end with white space, nor contain control characters".into());
    }
    if reference_as_id(name).is_some() {
        return Err(
            "must not be a UUID, because a reference could mean either; write it as id".into()
        );
    }
    Ok(())
}

/// The id, when a reference is one and not a name.
pub(super) fn reference_as_id(text: &str) -> Option<Uuid> {
    (text.len() == uuid::fmt::Hyphenated::LENGTH).then(|| Uuid::parse_str(text).ok()).flatten()
}
