//! The client of a real etcd: the contract, and what a store in memory has no counterpart for.

use std::sync::Arc;
use std::time::Duration;

use lochness_kv::test_support::{EtcdOptions, EtcdProcess};
use lochness_kv::{
    EtcdConfig, EtcdKv, Kv, KvError, Op, RangeRequest, Secret, Txn, WatchRequest, conformance,
};

fn put(key: &str) -> Txn {
    Txn { success: vec![Op::put(key.to_owned(), "v")], ..Txn::default() }
}

#[tokio::test]
async fn etcd_conforms() {
    let etcd = EtcdProcess::start();
    let kv = EtcdKv::connect(etcd.config()).await.expect("etcd runs");
    let store = kv.clone();
    let compact: conformance::Compact = Arc::new(move |revision| {
        let store = store.clone();
        Box::pin(async move { store.compact(revision).await })
    });
    conformance::run_all(Arc::new(kv), compact, "conformance/").await;
}

#[tokio::test]
async fn when_no_endpoint_answers_the_error_names_each_and_what_to_check() {
    let config = EtcdConfig {
        endpoints: vec!["http://127.0.0.1:1".into(), "127.0.0.1:2".into()],
        ..EtcdConfig::default()
    };
    let Err(KvError::Unavailable(text)) = EtcdKv::connect(config).await else {
        panic!("nothing listens there");
    };
    for part in ["http://127.0.0.1:1", "http://127.0.0.1:2", "refused", "--listen-client-urls"] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_before_anything_is_sent() {
    let config = |endpoint: &str| EtcdConfig {
        endpoints: vec![endpoint.to_owned()],
        password: Secret::new("hunter2"),
        ..EtcdConfig::default()
    };
    let without_ca = EtcdKv::connect(config("https://127.0.0.1:1")).await.err();
    assert!(matches!(without_ca, Some(KvError::Invalid(_))), "{without_ca:?}");
    let without_endpoint = EtcdConfig { endpoints: Vec::new(), ..EtcdConfig::default() };
    let refused = EtcdKv::connect(without_endpoint).await.err();
    assert!(matches!(refused, Some(KvError::Invalid(_))), "{refused:?}");
    assert!(!format!("{:?}", config("x")).contains("hunter2"));
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_certainly_did_not_happen() {
    let mut etcd = EtcdProcess::start();
    let kv = EtcdKv::connect(etcd.config()).await.expect("etcd runs");
    etcd.kill();
    let mut refused = kv.txn(put("a")).await;
    // The first one may find its connection cut under it.
    if refused.as_ref().is_err_and(KvError::is_unknown_outcome) {
        refused = kv.txn(put("a")).await;
    }
    assert!(matches!(refused, Err(KvError::Unavailable(_))), "{refused:?}");
    etcd.restart();
    kv.txn(put("a")).await.expect("it reconnects by itself");
}

#[tokio::test]
async fn a_request_without_an_answer_may_have_happened() {
    let etcd = EtcdProcess::start();
    let config = EtcdConfig { request_timeout: Duration::from_millis(300), ..etcd.config() };
    let kv = EtcdKv::connect(config).await.expect("etcd runs");
    etcd.pause();
    let silent = kv.txn(put("a")).await;
    assert!(matches!(silent, Err(KvError::Unknown(_))), "{silent:?}");
    etcd.resume();
}

#[tokio::test]
async fn a_watch_ends_with_an_error_when_etcd_goes() {
    let mut etcd = EtcdProcess::start();
    let kv = EtcdKv::connect(etcd.config()).await.expect("etcd runs");
    let mut watch = kv.watch(WatchRequest::prefix("", 0)).await.expect("it is legal");
    etcd.kill();
    let ended = watch.next().await;
    assert!(matches!(ended, Err(KvError::Unavailable(_))), "{ended:?}");
}

#[tokio::test]
async fn a_watch_whose_etcd_falls_silent_ends_by_keep_alive() {
    let etcd = EtcdProcess::start();
    let config = EtcdConfig { keep_alive: Duration::from_millis(500), ..etcd.config() };
    let kv = EtcdKv::connect(config).await.expect("etcd runs");
    let mut watch = kv.watch(WatchRequest::prefix("", 0)).await.expect("it is legal");
    etcd.pause();
    let ended = tokio::time::timeout(Duration::from_secs(20), watch.next()).await;
    assert!(matches!(ended, Ok(Err(KvError::Unavailable(_)))), "{ended:?}");
    etcd.resume();
}

#[tokio::test]
async fn the_other_members_answer_when_one_is_gone() {
    let mut members = EtcdProcess::start_cluster(3);
    let endpoints = members.iter().map(|member| member.endpoint().to_owned()).collect();
    let config = EtcdConfig { endpoints, ..EtcdConfig::default() };
    let kv = EtcdKv::connect(config).await.expect("etcd runs");
    kv.txn(put("a")).await.expect("all run");
    members[0].kill();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    // The cluster may be electing, if the killed one led.
    while let Err(error) = kv.txn(put("b")).await {
        assert!(tokio::time::Instant::now() < deadline, "still failing: {error}");
    }
    let read = kv.range(RangeRequest::key("b")).await.expect("two members are a majority");
    assert_eq!(read.kvs.len(), 1);
}

#[tokio::test]
async fn without_a_majority_nothing_happens_and_the_error_says_unavailable() {
    let mut members = EtcdProcess::start_cluster(3);
    let kv = EtcdKv::connect(members[0].config()).await.expect("etcd runs");
    members[1].kill();
    members[2].kill();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    // Until the member notices, requests time out with an unknown outcome.
    loop {
        match kv.txn(put("a")).await {
            Err(KvError::Unavailable(reason)) if reason.contains("no leader") => break,
            other => assert!(tokio::time::Instant::now() < deadline, "{other:?}"),
        }
    }
}

#[tokio::test]
async fn callers_with_little_patience_leave_a_member_that_hangs() {
    let members = EtcdProcess::start_cluster(3);
    let endpoints = members.iter().map(|member| member.endpoint().to_owned()).collect();
    let config = EtcdConfig { endpoints, ..members[0].config() };
    let kv = EtcdKv::connect(config).await.expect("etcd runs");
    kv.range(RangeRequest::key("a")).await.expect("it serves");
    members[0].pause();
    let patience = Duration::from_secs(1);
    let mut answers = Vec::new();
    for _ in 0..3 {
        let read = tokio::time::timeout(patience, kv.range(RangeRequest::key("a"))).await;
        answers.push(matches!(read, Ok(Ok(_))));
    }
    members[0].resume();
    assert!(answers.contains(&true), "all went to the member that hangs");
}

#[tokio::test]
async fn a_full_store_says_so_and_still_renews_leases() {
    let quota = "--quota-backend-bytes=262144".to_owned();
    let options = EtcdOptions { flags: vec![quota], ..EtcdOptions::default() };
    let etcd = EtcdProcess::start_with(&options);
    let kv = EtcdKv::connect(etcd.config()).await.expect("etcd runs");
    let (lease, _) = kv.lease_grant(Duration::from_secs(600)).await.expect("there is room");
    let value = "x".repeat(20_000);
    // etcd compares its quota with the size at its last commit to disk, some 100 ms ago.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    let full = loop {
        assert!(tokio::time::Instant::now() < deadline, "etcd takes more than its quota");
        let op = Op::put("k", value.clone());
        if let Err(error) = kv.txn(Txn { success: vec![op], ..Txn::default() }).await {
            break error;
        }
    };
    assert!(full.is_unknown_outcome(), "etcd may have applied this one: {full:?}");
    assert_eq!(kv.txn(put("after")).await.err(), Some(KvError::NoSpace));
    assert_eq!(kv.lease_grant(Duration::from_secs(9)).await.err(), Some(KvError::NoSpace));
    kv.lease_keepalive(lease).await.expect("renewing needs no room");
    assert!(kv.status().await.expect("etcd runs").no_space);
    kv.lease_revoke(lease).await.expect("revoking needs no room");
}

#[tokio::test]
async fn the_status_names_version_size_and_cluster() {
    let etcd = EtcdProcess::start();
    let kv = EtcdKv::connect(etcd.config()).await.expect("etcd runs");
    let status = kv.status().await.expect("etcd runs");
    assert!(status.version.starts_with("3."), "{status:?}");
    assert!(status.db_size > 0 && !status.no_space && status.header.cluster_id != 0);
}

#[tokio::test]
async fn an_answer_above_the_limit_asks_for_smaller_pages() {
    let etcd = EtcdProcess::start();
    let kv = EtcdKv::connect(etcd.config()).await.expect("etcd runs");
    for number in 0..18 {
        let op = Op::put(format!("k{number:02}"), "x".repeat(1_000_000));
        kv.txn(Txn { success: vec![op], ..Txn::default() }).await.expect("there is room");
    }
    let all = kv.range(RangeRequest::prefix("k")).await;
    assert!(matches!(all, Err(KvError::TooLarge(_))), "{:?}", all.map(|read| read.kvs.len()));
    let page = RangeRequest { limit: 10, ..RangeRequest::prefix("k") };
    assert_eq!(kv.range(page).await.expect("10 MB").kvs.len(), 10);
}
