//! The digest of a document: the same wish in other words has the same one.

use lochness_api::document::Guest;
use lochness_api::{Digest, Document as _, canonical_json};
use serde_json::{Value, json};

const ID: &str = "00000000-0000-4000-8000-000000000001";

fn digest(value: &Value) -> Digest {
    Digest::of_guest(&Guest::parse(ID, value.to_string().as_bytes()).unwrap())
}

#[test]
fn the_same_guest_in_other_words_has_the_same_digest() {
    let plain = json!({"flavor": ID, "network": ID, "ip": "10.0.0.1", "mac": "02:00:00:00:00:0a"});
    let wordy = json!({
        "id": ID.to_uppercase(), "metadata": {"x": ""}, "flavor": ID, "network": ID, "subnet": "", "ip": "::ffff:10.0.0.1",
        "mac": "02-00-00-00-00-0A", "state": "running", "restart": "always", "unknown": null, "more": {"a": []},
    });
    assert_eq!(digest(&plain), digest(&wordy));
}

#[test]
fn another_wish_has_another_digest() {
    let one = json!({"flavor": ID, "network": ID});
    for (name, value) in
        [("state", "stopped"), ("reboot", "1"), ("unknown", "x"), ("ip", "10.0.0.1")]
    {
        let mut other = one.clone();
        other[name] = value.into();
        assert_ne!(digest(&one), digest(&other), "{name}");
    }
}

/// The test vector of the contract: whoever computes a digest elsewhere can compare.
#[test]
fn the_canonical_form_of_a_guest_is_this_text() {
    let value = json!({"flavor": ID, "network": ID, "metadata": {"name": "web-1"}});
    let guest = Guest::parse(ID, value.to_string().as_bytes()).unwrap();
    let text = canonical_json(&guest.to_json());
    assert_eq!(
        text,
        format!(
            r#"{{"flavor":"{ID}","id":"{ID}","metadata":{{"name":"web-1"}},"network":"{ID}"}}"#
        )
    );
    assert_eq!(Digest::of_guest(&guest).to_string(), "42fb6a5439036f49");
}
