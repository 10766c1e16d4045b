//! The reference: a client without logic that puts the same bytes in the same transactions, as fast as etcd takes them,
//! while two watchers read and drop the prefix, as a leader and a standby do.

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
    pub(crate) async fn read(kv: &EtcdKv) -> anyhow::Result<Self> {
        let prefix = Prefix::default();
        let (mut status, mut document) = (None, None);
        let guests = kv
            .range(RangeRequest {
                limit: 1,
                ..RangeRequest::prefix(format!("{}status/guests/", prefix.as_str()))
            })
            .await?;
        let mut puts = Vec::new();
        if let Some(found) = guests.kvs.first() {
            status = Some(found.value.clone());
        }
        let jobs = kv
            .range(RangeRequest {
                limit: 1,
                ..RangeRequest::prefix(format!("{}jobs/", prefix.as_str()))
            })
            .await?;
        let documents = kv
            .range(RangeRequest {
                limit: 1,
                ..RangeRequest::prefix(format!("{}guests/", prefix.as_str()))
            })
            .await?;
        if let Some(found) = documents.kvs.first() {
            document = Some(found.value.clone());
        }
        let id = Bytes::from_static(b"00000000-0000-4000-8000-000000000000");
        puts.push((Kind::Status, status.context("a status")?));
        puts.push((Kind::Address, id.clone()));
        puts.push((Kind::Index, id));
        let job = jobs.kvs.first().context("a job")?;
        puts.push((Kind::Job, job.value.clone()));
        Ok(Self { puts, document: document.context("a document")? })
    }

    /// Bytes of all values that a placement puts.
    pub(crate) fn bytes(&self) -> usize {
        self.puts.iter().map(|(_, value)| value.len()).sum()
    }

    fn transaction(&self, prefix: &Prefix, number: u32, document: i64) -> Txn {
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
                let id = uuid::Uuid::from_u128(u128::from(number) << 64 | 0x0b);
                prefix.key(&Key::Job(lochness_api::JobId::new(id)))
            }
        };
        let guest = prefix.key(&Key::Guest(crate::documents::guest_id(number)));
        let mut compares = vec![Compare::ModRevision(guest.into(), document)];
        let mut success = Vec::with_capacity(self.puts.len());
        for (kind, value) in &self.puts {
            let key = key(*kind);
            compares.push(Compare::absent(key.clone()));
            success.push(Op::put(key, value.clone()));
        }
        Txn { compares, success, failure: Vec::new() }
    }
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
                    let document = revisions[usize::try_from(number).unwrap_or(0)];
                    Op::Txn(template.transaction(&prefix, number, document))
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

/// The revision of each guest's document.
async fn revisions(kv: &EtcdKv, prefix: &Prefix, guests: u32) -> anyhow::Result<Vec<i64>> {
    let request = RangeRequest {
        keys_only: true,
        ..RangeRequest::prefix(format!("{}guests/", prefix.as_str()))
    };
    let found: std::collections::HashMap<_, _> =
        kv.range(request).await?.kvs.into_iter().map(|kv| (kv.key, kv.mod_revision)).collect();
    (0..guests)
        .map(|number| {
            let key = prefix.key(&Key::Guest(crate::documents::guest_id(number)));
            found.get(key.as_bytes()).copied().context("every document was put")
        })
        .collect()
}
