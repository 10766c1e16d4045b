//! Everything at once: more documents than can be worked on for a while, and among them, elsewhere, a change that somebody
//! waits for. Told are how long that one waits, what memory the leader ever had, and what etcd left without an answer.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use lochness_api::status::GuestStatus;
use lochness_api::{GuestId, Key, NetworkId, Prefix, SubnetId};
use lochness_kv::{EtcdKv, Kv as _, RangeRequest};
use serde_json::json;
use uuid::Uuid;

use super::{Fleet, LIMIT, Scale};
use crate::documents::{FLAVOR, guest, guest_id, host_id, put_all, subnet};
use crate::figure::{Bound, Figure, quantile};
use crate::machine::{Stopwatch, memory, peak_memory};
use crate::stack::{Meter, Operator};
use crate::tally::Tally;

const ELSEWHERE: NetworkId = NetworkId::new(Uuid::from_u128(0x2e2));
const ELSEWHERE_SUBNET: SubnetId = SubnetId::new(Uuid::from_u128(0x5b2));
/// Numbers of the guests that somebody waits for begin here.
const URGENT: u32 = 10_000_000;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(300);
const MIB: f64 = 1024.0 * 1024.0;

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let guests = scale.pick(2_000, 30_000, 100_000);
    let hosts = scale.pick(20, 300, 1_000);
    let fleet = Fleet::start(scale, hosts).await?;
    put_all(&fleet.kv, [subnet()]).await?;
    put_all(&fleet.kv, elsewhere(hosts)).await?;
    let mut tally = Tally::start(fleet.kv.clone()).await?;
    let empty = memory(fleet.leader.program.pid())?;
    let (meter, watch) = (Meter::start(&fleet.etcd, &fleet.pids())?, Stopwatch::start()?);
    let kv = Arc::clone(&fleet.kv);
    let flood = tokio::spawn(async move { put_all(&kv, (0..guests).map(guest)).await });
    let (mut waited, mut longest) = (Vec::new(), Urgent::default());
    let all = usize::try_from(guests)?;
    for number in URGENT.. {
        tokio::time::sleep(PAUSE).await;
        if tally.now().running >= all {
            break;
        }
        let urgent = urgent(&fleet.kv, number, watch.elapsed()).await?;
        waited.push(urgent.placed.as_secs_f64());
        if urgent.placed > longest.placed {
            longest = urgent;
        }
    }
    flood.await??;
    let all = all + waited.len();
    tally.until("all guests run", LIMIT, |count| count.running >= all).await?;
    let rate = f64::from(guests) / watch.elapsed().as_secs_f64();
    let stolen = [watch.stolen()?];
    let peak = peak_memory(fleet.leader.program.pid())?;
    let rest = memory(fleet.leader.program.pid())?;
    #[allow(clippy::cast_precision_loss, reason = "less than a terabyte")]
    let mib = |bytes: u64| bytes as f64 / MIB;
    let note = format!(
        "put after {:.1} s, which etcd took {:.2} s for",
        longest.begun.as_secs_f64(),
        longest.put.as_secs_f64()
    );
    Ok(vec![
        Figure::told(format!("overload: {guests} documents at once, all run"), "/s", vec![rate])
            .stolen(&stolen)
            .note(meter.words()?),
        Figure::told(
            "overload: an urgent guest is placed within, p50",
            "s",
            vec![quantile(&waited, 0.5)],
        )
        .note(format!("{} of them", waited.len())),
        Figure::told(
            "overload: an urgent guest is placed within, longest",
            "s",
            vec![longest.placed.as_secs_f64()],
        )
        .bounded(Bound::AtMost(1.0))
        .stolen(&stolen)
        .note(note),
        Figure::told("overload: most memory of the leader", "MiB", vec![mib(peak)]).note(format!(
            "{:.0} before, {:.0} after",
            mib(empty),
            mib(rest)
        )),
        Figure::told(
            "overload: commits without an answer",
            "",
            vec![unanswered(&fleet.leader).await?],
        )
        .bounded(Bound::AtMost(0.0)),
    ])
}

/// A network of its own, reached by every host.
fn elsewhere(hosts: u32) -> Vec<(Key, String)> {
    let network = json!({ "metadata": { "name": "elsewhere" } });
    let subnet =
        json!({ "network": ELSEWHERE, "cidr": "192.168.0.0/16", "gateway": "192.168.0.1" });
    let bridges = (1..=hosts)
        .map(|host| (Key::HypervisorSubnet(host_id(host), ELSEWHERE_SUBNET), "br1".to_owned()));
    [
        (Key::Network(ELSEWHERE), network.to_string()),
        (Key::Subnet(ELSEWHERE_SUBNET), subnet.to_string()),
    ]
    .into_iter()
    .chain(bridges)
    .collect()
}

/// A guest that somebody waits for.
#[derive(Default)]
struct Urgent {
    /// When it was put, since the others were.
    begun: Duration,
    /// After that, etcd had its document.
    put: Duration,
    /// And it had a place.
    placed: Duration,
}

/// Puts one, and waits until it has a place.
async fn urgent(kv: &EtcdKv, number: u32, begun: Duration) -> anyhow::Result<Urgent> {
    let id = guest_id(number);
    let document = json!({ "type": "kvm", "flavor": FLAVOR, "network": ELSEWHERE });
    let start = Instant::now();
    put_all(kv, [(Key::Guest(id), document.to_string())]).await?;
    let put = start.elapsed();
    while !is_placed(kv, id).await? {
        if start.elapsed() > LIMIT {
            bail!("guest {id} is not placed within {LIMIT:?}");
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Urgent { begun, put, placed: start.elapsed() })
}

async fn is_placed(kv: &EtcdKv, id: GuestId) -> anyhow::Result<bool> {
    let key = Prefix::default().key(&Key::GuestStatus(id));
    let found = kv.range(RangeRequest::key(key)).await?.kvs;
    let Some(status) = found.first() else { return Ok(false) };
    let status: GuestStatus = serde_json::from_slice(&status.value)?;
    Ok(status.placement.is_some())
}

/// Commits of this leader of which etcd did not say what became.
async fn unanswered(leader: &Operator) -> anyhow::Result<f64> {
    let (_, page) = leader.page("/metrics").await?;
    let line = page
        .lines()
        .find_map(|line| line.strip_prefix("lochness_commit_total{verdict=\"unknown\"}"));
    Ok(line.map_or(Ok(0.0), |count| count.trim().parse())?)
}
