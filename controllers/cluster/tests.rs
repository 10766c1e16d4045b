//! What the cluster's status says.

use jiff::Timestamp;
use lochness_api::keys::Key;
use lochness_api::status::{ClusterStatus, ConditionStatus, ConditionType, Reason};
use serde_json::json;

use super::plan::{Facts, status, turned};
use crate::context::Hold;
use crate::test_world::{TestWorld, id};
use crate::world::Replacement;

fn look(world: &TestWorld, hold: Option<Hold>) -> ClusterStatus {
    let epoch = "1.7".to_owned();
    let etcd_version = Some("3.6.14".to_owned());
    let wall = Timestamp::UNIX_EPOCH;
    status(&Facts { world, hold, leader: "me", epoch, etcd_version, wall })
}

fn reason(status: &ClusterStatus, kind: ConditionType) -> (ConditionStatus, Reason, &str) {
    let found = status.conditions.iter().find(|condition| condition.kind == kind);
    let found = found.expect("the question is answered");
    (found.status, found.reason, &found.message)
}

#[test]
fn a_cluster_at_rest_says_no_to_every_alarm() {
    let mut world = TestWorld::new();
    let host = world.host(1);
    let subnet = world.subnet(1, "10.0.0.0/16");
    world.placed(1, host, subnet);
    world.put(&Key::Guest(id(2)), "{");
    let status = look(&world, None);
    assert_eq!((status.guests, status.placed, status.hypervisors, status.alive), (2, 1, 1, 1));
    assert_eq!((status.invalid, status.deletions_waiting, status.confirm_revision), (1, 0, None));
    for (kind, word) in [
        (ConditionType::DeletionHeld, Reason::WithinBudget),
        (ConditionType::StoreRestored, Reason::StoreContinuous),
        (ConditionType::Paused, Reason::NotPaused),
    ] {
        assert_eq!(reason(&status, kind), (ConditionStatus::False, word, ""));
    }
    assert_eq!(reason(&status, ConditionType::ConfigValid).1, Reason::ConfigAccepted);
    world.put_json(&Key::ClusterStatus, &json!(status));
    assert_eq!(look(&world, None), status, "nothing new the second time");
}

#[test]
fn held_deletions_tell_how_many_and_how_to_confirm_them() {
    let mut world = TestWorld::new();
    let host = world.host(1);
    let subnet = world.subnet(1, "10.0.0.0/16");
    for number in 0..11 {
        world.placed(number, host, subnet);
    }
    for number in 0..11 {
        world.delete_guest(number);
    }
    let status = look(&world, None);
    assert_eq!(status.confirm_revision, Some(world.revision()));
    let (held, reason, message) = reason(&status, ConditionType::DeletionHeld);
    assert_eq!((held, reason), (ConditionStatus::True, Reason::BudgetExceeded));
    assert!(message.contains("11 of 11") && message.contains("at most 10"), "{message}");
    assert!(message.contains(&format!("config/confirm_deletion = {}", world.revision())));
}

#[test]
fn a_store_that_was_replaced_a_pause_and_a_bad_value_are_told() {
    let mut world = TestWorld::new();
    world.config("pause", "yes");
    world.config("quarantine_seconds", "soon");
    let what = "revision 9 after 12".to_owned();
    let replacement = Replacement { reason: Reason::RevisionWentBack, what };
    let status = look(&world, Some(Hold::StoreReplaced(replacement)));
    let (_, reason_of, message) = reason(&status, ConditionType::StoreRestored);
    assert_eq!(reason_of, Reason::RevisionWentBack);
    assert!(message.contains("revision 9 after 12"), "{message}");
    assert_eq!(reason(&status, ConditionType::Paused).1, Reason::Paused);
    let (_, reason_of, message) = reason(&status, ConditionType::ConfigValid);
    assert_eq!(reason_of, Reason::ConfigRejected);
    assert!(message.contains("config/quarantine_seconds"), "{message}");
}

#[test]
fn a_person_hears_of_a_condition_when_it_turns_and_not_again() {
    let mut world = TestWorld::new();
    let before = look(&world, None);
    assert!(turned(None, &before).is_empty(), "a first status turns nothing");
    world.config("pause", "true");
    let paused = look(&world, Some(Hold::Paused));
    let kinds: Vec<_> = turned(Some(&before), &paused).iter().map(|it| it.kind).collect();
    assert_eq!(kinds, [ConditionType::Paused]);
    assert!(turned(Some(&paused), &paused).is_empty());
}
