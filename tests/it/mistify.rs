//! Hosts that run the original's agent.

use lochness_agent::server::StateWords;
use lochness_api::Key;
use lochness_api::status::Phase;
use serde_json::json;

use crate::harness::{HostOptions, Stage, eventually};

async fn lives_and_dies_on(words: StateWords) {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.store.put(&Key::Config("quarantine_seconds".to_owned()), &json!("2")).await;
    stage.host(&HostOptions { words, ..HostOptions::mistify("host-1") }).await;
    stage.operator("one").await;
    let guests = stage.put_guests(0..4).await;
    stage.all_run(&guests).await;
    let stopped = stage.put_guest(0, json!({ "state": "stopped" })).await;
    stage.reach(&[stopped], Phase::Stopped).await;
    assert!(!stage.hosts[0].runs(stopped));
    stage.put_guest(0, json!({})).await;
    stage.all_run(&[stopped]).await;
    stage.store.delete(&Key::Guest(guests[1])).await;
    stage.gone(&guests[1..2]).await;
    assert!(!stage.hosts[0].runs(guests[1]));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_live_and_die_on_a_host_of_the_original_with_libvirt() {
    lives_and_dies_on(StateWords::Libvirt).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_live_and_die_on_a_host_of_the_original_with_docker() {
    lives_and_dies_on(StateWords::Docker).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_live_and_die_on_a_host_whose_states_say_nothing() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.store.put(&Key::Config("quarantine_seconds".to_owned()), &json!("2")).await;
    stage.host(&HostOptions { words: StateWords::Echo, ..HostOptions::mistify("host-1") }).await;
    stage.operator("one").await;
    let guests = stage.put_guests(0..2).await;
    eventually("they are made", async || {
        let runs = guests.iter().filter(|id| stage.hosts[0].runs(**id)).count();
        if runs == 2 { Ok(()) } else { Err(format!("{runs} run")) }
    })
    .await;
    stage.all_run(&guests).await;
    stage.store.delete(&Key::Guest(guests[0])).await;
    stage.gone(&guests[..1]).await;
    stage.finish().await;
}
