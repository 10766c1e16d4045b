//! Agents that err, and agents that die in the middle.

use std::time::Duration;

use lochness_agent::server::{EffectKind, Event, Faults, ReplyFault};
use lochness_api::Key;
use lochness_api::job::{Job, JobStatus};
use lochness_api::status::Phase;
use serde_json::json;

use crate::harness::{HostOptions, Stage, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_answers_500_delays_only_its_own_guests() {
    let mut stage = Stage::with_hosts(2).await;
    let broken = stage.hosts[0].id();
    let first = stage.put_guests(0..4).await;
    stage.all_run(&first).await;
    stage.hosts[0].set_faults(Faults { reply: Some(ReplyFault::Status(500)), ..Faults::default() });
    let stuck = stage.put_guest(10, json!({ "hypervisor": broken })).await;
    let whole = stage.hosts[1].id();
    let mut fine = Vec::new();
    for number in 20..30 {
        fine.push(stage.put_guest(number, json!({ "hypervisor": whole })).await);
    }
    stage.all_run(&fine).await;
    eventually("the host is told to be unreachable", async || {
        let status = stage.store.host(broken).await.ok_or("it has no status")?;
        if status.reachable { Err("it is reachable".to_owned()) } else { Ok(()) }
    })
    .await;
    assert!(!stage.hosts[0].runs(stuck));
    for id in &first {
        let runs = stage.hosts.iter().any(|host| host.runs(*id));
        assert!(runs, "{id} was stopped, only because its agent did not answer");
    }
    stage.hosts[0].set_faults(Faults::default());
    let all: Vec<_> = first.into_iter().chain(fine).chain([stuck]).collect();
    stage.all_run(&all).await;
    // A host that comes late is as good as the others.
    stage.host(&HostOptions::new("host-3")).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poisoned_guest_does_not_delay_its_neighbours() {
    let stage = Stage::with_hosts(1).await;
    let poisoned = crate::harness::guest_id(0);
    let faults = Faults { poisoned: [poisoned].into(), ..Faults::default() };
    stage.hosts[0].set_faults(faults);
    stage.put_guests([0]).await;
    stage.reach(&[poisoned], Phase::Failed).await;
    let neighbours = stage.put_guests(1..10).await;
    stage.all_run(&neighbours).await;
    let said = stage.store.guest(poisoned).await.expect("it has a status");
    let said = serde_json::to_string(&said).expect("a status can be written");
    assert!(said.contains("poisoned"), "the agent's own words are not told: {said}");
    stage.hosts[0].set_faults(Faults::default());
    stage.all_run(&[poisoned]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_killed_in_the_middle_of_a_create_makes_the_guest_once() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.agent("host-1", Duration::from_secs(1)).await;
    stage.operator("one").await;
    let guests = stage.put_guests(0..3).await;
    eventually("the agent works on a create", async || {
        let jobs = stage.store.below("jobs/").await;
        let jobs = jobs.values().map(|value| Job::parse(value).expect("a job is one"));
        let states: Vec<_> = jobs.map(|job| job.status).collect();
        if states.contains(&JobStatus::Working) { Ok(()) } else { Err(format!("{states:?}")) }
    })
    .await;
    stage.agents[0].kill();
    stage.agents[0].restart().await;
    stage.all_run(&guests).await;
    let history = stage.agents[0].history().await;
    let created = history.iter().filter(|effect| effect.kind == EffectKind::Created).count();
    assert_eq!(created, guests.len(), "{history:#?}");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_boots_gets_its_guests_started_again() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..5).await;
    let before = stage.all_run(&guests).await;
    stage.hosts[0].happen(Event::Reboot);
    eventually("every guest runs again", async || {
        let started = stage.hosts[0].history();
        let started = started.iter().filter(|it| it.kind == EffectKind::Started).count();
        if started == 2 * guests.len() { Ok(()) } else { Err(format!("{started} starts")) }
    })
    .await;
    let after = stage.all_run(&guests).await;
    for id in &guests {
        assert_eq!(after[id].placement, before[id].placement);
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_an_agent_that_are_lost_double_nothing() {
    let stage = Stage::with_hosts(2).await;
    for host in &stage.hosts {
        host.set_faults(Faults { lost_answers: 300, ..Faults::default() });
    }
    let guests = stage.put_guests(0..12).await;
    stage.all_run(&guests).await;
    for id in &guests[..6] {
        stage.store.delete(&Key::Guest(*id)).await;
    }
    stage.gone(&guests[..6]).await;
    stage.finish().await;
}
