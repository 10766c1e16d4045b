//! Manifests: the documents as people write them in files, YAML or JSON, with names instead of ids.
//!
//! Guarantees: strict (an unknown field is an error), all errors at once, each with file, line and column; what is accepted
//! gives documents that parse. A name gives the same id everywhere: [`id_of`] needs no lookup.

mod draft;
mod faults;
mod read;
mod tree;
mod write;

use std::fmt;

use serde_json::Value;
use uuid::Uuid;

use crate::document::{VlanTag, normalize};
use crate::keys::{parse_tag, parse_uuid};
use crate::{FieldError, Invalid, Key, Kind};

/// The `apiVersion` of all manifests.
pub const API_VERSION: &str = "lochness/v1";

/// The namespace of ids that are made of names. It is the version 5 UUID of `lochness` in the DNS namespace, and never changes.
pub const NAMESPACE: Uuid = Uuid::from_u128(0xc7df_d165_19e9_56da_8b38_c8cd_ef7f_3989);

/// One file, or whatever its text came from.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// What errors call it.
    pub name: &'a str,
    /// YAML or JSON, many documents.
    pub text: &'a str,
}

/// A place in a source.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Location {
    /// The source's name.
    pub file: String,
    /// From 1; 0 when not known.
    pub line: u64,
    /// From 1; 0 when not known.
    pub column: u64,
}

/// What is wrong in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{location}: {message}")]
pub struct ManifestError {
    /// Where.
    pub location: Location,
    /// What, and what would be right.
    pub message: String,
}

/// The id of an object: a UUID, or a tag for a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ObjectId {
    /// Of all kinds but VLANs.
    Uuid(Uuid),
    /// Of a VLAN.
    Tag(VlanTag),
}

/// One object as a manifest declares it.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What it is.
    pub kind: Kind,
    /// Its id.
    pub id: ObjectId,
    /// Its name; a VLAN's is its tag.
    pub name: Option<String>,
    /// Its document, valid.
    pub document: Value,
    /// Keys beside the document's and their values: a host's bridges and configuration, a VLAN group's members.
    pub extra: Vec<(Key, String)>,
    /// Where it was declared.
    pub location: Location,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => write!(f, "{}", self.file),
            (line, 0) => write!(f, "{}:{line}", self.file),
            (line, column) => write!(f, "{}:{line}:{column}", self.file),
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uuid(uuid) => uuid.fmt(f),
            Self::Tag(tag) => tag.fmt(f),
        }
    }
}

/// The id of an object that is declared by name: the version 5 UUID of `<Kind>/<name>` in [`NAMESPACE`].
pub fn id_of(kind: Kind, name: &str) -> Uuid {
    Uuid::new_v5(&NAMESPACE, format!("{kind}/{name}").as_bytes())
}

/// Reads the manifests of one source; references by name are to manifests of this source or to objects whose id is made of
/// their name.
///
/// # Errors
/// Every fault, in the order of their places.
pub fn parse(source_name: &str, text: &str) -> Result<Vec<Manifest>, Vec<ManifestError>> {
    parse_all(&[Source { name: source_name, text }])
}

/// Reads the manifests of many sources together, in their order. A name means the manifest that declares it, in whichever
/// source, or else the object whose id is made of the name.
///
/// # Errors
/// Every fault of every source, in the order of their places.
pub fn parse_all(sources: &[Source<'_>]) -> Result<Vec<Manifest>, Vec<ManifestError>> {
    read::read_all(sources)
}

impl Manifest {
    /// The manifest of a document that exists; references stay ids. Its keys beside the document go into
    /// [`Manifest::extra`].
    ///
    /// # Errors
    /// When the document is invalid: then there is no manifest that would give it.
    pub fn from_document(kind: Kind, id: &str, document: &Value) -> Result<Self, Invalid> {
        let document = normalize(kind, id, document.to_string().as_bytes())?;
        let parsed = match kind {
            Kind::Vlan => parse_tag(id).map(ObjectId::Tag),
            Kind::Guest
            | Kind::Hypervisor
            | Kind::Network
            | Kind::Subnet
            | Kind::Flavor
            | Kind::Image
            | Kind::FwGroup
            | Kind::VlanGroup => parse_uuid(id).map(ObjectId::Uuid),
        };
        let id =
            parsed.map_err(|reason| Invalid(vec![FieldError { field: String::new(), reason }]))?;
        let name = document["metadata"]["name"].as_str().map(str::to_owned);
        Ok(Self { kind, id, name, document, extra: Vec::new(), location: Location::default() })
    }

    /// The key of its document.
    pub fn key(&self) -> Key {
        Key::document(self.kind, &self.id.to_string()).expect("the id is one of its kind")
    }

    /// All keys and values that it stands for, the document first.
    pub fn entries(&self) -> Vec<(Key, Vec<u8>)> {
        let document = (self.key(), self.document.to_string().into_bytes());
        let extra = self.extra.iter().map(|(key, text)| (key.clone(), text.as_bytes().to_vec()));
        std::iter::once(document).chain(extra).collect()
    }

    /// The manifest as JSON; the document's fields that manifests do not know are left out.
    pub fn to_json(&self) -> Value {
        write::to_json(self).0
    }

    /// The manifest as YAML, beginning with `---`; what manifests do not know is told in comments.
    pub fn to_yaml(&self) -> String {
        write::to_yaml(self)
    }
}
