//! Documents that go away, and come back.

use std::time::Duration;

use lochness_agent::server::{Delays, EffectKind};
use lochness_api::status::{ConditionStatus, ConditionType, Phase};
use lochness_api::{GuestId, Key};
use serde_json::json;

use crate::harness::{HostOptions, Stage, condition, eventually};

/// Keys that name the guest, without jobs and events, which expire by themselves.
async fn traces(stage: &Stage, guest: GuestId) -> Vec<(String, String)> {
    let id = guest.to_string();
    let all = stage.store.below("").await;
    let lasting =
        all.into_iter().filter(|(key, _)| !key.starts_with("jobs/") && !key.starts_with("events/"));
    lasting
        .map(|(key, value)| (key, String::from_utf8_lossy(&value).into_owned()))
        .filter(|(key, value)| key.contains(&id) || value.contains(&id))
        .collect()
}

async fn quarantine(stage: &Stage, seconds: u32) {
    let key = Key::Config("quarantine_seconds".to_owned());
    stage.store.put(&key, &json!(seconds.to_string())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_guest_leaves_nothing_but_an_address_in_quarantine_that_expires() {
    let stage = Stage::with_hosts(1).await;
    quarantine(&stage, 4).await;
    let guests = stage.put_guests(0..3).await;
    let statuses = stage.all_run(&guests).await;
    let goes = guests[0];
    let ip = statuses[&goes].placement.as_ref().expect("it has a place").ip;
    stage.store.delete(&Key::Guest(goes)).await;
    stage.gone(&[goes]).await;
    assert!(!stage.hosts[0].runs(goes));
    let left = traces(&stage, goes).await;
    let key = format!("subnets/{}/addresses/{ip}", crate::harness::SUBNET);
    assert_eq!(left, [(key, format!("quarantine:{goes}"))]);
    let next = stage.put_guest(9, json!({})).await;
    let next = stage.all_run(&[next]).await[&next].placement.as_ref().map(|it| it.ip);
    assert_ne!(next, Some(ip), "an address in quarantine was given away");
    eventually("nothing is left", async || {
        let left = traces(&stage, goes).await;
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    })
    .await;
    stage.all_run(&guests[1..]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_put_back_before_its_teardown_began_is_an_edit() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..2).await;
    let before = stage.all_run(&guests).await;
    let pause = Key::Config("pause".to_owned());
    stage.store.put(&pause, &json!("true")).await;
    eventually("the pause is seen", async || {
        let cluster = stage.store.cluster().await.ok_or("no status")?;
        let paused = condition(&cluster.conditions, ConditionType::Paused).ok_or("not said")?;
        if paused.status == ConditionStatus::True { Ok(()) } else { Err("not paused".to_owned()) }
    })
    .await;
    stage.store.delete(&Key::Guest(guests[0])).await;
    eventually("the deletion is seen", async || {
        let cluster = stage.store.cluster().await.ok_or("no status")?;
        if cluster.deletions_waiting == 1 { Ok(()) } else { Err(format!("{cluster:?}")) }
    })
    .await;
    stage.put_guests([0]).await;
    stage.store.delete(&pause).await;
    eventually("the pause is over", async || {
        let cluster = stage.store.cluster().await.ok_or("no status")?;
        let paused = condition(&cluster.conditions, ConditionType::Paused).ok_or("not said")?;
        if paused.status == ConditionStatus::False { Ok(()) } else { Err("paused".to_owned()) }
    })
    .await;
    let after = stage.all_run(&guests).await;
    assert_eq!(after[&guests[0]].placement, before[&guests[0]].placement);
    let deleted = stage.hosts[0].history().iter().any(|it| it.kind == EffectKind::Deleted);
    assert!(!deleted, "its host was asked to delete it");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_put_back_after_its_teardown_began_is_a_new_guest() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    let delays = Delays { delete: Duration::from_secs(2), ..Delays::default() };
    stage.host(&HostOptions { delays, ..HostOptions::new("host-1") }).await;
    stage.operator("one").await;
    let guests = stage.put_guests([0]).await;
    stage.all_run(&guests).await;
    stage.store.delete(&Key::Guest(guests[0])).await;
    stage.reach(&guests, Phase::Deleting).await;
    stage.put_guests([0]).await;
    stage.all_run(&guests).await;
    let kinds: Vec<_> = stage.hosts[0]
        .history()
        .iter()
        .filter(|effect| effect.guest == Some(guests[0]))
        .map(|effect| effect.kind)
        .collect();
    let life = [EffectKind::Created, EffectKind::Started];
    let death = [EffectKind::Stopped, EffectKind::Deleted];
    assert_eq!(kinds, [life, death, life].concat());
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_deleted_while_it_is_being_created_goes() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    let delays = Delays { create: Duration::from_secs(1), ..Delays::default() };
    stage.host(&HostOptions { delays, ..HostOptions::new("host-1") }).await;
    stage.operator("one").await;
    let guests = stage.put_guests(0..4).await;
    for (id, phase) in guests.iter().zip([Phase::Scheduled, Phase::Creating].into_iter().cycle()) {
        stage.status(*id, "it is on its way", |it| (it.phase >= phase).then_some(())).await;
        stage.store.delete(&Key::Guest(*id)).await;
    }
    stage.gone(&guests).await;
    for id in &guests {
        assert!(!stage.hosts[0].runs(*id), "{id} runs");
    }
    stage.finish().await;
}
