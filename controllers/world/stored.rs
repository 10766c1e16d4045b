//! Values as the world keeps them: decoded once, with the revisions that a transaction compares.

use std::sync::Arc;

use bytes::Bytes;
use lochness_api::{Document, FieldError, Invalid};
use lochness_kv::KeyValue;
use serde::de::DeserializeOwned;

/// A key of the operator's, decoded. What does not decode keeps its place (its revision is needed to write over it).
#[derive(Debug, Clone)]
pub struct Stored<T> {
    /// Revision of the put that created the key.
    pub create_revision: i64,
    /// Revision of the last put.
    pub mod_revision: i64,
    /// The value, if it could be decoded.
    pub value: Option<Arc<T>>,
}

impl<T: DeserializeOwned> Stored<T> {
    pub(super) fn decode(kv: &KeyValue) -> Self {
        // The whole text is looked at once for being UTF-8, which is cheaper than each string by itself.
        let text = std::str::from_utf8(&kv.value).ok();
        let value = text.and_then(|text| serde_json::from_str(text).ok()).map(Arc::new);
        Self { create_revision: kv.create_revision, mod_revision: kv.mod_revision, value }
    }
}

/// A document that a user wrote: the newest that could be understood, and what is wrong with the newest if it is not that.
#[derive(Debug, Clone)]
pub struct Declared<T> {
    /// Revision of the put that created the key.
    pub create_revision: i64,
    /// Revision of the last put.
    pub mod_revision: i64,
    /// The newest version that parsed. What runs keeps running as this says.
    pub understood: Option<Arc<T>>,
    /// Why the newest version did not parse.
    pub invalid: Option<Arc<Invalid>>,
}

/// The largest document that is read at all, in bytes; etcd's own limit of a request is 1.5 MiB.
const DOCUMENT_LIMIT: usize = 256 * 1024;

/// A document as it was read, before it is known what its former self said.
#[derive(Debug)]
pub(super) struct Parsed<T> {
    create_revision: i64,
    mod_revision: i64,
    result: Result<T, Invalid>,
}

impl<T: Document> Parsed<T> {
    pub(super) fn new(id: &str, kv: &KeyValue) -> Self {
        let KeyValue { create_revision, mod_revision, .. } = *kv;
        Self { create_revision, mod_revision, result: parse(id, &kv.value) }
    }

    /// Whether it asks for what its former self said.
    pub(super) fn is_invalid(&self) -> bool {
        self.result.is_err()
    }
}

impl<T: Document> Declared<T> {
    pub(super) fn decode(previous: Option<&Self>, id: &str, kv: &KeyValue) -> Self {
        Self::of(previous, Parsed::new(id, kv))
    }

    /// The document that was read; one that is not valid takes from its former self what that said.
    pub(super) fn of(previous: Option<&Self>, parsed: Parsed<T>) -> Self {
        let Parsed { create_revision, mod_revision, result } = parsed;
        let (understood, invalid) = match result {
            Ok(document) => (Some(Arc::new(document)), None),
            Err(invalid) => {
                // A key that was deleted and put again is another object: what its former self said does not bind it.
                let before = previous
                    .filter(|declared| declared.create_revision == create_revision)
                    .and_then(|declared| declared.understood.clone());
                (before, Some(Arc::new(invalid)))
            }
        };
        Self { create_revision, mod_revision, understood, invalid }
    }

    /// The document, if its newest version is valid.
    pub fn valid(&self) -> Option<&Arc<T>> {
        self.understood.as_ref().filter(|_| self.invalid.is_none())
    }
}

fn parse<T: Document>(id: &str, value: &Bytes) -> Result<T, Invalid> {
    if value.len() > DOCUMENT_LIMIT {
        return Err(Invalid(vec![FieldError {
            field: String::new(),
            reason: format!(
                "the document has {} bytes, at most {DOCUMENT_LIMIT} are read",
                value.len()
            ),
        }]));
    }
    T::parse(id, value)
}
