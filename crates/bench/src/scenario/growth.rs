//! What a placement costs the leader as the fleet grows: processor time, which neighbours disturb less than the clock.

use super::{Fleet, LIMIT, Scale};
use crate::documents::{guest, put_all, subnet};
use crate::figure::{Bound, Figure};
use crate::machine::{Stopwatch, processor_time};
use crate::tally::Tally;

/// The image takes for ever to fetch, so that placing is all that happens.
const NEVER: &[&str] = &["--image-delay", "3600000"];
const MICROS: f64 = 1e6;

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
    Ok(vec![
        Figure::told(name(&small, 0), "µs", vec![small.first]),
        Figure::told(name(&large, 0), "µs", vec![large.first]),
        growth(
            format!("its growth from {few_hosts} to {many_hosts} hosts"),
            small.first,
            large.first,
            small.stolen.max(large.stolen),
        ),
        Figure::told(name(&full, 0), "µs", vec![full.first]),
        Figure::told(name(&full, before), "µs", vec![full.last]),
        growth(format!("its growth with {before} guests"), full.first, full.last, full.stolen),
    ])
}

/// In microseconds of the leader's processor time.
struct Costs {
    hosts: u32,
    /// A placement of the first batch.
    first: f64,
    /// One of the last.
    last: f64,
    stolen: f64,
}

impl Costs {
    /// Places `guests` in batches of `batch`, one after the other.
    async fn measure(scale: &Scale, hosts: u32, batch: u32, guests: u32) -> anyhow::Result<Self> {
        let fleet = Fleet::start_with(scale, hosts, NEVER).await?;
        put_all(&fleet.kv, [subnet()]).await?;
        let mut tally = Tally::start(fleet.kv.clone()).await?;
        let leader = fleet.leader.program.pid();
        let watch = Stopwatch::start()?;
        let (mut first, mut last) = (f64::NAN, f64::NAN);
        for from in (0..guests).step_by(usize::try_from(batch)?) {
            let before = processor_time(leader)?;
            put_all(&fleet.kv, (from..from + batch).map(guest)).await?;
            let all = usize::try_from(from + batch)?;
            tally.until("the batch is placed", LIMIT, |count| count.placed >= all).await?;
            let time = processor_time(leader)?.saturating_sub(before);
            last = time.as_secs_f64() * MICROS / f64::from(batch);
            if from == 0 {
                first = last;
            }
        }
        Ok(Self { hosts, first, last, stolen: watch.stolen()? })
    }
}
