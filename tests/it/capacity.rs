//! Guests for which there is no room.

use lochness_api::document::Resources;
use lochness_api::status::{ConditionStatus, ConditionType, GuestStatus, Reason};
use lochness_api::{GuestId, Key};
use serde_json::json;

use crate::harness::{HostOptions, Stage, condition, stays};

fn refusal(status: &GuestStatus) -> Option<(Reason, String)> {
    let placed = condition(&status.conditions, ConditionType::Placed)?;
    (placed.status == ConditionStatus::False).then(|| (placed.reason, placed.message.clone()))
}

fn small(name: &str) -> HostOptions {
    let resources = Resources { memory: 1024, disk: 100_000, cpu: 8 };
    HostOptions { resources, ..HostOptions::new(name) }
}

async fn small_stage() -> (Stage, Vec<GuestId>) {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.host(&small("host-1")).await;
    stage.operator("one").await;
    let guests = stage.put_guests(0..2).await;
    stage.all_run(&guests).await;
    (stage, guests)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_fits_nowhere_says_so_with_numbers_and_is_placed_when_a_guest_goes() {
    let (stage, guests) = small_stage().await;
    let waiting = stage.put_guest(2, json!({})).await;
    let (reason, message) = stage.status(waiting, "it is refused", refusal).await;
    assert_eq!(reason, Reason::NoHostFits);
    assert!(message.contains("0 of 1 hypervisors fit"), "{message}");
    assert!(message.contains("1 short of memory (need 512 MB, most free 0)"), "{message}");
    stage.store.delete(&Key::Guest(guests[0])).await;
    stage.all_run(&[waiting]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_fits_nowhere_is_placed_when_a_host_comes() {
    let (mut stage, _) = small_stage().await;
    let waiting = stage.put_guests(2..4).await;
    for id in &waiting {
        stage.status(*id, "it is refused", refusal).await;
    }
    stage.host(&small("host-2")).await;
    let statuses = stage.all_run(&waiting).await;
    for id in &waiting {
        let placed = statuses[id].placement.as_ref().expect("a running guest has a place");
        assert_eq!(placed.hypervisor, stage.hosts[1].id());
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cordoned_host_gets_nothing_new_and_keeps_what_it_has() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..2).await;
    stage.all_run(&guests).await;
    let cordon = Key::HypervisorConfig(stage.hosts[0].id(), "cordon".to_owned());
    stage.store.put(&cordon, &json!("true")).await;
    // The view is one: a guest that is put later is planned with the cordon known.
    let waiting = stage.put_guest(2, json!({})).await;
    let (_, message) = stage.status(waiting, "it is refused", refusal).await;
    assert!(message.contains("1 cordoned"), "{message}");
    stays(std::time::Duration::from_secs(2), "the others run", async || {
        let runs = guests.iter().all(|id| stage.hosts[0].runs(*id));
        if runs { Ok(()) } else { Err("one was stopped".to_owned()) }
    })
    .await;
    stage.store.delete(&cordon).await;
    stage.all_run(&[waiting]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wished_address_is_given_once_and_its_second_asker_is_told_whose_it_is() {
    let stage = Stage::with_hosts(2).await;
    let first = stage.put_guest(0, json!({ "ip": "10.1.0.77" })).await;
    let statuses = stage.all_run(&[first]).await;
    let ip = statuses[&first].placement.as_ref().map(|it| it.ip.to_string());
    assert_eq!(ip.as_deref(), Some("10.1.0.77"));
    let second = stage.put_guest(1, json!({ "ip": "10.1.0.77" })).await;
    let (reason, message) = stage.status(second, "it is refused", refusal).await;
    assert_eq!(reason, Reason::AddressTaken);
    assert!(message.contains(&first.to_string()), "{message}");
    stage.store.put(&Key::Config("quarantine_seconds".to_owned()), &json!("2")).await;
    stage.store.delete(&Key::Guest(first)).await;
    let statuses = stage.all_run(&[second]).await;
    let ip = statuses[&second].placement.as_ref().map(|it| it.ip.to_string());
    assert_eq!(ip.as_deref(), Some("10.1.0.77"));
    stage.finish().await;
}
