//! Pauses: of the cluster, a host, a guest.

use std::time::Duration;

use lochness_api::Key;
use lochness_api::status::GuestStatus;
use serde_json::json;

use crate::harness::{Stage, stays};

/// Rescans that a pause must outlast.
const WHILE: Duration = Duration::from_secs(3);

fn says_paused(status: &GuestStatus) -> Option<()> {
    let said = serde_json::to_string(&status.conditions).expect("conditions can be written");
    said.contains("\"Paused\"").then_some(())
}

/// The hosts are asked for nothing.
async fn nothing_is_asked(stage: &Stage) {
    let mutations = stage.mutations();
    stays(WHILE, "no host is asked for a change", async || match stage.mutations() - mutations {
        0 => Ok(()),
        more => Err(format!("{more} changes")),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_cluster_asks_no_agent_for_anything() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..3).await;
    stage.all_run(&guests).await;
    let pause = Key::Config("pause".to_owned());
    stage.store.put(&pause, &json!("true")).await;
    let new = stage.put_guest(3, json!({})).await;
    let stopped = stage.put_guest(0, json!({ "state": "stopped" })).await;
    stage.store.delete(&Key::Guest(guests[1])).await;
    stage.status(stopped, "the pause is shown", says_paused).await;
    stage.status(new, "the pause is shown", says_paused).await;
    nothing_is_asked(&stage).await;
    assert!(stage.hosts[0].runs(guests[1]) && stage.hosts[0].runs(stopped));
    stage.store.delete(&pause).await;
    stage.all_run(&[new, guests[2]]).await;
    stage.gone(&guests[1..2]).await;
    stage.reach(&[stopped], lochness_api::status::Phase::Stopped).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_host_is_asked_for_nothing_and_the_others_go_on() {
    let stage = Stage::with_hosts(2).await;
    let [paused, other] = [stage.hosts[0].id(), stage.hosts[1].id()];
    let here = stage.put_guest(0, json!({ "hypervisor": paused })).await;
    let there = stage.put_guest(1, json!({ "hypervisor": other })).await;
    stage.all_run(&[here, there]).await;
    let pause = Key::HypervisorConfig(paused, "pause".to_owned());
    stage.store.put(&pause, &json!("1")).await;
    stage.put_guest(0, json!({ "hypervisor": paused, "state": "stopped" })).await;
    stage.put_guest(1, json!({ "hypervisor": other, "state": "stopped" })).await;
    stage.reach(&[there], lochness_api::status::Phase::Stopped).await;
    stage.status(here, "the pause is shown", says_paused).await;
    nothing_is_asked(&stage).await;
    assert!(stage.hosts[0].runs(here));
    stage.store.delete(&pause).await;
    stage.reach(&[here], lochness_api::status::Phase::Stopped).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_guest_is_left_alone_and_its_neighbours_are_not() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..2).await;
    stage.all_run(&guests).await;
    let paused = json!({ "metadata": { "pause": "true" }, "state": "stopped" });
    let paused = stage.put_guest(0, paused).await;
    let other = stage.put_guest(1, json!({ "state": "stopped" })).await;
    stage.reach(&[other], lochness_api::status::Phase::Stopped).await;
    stage.status(paused, "the pause is shown", says_paused).await;
    nothing_is_asked(&stage).await;
    assert!(stage.hosts[0].runs(paused));
    stage.put_guest(0, json!({ "state": "stopped" })).await;
    stage.reach(&[paused], lochness_api::status::Phase::Stopped).await;
    stage.finish().await;
}
