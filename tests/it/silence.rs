//! Converged means silent.

use std::time::Duration;

use lochness_api::status::Phase;
use serde_json::json;

use crate::harness::{HostOptions, Stage, eventually_within, stays};

/// Nothing moves for so long: rescans come every second.
const RESCANS: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_everything_is_as_wanted_no_revision_moves_and_no_agent_is_asked_for_a_change() {
    let mut stage = Stage::with_hosts(2).await;
    stage.host(&HostOptions::mistify("host-3")).await;
    stage.operator("two").await;
    let guests = stage.put_guests(0..20).await;
    stage.all_run(&guests).await;
    let stopped = stage.put_guest(0, json!({ "state": "stopped" })).await;
    stage.reach(&[stopped], Phase::Stopped).await;
    let unplaceable = stage.put_guest(30, json!({ "ip": "192.0.2.1" })).await;
    stage
        .status(unplaceable, "it is refused", |it| (!it.conditions.is_empty()).then_some(()))
        .await;

    let mut last = (0, 0);
    eventually_within(Duration::from_secs(20), "the store comes to rest", async || {
        let now = (stage.store.revision().await, stage.mutations());
        if std::mem::replace(&mut last, now) == now {
            // Twice alike is rest only if it stays so for longer than any loop waits.
            tokio::time::sleep(Duration::from_secs(2)).await;
            let later = (stage.store.revision().await, stage.mutations());
            if later == now {
                return Ok(());
            }
        }
        Err(format!("revision {}, {} changes on agents", now.0, now.1))
    })
    .await;
    stays(RESCANS, "nothing moves", async || {
        let now = (stage.store.revision().await, stage.mutations());
        if now == last { Ok(()) } else { Err(format!("from {last:?} to {now:?}")) }
    })
    .await;
    let (_, metrics) = stage.operators[0].page("/metrics").await.expect("it answers");
    let found = metrics.lines().filter(|line| line.starts_with("lochness_rescan_found_work_total"));
    for line in found {
        assert!(line.ends_with(" 0"), "a rescan found work that no event announced: {line}");
    }
    stage.finish().await;
}
