//! The leader is killed under load: how long until somebody places guests again.

use std::time::Instant;

use super::{Fleet, LIMIT, Scale};
use crate::documents::{guest, put_all, subnet};
use crate::figure::{Bound, Figure};
use crate::tally::Tally;

/// Measures.
pub(crate) async fn run(scale: &Scale) -> anyhow::Result<Vec<Figure>> {
    let guests = scale.pick(1_000, 10_000, 10_000);
    let hosts = scale.pick(20, 200, 1_000);
    let mut gaps = Vec::new();
    for _ in 0..scale.rounds {
        let mut fleet = Fleet::start(scale, hosts).await?;
        put_all(&fleet.kv, [subnet()]).await?;
        let mut tally = Tally::start(fleet.kv.clone()).await?;
        let kv = fleet.kv.clone();
        let writer = tokio::spawn(async move { put_all(&kv, (0..guests).map(guest)).await });
        let some = usize::try_from(guests)? / 4;
        tally.until("some guests are placed", LIMIT, |count| count.placed >= some).await?;
        fleet.leader.program.kill();
        let killed = Instant::now();
        // What etcd had taken when it died is not the new leader's.
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        let before = tally.now().placed;
        let again = tally.until("guests are placed again", LIMIT, |count| count.placed > before);
        let again = again.await?;
        gaps.push(again.duration_since(killed).as_secs_f64());
        writer.await??;
        let all = usize::try_from(guests)?;
        tally.until("all guests run", LIMIT, |count| count.running >= all).await?;
    }
    Ok(vec![
        Figure::told("leader killed under load, until guests are placed again", "s", gaps)
            .bounded(Bound::AtMost(4.0))
            .note("lease 3 s, and a second"),
    ])
}
