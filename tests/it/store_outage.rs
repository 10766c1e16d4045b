//! etcd away, and answers of etcd that are lost.

use std::process::Command;
use std::time::Duration;

use lochness_api::Key;

use crate::harness::{
    HostOptions, Operator, OperatorOptions, Proxy, Stage, Weather, eventually, stays,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_ten_seconds_without_etcd_everything_converges_and_no_job_is_needless() {
    let mut stage = Stage::with_hosts(2).await;
    let guests = stage.put_guests(0..10).await;
    stage.all_run(&guests).await;
    // These are on their way when etcd dies.
    let late = stage.put_guests(10..20).await;
    stage.etcd.kill();
    let operator = &stage.operators[0];
    stays(Duration::from_secs(10), "the operator lives without etcd", async || {
        match operator.page("/healthz").await? {
            (200, _) => Ok(()),
            (code, body) => Err(format!("{code}: {body}")),
        }
    })
    .await;
    stage.etcd.restart();
    let all: Vec<_> = guests.iter().chain(&late).copied().collect();
    stage.all_run(&all).await;
    let jobs = stage.store.below("jobs/").await;
    assert_eq!(jobs.len(), all.len(), "one create a guest: {jobs:?}");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_whose_answers_are_lost_are_neither_lost_nor_doubled() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.host(&HostOptions::new("host-1")).await;
    let endpoint = stage.etcd.endpoint().to_owned();
    let proxy = Proxy::start(endpoint.trim_start_matches("http://")).await;
    let options = OperatorOptions::default();
    stage.operators.push(Operator::start("one", &proxy.endpoint(), &options).await);
    eventually("it leads", async || stage.operators[0].leads().await).await;
    let first = stage.put_guests(0..5).await;
    stage.all_run(&first).await;

    let second = stage.put_guests(5..15).await;
    proxy.set(Weather::AnswersLost);
    eventually("the operator notices", async || match stage.operators[0].is_ready().await {
        Ok(()) => Err("it believes that its view is live".to_owned()),
        Err(_) => Ok(()),
    })
    .await;
    let third = stage.put_guests(15..20).await;
    proxy.set(Weather::Fair);
    let all: Vec<_> = first.into_iter().chain(second).chain(third).collect();
    stage.all_run(&all).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_on_a_half_open_connection_gives_its_lead_up_in_time() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.host(&HostOptions::new("host-1")).await;
    let endpoint = stage.etcd.endpoint().to_owned();
    let proxy = Proxy::start(endpoint.trim_start_matches("http://")).await;
    let options = OperatorOptions::default();
    stage.operators.push(Operator::start("cut off", &proxy.endpoint(), &options).await);
    eventually("it leads", async || stage.operators[0].leads().await).await;
    stage.operator("whole").await;
    proxy.set(Weather::Silence);
    eventually("the other one leads", async || stage.operators[1].leads().await).await;
    assert!(stage.operators[0].leads().await.is_err(), "two lead");
    let guests = stage.put_guests(0..5).await;
    stage.all_run(&guests).await;
    proxy.set(Weather::Fair);
    eventually("it stands by again", async || stage.operators[0].is_ready().await).await;
    assert!(stage.operators[1].leads().await.is_ok());
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_was_cut_off_is_listed_anew_when_its_revisions_are_compacted() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.host(&HostOptions::new("host-1")).await;
    let endpoint = stage.etcd.endpoint().to_owned();
    let proxy = Proxy::start(endpoint.trim_start_matches("http://")).await;
    let options = OperatorOptions::default();
    stage.operators.push(Operator::start("one", &proxy.endpoint(), &options).await);
    eventually("it leads", async || stage.operators[0].leads().await).await;
    let guests = stage.put_guests(0..6).await;
    stage.all_run(&guests).await;
    proxy.set(Weather::Silence);
    // Gone and back, gone for good, and new: none of it is seen as an event.
    for id in &guests[..4] {
        stage.store.delete(&Key::Guest(*id)).await;
    }
    stage.put_guests(0..2).await;
    let new = stage.put_guests(10..12).await;
    let revision = stage.store.revision().await;
    eventually("the checker has seen it", async || stage.checker.has_seen(revision)).await;
    let compacted = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", &endpoint, "compaction", &revision.to_string()])
        .output()
        .expect("etcdctl is installed (Debian: etcd-client)");
    assert!(compacted.status.success(), "{compacted:?}");
    proxy.set(Weather::Fair);
    stage.gone(&guests[2..4]).await;
    stage.all_run(&[&guests[..2], &guests[4..], &new].concat()).await;
    let metrics = stage.operators[0].page("/metrics").await.expect("it answers").1;
    assert!(metrics.contains("lochness_watch_relists_total{reason=\"compacted\"} 1"), "{metrics}");
    stage.finish().await;
}
