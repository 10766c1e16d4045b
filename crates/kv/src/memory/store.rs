//! The data of the model: every version of every key, and the log of changes. Plain and synchronous.
//!
//! As in etcd, revisions begin at 1; a transaction that changes nothing takes none; all compares of a transaction, those
//! of its children included, are judged on the state before it; its reads see what it wrote before them.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, RangeBounds};

use bytes::Bytes;
use tokio::time::Instant;

use super::check;
use super::lease::Leases;
use crate::{
    Compare, Event, Header, KeyValue, KvError, LeaseId, Op, OpResponse, RangeRequest,
    RangeResponse, Txn, TxnResponse,
};

/// etcd accounts a put at its key and value and so much.
const PUT_OVERHEAD_BYTES: u64 = 256;

/// The whole content of the store.
#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) cluster_id: u64,
    pub(super) leases: Leases,
    revision: i64,
    compacted: i64,
    keys: BTreeMap<Bytes, Vec<Version>>,
    /// Changes of the revisions `compacted + 1 ..= revision`, or from 2 on.
    log: VecDeque<Vec<Event>>,
    bytes: u64,
}

/// A key from one change to the next.
#[derive(Debug, Clone)]
struct Version {
    mod_revision: i64,
    /// `None` while it is deleted.
    content: Option<Content>,
}

#[derive(Debug, Clone)]
struct Content {
    value: Bytes,
    create_revision: i64,
    version: i64,
    lease: Option<LeaseId>,
}

/// Which branch a transaction takes, and each of the children in that branch.
struct Verdict {
    held: bool,
    children: Vec<Verdict>,
}

