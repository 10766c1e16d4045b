//! Statuses that somebody deletes.

use lochness_agent::server::EffectKind;
use lochness_api::Key;

use crate::harness::{Stage, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_deleted_under_running_guests_are_rebuilt_from_what_the_hosts_list() {
    let stage = Stage::with_hosts(2).await;
    let guests = stage.put_guests(0..12).await;
    let before = stage.all_run(&guests).await;
    stage.store.delete_below("status/guests/").await;
    eventually("every guest has a status again", async || {
        let there = stage.store.guests().await.len();
        if there == guests.len() { Ok(()) } else { Err(format!("{there} have one")) }
    })
    .await;
    let after = stage.all_run(&guests).await;
    for id in &guests {
        assert_eq!(after[id].placement, before[id].placement);
    }
    for host in &stage.hosts {
        for effect in host.history() {
            let lived = matches!(
                effect.kind,
                EffectKind::Created
                    | EffectKind::Started
                    | EffectKind::ImageFetched
                    | EffectKind::FirewallApplied
            );
            assert!(lived, "a guest was touched: {effect:?}");
        }
    }
    assert_eq!(stage.store.below("jobs/").await.len(), guests.len(), "one create a guest");
    // What was rebuilt is as good as what was lost.
    stage.store.delete(&Key::Guest(guests[0])).await;
    stage.gone(&guests[..1]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statuses_of_everything_else_come_back_by_themselves() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..2).await;
    stage.all_run(&guests).await;
    let kinds = ["hypervisors/", "subnets/", "networks/", "flavors/", "images/", "cluster"];
    eventually("everything has a status", async || {
        let there = stage.store.below("status/").await;
        let missing = kinds
            .iter()
            .find(|kind| !there.keys().any(|key| key.starts_with(&format!("status/{kind}"))));
        missing.map_or(Ok(()), |kind| Err(format!("no {kind}")))
    })
    .await;
    for kind in kinds {
        stage.store.delete_below(&format!("status/{kind}")).await;
    }
    eventually("everything has a status again", async || {
        let there = stage.store.below("status/").await;
        let missing = kinds
            .iter()
            .find(|kind| !there.keys().any(|key| key.starts_with(&format!("status/{kind}"))));
        missing.map_or(Ok(()), |kind| Err(format!("no {kind}")))
    })
    .await;
    stage.finish().await;
}
