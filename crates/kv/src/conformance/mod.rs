//! What every [`Kv`] must do, checked by the same cases on etcd and on its model.
//!
//! Each case works under a prefix of its own, and may share the store with cases before and after it. Cases panic when
//! the store does something else.

mod cases;
mod leases;
mod refusals;
mod transactions;
mod watches;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;

use crate::{
    Compare, Event, Kv, KvError, LeaseId, Op, RangeRequest, RangeResponse, Txn, TxnResponse,
    WatchRequest, WatchStream,
};

/// Compacts the store under test at a revision.
pub type Compact = Arc<dyn Fn(i64) -> BoxFuture<'static, Result<(), KvError>> + Send + Sync>;

/// The store under test, with one prefix of it.
#[derive(Clone)]
pub struct Subject {
    /// The store.
    pub kv: Arc<dyn Kv>,
    /// The store's compaction.
    pub compact: Compact,
    /// Where this case may write.
    pub prefix: String,
}

/// One thing that every store must do.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it must do, as a sentence.
    pub name: &'static str,
    /// Checks it.
    pub run: fn(Subject) -> BoxFuture<'static, ()>,
}

/// All cases.
pub fn cases() -> Vec<Case> {
    [cases::all(), transactions::all(), refusals::all(), leases::all(), watches::all()].concat()
}

/// Runs every case, each under `prefix` and its number.
pub async fn run_all(kv: Arc<dyn Kv>, compact: Compact, prefix: &str) {
    for (number, case) in cases().into_iter().enumerate() {
        let prefix = format!("{prefix}{number}/");
        let subject = Subject { kv: Arc::clone(&kv), compact: Arc::clone(&compact), prefix };
        println!("{}", case.name);
        (case.run)(subject).await;
    }
}

impl Subject {
    fn key(&self, name: &str) -> Bytes {
        format!("{}{name}", self.prefix).into()
    }

    fn put_op(&self, name: &str, value: &str) -> Op {
        Op::put(self.key(name), value.to_owned())
    }

    /// Puts a key; the answer is the revision.
    async fn put(&self, name: &str, value: &str) -> i64 {
        self.write(vec![self.put_op(name, value)]).await
    }

    async fn put_leased(&self, name: &str, lease: LeaseId) -> i64 {
        self.write(vec![Op::put_leased(self.key(name), "leased", lease)]).await
    }

    async fn delete(&self, name: &str) -> i64 {
        self.write(vec![Op::delete(self.key(name))]).await
    }

    async fn write(&self, success: Vec<Op>) -> i64 {
        self.txn(Vec::new(), success).await.header.revision
    }

    async fn txn(&self, compares: Vec<Compare>, success: Vec<Op>) -> TxnResponse {
        self.try_txn(compares, success).await.expect("the transaction is legal")
    }

    async fn try_txn(
        &self,
        compares: Vec<Compare>,
        success: Vec<Op>,
    ) -> Result<TxnResponse, KvError> {
        self.kv.txn(Txn { compares, success, failure: Vec::new() }).await
    }

    async fn get(&self, request: RangeRequest) -> RangeResponse {
        self.kv.range(request).await.expect("the read is legal")
    }

    async fn all(&self) -> RangeResponse {
        self.get(RangeRequest::prefix(self.prefix.clone())).await
    }

    async fn value(&self, name: &str) -> Option<Bytes> {
        self.get(RangeRequest::key(self.key(name))).await.kvs.pop().map(|kv| kv.value)
    }

    async fn watch(&self, start_revision: i64) -> Box<dyn WatchStream> {
        self.kv
            .watch(WatchRequest::prefix(self.prefix.clone(), start_revision))
            .await
            .expect("the watch is legal")
    }

    /// A child transaction that always holds.
    fn child(success: Vec<Op>) -> Op {
        Op::Txn(Txn { success, ..Txn::default() }.into())
    }
}

/// Reads messages until `count` events have come, and checks that nothing comes out of order.
async fn events(watch: &mut dyn WatchStream, count: usize) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    while events.len() < count {
        events.extend(watch.next().await.expect("the watch lives").events);
    }
    assert!(events.is_sorted_by_key(Event::revision), "out of order: {events:?}");
    events
}
