//! The full life: documents in, guests `Running` on hosts that take no time.

use super::{Fleet, LIMIT, Scale};
use crate::ceiling::{Shape, Template, measure};
use crate::documents::{guest, put_all, subnet};
use crate::figure::{Bound, Figure};
use crate::machine::Stopwatch;
use crate::stack::{Meter, connect, etcd};
use crate::tally::Tally;

/// One transaction a placement, as many under way as etcd gains from.
const SINGLE: Shape = Shape { group: 1, in_flight: 64 };

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let guests = scale.pick(500, 10_000, 10_000);
    let hosts = scale.pick(20, 200, 1_000);
    let (mut rates, mut ratios, mut revisions) = (Vec::new(), Vec::new(), Vec::new());
    let mut entries = Vec::new();
    let (mut stolen, mut note) = (Vec::new(), String::new());
    for _ in 0..scale.rounds {
        let fleet = Fleet::start(scale, hosts).await?;
        put_all(&fleet.kv, [subnet()]).await?;
        let mut tally = Tally::start(fleet.kv.clone()).await?;
        let meter = Meter::start(&fleet.etcd, &fleet.pids())?;
        let watch = Stopwatch::start()?;
        put_all(&fleet.kv, (0..guests).map(guest)).await?;
        let all = usize::try_from(guests)?;
        tally.until("all guests run", LIMIT, |count| count.running >= all).await?;
        let rate = f64::from(guests) / watch.elapsed().as_secs_f64();
        stolen.push(watch.stolen()?);
        note = meter.words()?;
        let events = tally.now().events;
        #[allow(clippy::cast_precision_loss, reason = "some ten thousand events")]
        let events = events as f64;
        // The document is the user's; each of the rest is a put or a delete of ours.
        revisions.push(events / f64::from(guests) - 1.0);
        #[allow(clippy::cast_precision_loss, reason = "some thousand entries")]
        entries.push(tally.now().entries as f64 / f64::from(guests));
        let template = Template::read(&fleet.kv, None).await?;
        drop(fleet);
        let alone = etcd();
        let kv = connect(&alone).await?;
        let ceiling = measure(&kv, &template, guests, SINGLE).await?;
        rates.push(rate);
        ratios.push(rate / ceiling);
    }
    Ok(vec![
        Figure::told(format!("full life, {hosts} hosts, {guests} guests"), "/s", rates)
            .stolen(&stolen)
            .note(note),
        Figure::told("full life against etcd alone, single transactions", "×", ratios)
            .bounded(Bound::AtLeast(0.25))
            .stolen(&stolen),
        Figure::told("keys put or deleted by us a guest", "", revisions),
        Figure::told("entries in etcd's log a guest, under load", "", entries)
            .bounded(Bound::AtMost(0.5)),
    ])
}
