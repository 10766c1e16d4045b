//! Leaders that die, freeze, resign.

use std::time::Duration;

use lochness_agent::server::Delays;
use lochness_api::status::Phase;
use lochness_api::{GuestId, Key};

use crate::harness::{
    HostOptions, OperatorOptions, Stage, eventually, eventually_within, guest, guest_id,
};

/// Hosts that take a while to create a guest, so that there is a middle to be killed in.
async fn slow_stage(operators: &[&str]) -> Stage {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    for name in ["host-1", "host-2"] {
        let create = Duration::from_millis(100);
        let jitter = Duration::from_millis(400);
        let delays = Delays { create, jitter, ..Delays::default() };
        stage.host(&HostOptions { delays, ..HostOptions::new(name) }).await;
    }
    for name in operators {
        stage.operator(name).await;
    }
    stage
}

/// Puts so many guests in one revision.
async fn put_at_once(stage: &Stage, count: u32) -> Vec<GuestId> {
    let ids: Vec<_> = (0..count).map(guest_id).collect();
    stage.store.put_all(ids.iter().map(|id| (Key::Guest(*id), guest()))).await;
    ids
}

/// Waits until at least so many guests are in the phase or beyond.
async fn come_to(stage: &Stage, count: usize, phase: Phase) {
    eventually("enough guests have come so far", async || {
        let statuses = stage.store.guests().await;
        let there = statuses.values().filter(|status| status.phase >= phase).count();
        if there >= count { Ok(()) } else { Err(format!("{there} of {count}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_followed_within_its_lease_and_nothing_is_doubled() {
    let mut stage = slow_stage(&["one", "two"]).await;
    let leader = stage.leader().await;
    let guests = put_at_once(&stage, 50).await;
    come_to(&stage, 10, Phase::Creating).await;
    stage.operators[leader].kill();
    let standby = 1 - leader;
    // Lease 3 s, half a second of etcd's, and the takeover; twice that on a machine that runs other tests.
    eventually_within(Duration::from_secs(12), "the standby leads", async || {
        stage.operators[standby].leads().await
    })
    .await;
    stage.all_run(&guests).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_killed_again_and_again_leave_everything_running_once() {
    let mut stage = slow_stage(&["0"]).await;
    let guests = put_at_once(&stage, 40).await;
    // How far the work has come at each kill: drawn once, so that a failure can be looked for again.
    for (round, far) in [1, 7, 18, 29].into_iter().enumerate() {
        stage.operator(&format!("{}", round + 1)).await;
        come_to(&stage, far, Phase::Scheduled).await;
        let leader = stage.leader().await;
        stage.operators[leader].kill();
    }
    stage.all_run(&guests).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_frozen_past_its_lease_changes_nothing_when_it_wakes() {
    let stage = slow_stage(&["one", "two"]).await;
    let leader = stage.leader().await;
    let guests = put_at_once(&stage, 40).await;
    come_to(&stage, 8, Phase::Scheduled).await;
    stage.operators[leader].freeze();
    let standby = 1 - leader;
    eventually("the standby leads", async || stage.operators[standby].leads().await).await;
    come_to(&stage, 40, Phase::Scheduled).await;
    stage.operators[leader].thaw();
    stage.all_run(&guests).await;
    eventually("the former leader knows that it does not lead", async || {
        match stage.operators[leader].page("/readyz").await? {
            (200, body) if body.contains("standing by") => Ok(()),
            (code, body) => Err(format!("{code}: {body}")),
        }
    })
    .await;
    assert!(stage.operators[standby].leads().await.is_ok());
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_stop_resigns_at_once_and_exits_with_0() {
    let mut stage = Stage::empty().await;
    let options = OperatorOptions { lease: Duration::from_secs(60), ..OperatorOptions::default() };
    stage.operator_with("one", &options).await;
    stage.leader().await;
    stage.operator_with("two", &options).await;
    let mut leader = stage.operators.remove(0);
    let ended = leader.terminate().await;
    assert_eq!(ended.code(), Some(0), "{}", leader.log());
    eventually_within(Duration::from_secs(1), "the standby leads", async || {
        stage.operators[0].leads().await
    })
    .await;
    let key = stage.store.get(&Key::Leader).await.expect("somebody leads");
    let text = String::from_utf8_lossy(&key);
    assert!(text.contains("two"), "the leader's key says who leads: {text}");
    stage.finish().await;
}
