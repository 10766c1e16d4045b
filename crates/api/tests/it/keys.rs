//! Keys: one spelling each, and parsing undoes building.

use lochness_api::{Key, KeyError, Kind, Prefix};

const ID: &str = "00000000-0000-4000-8000-00000000000a";

fn parse(key: &str) -> Result<Key, KeyError> {
    Prefix::default().parse(format!("lochness/{key}").as_bytes())
}

#[test]
fn every_key_of_the_contract_is_parsed_and_built_again() {
    for key in [
        "guests/ID/metadata",
        "flavors/ID/metadata",
        "images/ID/metadata",
        "networks/ID/metadata",
        "subnets/ID/metadata",
        "fwgroups/ID/metadata",
        "vlans/4094/metadata",
        "vlangroups/ID/metadata",
        "vlangroups/ID/vlans/1",
        "hypervisors/ID/metadata",
        "hypervisors/ID/subnets/ID",
        "hypervisors/ID/config/cordon",
        "hypervisors/ID/heartbeat",
        "hypervisors/ID/guests/ID",
        "config/pause",
        "subnets/ID/addresses/10.0.0.1",
        "subnets/ID/addresses/fd00::1",
        "jobs/ID",
        "status/guests/ID",
        "status/hypervisors/ID",
        "status/subnets/ID",
        "status/fwgroups/ID",
        "status/images/ID",
        "status/vlans/7",
        "status/cluster",
        "events/guests/ID/Placed",
        "events/vlans/7/Invalid",
        "events/cluster/cluster/DeletionHeld",
        "operator/leader",
        "operator/incarnation",
        "operator/stale/ID/ID",
    ] {
        let key = key.replace("ID", ID);
        let parsed = parse(&key).unwrap_or_else(|error| panic!("{key}: {error}"));
        assert_eq!(parsed.to_string(), key);
    }
}

#[test]
fn a_key_in_another_spelling_is_malformed_and_the_reason_says_the_right_one() {
    let upper = ID.to_uppercase();
    for (key, reason) in [
        (format!("guests/{upper}/metadata"), format!("write the id as {ID}")),
        (format!("guests/{}/metadata", ID.replace('-', "")), format!("write the id as {ID}")),
        ("guests/../metadata".into(), "\"..\" is not a UUID".into()),
        ("guests//metadata".into(), "\"\" is not a UUID".into()),
        (format!("subnets/{ID}/addresses/::ffff:10.0.0.1"), "write the address as 10.0.0.1".into()),
        (format!("subnets/{ID}/addresses/FD00::1"), "write the address as fd00::1".into()),
        (format!("subnets/{ID}/addresses/010.0.0.1"), "\"010.0.0.1\" is not an IP address".into()),
        ("vlans/007/metadata".into(), "write the tag as 7".into()),
        ("vlans/4095/metadata".into(), "\"4095\" is not a VLAN tag from 1 to 4094".into()),
        ("config/".into(), "its last part is empty".into()),
        (format!("status/flavors/{upper}"), format!("write the id as {ID}")),
        ("events/guests/x/Placed".into(), "\"x\" is not a UUID".into()),
    ] {
        match parse(&key) {
            Err(KeyError::Malformed { reason: found, .. }) => assert_eq!(found, reason, "{key}"),
            other => panic!("{key}: {other:?}"),
        }
    }
}

#[test]
fn a_key_that_nobody_knows_is_unknown_and_not_malformed() {
    for key in [
        "",
        "guests",
        "guests/x",
        "vlans/7/vlangroups/x",
        "a/b/c/d/e/f",
        "status/x/y",
        "operator/x",
    ] {
        assert!(matches!(parse(key), Err(KeyError::Unknown(_))), "{key}: {:?}", parse(key));
    }
}

#[test]
fn a_key_of_another_prefix_is_foreign() {
    for key in ["other/guests/x", "lochness", "/lochness/operator/leader", ""] {
        assert_eq!(Prefix::default().parse(key.as_bytes()), Err(KeyError::Foreign), "{key}");
    }
}

#[test]
fn a_prefix_ends_with_a_slash_and_may_begin_with_one() {
    let prefix = Prefix::new("/lab/lochness");
    assert_eq!(prefix.as_str(), "/lab/lochness/");
    assert_eq!(prefix.key(&Key::Leader), "/lab/lochness/operator/leader");
    assert_eq!(prefix.parse(b"/lab/lochness/operator/leader"), Ok(Key::Leader));
    assert_eq!(prefix.kind(Kind::FwGroup), "/lab/lochness/fwgroups/");
}

#[test]
fn a_key_that_is_no_utf_8_is_malformed() {
    let error = Prefix::default().parse(b"lochness/guests/\xff/metadata").unwrap_err();
    assert!(matches!(error, KeyError::Malformed { .. }));
}

#[test]
fn a_hostile_key_is_quoted_short() {
    let error = parse(&"x".repeat(10_000)).unwrap_err();
    assert!(error.to_string().len() < 100, "{error}");
}

#[test]
fn kinds_are_found_by_their_words() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_plural(kind.plural()), Some(kind));
        assert_eq!(Kind::from_name(kind.name()), Some(kind));
        let id = if kind == Kind::Vlan { "7" } else { ID };
        let key = Key::document(kind, id).unwrap();
        assert_eq!(key.as_document(), Some((kind, id.to_owned())));
        assert!(Key::status(kind, id).is_some() && Key::document(kind, "x").is_none());
    }
}