impl Store {
    pub(super) fn new(cluster_id: u64) -> Self {
        Self {
            cluster_id,
            leases: Leases::default(),
            revision: 1,
            compacted: 0,
            keys: BTreeMap::new(),
            log: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(super) fn revision(&self) -> i64 {
        self.revision
    }

    pub(super) fn compacted(&self) -> i64 {
        self.compacted
    }

    /// Bytes that the kept versions occupy, by etcd's way of counting.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn header(&self) -> Header {
        Header { cluster_id: self.cluster_id, revision: self.revision }
    }

    /// The changes of `revision`, in the order in which they happened; `None` if it is compacted or still to come.
    pub(super) fn changes(&self, revision: i64) -> Option<&[Event]> {
        let first = self.compacted.max(1) + 1;
        let index = usize::try_from(revision - first).ok()?;
        self.log.get(index).map(Vec::as_slice)
    }

    pub(super) fn range(&self, request: &RangeRequest) -> Result<RangeResponse, KvError> {
        if request.key.is_empty() {
            return Err(check::empty_key());
        }
        self.check_pinned(request)?;
        Ok(self.read(request, self.revision))
    }

    /// Whether the revision that a read pins can be read.
    fn check_pinned(&self, request: &RangeRequest) -> Result<(), KvError> {
        if request.revision > self.revision {
            return Err(KvError::Invalid(format!("revision {} is a future one", request.revision)));
        }
        if request.revision > 0 && request.revision < self.compacted {
            return Err(KvError::Compacted(self.compacted));
        }
        Ok(())
    }

    /// Reads at the pinned revision, or else at `newest`.
    fn read(&self, request: &RangeRequest, newest: i64) -> RangeResponse {
        let at = if request.revision > 0 { request.revision } else { newest };
        let limit = usize::try_from(request.limit).ok().filter(|limit| *limit > 0);
        let mut response = RangeResponse { header: self.header(), ..RangeResponse::default() };
        let Some(bounds) = bounds(&request.key, &request.end) else { return response };
        for (key, versions) in self.keys.range::<Bytes, _>(bounds) {
            let Some((mod_revision, content)) = content_at(versions, at) else { continue };
            response.count += 1;
            if request.count_only {
                continue;
            }
            if limit.is_some_and(|limit| response.kvs.len() >= limit) {
                response.more = true;
                continue;
            }
            let mut kv = content.key_value(key, mod_revision);
            if request.keys_only {
                kv.value = Bytes::new();
            }
            response.kvs.push(kv);
        }
        response
    }

    pub(super) fn txn(&mut self, txn: &Txn) -> Result<TxnResponse, KvError> {
        check::check(txn)?;
        let verdict = self.judge(txn);
        self.check_taken(txn, &verdict)?;
        let mut events = Vec::new();
        let mut response = self.apply(txn, &verdict, &mut events);
        self.record(events);
        stamp(&mut response, self.header());
        Ok(response)
    }

    /// Judges the compares of the transaction, and of the children that its verdict reaches.
    fn judge(&self, txn: &Txn) -> Verdict {
        let held = txn.compares.iter().all(|compare| self.holds(compare));
        let children = branch(txn, held)
            .iter()
            .filter_map(|op| match op {
                Op::Txn(child) => Some(self.judge(child)),
                Op::Put { .. } | Op::Delete { .. } | Op::Range(_) => None,
            })
            .collect();
        Verdict { held, children }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let current =
            self.keys.get(compare.key()).and_then(|versions| content_at(versions, self.revision));
        match compare {
            Compare::ModRevision(_, revision) => current.map_or(0, |(at, _)| at) == *revision,
            Compare::CreateRevision(_, revision) => {
                current.map_or(0, |(_, content)| content.create_revision) == *revision
            }
            Compare::Value(_, value) => current.is_some_and(|(_, content)| content.value == *value),
        }
    }

    /// Whether what the taken branches name exists: leases of puts, revisions of reads.
    fn check_taken(&self, txn: &Txn, verdict: &Verdict) -> Result<(), KvError> {
        let mut children = verdict.children.iter();
        for op in branch(txn, verdict.held) {
            match op {
                Op::Put { lease: Some(lease), .. } if !self.leases.exists(*lease) => {
                    return Err(KvError::LeaseNotFound);
                }
                Op::Range(request) => self.check_pinned(request)?,
                Op::Txn(child) => {
                    let verdict = children.next().expect("a verdict was made for every child");
                    self.check_taken(child, verdict)?;
                }
                Op::Put { .. } | Op::Delete { .. } => {}
            }
        }
        Ok(())
    }

    fn apply(&mut self, txn: &Txn, verdict: &Verdict, events: &mut Vec<Event>) -> TxnResponse {
        let mut children = verdict.children.iter();
        let responses = branch(txn, verdict.held)
            .iter()
            .map(|op| match op {
                Op::Put { key, value, lease } => {
                    self.put(key, value, *lease, events);
                    OpResponse::Put
                }
                Op::Delete { key, end } => OpResponse::Delete(self.delete(key, end, events)),
                Op::Range(request) => {
                    let newest = self.revision + i64::from(!events.is_empty());
                    OpResponse::Range(self.read(request, newest))
                }
                Op::Txn(child) => {
                    let verdict = children.next().expect("a verdict was made for every child");
                    OpResponse::Txn(self.apply(child, verdict, events))
                }
            })
            .collect();
        TxnResponse { header: Header::default(), succeeded: verdict.held, responses }
    }

    fn put(&mut self, key: &Bytes, value: &Bytes, lease: Option<LeaseId>, events: &mut Vec<Event>) {
        let mod_revision = self.revision + 1;
        let versions = self.keys.entry(key.clone()).or_default();
        let before = versions.last().and_then(|version| version.content.as_ref());
        let content = Content {
            value: value.clone(),
            create_revision: before.map_or(mod_revision, |content| content.create_revision),
            version: before.map_or(0, |content| content.version) + 1,
            lease,
        };
        self.leases.rebind(key, before.and_then(|content| content.lease), lease);
        events.push(Event::Put(content.key_value(key, mod_revision)));
        self.bytes += content.cost(key);
        versions.push(Version { mod_revision, content: Some(content) });
    }

    fn delete(&mut self, key: &Bytes, end: &Bytes, events: &mut Vec<Event>) -> i64 {
        let Some(bounds) = bounds(key, end) else { return 0 };
        let mod_revision = self.revision + 1;
        let mut deleted = 0;
        for (key, versions) in self.keys.range_mut::<Bytes, _>(bounds) {
            let Some(content) = versions.last().and_then(|version| version.content.as_ref()) else {
                continue;
            };
            self.leases.rebind(key, content.lease, None);
            versions.push(Version { mod_revision, content: None });
            events.push(Event::Delete { key: key.clone(), mod_revision });
            deleted += 1;
        }
        deleted
    }

    /// Makes the collected changes the next revision, if there are any.
    fn record(&mut self, events: Vec<Event>) {
        if !events.is_empty() {
            self.revision += 1;
            self.log.push_back(events);
        }
    }

    /// Ends a lease; its keys go in one revision.
    pub(super) fn revoke(&mut self, lease: LeaseId) -> Result<(), KvError> {
        let mut events = Vec::new();
        for key in self.leases.remove(lease)? {
            self.delete(&key, &Bytes::new(), &mut events);
        }
        self.record(events);
        Ok(())
    }

    /// Ends the leases whose time was up before or at `now`.
    pub(super) fn remove_ended_leases(&mut self, now: Instant) {
        while let Some((at, lease)) = self.leases.next_removal()
            && at <= now
        {
            self.revoke(lease).expect("the lease was just found");
        }
    }

    /// Forgets what was overwritten or deleted at or before `revision`.
    pub(super) fn compact(&mut self, revision: i64) -> Result<(), KvError> {
        if revision > self.revision {
            return Err(KvError::Invalid(format!("revision {revision} is a future one")));
        }
        if revision <= self.compacted {
            return Err(KvError::Compacted(self.compacted));
        }
        while self.compacted.max(1) < revision {
            self.log.pop_front();
            self.compacted = self.compacted.max(1) + 1;
        }
        self.compacted = revision;
        self.keys.retain(|_, versions| {
            let newer = versions.partition_point(|version| version.mod_revision <= revision);
            versions.drain(..newer.saturating_sub(1));
            if versions[0].mod_revision <= revision && versions[0].content.is_none() {
                versions.remove(0);
            }
            !versions.is_empty()
        });
        self.bytes = self
            .keys
            .iter()
            .flat_map(|(key, versions)| versions.iter().map(move |version| (key, version)))
            .filter_map(|(key, version)| version.content.as_ref().map(|content| content.cost(key)))
            .sum();
        Ok(())
    }
}

impl Content {
    fn key_value(&self, key: &Bytes, mod_revision: i64) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: self.value.clone(),
            create_revision: self.create_revision,
            mod_revision,
            version: self.version,
            lease: self.lease,
        }
    }

    fn cost(&self, key: &Bytes) -> u64 {
        (key.len() + self.value.len()) as u64 + PUT_OVERHEAD_BYTES
    }
}

