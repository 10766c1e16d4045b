//! A replica that starts on a full store: how long until its view stands, against a bare list of the same keys; and how
//! much memory a guest takes in it.

use std::time::Instant;

use lochness_api::{JobId, Key, Mac, Prefix};
use lochness_kv::test_support::EtcdProcess;
use lochness_kv::{EtcdKv, Kv as _, Op, RangeRequest, Txn};
use uuid::Uuid;

use super::{LEASE, Scale};
use crate::documents::{SUBNET, basics, guest, guest_id, host_id, put_all, subnet};
use crate::figure::{Bound, Figure};
use crate::machine::{Stopwatch, memory};
use crate::stack::{Operator, connect, etcd};

const HOSTS: u32 = 1_000;
/// As pages of the operator's own list.
const PAGE: i64 = 10_000;

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let few = scale.pick(1_000, 10_000, 10_000);
    let many = scale.pick(5_000, 100_000, 200_000);
    let etcd = etcd();
    let kv = connect(&etcd).await?;
    // Somebody else leads, so that replicas keep a warm view and do nothing.
    let leader = Prefix::default().key(&Key::Leader);
    kv.txn(Txn { success: vec![Op::put(leader, "bench")], ..Txn::default() }).await?;
    put_all(&kv, basics(HOSTS)).await?;
    put_all(&kv, [subnet()]).await?;
    let bytes = fill(&kv, 0, few).await?;
    let small = start(scale, &etcd).await?;
    fill(&kv, few, many).await?;
    let full = measure(scale, &etcd, &kv).await?;
    let now = kv.range(RangeRequest::key("\0")).await?.header.revision;
    kv.compact(now).await?;
    let compacted = measure(scale, &etcd, &kv).await?;
    #[allow(clippy::cast_precision_loss, reason = "less than a terabyte")]
    let growth = full.memory.saturating_sub(small.memory) as f64 / f64::from(many - few);
    Ok(vec![
        Figure::told(format!("cold start, {many} guests"), "s", full.seconds),
        Figure::told("cold start against a bare list", "×", full.ratios)
            .bounded(Bound::AtMost(1.5))
            .stolen(&full.stolen),
        Figure::told("the same after a compaction", "×", compacted.ratios)
            .bounded(Bound::AtMost(1.5))
            .stolen(&compacted.stolen),
        Figure::told(format!("memory a guest, {few} to {many}"), "B", vec![growth])
            .bounded(Bound::AtMost(512.0))
            .note(format!("its JSON weighs {} bytes", bytes / usize::try_from(few)?)),
    ])
}

/// Starts on one store, each beside a bare list.
#[derive(Default)]
struct Starts {
    seconds: Vec<f64>,
    ratios: Vec<f64>,
    stolen: Vec<f64>,
    /// Of the last replica.
    memory: u64,
}

async fn measure(scale: &Scale, etcd: &EtcdProcess, kv: &EtcdKv) -> anyhow::Result<Starts> {
    let mut all = Starts::default();
    for _ in 0..scale.rounds {
        let watch = Stopwatch::start()?;
        let bare = list(kv).await?;
        let Replica { seconds, memory } = start(scale, etcd).await?;
        all.seconds.push(seconds);
        all.ratios.push(seconds / bare);
        all.stolen.push(watch.stolen()?);
        all.memory = memory;
    }
    Ok(all)
}

struct Replica {
    seconds: f64,
    memory: u64,
}

async fn start(scale: &Scale, etcd: &EtcdProcess) -> anyhow::Result<Replica> {
    let began = Instant::now();
    let operator = Operator::start(&scale.programs, etcd, LEASE).await?;
    let ready = operator.until_ready("").await?;
    let memory = memory(operator.program.pid())?;
    Ok(Replica { seconds: ready.duration_since(began).as_secs_f64(), memory })
}

/// Reads all keys in pages and drops them; seconds.
async fn list(kv: &EtcdKv) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut request = RangeRequest::prefix(Prefix::default().as_str().to_owned());
    request.limit = PAGE;
    loop {
        let page = kv.range(request.clone()).await?;
        let Some(last) = page.kvs.last().filter(|_| page.more) else { break };
        request.revision = page.header.revision;
        let mut next = last.key.to_vec();
        next.push(0);
        request.key = next.into();
    }
    Ok(began.elapsed().as_secs_f64())
}

/// Guests that run, each with its first job done, as the operator would have left them; answers the bytes of their values.
async fn fill(kv: &EtcdKv, from: u32, to: u32) -> anyhow::Result<usize> {
    let mut bytes = 0;
    let mut all = Vec::new();
    for number in from..to {
        let id = guest_id(number);
        let host = host_id(1 + number % HOSTS);
        let job = JobId::new(Uuid::from_u128(id.uuid().as_u128().rotate_left(64)));
        let ip = std::net::Ipv4Addr::from_bits(0x0a00_0002 + number);
        let status = serde_json::json!({
            "phase": "Running", "observed": "0123456789abcdef", "agent_state": "running",
            "order": format!("1763789000000.{number}"), "job": job,
            "placement": {
                "hypervisor": host, "subnet": SUBNET, "network": crate::documents::NETWORK,
                "ip": ip, "cidr": "10.0.0.0/8", "gateway": "10.0.0.1",
                "mac": Mac::of_guest(id), "bridge": "br0", "vlans": [1],
                "image": crate::documents::IMAGE,
                "resources": { "memory": 128, "disk": 64, "cpu": 1 },
            },
            "conditions": (["Valid", "Placed", "Created", "FirewallApplied", "Ready"].map(|kind| {
                serde_json::json!({ "type": kind, "status": "True", "reason": "Accepted",
                    "message": "", "last_transition": "2026-11-22T05:00:00Z" })
            })),
        });
        all.push(guest(number));
        all.push((Key::GuestStatus(id), status.to_string()));
        all.push((Key::Address(SUBNET, ip.into()), id.to_string()));
        all.push((Key::Placement(host, id), id.to_string()));
        let done = serde_json::json!({
            "id": job, "remote": job, "action": "create", "guest": id, "hypervisor": host,
            "order": format!("1763789000000.{number}"), "attempt": 0, "status": "done",
            "deadline": "2026-11-22T05:10:00.123Z", "started_at": "2026-11-22T05:00:00.123Z",
            "finished_at": "2026-11-22T05:00:01.456Z",
        });
        all.push((Key::Job(job), done.to_string()));
        bytes += all.iter().rev().take(5).map(|(_, value)| value.len()).sum::<usize>();
    }
    put_all(kv, all).await?;
    Ok(bytes)
}
