//! Requests and answers, in etcd's own terms.

use std::sync::Arc;

use bytes::Bytes;

use crate::LeaseId;

/// Where an answer comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Header {
    /// The cluster that answered; another one than before means another store.
    pub cluster_id: u64,
    /// The store's revision when it answered; for a transaction that wrote, the revision of its writes.
    pub revision: i64,
}

/// One key with its value and versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    /// The whole key.
    pub key: Bytes,
    /// The value; empty in delete events.
    pub value: Bytes,
    /// Revision of the put that created the key.
    pub create_revision: i64,
    /// Revision of the last put, or of the delete in a delete event.
    pub mod_revision: i64,
    /// Number of puts since the creation.
    pub version: i64,
    /// The lease that the key hangs on.
    pub lease: Option<LeaseId>,
}

/// A read of keys in `[key, end)`; without `end`, of one key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeRequest {
    /// First key.
    pub key: Bytes,
    /// First key that is no longer meant; an empty one means a single key.
    pub end: Bytes,
    /// At which revision, 0 for the newest.
    pub revision: i64,
    /// At most so many keys, 0 for no limit.
    pub limit: i64,
    /// Leave the values out.
    pub keys_only: bool,
    /// Answer only with the number of keys.
    pub count_only: bool,
}

impl RangeRequest {
    /// One key.
    pub fn key(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), ..Self::default() }
    }

    /// Every key that begins with `prefix`; with an empty one, every key.
    pub fn prefix(prefix: impl Into<Bytes>) -> Self {
        let (key, end) = prefix_range(prefix.into());
        Self { key, end, ..Self::default() }
    }
}

/// The answer to a [`RangeRequest`]: keys in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeResponse {
    /// Where the answer comes from; its revision is the store's, not the pinned one.
    pub header: Header,
    /// The keys, ascending.
    pub kvs: Vec<KeyValue>,
    /// Whether the limit cut the answer.
    pub more: bool,
    /// How many keys lie in the range, whatever the limit.
    pub count: i64,
}

/// One condition of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key was last put at exactly this revision; 0 means that it is absent.
    ModRevision(Bytes, i64),
    /// The key was created at exactly this revision; 0 means that it is absent.
    CreateRevision(Bytes, i64),
    /// The key has exactly this value.
    Value(Bytes, Bytes),
}

impl Compare {
    /// The key is absent.
    pub fn absent(key: impl Into<Bytes>) -> Self {
        Self::CreateRevision(key.into(), 0)
    }

    /// The key that is compared.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::ModRevision(key, _) | Self::CreateRevision(key, _) | Self::Value(key, _) => key,
        }
    }
}

/// One operation of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Puts a value, and binds the key to the lease or frees it from any.
    Put {
        /// The whole key.
        key: Bytes,
        /// The new value.
        value: Bytes,
        /// The lease to hang on.
        lease: Option<LeaseId>,
    },
    /// Deletes `[key, end)`; without `end`, one key. Deleting what is absent succeeds.
    Delete {
        /// First key.
        key: Bytes,
        /// First key that is no longer meant; an empty one means a single key.
        end: Bytes,
    },
    /// Reads, at the transaction's own revision.
    Range(RangeRequest),
    /// A transaction inside: its compares are its own, and so is its verdict. Shared, for who tries again sends it again.
    Txn(Arc<Txn>),
}

impl Op {
    /// Puts a value without a lease.
    pub fn put(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: None }
    }

    /// Puts a value under a lease.
    pub fn put_leased(key: impl Into<Bytes>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        Self::Put { key: key.into(), value: value.into(), lease: Some(lease) }
    }

    /// Deletes one key.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self::Delete { key: key.into(), end: Bytes::new() }
    }
}

/// If all compares hold then `success`, else `failure`; whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    /// All must hold.
    pub compares: Vec<Compare>,
    /// Done when they do.
    pub success: Vec<Op>,
    /// Done when one does not.
    pub failure: Vec<Op>,
}

/// The answer to a [`Txn`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TxnResponse {
    /// Where the answer comes from; its revision is that of the writes.
    pub header: Header,
    /// Whether the compares held.
    pub succeeded: bool,
    /// One answer an operation of the branch that was taken, in order.
    pub responses: Vec<OpResponse>,
}

/// The answer to one [`Op`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResponse {
    /// The put happened.
    Put,
    /// So many keys were deleted.
    Delete(i64),
    /// What was read.
    Range(RangeResponse),
    /// The verdict of a nested transaction.
    Txn(TxnResponse),
}

/// First and end key of a prefix. etcd takes no empty key, so that every key is `\0` and all after it.
pub(crate) fn prefix_range(prefix: Bytes) -> (Bytes, Bytes) {
    let end = prefix_end(&prefix);
    let key = if prefix.is_empty() { Bytes::from_static(b"\0") } else { prefix };
    (key, end)
}

/// The first key after every key that begins with `prefix`. The empty prefix, and one of `0xff` alone, give `\0`, which
/// etcd reads as "no end".
pub fn prefix_end(prefix: &[u8]) -> Bytes {
    let kept = prefix.iter().rposition(|byte| *byte < 0xff);
    match kept {
        Some(last) => {
            let mut end = prefix[..=last].to_vec();
            end[last] += 1;
            end.into()
        }
        None => Bytes::from_static(b"\0"),
    }
}