fn branch(txn: &Txn, held: bool) -> &[Op] {
    if held { &txn.success } else { &txn.failure }
}

/// The key as it was at `revision`, with the revision that made it so.
fn content_at(versions: &[Version], revision: i64) -> Option<(i64, &Content)> {
    let index = versions.partition_point(|version| version.mod_revision <= revision);
    let version = versions.get(index.checked_sub(1)?)?;
    version.content.as_ref().map(|content| (version.mod_revision, content))
}

/// Gives every answer inside a transaction the header of the whole.
fn stamp(response: &mut TxnResponse, header: Header) {
    response.header = header;
    for inner in &mut response.responses {
        match inner {
            OpResponse::Range(range) => range.header = header,
            OpResponse::Txn(child) => stamp(child, header),
            OpResponse::Put | OpResponse::Delete(_) => {}
        }
    }
}

/// `[key, end)` in etcd's spelling: an empty end means one key, `\0` means no end. `None` for an interval that is empty.
fn bounds<'a>(key: &'a Bytes, end: &'a Bytes) -> Option<(Bound<&'a Bytes>, Bound<&'a Bytes>)> {
    match end.as_ref() {
        [] => Some((Bound::Included(key), Bound::Included(key))),
        b"\0" => Some((Bound::Included(key), Bound::Unbounded)),
        _ if key < end => Some((Bound::Included(key), Bound::Excluded(end))),
        _ => None,
    }
}

/// Whether `candidate` lies in `[key, end)`, in etcd's spelling.
pub(super) fn contains(key: &Bytes, end: &Bytes, candidate: &Bytes) -> bool {
    bounds(key, end).is_some_and(|bounds| RangeBounds::<Bytes>::contains(&bounds, candidate))
}
