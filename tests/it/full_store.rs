//! An etcd that is out of space: nothing is written, everybody is told, and when there is room again all goes on.

use std::process::Command;
use std::time::Duration;

use lochness_api::{Key, Prefix};
use lochness_kv::test_support::EtcdOptions;
use lochness_kv::{Kv, Op, Txn};

use crate::harness::{HostOptions, Members, Stage, eventually, stays};

/// Small enough to be filled in a moment, large enough for a dozen guests.
const QUOTA: &str = "--quota-backend-bytes=3145728";

fn etcdctl(endpoint: &str, words: &[&str]) {
    let done = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .args(["--endpoints", endpoint])
        .args(words)
        .output()
        .expect("etcdctl is installed (Debian: etcd-client)");
    assert!(done.status.success(), "{words:?}: {done:?}");
}

/// Puts one large value again and again, until etcd takes nothing more.
async fn fill(stage: &Stage) {
    let key = format!("{}junk", stage.store.prefix());
    let value = "x".repeat(100_000);
    eventually("etcd is full", async || {
        let success = vec![Op::put(key.clone(), value.clone())];
        match stage.store.try_write(Txn { success, ..Txn::default() }).await {
            Ok(_) => Err("it takes more".to_owned()),
            Err(_) => Ok(()),
        }
    })
    .await;
    // The one that fills it is applied and refused.
    stage.store.claim(&key).await;
    let status = stage.store.kv().status().await.expect("etcd runs");
    assert!(status.no_space, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_is_told_by_page_and_metric_and_when_there_is_room_all_goes_on() {
    let options = EtcdOptions { flags: vec![QUOTA.to_owned()], ..EtcdOptions::default() };
    let mut stage = Stage::on(Members::one(&options), Prefix::default()).await;
    stage.put_network().await;
    stage.host(&HostOptions::new("host-1")).await;
    stage.operator("one").await;
    let guests = stage.put_guests(0..6).await;
    stage.all_run(&guests).await;
    let version = eventually("the cluster's status tells etcd's version", async || {
        let status = stage.store.cluster().await.ok_or("there is none")?;
        status.etcd_version.ok_or_else(|| "it does not".to_owned())
    })
    .await;
    assert!(version.starts_with("3."), "{version}");

    // Its documents are there, and nothing can be written about it any more.
    let late = stage.put_guests(6..9).await;
    fill(&stage).await;
    let operator = &stage.operators[0];
    eventually("it says what is wrong", async || match operator.page("/readyz").await? {
        (503, said) if said.contains("NOSPACE") => Ok(()),
        (code, said) => Err(format!("{code}: {said}")),
    })
    .await;
    let metrics = operator.page("/metrics").await.expect("it answers").1;
    assert!(metrics.contains("lochness_store_trouble{kind=\"no_space\"} 1"), "{metrics}");
    stays(Duration::from_secs(4), "guests run on", async || {
        let runs = guests.iter().all(|id| stage.hosts[0].runs(*id));
        if runs { Ok(()) } else { Err("one does not".to_owned()) }
    })
    .await;
    let told = operator.log().lines().filter(|line| line.contains("no_space")).count();
    assert_eq!(told, 1, "trouble that lasts is told once a minute:\n{}", operator.log());
    let spam = operator.log().lines().filter(|line| line.contains("NOSPACE")).count();
    assert!(spam <= 12, "{spam} lines about the same:\n{}", operator.log());

    let revision = stage.store.revision().await;
    eventually("the checker has seen it", async || stage.checker.has_seen(revision)).await;
    let endpoint = stage.etcd.endpoint();
    etcdctl(endpoint, &["compaction", &revision.to_string()]);
    etcdctl(endpoint, &["defrag"]);
    etcdctl(endpoint, &["alarm", "disarm"]);
    stage.all_run(&[guests.clone(), late].concat()).await;
    stage.store.delete(&Key::Guest(guests[0])).await;
    stage.gone(&guests[..1]).await;
    eventually("it is ready again", async || operator.leads().await).await;
    stage.finish().await;
}
