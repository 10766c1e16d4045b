//! Users and passwords of etcd.

use std::process::Command;
use std::time::Duration;

use lochness_kv::test_support::{EtcdOptions, EtcdProcess};
use lochness_kv::{EtcdConfig, EtcdKv, Kv, KvError, Op, RangeRequest, Secret, Txn, WatchRequest};
use tokio::time::sleep;

/// etcd counts a token's life in whole seconds.
const TOKEN_SECONDS: u64 = 1;

fn etcdctl(etcd: &EtcdProcess, arguments: &[&str]) {
    let done = Command::new("etcdctl")
        .env("ETCDCTL_API", "3")
        .arg(format!("--endpoints={}", etcd.endpoint()))
        .args(arguments)
        .output()
        .expect("etcdctl is installed");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}

/// etcd with a user `operator` who may write under `mine/`.
fn guarded() -> EtcdProcess {
    let flags = vec![format!("--auth-token-ttl={TOKEN_SECONDS}")];
    let etcd = EtcdProcess::start_with(&EtcdOptions { flags, ..EtcdOptions::default() });
    etcdctl(&etcd, &["user", "add", "root:rootpw"]);
    etcdctl(&etcd, &["user", "grant-role", "root", "root"]);
    etcdctl(&etcd, &["role", "add", "mine"]);
    etcdctl(&etcd, &["role", "grant-permission", "--prefix=true", "mine", "readwrite", "mine/"]);
    etcdctl(&etcd, &["user", "add", "operator:secret"]);
    etcdctl(&etcd, &["user", "grant-role", "operator", "mine"]);
    etcdctl(&etcd, &["auth", "enable"]);
    etcd
}

fn operator(etcd: &EtcdProcess, password: &str) -> EtcdConfig {
    EtcdConfig { user: Some("operator".into()), password: Secret::new(password), ..etcd.config() }
}

fn put(key: &str) -> Txn {
    Txn { success: vec![Op::put(key.to_owned(), "v")], ..Txn::default() }
}

#[tokio::test]
async fn a_user_reaches_what_its_role_grants_and_nothing_else() {
    let etcd = guarded();
    let kv = EtcdKv::connect(operator(&etcd, "secret")).await.expect("the password is right");
    kv.txn(put("mine/a")).await.expect("it is granted");
    let refused = kv.txn(put("theirs/a")).await;
    assert!(matches!(refused, Err(KvError::PermissionDenied(_))), "{refused:?}");
    let refused = kv.range(RangeRequest::prefix("")).await;
    assert!(matches!(refused, Err(KvError::PermissionDenied(_))), "{refused:?}");
    let refused = kv.watch(WatchRequest::prefix("theirs/", 0)).await.err();
    assert!(matches!(refused, Some(KvError::PermissionDenied(_))), "{refused:?}");
}

#[tokio::test]
async fn a_wrong_password_is_refused_without_being_repeated() {
    let etcd = guarded();
    let refused = EtcdKv::connect(operator(&etcd, "hunter2")).await.err();
    let Some(KvError::PermissionDenied(text)) = refused else { panic!("{refused:?}") };
    assert!(!text.contains("hunter2"), "{text}");
    let anonymous = EtcdKv::connect(etcd.config()).await.expect("the status is public");
    let refused = anonymous.txn(put("mine/a")).await;
    assert!(matches!(refused, Err(KvError::PermissionDenied(_))), "{refused:?}");
}

#[tokio::test]
async fn an_expired_token_is_renewed_for_reads_writes_and_watches() {
    let etcd = guarded();
    let kv = EtcdKv::connect(operator(&etcd, "secret")).await.expect("the password is right");
    // Nothing tells when etcd has forgotten a token, so this waits for its whole life and one sweep.
    let expired = || sleep(Duration::from_secs(TOKEN_SECONDS + 2));
    expired().await;
    kv.txn(put("mine/a")).await.expect("the token is renewed");
    expired().await;
    kv.range(RangeRequest::prefix("mine/")).await.expect("the token is renewed");
    expired().await;
    kv.watch(WatchRequest::prefix("mine/", 0)).await.expect("the token is renewed");
}
