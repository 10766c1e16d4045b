//! `get` and `describe`.

use lochness_api::manifest::id_of;
use lochness_api::{Key, Kind};
use serde_json::{Value, json};

use crate::stage::{Stage, condition};

#[tokio::test]
async fn guests_are_listed_by_name_with_phase_and_reason() {
    let stage = Stage::with_fleet().await;
    let waiting = condition("Placed", "False", "NoHostFits", "0 of 3 hypervisors fit");
    stage.answer("web-1", "Pending", waiting).await;
    let said = stage.run(&["get", "guests"]).await;
    let lines: Vec<Vec<&str>> =
        said.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "ID", "PHASE", "HYPERVISOR", "IP", "AGE", "REASON"]);
    assert_eq!((lines[1][0], lines[1][2], lines[1][6]), ("db-1", "-", "NoStatus"));
    assert_eq!((lines[2][0], lines[2][2]), ("web-1", "Pending"));
    assert_eq!(lines[2][5..], ["60s", "NoHostFits"]);
}

#[tokio::test]
async fn labels_and_names_choose_what_is_listed() {
    let stage = Stage::with_fleet().await;
    let said = stage.run(&["get", "guest", "-l", "app=web", "-o", "name"]).await;
    assert_eq!(said.out, "web-1\n");
    let said = stage.run(&["get", "guest", "db-1", "-o", "name"]).await;
    assert_eq!(said.out, "db-1\n");
    let id = id_of(Kind::Guest, "db-1").to_string();
    let said = stage.run(&["get", "guest", &id, "-o", "name"]).await;
    assert_eq!(said.out, "db-1\n");
}

