//! Objects as they lie in the store: a document, a status, or only one of them; found by id or by name.

use std::collections::BTreeMap;

use bytes::Bytes;
use lochness_api::document::Guest;
use lochness_api::status::{ClusterStatus, Condition, GuestStatus, ObjectStatus};
use lochness_api::{Digest, Document as _, Key, Kind};
use lochness_kv::KeyValue;
use serde_json::Value;

use crate::kind_word::singular;
use crate::similar::similar;
use crate::{Failure, Session};

/// One object.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Object {
    /// Which kind.
    pub(crate) kind: Kind,
    /// Its id segment: a UUID, or a VLAN's tag.
    pub(crate) id: String,
    /// What its owner wants; absent when the document is deleted and the teardown not yet over.
    pub(crate) document: Option<KeyValue>,
    /// What the operator answers; absent when it has not answered yet.
    pub(crate) status: Option<KeyValue>,
}

impl Object {
    /// The document as JSON; `Null` when there is none or when it is not JSON.
    pub(crate) fn json(&self) -> Value {
        json_of(self.document.as_ref())
    }

    /// The status as JSON; `Null` as for the document.
    pub(crate) fn status_json(&self) -> Value {
        json_of(self.status.as_ref())
    }

    /// The name in its metadata; for a VLAN its description.
    pub(crate) fn name(&self) -> Option<String> {
        name_in(self.kind, &self.json())
    }

    /// What output calls it: kind and name, or id where it has no name.
    pub(crate) fn title(&self) -> String {
        let name = if self.kind == Kind::Vlan { None } else { self.name() };
        format!("{}/{}", singular(self.kind), name.unwrap_or_else(|| self.id.clone()))
    }

    /// A guest's status; the default one when it does not parse, so that output goes on.
    pub(crate) fn guest_status(&self) -> Option<GuestStatus> {
        self.status_as()
    }

    /// A status of whatever type is asked for.
    pub(crate) fn status_as<T: serde::de::DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&self.status.as_ref()?.value).ok()
    }

    /// The conditions, whatever the kind.
    pub(crate) fn conditions(&self) -> Vec<Condition> {
        self.status_as::<ObjectStatus>().map(|status| status.conditions).unwrap_or_default()
    }

    /// Digest of the document, to be compared with `observed` in the status. `None` without a document.
    pub(crate) fn digest(&self) -> Option<Digest> {
        let document = self.document.as_ref()?;
        if self.kind == Kind::Guest
            && let Ok(guest) = Guest::parse(&self.id, &document.value)
        {
            return Some(Digest::of_guest(&guest));
        }
        serde_json::from_slice(&document.value).ok().map(|value| Digest::of(&value))
    }
}

fn json_of(kv: Option<&KeyValue>) -> Value {
    kv.and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or(Value::Null)
}

