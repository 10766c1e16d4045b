//! The store as the commands see it: one prefix, lists that are paged at one revision, and what time it is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lochness_api::{Key, Prefix};
use lochness_kv::{
    Compare, KeyValue, Kv, KvError, Op, OpResponse, RangeRequest, Txn, TxnResponse, prefix_end,
};
use tokio::time::Instant;

use crate::Failure;

/// Keys a page of a list. Documents are small; a page stays far below etcd's 4 MB answers unless they average 4 KB.
const PAGE_KEYS: i64 = 1_000;

/// Reads a transaction; etcd takes 128 operations by default.
const READS_A_TXN: usize = 100;

/// How long a wait lasts without `--timeout`.
const DEFAULT_WAIT: Duration = Duration::from_secs(300);

/// A store, a prefix in it, and the limits of one command.
pub struct Session {
    kv: Arc<dyn Kv>,
    prefix: Prefix,
    endpoints: String,
    now: fn() -> Timestamp,
    limit: Option<Duration>,
}

impl Session {
    /// A session on `kv`; `endpoints` is what errors call it.
    pub fn new(kv: Arc<dyn Kv>, prefix: Prefix, endpoints: impl Into<String>) -> Self {
        Self { kv, prefix, endpoints: endpoints.into(), now: Timestamp::now, limit: None }
    }

    /// Lets a command wait at most so long.
    #[must_use]
    pub fn with_limit(mut self, limit: Option<Duration>) -> Self {
        self.limit = limit;
        self
    }

    /// Takes the time from `now` instead of the system's clock.
    #[must_use]
    pub fn with_clock(mut self, now: fn() -> Timestamp) -> Self {
        self.now = now;
        self
    }

    pub(crate) fn endpoints(&self) -> &str {
        &self.endpoints
    }

    pub(crate) fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    pub(crate) fn now(&self) -> Timestamp {
        (self.now)()
    }

    pub(crate) fn kv(&self) -> &dyn Kv {
        self.kv.as_ref()
    }

    /// When a wait that begins now must end.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.limit.unwrap_or(DEFAULT_WAIT)
    }

    /// The whole key, with the prefix.
    pub(crate) fn key(&self, key: &Key) -> Bytes {
        self.prefix.key(key).into()
    }

    /// Everything under `prefix` + `path`, at one revision, which comes first.
    pub(crate) async fn list(&self, path: &str) -> Result<(i64, Vec<KeyValue>), Failure> {
        let start = Bytes::from(format!("{}{path}", self.prefix));
        let end = prefix_end(&start);
        Ok(list_range(self.kv(), start, end).await?)
    }

    /// The values of several keys, in their order, at one revision a hundred keys.
    pub(crate) async fn read(&self, keys: &[Bytes]) -> Result<Vec<Option<KeyValue>>, Failure> {
        let mut found = Vec::with_capacity(keys.len());
        for chunk in keys.chunks(READS_A_TXN) {
            let reads = chunk.iter().map(|key| Op::Range(RangeRequest::key(key.clone()))).collect();
            let txn = Txn { success: reads, ..Txn::default() };
            for response in self.kv.txn(txn).await?.responses {
                found.push(first_of(response));
            }
        }
        Ok(found)
    }

    /// One key.
    pub(crate) async fn read_one(&self, key: &Key) -> Result<Option<KeyValue>, Failure> {
        let response = self.kv.range(RangeRequest::key(self.key(key))).await?;
        Ok(response.kvs.into_iter().next())
    }

    /// A write: `ops` if all `compares` hold.
    pub(crate) async fn write(
        &self,
        compares: Vec<Compare>,
        ops: Vec<Op>,
    ) -> Result<TxnResponse, Failure> {
        Ok(self.kv.txn(Txn { compares, success: ops, failure: Vec::new() }).await?)
    }
}

fn first_of(response: OpResponse) -> Option<KeyValue> {
    match response {
        OpResponse::Range(range) => range.kvs.into_iter().next(),
        OpResponse::Put | OpResponse::Delete(_) | OpResponse::Txn(_) => None,
    }
}

/// All keys in `[start, end)` at one revision, which comes first. A list whose revision is compacted meanwhile is begun
/// again by the caller.
pub(crate) async fn list_range(
    kv: &dyn Kv,
    start: Bytes,
    end: Bytes,
) -> Result<(i64, Vec<KeyValue>), KvError> {
    let mut all = Vec::new();
    let mut revision = 0;
    let mut from = start;
    loop {
        let request = RangeRequest {
            key: from,
            end: end.clone(),
            revision,
            limit: PAGE_KEYS,
            ..RangeRequest::default()
        };
        let page = kv.range(request).await?;
        if revision == 0 {
            revision = page.header.revision;
        }
        all.extend(page.kvs);
        match all.last() {
            Some(last) if page.more => {
                let mut next = last.key.to_vec();
                next.push(0);
                from = next.into();
            }
            _ => return Ok((revision, all)),
        }
    }
}
