//! Faults that a test injects into [`MemoryKv`](super::MemoryKv), drawn by a closure of its own.
//!
//! The closure is asked once an operation, in the order in which operations begin, so a closure that is a function of
//! its seed makes the same history every time.

use std::time::Duration;

use bytes::Bytes;

use crate::{Op, Txn};

/// Which operation is about to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// [`Kv::range`](crate::Kv::range).
    Range,
    /// [`Kv::txn`](crate::Kv::txn).
    Txn,
    /// [`Kv::watch`](crate::Kv::watch): opening it.
    Watch,
    /// [`Kv::lease_grant`](crate::Kv::lease_grant).
    LeaseGrant,
    /// [`Kv::lease_keepalive`](crate::Kv::lease_keepalive).
    LeaseKeepalive,
    /// [`Kv::lease_revoke`](crate::Kv::lease_revoke).
    LeaseRevoke,
    /// [`Kv::status`](crate::Kv::status).
    Status,
}

/// What a fault closure may decide by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpInfo {
    /// Which operation.
    pub kind: OpKind,
    /// Number of this operation among all that the store was asked, from 1.
    pub sequence: u64,
    /// Keys that it names: of a transaction, those that it may write, children included.
    pub keys: Vec<Bytes>,
}

/// What happens to an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// It does not happen, and the caller knows: [`KvError::Unavailable`](crate::KvError::Unavailable).
    FailBefore,
    /// It happens, and its answer is lost: [`KvError::Unknown`](crate::KvError::Unknown).
    FailAfter,
    /// It does not happen, and the caller cannot know: [`KvError::Unknown`](crate::KvError::Unknown).
    Lose,
    /// The caller gets [`KvError::Unknown`](crate::KvError::Unknown) at once, and the transaction lands so much later,
    /// after whatever was read meanwhile. An operation other than a transaction is lost.
    LandLate(Duration),
    /// The operation takes so much longer before it happens; who gives it up meanwhile has undone it.
    Delay(Duration),
    /// A read of the newest revision answers from so many revisions back, as if by a member that lags. Operations
    /// other than such a read are not disturbed.
    StaleRead(i64),
}

/// A closure that draws the fault of each operation.
pub(super) type FaultHook = Box<dyn FnMut(&OpInfo) -> Fault + Send>;

/// Asks the closure, and numbers the operations.
#[derive(Default)]
pub(super) struct Faults {
    hook: Option<FaultHook>,
    asked: u64,
}

impl Faults {
    pub(super) fn set(&mut self, hook: Option<FaultHook>) {
        self.hook = hook;
    }

    /// `keys` is called only when somebody asks for them.
    pub(super) fn draw(&mut self, kind: OpKind, keys: impl FnOnce() -> Vec<Bytes>) -> Fault {
        self.asked += 1;
        let sequence = self.asked;
        match &mut self.hook {
            Some(hook) => hook(&OpInfo { kind, sequence, keys: keys() }),
            None => Fault::None,
        }
    }
}

/// Keys that a transaction may write, whichever branches are taken.
pub(super) fn written_keys(txn: &Txn) -> Vec<Bytes> {
    fn collect(txn: &Txn, keys: &mut Vec<Bytes>) {
        for op in txn.success.iter().chain(&txn.failure) {
            match op {
                Op::Put { key, .. } | Op::Delete { key, .. } => keys.push(key.clone()),
                Op::Range(_) => {}
                Op::Txn(child) => collect(child, keys),
            }
        }
    }
    let mut keys = Vec::new();
    collect(txn, &mut keys);
    keys
}
