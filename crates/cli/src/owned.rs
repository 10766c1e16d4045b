//! The keys that belong to one object and to its owner: the document, and what a manifest says beside it.

use std::collections::BTreeMap;

use bytes::Bytes;
use lochness_api::{Key, Kind};
use lochness_kv::{Compare, KeyValue, Op, OpResponse, RangeRequest, Txn, prefix_end};

use crate::{Failure, Session};

/// Operations of one transaction; etcd takes 128 by default.
const OPS_A_TXN: usize = 100;

/// The keys of an object that are there, at one revision. Never those that the operator or an agent owns.
pub(crate) type Owned = BTreeMap<Key, KeyValue>;

/// Reads the keys of one object.
pub(crate) async fn read(session: &Session, kind: Kind, id: &str) -> Result<Owned, Failure> {
    let Some(document) = Key::document(kind, id) else { return Ok(Owned::new()) };
    let mut reads = vec![Op::Range(RangeRequest::key(session.key(&document)))];
    for folder in folders(kind) {
        let start = format!("{}{}/{id}/{folder}/", session.prefix(), kind.plural());
        let end = prefix_end(start.as_bytes());
        let request = RangeRequest { key: start.into(), end, ..RangeRequest::default() };
        reads.push(Op::Range(request));
    }
    let txn = Txn { success: reads, ..Txn::default() };
    let mut owned = Owned::new();
    for response in session.kv().txn(txn).await?.responses {
        if let OpResponse::Range(range) = response {
            for kv in range.kvs {
                if let Ok(key) = session.prefix().parse(&kv.key) {
                    owned.insert(key, kv);
                }
            }
        }
    }
    Ok(owned)
}

/// What lies beside the document and is the owner's.
fn folders(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Hypervisor => &["subnets", "config"],
        Kind::VlanGroup => &["vlans"],
        Kind::Guest
        | Kind::Network
        | Kind::Subnet
        | Kind::Flavor
        | Kind::Image
        | Kind::FwGroup
        | Kind::Vlan => &[],
    }
}

/// A write of one key that happens only if the key is as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// What is written.
    pub(crate) op: Op,
    /// What it was based on.
    pub(crate) compare: Compare,
}

impl Step {
    /// Puts a value in the place of what was read, or of nothing.
    pub(crate) fn put(key: Bytes, value: impl Into<Bytes>, read: Option<&KeyValue>) -> Self {
        let revision = read.map_or(0, |kv| kv.mod_revision);
        let compare = Compare::ModRevision(key.clone(), revision);
        Self { op: Op::put(key, value), compare }
    }

    /// Deletes what was read.
    pub(crate) fn delete(read: &KeyValue) -> Self {
        let compare = Compare::ModRevision(read.key.clone(), read.mod_revision);
        Self { op: Op::delete(read.key.clone()), compare }
    }
}

/// What became of steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landed {
    /// All of them, the last at this revision.
    At(i64),
    /// Somebody else changed one of the keys; a part of them may have landed when there are more than a hundred.
    Conflict,
}

/// Does all steps in one transaction; more than a hundred in several, in order.
pub(crate) async fn write(session: &Session, steps: &[Step]) -> Result<Landed, Failure> {
    let mut revision = 0;
    for chunk in steps.chunks(OPS_A_TXN) {
        let compares = chunk.iter().map(|step| step.compare.clone()).collect();
        let ops = chunk.iter().map(|step| step.op.clone()).collect();
        let response = session.write(compares, ops).await?;
        if !response.succeeded {
            return Ok(Landed::Conflict);
        }
        revision = response.header.revision;
    }
    Ok(Landed::At(revision))
}
