//! Placements a second: guests that wait for their subnet, which then comes. Their image takes for
//! ever to fetch, so that placing is all that happens.

use anyhow::Context as _;

use super::{Fleet, LIMIT, Scale};
use crate::ceiling::{Shape, Template, a_status, measure};
use crate::documents::{SUBNET, guest, put_all, subnet};
use crate::figure::{Bound, Figure};
use crate::machine::Stopwatch;
use crate::stack::{Meter, connect, etcd};
use crate::tally::{Tally, until_reserved};

/// An hour, for a measurement of a minute.
const NEVER: &[&str] = &["--image-delay", "3600000"];
/// Around the size of the operator's own groups. The best one is found once; then it and the operator take turns, for the
/// best of three in each round would be the luckiest.
const SHAPES: [Shape; 3] = [
    Shape { group: 32, in_flight: 4 },
    Shape { group: 64, in_flight: 4 },
    Shape { group: 110, in_flight: 4 },
];

/// Measures. The smaller fleet, etcd alone and the larger fleet take turns, for the machine's speed changes.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let guests = scale.pick(1_000, 20_000, 20_000);
    let (small, large) = (scale.pick(20, 1_000, 1_000), scale.pick(0, 5_000, 10_000));
    let (mut few, mut many) = (Rounds::default(), Rounds::default());
    let (mut ceilings, mut shape) = (Vec::new(), None);
    for _ in 0..scale.rounds {
        let round = place(scale, small, guests).await?;
        let shape = match shape {
            Some(known) => known,
            None => *shape.insert(best_shape(&round.template, guests).await?),
        };
        let ceiling = ceiling(&round.template, guests, shape).await?;
        ceilings.push(ceiling);
        few.push(&round, ceiling);
        if large > 0 {
            many.push(&place(scale, large, guests).await?, ceiling);
        }
    }
    let mut figures = vec![
        Figure::told(format!("placements, {small} hosts, {guests} guests"), "/s", few.rates)
            .stolen(&few.stolen)
            .note(few.note),
        Figure::told("etcd alone, the same in nested transactions", "/s", ceilings)
            .note(shape.map(|shape| format!("{shape:?}")).unwrap_or_default()),
        Figure::told("placements against etcd alone", "×", few.ratios.clone())
            .bounded(Bound::AtLeast(0.7))
            .stolen(&few.stolen),
    ];
    if large > 0 {
        let name = format!("placements, {large} hosts, {guests} guests");
        figures.push(Figure::told(name, "/s", many.rates).stolen(&many.stolen).note(many.note));
        let pairs = many.ratios.iter().zip(&few.ratios).map(|(many, few)| many / few);
        figures.push(
            Figure::told(format!("{large} hosts against {small}"), "×", pairs.collect())
                .bounded(Bound::AtLeast(0.9))
                .stolen(&many.stolen),
        );
    }
    Ok(figures)
}

/// What was measured of one fleet.
#[derive(Default)]
struct Rounds {
    rates: Vec<f64>,
    ratios: Vec<f64>,
    stolen: Vec<f64>,
    note: String,
}

impl Rounds {
    fn push(&mut self, round: &Round, ceiling: f64) {
        self.rates.push(round.rate);
        self.ratios.push(round.rate / ceiling);
        self.stolen.push(round.stolen);
        self.note = format!("{}; {} bytes a placement", round.cpu, round.template.bytes());
    }
}

struct Round {
    rate: f64,
    stolen: f64,
    cpu: String,
    template: Template,
}

async fn place(scale: &Scale, hosts: u32, guests: u32) -> anyhow::Result<Round> {
    let fleet = Fleet::start_with(scale, hosts, NEVER).await?;
    let all = usize::try_from(guests)?;
    let mut waiting = Tally::start(fleet.kv.clone()).await?;
    put_all(&fleet.kv, (0..guests).map(guest)).await?;
    waiting.until("all guests wait", LIMIT, |count| count.statuses >= all).await?;
    drop(waiting);
    let former = a_status(&fleet.kv).await?;
    let meter = Meter::start(&fleet.etcd, &fleet.pids())?;
    let watch = Stopwatch::start()?;
    put_all(&fleet.kv, [subnet()]).await?;
    until_reserved(&fleet.kv, SUBNET, all, LIMIT).await.context("until all are placed")?;
    let rate = f64::from(guests) / watch.elapsed().as_secs_f64();
    let template =
        Template::read(&fleet.kv, Some(former)).await.context("what a placement wrote")?;
    Ok(Round { rate, stolen: watch.stolen()?, cpu: meter.words()?, template })
}

/// The shape in which etcd takes most.
async fn best_shape(template: &Template, guests: u32) -> anyhow::Result<Shape> {
    let (mut best, mut most) = (SHAPES[0], 0.0);
    for shape in SHAPES.into_iter().chain(SHAPES) {
        let rate = ceiling(template, guests, shape).await?;
        if rate > most {
            (best, most) = (shape, rate);
        }
    }
    Ok(best)
}

/// What etcd takes in that shape, on a fresh store.
async fn ceiling(template: &Template, guests: u32, shape: Shape) -> anyhow::Result<f64> {
    let etcd = etcd();
    let kv = connect(&etcd).await?;
    measure(&kv, template, guests, shape).await
}