#[tokio::test]
async fn json_carries_document_and_status() {
    let stage = Stage::with_fleet().await;
    stage.answer("web-1", "Running", condition("Ready", "True", "Running", "")).await;
    let said = stage.run(&["get", "guest", "web-1", "-o", "json"]).await;
    let value: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(value["kind"], "Guest");
    assert_eq!(value["name"], "web-1");
    assert_eq!(value["status"]["phase"], "Running");
    assert_eq!(value["document"]["metadata"]["label/app"], "web");
    let list = stage.run(&["get", "guests", "-o", "json"]).await;
    let list: Value = serde_json::from_str(&list.out).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn yaml_can_be_applied_again_and_changes_nothing() {
    let stage = Stage::with_fleet().await;
    let host = "apiVersion: lochness/v1\nkind: Hypervisor\nmetadata: {name: node-1}\n\
                spec: {subnets: {front: br0}, config: {cordon: true}}\n---\n\
                apiVersion: lochness/v1\nkind: Subnet\nmetadata: {name: front}\n\
                spec: {network: prod, cidr: 10.0.0.0/24}\n";
    let said = stage.run(&["apply", "-f", &stage.file("host.yaml", host)]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let mut text = String::new();
    for kind in ["images", "flavors", "nets", "guests", "hv", "sn"] {
        text += &stage.run(&["get", kind, "-o", "yaml"]).await.out;
    }
    assert_eq!(text.matches("---\n").count(), 7, "{text}");
    let again = stage.run(&["apply", "-f", &stage.file("again.yaml", &text)]).await;
    assert_eq!(again.out.matches("unchanged").count(), 7, "{again:?}\n{text}");
}

#[tokio::test]
async fn an_unknown_name_is_an_error_that_offers_similar_ones() {
    let stage = Stage::with_fleet().await;
    let said = stage.run(&["get", "guest", "wbe-1"]).await;
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    let said = stage.run(&["describe", "guest", "web-11"]).await;
    assert!(said.err.contains("there is no guest \"web-11\""), "{}", said.err);
    assert!(said.err.contains("did you mean web-1?"), "{}", said.err);
}

#[tokio::test]
async fn describe_begins_with_why_the_guest_does_not_run() {
    let stage = Stage::with_fleet().await;
    let waiting = condition("Placed", "False", "NoHostFits", "0 of 3 hypervisors fit");
    stage.answer("web-1", "Pending", waiting).await;
    let id = id_of(Kind::Guest, "web-1").to_string();
    let event = Key::Event { kind: Kind::Guest, id, reason: "NoHostFits".into() };
    let text = json!({"count": 3, "last": "2026-01-02T11:59:50Z", "message": "0 of 3 fit"});
    stage.put(&event, text.to_string()).await;
    let said = stage.run(&["describe", "guest", "web-1"]).await;
    assert!(said.out.starts_with("Why: NoHostFits: 0 of 3 hypervisors fit\n"), "{}", said.out);
    assert!(said.out.contains("Placed=False: NoHostFits since 60s"), "{}", said.out);
    assert!(said.out.contains("NoHostFits (3x, 10s ago): 0 of 3 fit"), "{}", said.out);
}

#[tokio::test]
async fn describe_shows_the_current_job() {
    let stage = Stage::with_fleet().await;
    let guest = id_of(Kind::Guest, "web-1").to_string();
    let job = "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c000a";
    let host = "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c000b";
    let text = json!({"id": job, "action": "create", "guest": guest, "hypervisor": host,
        "status": "error", "error": "no space on device", "attempt": 2});
    stage.put(&Key::Job(job.parse().unwrap()), text.to_string()).await;
    let status = json!({"phase": "Failed", "job": job});
    stage.put(&Key::status(Kind::Guest, &guest).unwrap(), status.to_string()).await;
    let said = stage.run(&["describe", "guest", "web-1"]).await;
    assert!(said.out.contains("error: no space on device"), "{}", said.out);
    let jobs = stage.run(&["get", "jobs"]).await;
    assert!(jobs.out.contains("web-1") && jobs.out.contains("create"), "{}", jobs.out);
}

#[tokio::test]
async fn garbage_in_the_store_is_listed_and_stops_nothing() {
    let stage = Stage::with_fleet().await;
    let id = "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0001";
    stage.put(&Key::document(Kind::Guest, id).unwrap(), "[not json").await;
    stage.put(&Key::status(Kind::Guest, id).unwrap(), "7").await;
    let said = stage.run(&["get", "guests", "-o", "wide"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.out.contains(id) && said.out.contains("StatusUnreadable"), "{}", said.out);
    let said = stage.run(&["describe", "guest", id]).await;
    assert!(said.out.contains("not JSON: 9 bytes"), "{}", said.out);
}

#[tokio::test]
async fn a_watch_prints_every_object_again_when_it_changes() {
    let stage = Stage::with_fleet().await;
    let ready = condition("Ready", "True", "Running", "");
    let words = ["get", "guests", "-o", "json", "--watch"];
    let more = stage.watch(&words, stage.answer("db-1", "Running", ready)).await;
    let last: Value = serde_json::from_str(&more).unwrap();
    assert_eq!((&last["name"], &last["status"]["phase"]), (&json!("db-1"), &json!("Running")));
}

#[tokio::test]
async fn what_every_kind_looks_like_is_told_without_a_store() {
    let stage = Stage::new();
    let said = stage.run(&["schema", "guest"]).await;
    let schema: Value = serde_json::from_str(&said.out).unwrap();
    assert!(schema.is_object());
    let said = stage.run(&["completion", "bash"]).await;
    assert!(said.out.contains("lochnessctl"), "{}", said.out);
}

#[tokio::test]
async fn the_cluster_shows_its_leader_its_configuration_and_what_holds_it() {
    let stage = Stage::new();
    let status = json!({"leader": "op-a", "guests": 3, "conditions": condition(
        "DeletionHeld", "True", "BudgetExceeded", "500 of 600 guests would be deleted")});
    stage.put(&Key::ClusterStatus, status.to_string()).await;
    stage.put(&Key::Config("pause".into()), "true").await;
    let row = stage.run(&["get", "cluster"]).await;
    assert!(row.out.contains("op-a") && row.out.contains("BudgetExceeded"), "{}", row.out);
    let page = stage.run(&["describe", "cluster"]).await;
    assert!(page.out.starts_with("Why: BudgetExceeded: 500 of 600"), "{}", page.out);
    assert!(page.out.contains("pause: true"), "{}", page.out);
}
