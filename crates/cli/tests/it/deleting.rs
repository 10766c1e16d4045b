//! `delete` and what guards it.

use lochness_api::document::VlanTag;
use lochness_api::manifest::id_of;
use lochness_api::{Key, Kind};
use lochness_cli::Audience;

use crate::stage::{FLEET, Stage, guest, guest_status};

fn confirmation() -> Key {
    Key::Config("confirm_deletion".into())
}

#[tokio::test]
async fn one_guest_is_deleted_without_question_and_confirms_nothing() {
    let stage = Stage::with_fleet().await;
    let said = stage.run(&["delete", "guest", "web-1"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "guest/web-1 deleted\n"), "{said:?}");
    assert_eq!(stage.value(&guest("web-1")).await, None);
    assert!(stage.value(&guest("db-1")).await.is_some());
    assert_eq!(stage.value(&confirmation()).await, None);
}

#[tokio::test]
async fn deleting_several_guests_confirms_their_revision() {
    let stage = Stage::with_fleet().await;
    let said = stage.run(&["delete", "guests", "web-1", "db-1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    // The deletion is one transaction, and the confirmation the next.
    let deletion = stage.revision().await - 1;
    assert_eq!(stage.value(&confirmation()).await, Some(deletion.to_string()));
}

#[tokio::test]
async fn a_deletion_beside_a_held_one_does_not_confirm_that_too() {
    let stage = Stage::with_fleet().await;
    stage.put(&Key::ClusterStatus, r#"{"confirm_revision": 77, "deletions_waiting": 500}"#).await;
    let said = stage.run(&["delete", "guests", "web-1", "db-1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("another mass deletion is held"), "{}", said.err);
    assert_eq!(stage.value(&confirmation()).await, None);
}

#[tokio::test]
async fn a_deletion_beside_others_that_wait_confirms_none_of_them() {
    let stage = Stage::with_fleet().await;
    let placed = r#"{"phase": "Running", "placement": {"hypervisor": "00000000-0000-0000-0000-000000000001",
        "subnet": "00000000-0000-0000-0000-000000000002", "ip": "10.0.0.9", "cidr": "10.0.0.0/24",
        "mac": "02:00:00:00:00:01"}}"#;
    stage.put(&guest_status("old-1"), placed).await;
    let said = stage.run(&["delete", "guests", "web-1", "db-1"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.err.contains("1 other guests"), "{}", said.err);
    assert_eq!(stage.value(&confirmation()).await, None);
}

#[tokio::test]
async fn more_than_three_objects_are_asked_about() {
    let stage = Stage::with_fleet().await;
    let fleet = stage.file("fleet.yaml", FLEET);
    let words = ["delete", "-f", &fleet];
    let refused = stage.run(&words).await;
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("--yes"), "{}", refused.err);
    let no = stage.run_with(&words, "no\n", Audience::Person).await;
    assert_eq!(no.code, 1, "{no:?}");
    assert!(stage.value(&guest("web-1")).await.is_some());
    let yes = stage.run_with(&words, "yes\n", Audience::Person).await;
    assert_eq!(yes.code, 0, "{yes:?}");
    assert_eq!(yes.out.matches(" deleted\n").count(), 5, "{}", yes.out);
    assert!(yes.out.starts_with("guest/"), "guests go first: {}", yes.out);
    assert_eq!(stage.value(&guest("web-1")).await, None);
}

#[tokio::test]
async fn labels_choose_what_is_deleted() {
    let stage = Stage::with_fleet().await;
    let said = stage.run(&["delete", "guests", "-l", "app=db"]).await;
    assert_eq!(said.out, "guest/db-1 deleted\n");
    let again = stage.run(&["delete", "guests", "-l", "app=db"]).await;
    assert_eq!((again.code, again.out.as_str()), (0, "nothing to delete\n"));
}

#[tokio::test]
async fn a_guest_that_is_edited_while_a_person_thinks_is_not_deleted() {
    use std::io::{BufRead, Read};
    use std::pin::pin;

    use futures::FutureExt as _;

    // Answers yes, after somebody else has edited the guest.
    struct Slow<'a>(&'a Stage, bool);
    impl Read for Slow<'_> {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Ok(0)
        }
    }
    impl BufRead for Slow<'_> {
        fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
            Ok(if self.1 { b"yes\n" } else { b"" })
        }
        fn consume(&mut self, _: usize) {
            self.1 = false;
        }
        fn read_line(&mut self, line: &mut String) -> std::io::Result<usize> {
            let key = guest("web-1");
            let mut edit = pin!(self.0.put(&key, r#"{"flavor":"x"}"#));
            let done = (0..100).any(|_| edit.as_mut().now_or_never().is_some());
            assert!(done, "memory waits for nobody");
            line.push_str("yes\n");
            Ok(4)
        }
    }
    let stage = Stage::with_fleet().await;
    let fleet = stage.file("fleet.yaml", FLEET);
    let said = stage.run_from(&["delete", "-f", &fleet], Box::new(Slow(&stage, true))).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("guest/web-1 was changed meanwhile"), "{}", said.err);
    assert!(stage.value(&guest("web-1")).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn delete_wait_ends_when_the_operator_has_torn_down() {
    let stage = Stage::with_fleet().await;
    stage.put(&guest_status("web-1"), r#"{"phase":"Deleting"}"#).await;
    let words = ["delete", "guest", "web-1", "--wait"];
    let status = guest_status("web-1");
    let (said, ()) = tokio::join!(stage.run(&words), stage.delete(&status));
    assert_eq!(said.out, "guest/web-1 deleted\nguest/web-1 is gone\n", "{said:?}");
}

#[tokio::test]
async fn a_vlan_group_goes_with_its_members() {
    let stage = Stage::new();
    let group = id_of(Kind::VlanGroup, "office");
    let id = group.to_string().parse().unwrap();
    let member = Key::VlanGroupMember(id, VlanTag::new(12).unwrap());
    stage.put(&Key::VlanGroup(id), r#"{"metadata":{"name":"office"}}"#).await;
    stage.put(&member, "").await;
    let said = stage.run(&["delete", "vg", "office"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.value(&member).await, None);
}

#[tokio::test]
async fn a_held_deletion_is_confirmed_by_the_revision_that_is_shown() {
    let stage = Stage::new();
    let idle = stage.run(&["confirm-deletion", "--yes"]).await;
    assert_eq!((idle.code, idle.out.as_str()), (0, "no deletion is held\n"));
    stage.put(&Key::ClusterStatus, r#"{"confirm_revision": 77, "deletions_waiting": 500}"#).await;
    let unasked = stage.run(&["confirm-deletion"]).await;
    assert_eq!(unasked.code, 2);
    assert!(unasked.err.contains("500 guests"), "{}", unasked.err);
    assert_eq!(stage.value(&confirmation()).await, None);
    let said = stage.run(&["confirm-deletion", "--yes"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert_eq!(stage.value(&confirmation()).await.as_deref(), Some("77"));
}
