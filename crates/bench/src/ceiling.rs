//! The reference: a client without logic that puts the same bytes in the same transactions, as fast as etcd takes them,
//! while two watchers read and drop the prefix, as a leader and a standby do.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use lochness_api::{Key, Prefix};
use lochness_kv::{Compare, EtcdKv, Kv as _, Op, OpResponse, RangeRequest, Txn, WatchRequest};
use tokio::task::JoinSet;

/// What a placement wrote: the values of one real guest.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    puts: Vec<(Kind, Bytes)>,
    document: Bytes,
    /// The status that a placement writes over, where guests waited for one.
    waiting: Option<Bytes>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Status,
    Address,
    Index,
    Job,
}

impl Template {
    /// Reads what a placement left in the store: bytes of the same sizes are what the reference puts.
    pub(crate) async fn read(kv: &EtcdKv, waiting: Option<Bytes>) -> anyhow::Result<Self> {
        let status = a_status(kv).await?;
        let job = first(kv, "jobs/").await?.context("a job")?;
        let document = first(kv, "guests/").await?.context("a document")?;
        let id = Bytes::from_static(b"00000000-0000-4000-8000-000000000000");
        let puts = vec![
            (Kind::Status, status),
            (Kind::Address, id.clone()),
            (Kind::Index, id),
            (Kind::Job, job),
        ];
        Ok(Self { puts, document, waiting })
    }

    /// Bytes of all values that a placement puts.
    pub(crate) fn bytes(&self) -> usize {
        self.puts.iter().map(|(_, value)| value.len()).sum()
    }

    /// The transaction of one placement, based on these revisions of its document and its status.
    fn transaction(&self, prefix: &Prefix, number: u32, document: i64, status: i64) -> Txn {
        let key = |kind: Kind| match kind {
            Kind::Status => prefix.key(&Key::GuestStatus(crate::documents::guest_id(number))),
            Kind::Address => {
                let ip = std::net::Ipv4Addr::from_bits(0x0a00_0000 + number);
                prefix.key(&Key::Address(crate::documents::SUBNET, ip.into()))
            }
            Kind::Index => prefix.key(&Key::Placement(
                crate::documents::host_id(1 + number % 1_000),
                crate::documents::guest_id(number),
            )),
            Kind::Job => {
                // Scattered over all ids, as random ones are: keys in order would be cheaper for etcd.
                let id = u128::from(number + 1).wrapping_mul(SCATTER);
                prefix.key(&Key::Job(lochness_api::JobId::new(uuid::Uuid::from_u128(id))))
            }
        };
        let guest = prefix.key(&Key::Guest(crate::documents::guest_id(number)));
        let mut compares = vec![Compare::ModRevision(guest.into(), document)];
        let mut success = Vec::with_capacity(self.puts.len());
        for (kind, value) in &self.puts {
            let key = key(*kind);
            let revision = if matches!(kind, Kind::Status) { status } else { 0 };
            compares.push(Compare::ModRevision(key.clone().into(), revision));
            success.push(Op::put(key, value.clone()));
        }
        Txn { compares, success, failure: Vec::new() }
    }
}

/// An odd number of 128 bits, the golden ratio's share of them: multiples of it lie far from each other.
const SCATTER: u128 = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835;

/// The status of one guest.
pub(crate) async fn a_status(kv: &EtcdKv) -> anyhow::Result<Bytes> {
    first(kv, "status/guests/").await?.context("a status")
}

/// The first value under a part of the prefix.
async fn first(kv: &EtcdKv, part: &str) -> anyhow::Result<Option<Bytes>> {
    let prefix = format!("{}{part}", Prefix::default().as_str());
    let found = kv.range(RangeRequest { limit: 1, ..RangeRequest::prefix(prefix) }).await?;
    Ok(found.kvs.into_iter().next().map(|kv| kv.value))
}

