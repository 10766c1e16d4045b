//! A converged fleet: what it costs to leave it alone.

use std::time::Duration;

use super::{Fleet, LIMIT, Scale};
use crate::documents::{guest, put_all, subnet};
use crate::figure::{Bound, Figure};
use crate::machine::Stopwatch;
use crate::stack::Meter;
use crate::tally::Tally;

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let guests = scale.pick(500, 10_000, 100_000);
    let hosts = scale.pick(20, 500, 1_000);
    // The longest is one rescan, whenever that comes.
    let lasting = Duration::from_secs(scale.pick(5, 30, 300));
    let fleet = Fleet::start(scale, hosts).await?;
    put_all(&fleet.kv, [subnet()]).await?;
    let mut tally = Tally::start(fleet.kv.clone()).await?;
    put_all(&fleet.kv, (0..guests).map(guest)).await?;
    let all = usize::try_from(guests)?;
    tally.until("all guests run", LIMIT, |count| count.running >= all).await?;
    // Statuses of hosts and subnets follow within their pace.
    let mut before = tally.now().events;
    loop {
        tokio::time::sleep(Duration::from_secs(3)).await;
        let now = tally.now().events;
        if now == before {
            break;
        }
        before = now;
    }
    let meter = Meter::start(&fleet.etcd, &fleet.pids())?;
    let watch = Stopwatch::start()?;
    tokio::time::sleep(lasting).await;
    let seconds = watch.elapsed().as_secs_f64();
    let writes = tally.now().events - before;
    let times = meter.read()?;
    let leader = times
        .iter()
        .find(|(name, _)| *name == "leader")
        .map_or(0.0, |(_, time)| time.as_secs_f64());
    let stolen = [watch.stolen()?];
    #[allow(clippy::cast_precision_loss, reason = "a few events")]
    let writes = writes as f64 / seconds;
    Ok(vec![
        Figure::told(format!("idle, {guests} guests, {hosts} hosts: writes"), "/s", vec![writes])
            .bounded(Bound::AtMost(0.0)),
        Figure::told("idle: leader", "% of a core", vec![leader / seconds * 100.0])
            .bounded(Bound::AtMost(2.0))
            .stolen(&stolen)
            .note(meter.words()?),
    ])
}
