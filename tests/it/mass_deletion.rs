//! `etcdctl del --prefix` on the wrong prefix.

use std::time::Duration;

use lochness_api::Key;
use lochness_api::status::{ClusterStatus, Condition, ConditionStatus, ConditionType};
use serde_json::json;

use crate::harness::{Stage, condition, eventually, stays};

const GUESTS: u32 = 15;

fn held(cluster: &ClusterStatus) -> Option<&Condition> {
    condition(&cluster.conditions, ConditionType::DeletionHeld)
        .filter(|it| it.status == ConditionStatus::True)
}

/// Waits until the cluster says that it holds all of them; the revision that it asks to confirm.
async fn until_held(stage: &Stage) -> i64 {
    eventually("the deletion is held", async || {
        let cluster = stage.store.cluster().await.ok_or("no status")?;
        let Some(condition) = held(&cluster) else { return Err(format!("{cluster:?}")) };
        let words = format!("{GUESTS} of {GUESTS} placed guests are gone, at most 10");
        assert!(condition.message.contains(&words), "{}", condition.message);
        cluster.confirm_revision.ok_or_else(|| "no revision to confirm".to_owned())
    })
    .await
}

async fn stay_running(stage: &Stage, guests: &[lochness_api::GuestId]) {
    stays(Duration::from_secs(3), "every guest runs", async || {
        let stopped = guests.iter().find(|id| !stage.hosts.iter().any(|host| host.runs(**id)));
        stopped.map_or(Ok(()), |id| Err(format!("{id} was stopped")))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mass_deletion_is_held_and_said_and_goes_on_when_its_revision_is_confirmed() {
    let stage = Stage::with_hosts(2).await;
    let guests = stage.put_guests(0..GUESTS).await;
    stage.all_run(&guests).await;
    let deleted = stage.store.delete_below("guests/").await;
    let revision = until_held(&stage).await;
    assert_eq!(revision, deleted);
    stay_running(&stage, &guests).await;
    // An earlier revision confirms nothing.
    let confirm = Key::Config("confirm_deletion".to_owned());
    stage.store.put(&confirm, &json!((revision - 1).to_string())).await;
    stay_running(&stage, &guests).await;
    stage.store.put(&confirm, &json!(revision.to_string())).await;
    stage.gone(&guests).await;
    for id in &guests {
        assert!(!stage.hosts.iter().any(|host| host.runs(*id)), "{id} runs");
    }
    eventually("nothing is held any more", async || {
        let cluster = stage.store.cluster().await.ok_or("no status")?;
        if held(&cluster).is_none() { Ok(()) } else { Err(format!("{cluster:?}")) }
    })
    .await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn putting_the_documents_back_cancels_a_held_mass_deletion() {
    let stage = Stage::with_hosts(2).await;
    let guests = stage.put_guests(0..GUESTS).await;
    let before = stage.all_run(&guests).await;
    let mutations = stage.mutations();
    stage.store.delete_below("guests/").await;
    until_held(&stage).await;
    stage.put_guests(0..GUESTS).await;
    eventually("nothing is held any more", async || {
        let cluster = stage.store.cluster().await.ok_or("no status")?;
        if held(&cluster).is_none() { Ok(()) } else { Err(format!("{cluster:?}")) }
    })
    .await;
    let after = stage.all_run(&guests).await;
    for id in &guests {
        assert_eq!(after[id].placement, before[id].placement);
    }
    assert_eq!(stage.mutations(), mutations, "the hosts were asked for something");
    stage.finish().await;
}