/// How the reference sends.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// So many nested in one transaction; 1 sends each by itself.
    pub(crate) group: u32,
    /// So many transactions under way.
    pub(crate) in_flight: u32,
}

/// Placements a second that etcd takes in this shape, on a store of its own.
pub(crate) async fn measure(
    kv: &Arc<EtcdKv>,
    template: &Template,
    guests: u32,
    shape: Shape,
) -> anyhow::Result<f64> {
    let prefix = Prefix::default();
    let mut readers = JoinSet::new();
    for _ in 0..2 {
        let mut stream = kv.watch(WatchRequest::prefix(prefix.as_str().to_owned(), 1)).await?;
        readers.spawn(async move { while stream.next().await.is_ok() {} });
    }
    let documents = (0..guests).map(|number| {
        let key = Key::Guest(crate::documents::guest_id(number));
        (key, String::from_utf8_lossy(&template.document).into_owned())
    });
    crate::documents::put_all(kv, documents).await?;
    if let Some(waiting) = &template.waiting {
        let statuses = (0..guests).map(|number| {
            let key = Key::GuestStatus(crate::documents::guest_id(number));
            (key, String::from_utf8_lossy(waiting).into_owned())
        });
        crate::documents::put_all(kv, statuses).await?;
    }
    let revisions = revisions(kv, &prefix, guests).await?;
    let fence = prefix.key(&Key::Leader);
    let put = Txn { success: vec![Op::put(fence.clone(), "bench")], ..Txn::default() };
    let leader = kv.txn(put).await?.header.revision;
    let fence = Compare::CreateRevision(fence.into(), leader);
    let next = Arc::new(AtomicU32::new(0));
    let (template, revisions) = (Arc::new(template.clone()), Arc::new(revisions));
    let began = Instant::now();
    let mut senders = JoinSet::new();
    for _ in 0..shape.in_flight {
        let (kv, next, fence) = (Arc::clone(kv), Arc::clone(&next), fence.clone());
        let (template, revisions, prefix) =
            (Arc::clone(&template), Arc::clone(&revisions), prefix.clone());
        senders.spawn(async move {
            loop {
                let from = next.fetch_add(shape.group, Ordering::Relaxed);
                if from >= guests {
                    return anyhow::Ok(());
                }
                let children = (from..guests.min(from + shape.group)).map(|number| {
                    let (document, status) = revisions[usize::try_from(number).unwrap_or(0)];
                    Op::Txn(template.transaction(&prefix, number, document, status).into())
                });
                let txn = Txn {
                    compares: vec![fence.clone()],
                    success: children.collect(),
                    failure: Vec::new(),
                };
                let answer = kv.txn(txn).await?;
                let took = answer
                    .responses
                    .iter()
                    .all(|part| matches!(part, OpResponse::Txn(child) if child.succeeded));
                ensure!(answer.succeeded && took, "the reference was refused");
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent??;
    }
    let rate = f64::from(guests) / began.elapsed().as_secs_f64();
    readers.abort_all();
    Ok(rate)
}

/// The revision of each guest's document and of its status, 0 where it has none.
async fn revisions(kv: &EtcdKv, prefix: &Prefix, guests: u32) -> anyhow::Result<Vec<(i64, i64)>> {
    let mut found = HashMap::new();
    for part in ["guests/", "status/guests/"] {
        let keys = RangeRequest::prefix(format!("{}{part}", prefix.as_str()));
        let answer = kv.range(RangeRequest { keys_only: true, ..keys }).await?;
        found.extend(answer.kvs.into_iter().map(|kv| (kv.key, kv.mod_revision)));
    }
    let of = |key: Key| found.get(prefix.key(&key).as_bytes()).copied();
    (0..guests)
        .map(|number| {
            let id = crate::documents::guest_id(number);
            let document = of(Key::Guest(id)).context("every document was put")?;
            Ok((document, of(Key::GuestStatus(id)).unwrap_or(0)))
        })
        .collect()
}
