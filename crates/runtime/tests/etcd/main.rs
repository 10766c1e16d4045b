//! The machinery against a real etcd: what the store in memory cannot vouch for.

mod committer;
mod leader;
mod watcher;

use std::sync::Arc;

use bytes::Bytes;
use lochness_kv::test_support::EtcdProcess;
use lochness_kv::{EtcdKv, Kv, Op, Txn};

/// An etcd of its own, and a connection.
async fn etcd() -> (EtcdProcess, Arc<EtcdKv>) {
    let process = EtcdProcess::start();
    let kv = EtcdKv::connect(process.config()).await.expect("it is ready");
    (process, Arc::new(kv))
}

/// Puts one key, and tells at which revision.
async fn put(kv: &EtcdKv, key: &str, value: impl Into<Bytes>) -> i64 {
    write(kv, vec![Op::put(key.to_owned(), value)]).await
}

/// Writes all at one revision, and tells which.
async fn write(kv: &EtcdKv, success: Vec<Op>) -> i64 {
    let txn = Txn { success, ..Txn::default() };
    kv.txn(txn).await.expect("etcd takes it").header.revision
}
