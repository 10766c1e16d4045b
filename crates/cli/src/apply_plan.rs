//! What has to be written so that an object is as its manifest says: pure, and nothing when it is so already.
//!
//! Documents are compared by content, not by spelling: order of fields, white space and fields that are not given do not
//! count. A manifest that names bridges of a host, or members of a VLAN group, names all of them; one that names none
//! leaves them alone. Configuration that it does not name always stays, because `cordon` and its like write there too.

use std::mem::discriminant;

use lochness_api::{Key, canonical_json};
use lochness_kv::KeyValue;
use serde_json::Value;

use crate::owned::{Owned, Step};

/// What applying a manifest does to its object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// There was no document.
    Created,
    /// Something differed.
    Configured,
    /// Nothing differed.
    Unchanged,
}

impl Outcome {
    /// The word in output.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

/// The steps from what is there to what is wanted; `whole` makes the key in the store of a key of the contract.
pub(crate) fn plan(
    wanted: &[(Key, Vec<u8>)],
    present: &Owned,
    whole: impl Fn(&Key) -> bytes::Bytes,
) -> (Outcome, Vec<Step>) {
    let mut steps = Vec::new();
    for (key, value) in wanted {
        let read = present.get(key);
        if !read.is_some_and(|kv| is_same(key, kv, value)) {
            steps.push(Step::put(whole(key), value.clone(), read));
        }
    }
    for (key, kv) in present {
        let named = wanted.iter().any(|(other, _)| other == key);
        if !named && is_complete_list(key) && names_any_like(wanted, key) {
            steps.push(Step::delete(kv));
        }
    }
    let outcome = match (steps.is_empty(), wanted.first()) {
        (true, _) => Outcome::Unchanged,
        (false, Some((document, _))) if !present.contains_key(document) => Outcome::Created,
        (false, _) => Outcome::Configured,
    };
    (outcome, steps)
}

fn is_same(key: &Key, stored: &KeyValue, wanted: &[u8]) -> bool {
    if matches!(key, Key::VlanGroupMember(..)) {
        return true;
    }
    if key.as_document().is_none() {
        return stored.value.trim_ascii() == wanted.trim_ascii();
    }
    let canonical =
        |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok().map(|v| canonical_json(&v));
    match (canonical(&stored.value), canonical(wanted)) {
        (Some(stored), Some(wanted)) => stored == wanted,
        _ => false,
    }
}

fn is_complete_list(key: &Key) -> bool {
    matches!(key, Key::HypervisorSubnet(..) | Key::VlanGroupMember(..))
}

fn names_any_like(wanted: &[(Key, Vec<u8>)], key: &Key) -> bool {
    wanted.iter().any(|(other, _)| discriminant(other) == discriminant(key))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use lochness_api::{HypervisorId, SubnetId};

    use super::*;
    use crate::sample::guest_id;

    fn stored(value: &str) -> KeyValue {
        KeyValue {
            key: Bytes::from_static(b"k"),
            value: value.to_owned().into(),
            create_revision: 3,
            mod_revision: 7,
            version: 1,
            lease: None,
        }
    }

    fn whole(key: &Key) -> Bytes {
        key.to_string().into()
    }

    fn guest() -> Key {
        Key::Guest(guest_id().parse().unwrap())
    }

    #[test]
    fn the_same_content_in_another_spelling_changes_nothing() {
        let wanted = [(guest(), br#"{"flavor":"f","id":"i"}"#.to_vec())];
        let present =
            Owned::from([(guest(), stored(r#"{ "id": "i", "mac": "", "flavor": "f" }"#))]);
        assert_eq!(plan(&wanted, &present, whole), (Outcome::Unchanged, Vec::new()));
    }

    #[test]
    fn another_content_is_put_only_over_what_was_read() {
        let wanted = [(guest(), br#"{"flavor":"g"}"#.to_vec())];
        let present = Owned::from([(guest(), stored(r#"{"flavor":"f"}"#))]);
        let (outcome, steps) = plan(&wanted, &present, whole);
        assert_eq!(outcome, Outcome::Configured);
        assert_eq!(steps[0].compare, lochness_kv::Compare::ModRevision(whole(&guest()), 7));
    }

    #[test]
    fn a_new_object_is_put_only_where_nothing_is() {
        let wanted = [(guest(), b"{}".to_vec())];
        let (outcome, steps) = plan(&wanted, &Owned::new(), whole);
        assert_eq!(outcome, Outcome::Created);
        assert_eq!(steps[0].compare, lochness_kv::Compare::ModRevision(whole(&guest()), 0));
    }

    #[test]
    fn bridges_that_a_manifest_no_longer_names_go_but_configuration_stays() {
        let host: HypervisorId = guest_id().parse().unwrap();
        let other: SubnetId = "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0005".parse().unwrap();
        let kept: SubnetId = "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0006".parse().unwrap();
        let document = Key::Hypervisor(host);
        let present = Owned::from([
            (document.clone(), stored("{}")),
            (Key::HypervisorSubnet(host, kept), stored("br0\n")),
            (Key::HypervisorSubnet(host, other), stored("br1")),
            (Key::HypervisorConfig(host, "cordon".into()), stored("true")),
        ]);
        let bridges = [
            (document.clone(), b"{}".to_vec()),
            (Key::HypervisorSubnet(host, kept), b"br0".to_vec()),
        ];
        let (outcome, steps) = plan(&bridges, &present, whole);
        assert_eq!((outcome, steps.len()), (Outcome::Configured, 1));
        assert!(matches!(steps[0].op, lochness_kv::Op::Delete { .. }));
        let none = [(document, b"{}".to_vec())];
        assert_eq!(plan(&none, &present, whole), (Outcome::Unchanged, Vec::new()));
    }
}
