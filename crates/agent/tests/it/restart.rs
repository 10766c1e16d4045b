//! What survives the end of the agent's process, and what a boot of the host does.

use std::time::Duration;

use lochness_agent::client::AgentError;
use lochness_agent::server::{
    Delays, Durability, EffectKind, Event, Faults, Host, HostConfig, Storage, reset_fence,
};
use lochness_agent::wire::AgentJobStatus;
use lochness_api::job::JobAction;

use crate::fixture::{Fixture, clock, config, guest, guest_id, ticket};

fn slow() -> HostConfig {
    let delays = Delays { create: Duration::from_secs(10), ..Delays::default() };
    HostConfig { delays, ..config() }
}

#[tokio::test(start_paused = true)]
async fn a_job_that_ran_is_interrupted_and_one_that_waited_runs() {
    let agent = Fixture::new(slow());
    let create = agent.client.create(&guest(1), &ticket(1)).await.unwrap();
    agent.until("the create has begun", |host| host.stats().jobs_begun == 1).await;
    let start = agent.client.act(guest_id(1), JobAction::Start, &ticket(2)).await.unwrap();
    agent.host.happen(Event::KillAgent { down_ms: 1000 }).unwrap();
    let gone = agent.client.metadata().await;
    assert!(matches!(gone, Err(AgentError::NotSent(_))), "{gone:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    let interrupted = agent.client.job(&create).await.unwrap().unwrap();
    assert_eq!(interrupted.status, AgentJobStatus::Error);
    assert_eq!(interrupted.message, "interrupted");
    assert_eq!(agent.ended(&start).await.status, AgentJobStatus::Complete);
    assert_eq!(agent.state(1).await.as_deref(), Some("running"));
}

#[tokio::test(start_paused = true)]
async fn fences_survive_a_restart_of_the_process() {
    let agent = Fixture::new(config());
    agent.client_of(7).metadata().await.unwrap();
    agent.client_of(7).create(&guest(1), &ticket(5)).await.unwrap();
    agent.host.shutdown().await;
    let agent = Fixture::on(config(), agent.disk);
    let late = agent.client_of(7).create(&guest(1), &ticket(4)).await;
    assert!(matches!(late, Err(AgentError::Fenced(_))), "{late:?}");
    let old = agent.client_of(6).create(&guest(1), &ticket(6)).await;
    assert!(matches!(old, Err(AgentError::Fenced(_))), "{old:?}");
    agent.client_of(7).create(&guest(1), &ticket(6)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_restart_of_the_agent_stops_no_guest_and_a_boot_of_the_host_stops_all() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    let boot = agent.host.boot_id();
    agent.host.happen(Event::KillAgent { down_ms: 0 }).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(agent.state(1).await.as_deref(), Some("running"));
    assert_eq!(agent.host.boot_id(), boot);
    agent.host.happen(Event::Reboot).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(agent.state(1).await.as_deref(), Some("shutoff"), "and none is started");
    assert_ne!(agent.host.boot_id(), boot);
    let capabilities = agent.client.capabilities().await.unwrap().unwrap();
    assert_eq!(capabilities.boot_id, agent.host.boot_id());
    assert_eq!(
        agent.effects(),
        [EffectKind::Created, EffectKind::Started, EffectKind::Stopped, EffectKind::Booted]
    );
}

#[tokio::test(start_paused = true)]
async fn a_wiped_agent_has_forgotten_its_guests_and_fences_but_not_the_truth() {
    let agent = Fixture::new(config());
    agent.create(1, 5).await;
    agent.host.happen(Event::Wipe).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(agent.state(1).await, None);
    agent.client.create(&guest(1), &ticket(4)).await.unwrap();
    assert_eq!(
        agent.effects()[..4],
        [EffectKind::Created, EffectKind::Started, EffectKind::Stopped, EffectKind::Lost]
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_that_hangs_stays_running_until_the_agent_restarts() {
    let agent = Fixture::new(HostConfig {
        faults: Faults { hanging: [guest_id(1)].into(), ..Faults::default() },
        ..config()
    });
    let hung = agent.client.create(&guest(1), &ticket(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let job = agent.client.job(&hung).await.unwrap().unwrap();
    assert_eq!(job.status, AgentJobStatus::Running);
    agent.host.happen(Event::KillAgent { down_ms: 0 }).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(agent.ended(&hung).await.status, AgentJobStatus::Error);
}

#[tokio::test(start_paused = true)]
async fn a_hosts_state_on_disk_is_the_state_it_had() {
    let directory = tempfile::tempdir().unwrap();
    let storage = || Storage::disk(directory.path().join("host"), Durability::Disk);
    let agent = Fixture::new(config());
    let host = Host::open(config(), storage(), clock()).unwrap();
    agent.network.insert(crate::fixture::AUTHORITY, lochness_agent::server::router(host.clone()));
    agent.create(1, 5).await;
    agent.create(2, 6).await;
    agent.act(2, JobAction::Delete, 7).await;
    let before = (host.history(), host.boot_id(), agent.client.jobs_of(guest_id(2)).await.unwrap());
    host.shutdown().await;

    let host = Host::open(config(), storage(), clock()).unwrap();
    agent.network.insert(crate::fixture::AUTHORITY, lochness_agent::server::router(host.clone()));
    assert_eq!(agent.state(1).await.as_deref(), Some("running"));
    assert_eq!(agent.state(2).await, None);
    let after = (host.history(), host.boot_id(), agent.client.jobs_of(guest_id(2)).await.unwrap());
    assert_eq!(before, after);
    assert!(agent.client.create(&guest(2), &ticket(6)).await.is_err(), "the tombstone is there");
    host.shutdown().await;

    assert_eq!(reset_fence(storage()).unwrap(), 2);
    let host = Host::open(config(), storage(), clock()).unwrap();
    agent.network.insert(crate::fixture::AUTHORITY, lochness_agent::server::router(host));
    assert!(agent.client.create(&guest(2), &ticket(1)).await.is_ok(), "a reset forgets it");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_history() {
    let mut histories = Vec::new();
    for _ in 0..2 {
        let faults = Faults { failing_jobs: 300, ..Faults::default() };
        let delays = Delays {
            create: Duration::from_millis(50),
            jitter: Duration::from_millis(50),
            ..Delays::default()
        };
        let agent = Fixture::new(HostConfig { faults, delays, seed: 42, ..config() });
        for number in 1..20 {
            agent.create(number, u64::try_from(number).unwrap()).await;
        }
        histories.push(agent.host.history());
    }
    assert_eq!(histories[0], histories[1]);
    assert!(histories[0].len() > 4);
}