fn name_in(kind: Kind, document: &Value) -> Option<String> {
    let name = match kind {
        Kind::Vlan => document.get("description"),
        Kind::Guest
        | Kind::Hypervisor
        | Kind::Network
        | Kind::Subnet
        | Kind::Flavor
        | Kind::Image
        | Kind::FwGroup
        | Kind::VlanGroup => document.get("metadata").and_then(|metadata| metadata.get("name")),
    };
    name?.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// All objects of a kind, by id.
pub(crate) async fn list(session: &Session, kind: Kind) -> Result<Vec<Object>, Failure> {
    let mut objects = documents(session, kind).await?;
    let (_, statuses) = session.list(&format!("status/{}/", kind.plural())).await?;
    for kv in statuses {
        let Some(id) = status_id(session, kind, &kv.key) else { continue };
        let object = objects.entry(id.clone());
        object.or_insert(Object { kind, id, document: None, status: None }).status = Some(kv);
    }
    Ok(objects.into_values().collect())
}

/// All documents of a kind, by id, without their statuses.
pub(crate) async fn documents(
    session: &Session,
    kind: Kind,
) -> Result<BTreeMap<String, Object>, Failure> {
    let (_, kvs) = session.list(&format!("{}/", kind.plural())).await?;
    let mut objects = BTreeMap::new();
    for kv in kvs {
        let Ok(key) = session.prefix().parse(&kv.key) else { continue };
        if let Some((found, id)) = key.as_document()
            && found == kind
        {
            let object = Object { kind, id: id.clone(), document: Some(kv), status: None };
            objects.insert(id, object);
        }
    }
    Ok(objects)
}

fn status_id(session: &Session, kind: Kind, key: &[u8]) -> Option<String> {
    let parent = format!("{}status/{}/", session.prefix(), kind.plural());
    let id = std::str::from_utf8(key.strip_prefix(parent.as_bytes())?).ok()?;
    Key::status(kind, id).map(|_| id.to_owned())
}

/// One object by its id, or `None` when there is neither document nor status.
pub(crate) async fn by_id(
    session: &Session,
    kind: Kind,
    id: &str,
) -> Result<Option<Object>, Failure> {
    let (Some(document), Some(status)) = (Key::document(kind, id), Key::status(kind, id)) else {
        return Ok(None);
    };
    let mut found = session.read(&[session.key(&document), session.key(&status)]).await?;
    let status = found.pop().flatten();
    let document = found.pop().flatten();
    if document.is_none() && status.is_none() {
        return Ok(None);
    }
    Ok(Some(Object { kind, id: id.to_owned(), document, status }))
}

/// One object by id or by name.
///
/// # Errors
/// When there is none (similar names are offered) or when several have the name.
pub(crate) async fn find(session: &Session, kind: Kind, word: &str) -> Result<Object, Failure> {
    if let Some(object) = by_id(session, kind, &word.to_ascii_lowercase()).await? {
        return Ok(object);
    }
    let named = documents(session, kind).await?;
    let id = pick(kind, word, &named)?;
    by_id(session, kind, &id).await?.ok_or_else(|| missing(kind, word, &[]))
}

fn pick(kind: Kind, word: &str, objects: &BTreeMap<String, Object>) -> Result<String, Failure> {
    let names: Vec<(String, &String)> =
        objects.iter().filter_map(|(id, object)| Some((object.name()?, id))).collect();
    let ids: Vec<&str> =
        names.iter().filter(|(name, _)| name == word).map(|(_, id)| id.as_str()).collect();
    match ids.as_slice() {
        [] => {
            let near = similar(word, names.iter().map(|(name, _)| name.as_str()));
            Err(missing(kind, word, &near))
        }
        [id] => Ok((*id).to_owned()),
        several => Err(Failure::failed(
            format!("{} {} have the name {word:?}", several.len(), kind.plural()),
            format!("name one by its id: {}", several.join(", ")),
        )),
    }
}

fn missing(kind: Kind, word: &str, near: &[&str]) -> Failure {
    let advice = if near.is_empty() {
        format!("lochnessctl get {} lists them", kind.plural())
    } else {
        format!("did you mean {}?", near.join(", "))
    };
    Failure::failed(format!("there is no {} {word:?}", singular(kind)), advice)
}

/// The cluster's status; the default one when there is none.
pub(crate) async fn cluster_status(session: &Session) -> Result<ClusterStatus, Failure> {
    let kv = session.read_one(&Key::ClusterStatus).await?;
    Ok(kv.and_then(|kv| serde_json::from_slice(&kv.value).ok()).unwrap_or_default())
}

/// Names of objects that others refer to.
#[derive(Debug, Default)]
pub(crate) struct Names(BTreeMap<(Kind, String), String>);

impl Names {
    /// Reads the names of what is referred to.
    pub(crate) async fn read(
        session: &Session,
        references: impl IntoIterator<Item = (Kind, String)>,
    ) -> Result<Self, Failure> {
        let mut wanted: Vec<(Kind, String)> = references.into_iter().collect();
        wanted.sort();
        wanted.dedup();
        wanted.retain(|(kind, id)| Key::document(*kind, id).is_some());
        let keys: Vec<Bytes> = wanted
            .iter()
            .filter_map(|(kind, id)| Key::document(*kind, id))
            .map(|key| session.key(&key))
            .collect();
        let found = session.read(&keys).await?;
        let mut names = Self::default();
        for ((kind, id), kv) in wanted.into_iter().zip(found) {
            if let Some(name) = name_in(kind, &json_of(kv.as_ref())) {
                names.0.insert((kind, id), name);
            }
        }
        Ok(names)
    }

    /// Adds one.
    #[cfg(test)]
    pub(crate) fn with(mut self, kind: Kind, id: &str, name: &str) -> Self {
        self.0.insert((kind, id.to_owned()), name.to_owned());
        self
    }

    /// The name, or the id where there is none.
    pub(crate) fn show(&self, kind: Kind, id: &str) -> String {
        self.0.get(&(kind, id.to_owned())).cloned().unwrap_or_else(|| id.to_owned())
    }
}
