//! A store for the tests of this crate: [`MemoryKv`] with a tap that records, holds, silences and lies.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lochness_kv::{
    Kv, KvError, LeaseId, MemoryKv, Op, RangeRequest, RangeResponse, ServerStatus, Txn,
    TxnResponse, WatchBatch, WatchRequest, WatchStream,
};
use tokio::sync::watch;

/// The tap; every process of a test may have one of its own to the same store.
pub(crate) struct Tap {
    pub(crate) store: MemoryKv,
    /// All requests that were sent, in order.
    pub(crate) ranges: Mutex<Vec<RangeRequest>>,
    pub(crate) txns: Mutex<Vec<Txn>>,
    pub(crate) watches: AtomicUsize,
    pub(crate) grants: AtomicUsize,
    /// One of them happens after each read.
    pub(crate) between_reads: Mutex<VecDeque<Txn>>,
    /// While shut nothing is answered.
    flow: watch::Sender<Flow>,
    /// Keepalives find no lease.
    pub(crate) leases_lost: AtomicBool,
    /// Watches that are opened bring nothing, and do not end.
    pub(crate) mute: AtomicBool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Open,
    Shut,
}

impl Tap {
    pub(crate) fn new(store: &MemoryKv) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            ranges: Mutex::default(),
            txns: Mutex::default(),
            watches: AtomicUsize::new(0),
            grants: AtomicUsize::new(0),
            between_reads: Mutex::default(),
            flow: watch::Sender::new(Flow::Open),
            leases_lost: AtomicBool::new(false),
            mute: AtomicBool::new(false),
        })
    }

    pub(crate) fn turn(&self, flow: Flow) {
        self.flow.send_replace(flow);
    }

    /// How many children each transaction had that was sent so far.
    pub(crate) fn group_sizes(&self) -> Vec<usize> {
        locked(&self.txns).iter().map(|txn| txn.success.len()).collect()
    }

    /// Waits until so many transactions were sent.
    pub(crate) async fn sent(&self, txns: usize) {
        while locked(&self.txns).len() < txns {
            tokio::task::yield_now().await;
        }
    }

    async fn flowing(&self) {
        let mut flow = self.flow.subscribe();
        flow.wait_for(|flow| *flow == Flow::Open).await.expect("the tap holds the sender");
    }
}

pub(crate) fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Puts one key, and tells at which revision.
pub(crate) async fn put(store: &MemoryKv, key: &str, value: &str) -> i64 {
    let write = Op::put(key.to_owned(), value.to_owned());
    store.txn(Txn { success: vec![write], ..Txn::default() }).await.unwrap().header.revision
}

/// Deletes one key, and tells at which revision.
pub(crate) async fn delete(store: &MemoryKv, key: &str) -> i64 {
    let write = Op::delete(key.to_owned());
    store.txn(Txn { success: vec![write], ..Txn::default() }).await.unwrap().header.revision
}

#[async_trait]
impl Kv for Tap {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        locked(&self.ranges).push(request.clone());
        self.flowing().await;
        let answer = self.store.range(request).await;
        let between = locked(&self.between_reads).pop_front();
        if let Some(txn) = between {
            self.store.txn(txn).await.unwrap();
        }
        answer
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, KvError> {
        locked(&self.txns).push(txn.clone());
        self.flowing().await;
        self.store.txn(txn).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError> {
        self.watches.fetch_add(1, Ordering::Relaxed);
        self.flowing().await;
        let stream = self.store.watch(request).await?;
        if self.mute.load(Ordering::Relaxed) {
            return Ok(Box::new(Mute));
        }
        Ok(Box::new(Tapped { stream, flow: self.flow.subscribe() }))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), KvError> {
        self.grants.fetch_add(1, Ordering::Relaxed);
        self.flowing().await;
        self.store.lease_grant(ttl).await
    }

    async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        self.flowing().await;
        if self.leases_lost.load(Ordering::Relaxed) {
            return Err(KvError::LeaseNotFound);
        }
        self.store.lease_keepalive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), KvError> {
        self.flowing().await;
        self.store.lease_revoke(lease).await
    }

    async fn status(&self) -> Result<ServerStatus, KvError> {
        self.flowing().await;
        self.store.status().await
    }
}

struct Tapped {
    stream: Box<dyn WatchStream>,
    flow: watch::Receiver<Flow>,
}

#[async_trait]
impl WatchStream for Tapped {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        self.flow.wait_for(|flow| *flow == Flow::Open).await.expect("the tap outlives its streams");
        self.stream.next().await
    }

    async fn request_progress(&mut self) -> Result<(), KvError> {
        self.stream.request_progress().await
    }
}

struct Mute;

#[async_trait]
impl WatchStream for Mute {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        pending().await
    }

    async fn request_progress(&mut self) -> Result<(), KvError> {
        Ok(())
    }
}
