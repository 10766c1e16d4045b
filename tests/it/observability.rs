//! What an operator shows of itself.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::harness::{Stage, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_metrics_of_a_busy_operator_are_as_promtool_wants_them() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..5).await;
    stage.all_run(&guests).await;
    let (code, metrics) = stage.operators[0].page("/metrics").await.expect("it answers");
    assert_eq!(code, 200);
    for name in [
        "controller_runtime_reconcile_total",
        "workqueue_depth",
        "leader_election_master_status",
        "lochness_commit_total",
    ] {
        assert!(metrics.contains(name), "{name} is missing");
    }
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool is installed (Debian: prometheus)");
    let mut stdin = promtool.stdin.take().expect("it was asked for");
    stdin.write_all(metrics.as_bytes()).expect("promtool reads");
    drop(stdin);
    let checked = promtool.wait_with_output().expect("promtool ends");
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "{said}{}", String::from_utf8_lossy(&checked.stdout));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_without_etcd_is_not_ready_and_says_why_and_is_ready_again_after() {
    let mut stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..2).await;
    stage.all_run(&guests).await;
    stage.etcd.kill();
    let said =
        eventually("it is not ready", async || match stage.operators[0].page("/readyz").await? {
            (503, said) => Ok(said),
            (code, said) => Err(format!("{code}: {said}")),
        })
        .await;
    assert!(said.contains("view of the store is interrupted"), "{said}");
    assert!(said.len() > "the view of the store is interrupted: ".len() + 5, "no reason: {said}");
    let (code, _) = stage.operators[0].page("/healthz").await.expect("it answers");
    assert_eq!(code, 200, "no etcd is no reason to be restarted");
    stage.etcd.restart();
    eventually("it is ready", async || stage.operators[0].is_ready().await).await;
    stage.leader().await;
    stage.all_run(&guests).await;
    stage.finish().await;
}
