//! JSON Schemas of manifests, made from the types of this module.
//!
//! The parser of manifests walks the same schemas to know which fields exist and which are references, so what an editor
//! checks and what is accepted cannot drift apart. Ranges and spellings are the documents' to judge.

mod spec;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use self::spec::{
    FlavorSpec, FwGroupSpec, GuestSpec, HypervisorSpec, ImageSpec, Metadata, NetworkSpec,
    SubnetSpec, VlanGroupSpec, VlanMetadata, VlanSpec,
};
use crate::Kind;
use crate::manifest::API_VERSION;

/// The extension by which a schema says that a text names an object of a kind.
pub(crate) const REFERENCE: &str = "x-lochness-kind";

static SPECS: LazyLock<BTreeMap<Kind, Value>> = LazyLock::new(|| {
    Kind::ALL.into_iter().map(|kind| (kind, Value::from(generate_spec(kind)))).collect()
});

/// The JSON Schema (draft 2020-12) of a kind's manifests.
pub fn of(kind: Kind) -> Value {
    let mut schema = json!({ "$schema": "https://json-schema.org/draft/2020-12/schema" });
    let fields = manifest(kind);
    if let (Value::Object(schema), Value::Object(fields)) = (&mut schema, fields) {
        schema.extend(fields);
    }
    schema
}

/// The JSON Schema of files that mix kinds.
pub fn of_all() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Manifest",
        "description": "One object of Loch Ness",
        "oneOf": Kind::ALL.map(manifest),
    })
}

/// The schema of a kind's `spec`.
pub(crate) fn spec(kind: Kind) -> &'static Value {
    &SPECS[&kind]
}

fn manifest(kind: Kind) -> Value {
    let metadata = match kind {
        Kind::Vlan => generate::<VlanMetadata>(),
        Kind::Guest
        | Kind::Hypervisor
        | Kind::Network
        | Kind::Subnet
        | Kind::Flavor
        | Kind::Image
        | Kind::FwGroup
        | Kind::VlanGroup => generate::<Metadata>(),
    };
    json!({
        "title": kind.name(),
        "type": "object",
        "properties": {
            "apiVersion": { "const": API_VERSION },
            "kind": { "const": kind.name() },
            "metadata": metadata,
            "spec": spec(kind),
        },
        "required": ["apiVersion", "kind", "metadata"],
        "additionalProperties": false,
    })
}

fn generate_spec(kind: Kind) -> Schema {
    match kind {
        Kind::Guest => generate::<GuestSpec>(),
        Kind::Hypervisor => generate::<HypervisorSpec>(),
        Kind::Network => generate::<NetworkSpec>(),
        Kind::Subnet => generate::<SubnetSpec>(),
        Kind::Flavor => generate::<FlavorSpec>(),
        Kind::Image => generate::<ImageSpec>(),
        Kind::FwGroup => generate::<FwGroupSpec>(),
        Kind::Vlan => generate::<VlanSpec>(),
        Kind::VlanGroup => generate::<VlanGroupSpec>(),
    }
}

fn generate<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.inline_subschemas = true;
        settings.meta_schema = None;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<T>();
    schema.remove("title");
    schema
}
