//! What an object's status says.

use jiff::Timestamp;
use lochness_api::keys::Key;
use lochness_api::status::{ConditionStatus, ConditionType, ObjectStatus, Reason};
use lochness_api::{FlavorId, FwGroupId, Kind};
use serde_json::json;

use super::plan::status;
use crate::test_world::{TestWorld, id};

fn look(world: &TestWorld, kind: Kind, number: usize) -> Option<ObjectStatus> {
    status(world, &(kind, id::<u8>(number).to_string()), Timestamp::UNIX_EPOCH)
}

fn reason(world: &TestWorld, kind: Kind, number: usize, of: ConditionType) -> (Reason, String) {
    let conditions = look(world, kind, number).expect("it has a document").conditions;
    let found = conditions.into_iter().find(|condition| condition.kind == of);
    let found = found.expect("the question is answered");
    (found.reason, found.message)
}

#[test]
fn a_document_that_is_understood_is_observed_by_its_digest() {
    let mut world = TestWorld::new();
    world.put_json(&Key::Network(id(1)), &json!({"metadata": {"name": "prod"}}));
    let first = look(&world, Kind::Network, 1).unwrap();
    assert!(first.observed.is_some());
    world.put(&Key::Network(id(1)), r#"{ "metadata": {"name": "prod", "x": null} }"#);
    assert_eq!(look(&world, Kind::Network, 1), Some(first), "the same wish in other words");
}

#[test]
fn every_fault_of_a_document_is_told() {
    let mut world = TestWorld::new();
    world.put_json(&Key::Flavor(id(1)), &json!({"memory": -1, "cpu": "x"}));
    let status = look(&world, Kind::Flavor, 1).unwrap();
    assert_eq!(status.observed, None);
    let valid = &status.conditions[0];
    assert_eq!((valid.status, valid.reason), (ConditionStatus::False, Reason::Invalid));
    for field in ["memory", "cpu", "image"] {
        assert!(valid.message.contains(field), "{}", valid.message);
    }
}

#[test]
fn a_word_that_is_not_understood_in_a_network_is_told_and_the_network_goes_on() {
    let mut world = TestWorld::new();
    world.put_json(&Key::Network(id(1)), &json!({"metadata": {"place": "evenly"}}));
    let (reason, message) = reason(&world, Kind::Network, 1, ConditionType::Valid);
    assert_eq!(reason, Reason::Invalid);
    assert!(message.starts_with("metadata.place: must be `fill`"), "{message}");
    assert!(look(&world, Kind::Network, 1).unwrap().observed.is_some(), "it is understood");
}

#[test]
fn the_second_of_a_name_is_told_who_was_first() {
    let mut world = TestWorld::new();
    for number in [2, 1] {
        world.put_json(&Key::Network(id(number)), &json!({"metadata": {"name": "prod"}}));
    }
    assert_eq!(reason(&world, Kind::Network, 2, ConditionType::Valid).0, Reason::Accepted);
    let (reason, message) = reason(&world, Kind::Network, 1, ConditionType::Valid);
    assert_eq!(reason, Reason::NameTaken);
    assert!(message.contains(&id::<u8>(2).to_string()), "{message}");
}

#[test]
fn what_a_document_names_and_nobody_declared_is_told() {
    let mut world = TestWorld::new();
    let flavor: FlavorId = id(1);
    let document = json!({"image": id::<u8>(5).to_string(), "memory": 1, "cpu": 1});
    world.put_json(&Key::Flavor(flavor), &document);
    let ready = ConditionType::Ready;
    assert_eq!(reason(&world, Kind::Flavor, 1, ready).0, Reason::ImageMissing);
    world.put_json(&Key::Image(id(5)), &json!({"source": "http://i/5"}));
    assert_eq!(reason(&world, Kind::Flavor, 1, ready).0, Reason::Accepted);

    let group: FwGroupId = id(1);
    let named = id::<u8>(2).to_string();
    let document = json!({"rules": [{"protocol": "tcp"}, {"group": named}]});
    world.put_json(&Key::FwGroup(group), &document);
    let (reason, message) = reason(&world, Kind::FwGroup, 1, ready);
    assert_eq!(reason, Reason::ReferenceMissing);
    assert!(message.starts_with("rules[1].group: FwGroup"), "{message}");
}

#[test]
fn an_object_without_document_has_no_status() {
    let mut world = TestWorld::new();
    world.put_json(&Key::Network(id(1)), &json!({}));
    world.delete(&Key::Network(id(1)));
    assert_eq!(look(&world, Kind::Network, 1), None);
}
