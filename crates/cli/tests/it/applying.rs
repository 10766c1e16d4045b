//! `apply`.

use lochness_api::{Key, Kind};
use lochness_kv::{Fault, OpKind};
use serde_json::Value;

use crate::stage::{FLEET, Stage, condition, guest};

#[tokio::test]
async fn what_is_applied_twice_is_written_once() {
    let stage = Stage::new();
    let fleet = stage.file("fleet.yaml", FLEET);
    let first = stage.run(&["apply", "-f", &fleet]).await;
    assert_eq!(
        first.out,
        "image/debian created\nnetwork/prod created\nflavor/small created\nguest/web-1 created\n\
         guest/db-1 created\n"
    );
    let revision = stage.revision().await;
    let second = stage.run(&["apply", "-f", &fleet]).await;
    assert_eq!(second.out.matches("unchanged").count(), 5, "{}", second.out);
    assert_eq!(stage.revision().await, revision);
}

#[tokio::test]
async fn the_same_content_that_somebody_else_spelled_differently_is_left_alone() {
    let stage = Stage::with_fleet().await;
    let value: Value = serde_json::from_str(&stage.value(&guest("web-1")).await.unwrap()).unwrap();
    stage.put(&guest("web-1"), format!("{value:#}")).await;
    let fleet = stage.file("fleet.yaml", FLEET);
    let said = stage.run(&["apply", "-f", &fleet]).await;
    assert!(said.out.contains("guest/web-1 unchanged"), "{said:?}");
}

#[tokio::test]
async fn an_edit_is_put_and_called_configured() {
    let stage = Stage::with_fleet().await;
    let edited = FLEET.replace("memory: 512", "memory: 1024");
    let said = stage.run(&["apply", "-f", &stage.file("edited.yaml", &edited)]).await;
    assert!(said.out.contains("flavor/small configured"), "{said:?}");
    assert_eq!(said.out.matches("unchanged").count(), 4);
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let stage = Stage::new();
    let before = stage.revision().await;
    let fleet = stage.file("fleet.yaml", FLEET);
    let said = stage.run(&["apply", "--dry-run", "-f", &fleet]).await;
    assert!(said.out.contains("guest/web-1 created (dry run)"), "{said:?}");
    assert_eq!(stage.revision().await, before);
}

#[tokio::test]
async fn all_faults_of_all_files_are_told_at_once_with_their_lines_and_nothing_is_written() {
    let stage = Stage::new();
    let before = stage.revision().await;
    let one = stage.file(
        "one.yaml",
        "apiVersion: lochness/v1\nkind: Guest\nmetadata: {name: a}\nspec:\n  flavour: small\n",
    );
    let two = stage.file("two.yaml", "apiVersion: lochness/v1\nkind: Gest\nmetadata: {name: b}\n");
    let said = stage.run(&["apply", "-f", &one, "-f", &two]).await;
    assert_eq!(said.code, 2, "{said:?}");
    assert!(said.err.contains("one.yaml:5"), "{}", said.err);
    assert!(said.err.contains("two.yaml:"), "{}", said.err);
    assert_eq!(stage.revision().await, before);
}

#[tokio::test]
async fn a_name_that_an_object_with_another_id_has_is_refused() {
    let stage = Stage::new();
    let other = "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0001";
    let key = Key::document(Kind::Network, other).unwrap();
    stage.put(&key, r#"{"metadata":{"name":"prod"}}"#).await;
    let said = stage.run(&["apply", "-f", &stage.file("fleet.yaml", FLEET)]).await;
    assert_eq!(said.code, 2);
    assert!(said.err.contains(other), "{}", said.err);
    assert_eq!(stage.value(&guest("web-1")).await, None);
}

#[tokio::test]
async fn a_reference_to_what_does_not_exist_yet_is_noted_and_applied() {
    let stage = Stage::new();
    let text = "apiVersion: lochness/v1\nkind: Guest\nmetadata: {name: a}\n\
                spec: {flavor: small, network: prod}\n";
    let said = stage.run(&["apply", "-f", &stage.file("a.yaml", text)]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "guest/a created\n"));
    assert!(said.err.contains("refers to a flavor that does not exist yet"), "{}", said.err);
}

#[tokio::test]
async fn a_write_whose_answer_was_lost_is_looked_up_and_not_repeated() {
    let stage = Stage::with_fleet().await;
    let revision = stage.revision().await;
    let edited = stage.file("edited.yaml", &FLEET.replace("app: web", "app: shop"));
    let mut lost = false;
    stage.kv.set_fault(Box::new(move |operation| {
        let write = operation.kind == OpKind::Txn && !operation.keys.is_empty();
        if write && !std::mem::replace(&mut lost, true) { Fault::FailAfter } else { Fault::None }
    }));
    let said = stage.run(&["apply", "-f", &edited]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("guest/web-1 configured"), "{}", said.out);
    assert_eq!(stage.revision().await, revision + 1);
}

#[tokio::test]
async fn a_store_that_fails_ends_the_command_with_one_error() {
    let stage = Stage::new();
    stage.kv.set_fault(Box::new(|_| Fault::FailBefore));
    let said = stage.run(&["apply", "-f", &stage.file("fleet.yaml", FLEET)]).await;
    assert_eq!(said.code, 1);
    assert_eq!(said.err.matches("error:").count(), 1, "{}", said.err);
}

#[tokio::test(start_paused = true)]
async fn apply_wait_ends_when_all_guests_are_as_declared() {
    let stage = Stage::with_fleet().await;
    let fleet = stage.file("fleet.yaml", FLEET);
    let ready = || condition("Ready", "True", "Running", "");
    let command = ["apply", "-f", &fleet, "--wait"];
    let (said, ()) = tokio::join!(stage.run(&command), async {
        stage.answer("web-1", "Running", ready()).await;
        stage.answer("db-1", "Running", ready()).await;
    });
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains("guest/web-1 is as declared"), "{}", said.out);
    assert!(said.out.contains("guest/db-1 is as declared"), "{}", said.out);
}

#[tokio::test(start_paused = true)]
async fn apply_wait_gives_up_with_the_reason_and_its_own_exit_code() {
    let stage = Stage::with_fleet().await;
    let waiting = condition("Placed", "False", "NoHostFits", "0 of 3 hypervisors fit");
    stage.answer("web-1", "Pending", waiting).await;
    stage.answer("db-1", "Running", condition("Ready", "True", "Running", "")).await;
    let fleet = stage.file("fleet.yaml", FLEET);
    let said = stage.run(&["apply", "-f", &fleet, "--wait"]).await;
    assert_eq!(said.code, 3, "{said:?}");
    assert!(said.err.contains("guest/web-1: phase Pending, NoHostFits: 0 of 3"), "{}", said.err);
    assert!(!said.err.contains("db-1"), "{}", said.err);
}
