//! Objects for this crate's unit tests.

use bytes::Bytes;
use lochness_api::document::Guest;
use lochness_api::{Digest, Document as _, Kind};
use lochness_kv::KeyValue;
use serde_json::{Value, json};

use crate::object::Object;

pub(crate) fn guest_id() -> &'static str {
    "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0001"
}

pub(crate) fn guest_document() -> Value {
    json!({
        "id": guest_id(),
        "metadata": {"name": "web-1", "label/app": "web"},
        "flavor": "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0002",
        "network": "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0003",
    })
}

/// A condition that became so at the 60th second.
pub(crate) fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({"type": kind, "status": status, "reason": reason, "message": format!("{reason} in words"),
        "last_transition": "1970-01-01T00:01:00Z"})
}

/// A status that answers `document`.
pub(crate) fn status_of(document: &Value, phase: &str, conditions: &[Value]) -> Value {
    let text = document.to_string();
    let guest = Guest::parse(guest_id(), text.as_bytes()).expect("the sample is valid");
    json!({"phase": phase, "observed": Digest::of_guest(&guest), "conditions": conditions})
}

pub(crate) fn object(kind: Kind, document: Option<&Value>, status: Option<&Value>) -> Object {
    let stored = |value: &Value| KeyValue {
        key: Bytes::new(),
        value: value.to_string().into(),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        lease: None,
    };
    Object {
        kind,
        id: guest_id().to_owned(),
        document: document.map(stored),
        status: status.map(stored),
    }
}
