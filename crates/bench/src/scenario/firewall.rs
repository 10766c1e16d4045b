//! One firewall group that all guests are in: a rule more, and a member more, until every host has it in force; and how many
//! bytes that took. A tenth of the members on the same hosts shows what the members cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use lochness_agent::server::{EffectKind, Host};
use lochness_kv::EtcdKv;

use super::{LEASE, LIMIT, Scale};
use crate::documents::{basics, group, member, put_all, subnet};
use crate::figure::Figure;
use crate::machine::Stopwatch;
use crate::near::serve;
use crate::requests::Requests;
use crate::stack::{Meter, Operator, connect, etcd};
use crate::tally::Tally;

const KIB: f64 = 1024.0;
/// No ruleset comes in force for so long: what was under way has ended.
const QUIET: Duration = Duration::from_secs(3);

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let members = scale.pick(500, 10_000, 10_000);
    let hosts = scale.pick(20, 200, 1_000);
    let mut figures = Vec::new();
    for members in [members / 10, members] {
        figures.extend(change(scale, hosts, members).await?);
    }
    Ok(figures)
}

async fn change(scale: &Scale, hosts: u32, members: u32) -> anyhow::Result<Vec<Figure>> {
    let etcd = etcd();
    let kv = connect(&etcd).await?;
    put_all(&kv, basics(hosts)).await?;
    put_all(&kv, [subnet(), group(&[22])]).await?;
    let server = serve(Arc::clone(&kv), hosts).await?;
    let hosts: Vec<_> = server.hosts().iter().map(|(host, _)| host.clone()).collect();
    let operator = Operator::start(&scale.programs, &etcd, LEASE).await?;
    operator.until_ready("leading").await?;
    let mut tally = Tally::start(Arc::clone(&kv)).await?;
    put_all(&kv, (0..members).map(member)).await?;
    let all = usize::try_from(members)?;
    tally.until("all members run", LIMIT, |count| count.running >= all).await?;
    let mut figures = Vec::new();
    let changes =
        [("a rule more", vec![group(&[22, 80])]), ("a member more", vec![member(members)])];
    for (what, documents) in changes {
        until_quiet(&hosts).await;
        let before = Sent::of(&hosts);
        let asked_before = Requests::of(&operator).await?;
        let meter = Meter::start(&etcd, &[("leader", operator.program.pid())])?;
        let watch = Stopwatch::start()?;
        let seconds = until_in_force(&kv, &hosts, documents).await?;
        let sent = Sent::of(&hosts).since(before);
        let asked = Requests::of(&operator).await?.since(&asked_before);
        let name = format!("group of {members} on {} hosts, {what}", hosts.len());
        let stolen = [watch.stolen()?];
        figures.push(
            Figure::told(format!("{name}: in force everywhere"), "s", vec![seconds])
                .stolen(&stolen)
                .note(meter.words()?),
        );
        figures.push(
            Figure::told(format!("{name}: sent"), "KiB", vec![sent.bytes / KIB])
                .note(format!("{} mutations; {asked}", sent.requests)),
        );
    }
    server.shutdown().await;
    Ok(figures)
}

/// What the hosts were sent.
#[derive(Debug, Clone, Copy)]
struct Sent {
    requests: u64,
    bytes: f64,
}

impl Sent {
    fn of(hosts: &[Host]) -> Self {
        let stats = || hosts.iter().map(Host::stats);
        #[allow(clippy::cast_precision_loss, reason = "less than a terabyte")]
        let bytes = stats().map(|it| it.mutation_bytes).sum::<u64>() as f64;
        Self { requests: stats().map(|it| it.mutations).sum(), bytes }
    }

    fn since(self, before: Self) -> Self {
        Self { requests: self.requests - before.requests, bytes: self.bytes - before.bytes }
    }
}

/// How many effects each host has seen.
fn seen(hosts: &[Host]) -> Vec<u64> {
    hosts.iter().map(|host| host.history().last().map_or(0, |effect| effect.sequence)).collect()
}

async fn until_quiet(hosts: &[Host]) {
    let mut before = seen(hosts);
    loop {
        tokio::time::sleep(QUIET).await;
        let now = seen(hosts);
        if now == before {
            return;
        }
        before = now;
    }
}

/// Puts them, and waits until every host has another ruleset in force than before; seconds.
async fn until_in_force(
    kv: &EtcdKv,
    hosts: &[Host],
    documents: Vec<(lochness_api::Key, String)>,
) -> anyhow::Result<f64> {
    let before = seen(hosts);
    let began = Instant::now();
    put_all(kv, documents).await?;
    for (host, before) in hosts.iter().zip(before) {
        let is_new = |host: &Host| {
            let new = host.history_since(before);
            new.iter().any(|effect| effect.kind == EffectKind::FirewallApplied)
        };
        while !is_new(host) {
            if began.elapsed() > LIMIT {
                bail!("{} has no new ruleset within {LIMIT:?}", host.name());
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    Ok(began.elapsed().as_secs_f64())
}
