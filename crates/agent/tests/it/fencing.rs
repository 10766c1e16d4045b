//! Epoch and order: what is late or doubled does nothing.

use std::time::Duration;

use lochness_agent::Ticket;
use lochness_agent::client::AgentError;
use lochness_agent::server::{Delays, EffectKind, Event, FirewallConfig, HostConfig};
use lochness_agent::wire::{AgentGuest, AgentJobStatus, FirewallPut, Order};
use lochness_api::job::JobAction;

use crate::fixture::{Fixture, bare_ticket, config, guest, guest_id, job_id, ticket};

fn is_fenced<T: std::fmt::Debug>(result: &Result<T, AgentError>) -> bool {
    matches!(result, Err(AgentError::Fenced(_)))
}

#[tokio::test(start_paused = true)]
async fn a_request_that_arrives_twice_runs_once_and_is_answered_twice() {
    let agent = Fixture::new(config());
    let first = agent.client.create(&guest(1), &ticket(5)).await.unwrap();
    agent.ended(&first).await;
    let second = agent.client.create(&guest(1), &ticket(5)).await.unwrap();
    assert_eq!(first, second);
    agent.act(1, JobAction::Delete, 6).await;
    let again = agent.client.act(guest_id(1), JobAction::Delete, &ticket(6)).await;
    assert!(again.is_ok(), "{again:?}");
    assert_eq!(agent.host.stats().jobs_begun, 2);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_comes_again_with_a_higher_incarnation_runs_once() {
    let agent = Fixture::new(config());
    let first = agent.client.create(&guest(1), &ticket(5)).await.unwrap();
    agent.ended(&first).await;
    let again = Ticket { order: Some(Order::new(2, 5)), ..ticket(5) };
    assert_eq!(agent.client.create(&guest(1), &again).await.unwrap(), first);
    assert_eq!(agent.effects(), [EffectKind::Created, EffectKind::Started]);
    let late = agent.client.act(guest_id(1), JobAction::Delete, &ticket(6)).await;
    assert!(is_fenced(&late), "what the new incarnation has not given out is refused: {late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_made_is_not_made_again() {
    let agent = Fixture::new(config());
    agent.create(1, 5).await;
    assert_eq!(agent.create(1, 6).await.status, AgentJobStatus::Complete);
    assert_eq!(agent.effects(), [EffectKind::Created, EffectKind::Started]);
    agent.host.happen(Event::CrashGuest(guest_id(1))).unwrap();
    assert_eq!(agent.create(1, 7).await.status, AgentJobStatus::Complete);
    assert_eq!(agent.effects()[2..], [EffectKind::Crashed, EffectKind::Started]);
    let nics = guest(2).nics;
    let other = AgentGuest { nics, ..guest(1) };
    let refused = agent.client.create(&other, &ticket(8)).await;
    assert!(matches!(refused, Err(AgentError::Refused { code: 422, .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_begins_to_run_only_with_the_ruleset_that_it_needs() {
    let agent = Fixture::new(HostConfig { firewall: FirewallConfig::Simulated, ..config() });
    let needs = |job| Ticket { ruleset: Some(Order::new(1, 4)), ..ticket(job) };
    let put = |revision| FirewallPut {
        hash: format!("h{revision}"),
        revision: Order::new(1, revision),
        ruleset: "table inet lochness { }".to_owned(),
    };
    for (job, ruleset) in [(5, None), (6, Some(3)), (7, Some(4))] {
        if let Some(revision) = ruleset {
            agent.client.put_firewall(&put(revision), Duration::from_secs(5)).await.unwrap();
        }
        let remote = agent.client.create(&guest(1), &needs(job)).await.unwrap();
        let ended = agent.ended(&remote).await;
        assert_eq!(ended.status == AgentJobStatus::Complete, ruleset == Some(4), "{ended:?}");
    }
    agent.host.happen(Event::Wipe).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let remote = agent.client.create(&guest(1), &needs(8)).await.unwrap();
    assert!(agent.ended(&remote).await.message.contains("ruleset in force is none"));
}

#[tokio::test(start_paused = true)]
async fn a_create_that_arrives_after_the_delete_that_followed_it_is_refused() {
    let agent = Fixture::new(config());
    agent.create(1, 5).await;
    agent.act(1, JobAction::Delete, 6).await;
    assert!(is_fenced(&agent.client.create(&guest(1), &ticket(5)).await));
    assert_eq!(agent.state(1).await, None);
    assert!(agent.client.create(&guest(1), &ticket(7)).await.is_ok(), "a newer one is not");
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_a_guest_that_never_arrived_still_refuses_its_create() {
    let agent = Fixture::new(config());
    let delete = agent.client.act(guest_id(1), JobAction::Delete, &ticket(6)).await;
    assert!(matches!(delete, Err(AgentError::Refused { code: 404, .. })), "{delete:?}");
    assert!(is_fenced(&agent.client.create(&guest(1), &ticket(5)).await));
    assert!(is_fenced(&agent.client.create(&guest(1), &bare_ticket(5)).await));
    assert_eq!(agent.effects(), []);
}

#[tokio::test(start_paused = true)]
async fn a_queued_job_that_a_newer_order_overtook_is_not_begun() {
    let delays = Delays { create: Duration::from_secs(10), ..Delays::default() };
    let agent = Fixture::new(HostConfig { delays, ..config() });
    agent.client.create(&guest(1), &ticket(1)).await.unwrap();
    agent.until("the create has begun", |host| host.stats().jobs_begun == 1).await;
    let reboot = agent.client.act(guest_id(1), JobAction::Reboot, &ticket(2)).await.unwrap();
    let delete = agent.client.act(guest_id(1), JobAction::Delete, &ticket(3)).await.unwrap();
    assert_eq!(agent.ended(&delete).await.status, AgentJobStatus::Complete);
    assert_eq!(agent.ended(&reboot).await.status, AgentJobStatus::Error);
    assert_eq!(
        agent.effects(),
        [EffectKind::Created, EffectKind::Started, EffectKind::Stopped, EffectKind::Deleted]
    );
}

#[tokio::test(start_paused = true)]
async fn the_same_order_of_another_job_is_refused() {
    let agent = Fixture::new(config());
    agent.create(1, 5).await;
    let stolen = lochness_agent::Ticket { job: job_id(99), ..ticket(5) };
    assert!(is_fenced(&agent.client.act(guest_id(1), JobAction::Delete, &stolen).await));
}

#[tokio::test(start_paused = true)]
async fn after_a_newer_leader_an_older_one_can_read_and_change_nothing() {
    let agent = Fixture::new(config());
    let (old, new) = (agent.client_of(1), agent.client_of(2));
    old.create(&guest(1), &ticket(1)).await.unwrap();
    new.metadata().await.unwrap();
    let late = old.act(guest_id(1), JobAction::Delete, &ticket(2)).await;
    assert!(is_fenced(&late), "a read of the new leader is enough: {late:?}");
    let nobody = agent.client.act(guest_id(1), JobAction::Delete, &ticket(2)).await;
    assert!(is_fenced(&nobody), "no epoch is below every epoch: {nobody:?}");
    old.guest(guest_id(1)).await.unwrap();
    assert_eq!(agent.host.stats().fenced, 2);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_guests_number_outlives_its_tombstone() {
    let agent = Fixture::new(config());
    agent.create(1, 5).await;
    agent.act(1, JobAction::Delete, 6).await;
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    agent.create(2, 100).await;
    assert!(is_fenced(&agent.client.create(&guest(1), &ticket(5)).await));
    assert!(
        is_fenced(&agent.client.create(&guest(3), &ticket(4)).await),
        "the floor is the host's"
    );
}

#[tokio::test(start_paused = true)]
async fn a_guests_new_number_is_not_forgotten_with_the_old_tombstone_that_it_replaces() {
    let agent = Fixture::new(config());
    agent.create(1, 5).await;
    agent.act(1, JobAction::Delete, 6).await;
    tokio::time::sleep(Duration::from_secs(25 * 3600)).await;
    let first = agent.create(1, 7).await;
    let again = agent.client.create(&guest(1), &ticket(7)).await.unwrap();
    assert_eq!(again, first.id, "the same request again is the same job");
}

#[tokio::test(start_paused = true)]
async fn numbers_that_are_no_numbers_are_refused() {
    let agent = Fixture::new(config());
    for headers in [
        &[("x-lochness-order", "5"), ("x-lochness-job-id", "x")][..],
        &[("x-lochness-order", "1.5")],
        &[("x-lochness-epoch", "-1.5")],
    ] {
        let answer = agent.raw("POST", "/guests", headers, "{}").await;
        assert_eq!(answer.status(), 400, "{headers:?}");
    }
    assert_eq!(Order::new(1, 5).to_string(), "1.5");
}
