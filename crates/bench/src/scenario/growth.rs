//! What a placement costs the leader as the fleet grows: processor time, which neighbours disturb less than the clock.
//!
//! Each host is met before: a guest runs there already, which was pinned to it. What meeting it costs is paid once a host and is
//! a figure of its own. What the leader does anyway is measured right before, and taken off.

use std::time::{Duration, Instant};

use anyhow::bail;

use super::{Fleet, LIMIT, Scale};
use crate::documents::{flavor_without_image, pinned, put_all, subnet, without_image};
use crate::figure::{Bound, Figure};
use crate::machine::{Stopwatch, processor_time};
use crate::requests::Requests;
use crate::tally::Tally;

const MICROS: f64 = 1e6;
/// What the leader does anyway is measured for so long.
const REST: Duration = Duration::from_secs(3);
/// A leader that takes so much of a processor, or less, rests.
const RESTING: f64 = 0.1;
/// Nobody waits longer for that.
const PATIENCE: Duration = Duration::from_secs(120);

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let few_hosts = scale.pick(10, 100, 100);
    let many_hosts = scale.pick(100, 2_000, 10_000);
    let batch = scale.pick(500, 5_000, 5_000);
    let many_guests = scale.pick(5_000, 50_000, 100_000);
    let small = Costs::measure(scale, few_hosts, batch, batch).await?;
    let large = Costs::measure(scale, many_hosts, batch, batch).await?;
    let full = Costs::measure(scale, 1_000.min(many_hosts), batch, many_guests).await?;
    let name = |costs: &Costs, guests: u32| {
        format!("leader's time a placement, {} hosts, {guests} guests before it", costs.hosts)
    };
    let growth = |name: String, from: f64, to: f64, stolen: f64| {
        Figure::told(name, "×", vec![to / from]).bounded(Bound::AtMost(1.2)).stolen(&[stolen])
    };
    let before = many_guests.saturating_sub(batch);
    let mut figures = Vec::new();
    for costs in [&small, &large] {
        figures.push(costs.contact_figure());
        figures.push(
            Figure::told(name(costs, costs.hosts), "µs", vec![costs.first])
                .note(costs.note.clone()),
        );
    }
    figures.extend([
        growth(
            format!("its growth from {few_hosts} to {many_hosts} hosts"),
            small.first,
            large.first,
            small.stolen.max(large.stolen),
        ),
        Figure::told(name(&full, full.hosts), "µs", vec![full.first]).note(full.note.clone()),
        Figure::told(name(&full, full.hosts + before), "µs", vec![full.last]),
        growth(format!("its growth with {before} guests"), full.first, full.last, full.stolen),
    ]);
    Ok(figures)
}

/// In microseconds of the leader's processor time.
struct Costs {
    hosts: u32,
    /// To meet a host: all that its first guest takes until it runs.
    contact: f64,
    contact_note: String,
    /// A placement of the first batch.
    first: f64,
    /// What the leader asked agents for meanwhile, and what it does anyway.
    note: String,
    /// One of the last.
    last: f64,
    stolen: f64,
}

impl Costs {
    /// Meets the hosts, and places `guests` in batches of `batch`, one after the other.
    async fn measure(scale: &Scale, hosts: u32, batch: u32, guests: u32) -> anyhow::Result<Self> {
        let fleet = Fleet::start(scale, hosts).await?;
        put_all(&fleet.kv, [subnet(), flavor_without_image()]).await?;
        let mut tally = Tally::start(fleet.kv.clone()).await?;
        let leader = fleet.leader.program.pid();
        let watch = Stopwatch::start()?;
        let (contact, contact_note) = meet(&fleet, &mut tally, hosts).await?;
        let (mut first, mut last) = (f64::NAN, f64::NAN);
        let mut note = String::new();
        for from in (hosts..hosts + guests).step_by(usize::try_from(batch)?) {
            let rest = at_rest(leader).await?;
            let asked_before = Requests::of(&fleet.leader).await?;
            let (began, before) = (Instant::now(), processor_time(leader)?);
            put_all(&fleet.kv, (from..from + batch).map(without_image)).await?;
            let all = usize::try_from(from + batch)?;
            tally.until("the batch is placed", LIMIT, |count| count.placed >= all).await?;
            let time = processor_time(leader)?.saturating_sub(before).as_secs_f64();
            let elapsed = began.elapsed().as_secs_f64();
            last = (time - rest * elapsed) * MICROS / f64::from(batch);
            if from == hosts {
                first = last;
                let asked = Requests::of(&fleet.leader).await?.since(&asked_before);
                note =
                    format!("{elapsed:.1} s; taken off: {:.1} % of a core; {asked}", rest * 100.0);
            }
        }
        Ok(Self { hosts, contact, contact_note, first, note, last, stolen: watch.stolen()? })
    }

    fn contact_figure(&self) -> Figure {
        let name = format!("first contact, leader's time a host, {} hosts", self.hosts);
        Figure::told(name, "µs", vec![self.contact]).note(self.contact_note.clone())
    }
}

/// Gives each host its first guest, and waits until it runs there; microseconds a host, and what agents were asked for.
async fn meet(fleet: &Fleet, tally: &mut Tally, hosts: u32) -> anyhow::Result<(f64, String)> {
    let leader = fleet.leader.program.pid();
    let asked_before = Requests::of(&fleet.leader).await?;
    let before = processor_time(leader)?;
    put_all(&fleet.kv, (0..hosts).map(|number| pinned(number, number + 1))).await?;
    let all = usize::try_from(hosts)?;
    tally.until("every host has a guest that runs", LIMIT, |count| count.running >= all).await?;
    let time = processor_time(leader)?.saturating_sub(before);
    let asked = Requests::of(&fleet.leader).await?.since(&asked_before);
    Ok((time.as_secs_f64() * MICROS / f64::from(hosts), asked.to_string()))
}

/// Waits until what was asked of the leader is done; the share of a processor that it takes then.
async fn at_rest(leader: u32) -> anyhow::Result<f64> {
    let began = Instant::now();
    loop {
        let (since, before) = (Instant::now(), processor_time(leader)?);
        tokio::time::sleep(REST).await;
        let time = processor_time(leader)?.saturating_sub(before);
        let share = time.as_secs_f64() / since.elapsed().as_secs_f64();
        if share <= RESTING {
            return Ok(share);
        }
        if began.elapsed() > PATIENCE {
            bail!("the leader takes {share:.2} of a processor and does not come to rest");
        }
    }
}
