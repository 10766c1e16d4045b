//! One guest among many: how long it waits while others come at half the pace that the whole can go.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::latency::{unavoidable, waited};
use super::{LEASE, LIMIT, Scale};
use crate::documents::{basics, guest, put_all, subnet};
use crate::figure::{Bound, Figure, quantile};
use crate::machine::Stopwatch;
use crate::near::serve;
use crate::stack::{Operator, connect, etcd};
use crate::tally::Tally;

/// Others come in portions, so many a second.
const PORTIONS_A_SECOND: u32 = 20;
/// Numbers of the guests that are timed begin here.
const TIMED: u32 = 10_000_000;

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let (flood, timed) = (scale.pick(500, 4_000, 10_000), scale.pick(10, 50, 200));
    // So many that a host's list stays short: a longer one makes the pace slower, and half of it too much.
    let hosts = scale.pick(50, 400, 1_000);
    let etcd = etcd();
    let kv = connect(&etcd).await?;
    put_all(&kv, basics(hosts)).await?;
    put_all(&kv, [subnet()]).await?;
    let server = serve(Arc::clone(&kv), hosts).await?;
    let operator = Operator::start(&scale.programs, &etcd, LEASE).await?;
    operator.until_ready("leading").await?;
    let mut tally = Tally::start(Arc::clone(&kv)).await?;
    // The pace of the whole: a flood, from its first document to its last guest.
    let began = Instant::now();
    put_all(&kv, (0..flood).map(guest)).await?;
    let all = usize::try_from(flood)?;
    let ended = tally.until("the flood runs", LIMIT, |count| count.running >= all).await?;
    let pace = f64::from(flood) / ended.duration_since(began).as_secs_f64();
    let mut idle = Vec::new();
    for number in 0..timed {
        idle.push(unavoidable(&kv, &server, TIMED * 2 + number).await? * 1e3);
    }
    let stop = CancellationToken::new();
    let others = tokio::spawn({
        let (kv, stop) = (Arc::clone(&kv), stop.clone());
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some hundreds")]
        let portion = (pace / 2.0 / f64::from(PORTIONS_A_SECOND)).round().max(1.0) as u32;
        async move {
            let mut next = flood;
            let mut every = tokio::time::interval(Duration::from_secs(1) / PORTIONS_A_SECOND);
            while stop.run_until_cancelled(every.tick()).await.is_some() {
                put_all(&kv, (next..next + portion).map(guest)).await?;
                next += portion;
            }
            anyhow::Ok(next - flood)
        }
    });
    let watch = Stopwatch::start()?;
    let (mut ours, mut steps) = (Vec::new(), Vec::new());
    for number in TIMED..TIMED + timed {
        let sent = Timestamp::now();
        put_all(&kv, [guest(number)]).await?;
        let waited = loop {
            tokio::time::sleep(Duration::from_millis(20)).await;
            match waited(&server, number, sent).await {
                Ok(waited) => break waited,
                Err(error) if watch.elapsed() > LIMIT => return Err(error),
                Err(_) => {}
            }
        };
        ours.push(waited.as_secs_f64() * 1e3);
        steps.push(unavoidable(&kv, &server, TIMED * 3 + number).await? * 1e3);
    }
    let (seconds, stolen) = (watch.elapsed().as_secs_f64(), [watch.stolen()?]);
    stop.cancel();
    let others = f64::from(others.await??) / seconds;
    server.shutdown().await;
    let ratio = |steps: &[f64], share| quantile(&ours, share) / quantile(steps, share);
    Ok(vec![
        Figure::told("half load: document to agent, p50", "ms", vec![quantile(&ours, 0.5)])
            .note(format!("{others:.0} guests/s beside it, of {pace:.0}/s that are possible")),
        Figure::told("half load: document to agent, p99", "ms", vec![quantile(&ours, 0.99)]),
        Figure::told(
            "half load: against the steps at the same load, p50",
            "×",
            vec![ratio(&steps, 0.5)],
        )
        .bounded(Bound::AtMost(4.0))
        .stolen(&stolen),
        Figure::told(
            "half load: against the steps on the idle machine, p50",
            "×",
            vec![ratio(&idle, 0.5)],
        )
        .stolen(&stolen),
    ])
}
