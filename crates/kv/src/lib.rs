//! The key-value waist: everything that Loch Ness asks of etcd, as one trait.
//!
//! Guarantees: operations are linearizable unless they say otherwise; a transaction is applied whole or not at all; an
//! error says whether the operation may have happened ([`KvError::is_unknown_outcome`]). Two implementors stand behind
//! the trait, [`EtcdKv`] and [`MemoryKv`], and one conformance suite holds both to it.
//!
//! Deliberately not here: retries, caching, prefixes, knowledge of any document. Whoever calls decides.

mod error;
mod etcd;
mod memory;
mod operation;
mod server_status;
mod watch;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
#[cfg(any(test, feature = "test-support"))]
pub mod test_support;

use std::time::Duration;

use async_trait::async_trait;

pub use error::KvError;
pub use etcd::{EtcdConfig, EtcdKv, Pem, Secret, TlsConfig};
pub use memory::{Fault, MemoryKv, MemorySnapshot, OpInfo, OpKind};
pub use operation::{
    Compare, Header, KeyValue, Op, OpResponse, RangeRequest, RangeResponse, Txn, TxnResponse,
    prefix_end,
};
pub use server_status::ServerStatus;
pub use watch::{Event, WatchBatch, WatchRequest, WatchStream};

/// A lease's id, as etcd gives it. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

/// A linearizable, multi-version key-value store with transactions, watches and leases: etcd, or its model in memory.
#[async_trait]
pub trait Kv: Send + Sync + 'static {
    /// Reads a range of keys, at the newest revision or at the one that the request pins.
    ///
    /// # Errors
    /// [`KvError::Compacted`] when the pinned revision is gone.
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError>;

    /// Applies a transaction. `Ok` with `succeeded: false` means that a compare failed; nothing of `success` happened.
    async fn txn(&self, txn: Txn) -> Result<TxnResponse, KvError>;

    /// Opens a watch. When this returns, the watch is registered: it misses nothing that is written afterwards. The
    /// stream ends with an error, and never silently: see [`WatchStream`].
    ///
    /// # Errors
    /// [`KvError::Compacted`] when the start is compacted, if that is known at once; else the stream says so.
    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError>;

    /// Grants a lease of `ttl`, rounded up to whole seconds. etcd raises very short ones; the answer is what holds.
    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), KvError>;

    /// Renews a lease once; the answer is its new time to live.
    ///
    /// # Errors
    /// [`KvError::LeaseNotFound`] when the lease is gone.
    async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, KvError>;

    /// Ends a lease and deletes the keys that hang on it.
    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), KvError>;

    /// Asks the server for its version, size and alarms.
    async fn status(&self) -> Result<ServerStatus, KvError>;
}
