//! `cordon`, `drain`, `fence`, `pause` and `accept-store`.

use lochness_api::manifest::id_of;
use lochness_api::{HypervisorId, Key, Kind};
use serde_json::Value;

use crate::stage::{Stage, guest};

async fn with_host() -> (Stage, HypervisorId) {
    let stage = Stage::with_fleet().await;
    let id: HypervisorId = id_of(Kind::Hypervisor, "node-1").to_string().parse().unwrap();
    stage.put(&Key::Hypervisor(id), r#"{"metadata":{"name":"node-1"}}"#).await;
    (stage, id)
}

fn config(host: HypervisorId, name: &str) -> Key {
    Key::HypervisorConfig(host, name.into())
}

#[tokio::test]
async fn cordon_is_undone_by_uncordon_and_drain_too() {
    let (stage, host) = with_host().await;
    let said = stage.run(&["cordon", "node-1"]).await;
    assert_eq!((said.code, said.out.as_str()), (0, "hypervisor/node-1 cordoned\n"), "{said:?}");
    assert_eq!(stage.value(&config(host, "cordon")).await.as_deref(), Some("true"));
    let drain = stage.run(&["drain", "node-1"]).await;
    assert_eq!(drain.out, "hypervisor/node-1 draining\n");
    assert_eq!(stage.value(&config(host, "drain")).await.as_deref(), Some("true"));
    let end = stage.run(&["uncordon", "node-1"]).await;
    assert_eq!(end.out, "hypervisor/node-1 uncordoned\n");
    assert_eq!(stage.value(&config(host, "cordon")).await, None);
    assert_eq!(stage.value(&config(host, "drain")).await, None);
    assert_eq!(stage.run(&["uncordon", "node-1"]).await.out, "hypervisor/node-1 unchanged\n");
}

#[tokio::test]
async fn a_host_with_a_heartbeat_is_not_fenced() {
    let (stage, host) = with_host().await;
    stage.put(&Key::Heartbeat(host), "alive").await;
    let said = stage.run(&["fence", "node-1", "--yes"]).await;
    assert_eq!(said.code, 1, "{said:?}");
    assert_eq!(stage.value(&config(host, "fenced")).await, None);
}

#[tokio::test]
async fn a_fence_is_asked_about_and_carries_its_time() {
    let (stage, host) = with_host().await;
    let unasked = stage.run(&["fence", "node-1"]).await;
    assert_eq!(unasked.code, 2, "{unasked:?}");
    let said = stage.run(&["fence", "node-1", "--yes"]).await;
    assert_eq!(said.out, "hypervisor/node-1 fenced\n", "{said:?}");
    let fenced = stage.value(&config(host, "fenced")).await;
    assert_eq!(fenced.as_deref(), Some("2026-01-02T12:00:00Z"));
    let end = stage.run(&["unfence", "node-1"]).await;
    assert_eq!(end.out, "hypervisor/node-1 unfenced\n");
    assert_eq!(stage.value(&config(host, "fenced")).await, None);
}

#[tokio::test]
async fn a_pause_is_put_where_the_contract_has_it() {
    let (stage, host) = with_host().await;
    assert_eq!(stage.run(&["pause", "cluster"]).await.out, "cluster paused\n");
    let cluster = Key::Config("pause".into());
    assert_eq!(stage.value(&cluster).await.as_deref(), Some("true"));
    assert_eq!(stage.run(&["unpause", "cluster"]).await.out, "cluster unpaused\n");
    assert_eq!(stage.value(&cluster).await, None);
    stage.run(&["pause", "hypervisor", "node-1"]).await;
    assert_eq!(stage.value(&config(host, "pause")).await.as_deref(), Some("true"));
}

#[tokio::test]
async fn a_guest_is_paused_in_its_document_and_nothing_else_there_changes() {
    let (stage, _) = with_host().await;
    let before: Value = serde_json::from_str(&stage.value(&guest("web-1")).await.unwrap()).unwrap();
    let said = stage.run(&["pause", "guest", "web-1"]).await;
    assert_eq!(said.out, "guest/web-1 paused\n", "{said:?}");
    let paused: Value = serde_json::from_str(&stage.value(&guest("web-1")).await.unwrap()).unwrap();
    assert_eq!(paused["metadata"]["pause"], "true");
    assert_eq!(stage.run(&["unpause", "guest", "web-1"]).await.out, "guest/web-1 unpaused\n");
    let after: Value = serde_json::from_str(&stage.value(&guest("web-1")).await.unwrap()).unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn accepting_the_store_shows_why_the_operator_holds_and_asks() {
    let (stage, host) = with_host().await;
    let status = r#"{"conditions":[{"type":"StoreRestored","status":"True","reason":"RevisionWentBack",
        "message":"revision 12 is below 90","last_transition":"2026-01-02T11:00:00Z"}]}"#;
    stage.put(&Key::ClusterStatus, status).await;
    let unasked = stage.run(&["accept-store"]).await;
    assert_eq!(unasked.code, 2);
    assert!(unasked.err.contains("revision 12 is below 90"), "{}", unasked.err);
    assert!(unasked.err.contains("without a heartbeat: hypervisor/node-1"), "{}", unasked.err);
    for (key, value) in [(Key::Heartbeat(host), "alive"), (config(host, "fenced"), "today")] {
        stage.put(&key, value).await;
        let told = stage.run(&["accept-store"]).await;
        assert!(!told.err.contains("without a heartbeat"), "{}", told.err);
        stage.delete(&key).await;
    }
    let said = stage.run(&["accept-store", "--yes"]).await;
    assert_eq!(said.code, 0, "{said:?}");
    let accepted = stage.value(&Key::Config("accept_store".into())).await;
    assert_eq!(accepted.as_deref(), Some("2026-01-02T12:00:00Z"));
}
