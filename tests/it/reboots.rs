//! Hosts that boot in the middle of their work: with their jobs forgotten, and with their guests lost.

use std::time::Duration;

use lochness_agent::server::{Delays, EffectKind, Event};
use lochness_api::job::{Job, JobStatus};

use crate::harness::{HostOptions, Stage, eventually};

/// A host that takes its time to make a guest, and an operator.
async fn slow(options: HostOptions) -> Stage {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    let delays = Delays { create: Duration::from_millis(600), ..Delays::default() };
    stage.host(&HostOptions { delays, ..options }).await;
    stage.operator("one").await;
    stage
}

/// Waits until the agent has taken so many jobs.
async fn works_on(stage: &Stage, count: usize) {
    eventually("the agent works", async || {
        let jobs = stage.store.below("jobs/").await;
        let jobs = jobs.values().map(|value| Job::parse(value).expect("a job is one"));
        let working = jobs.filter(|job| job.status == JobStatus::Working).count();
        if working >= count { Ok(()) } else { Err(format!("{working} of {count}")) }
    })
    .await;
}

fn count(stage: &Stage, kind: EffectKind) -> usize {
    stage.hosts[0].history().iter().filter(|effect| effect.kind == kind).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_of_the_original_that_forgets_its_jobs_makes_each_guest_once() {
    let stage = slow(HostOptions::mistify("host-1")).await;
    let guests = stage.put_guests(0..6).await;
    for _ in 0..2 {
        works_on(&stage, 2).await;
        stage.hosts[0].happen(Event::KillAgent { down_ms: 300 });
    }
    stage.all_run(&guests).await;
    assert_eq!(count(&stage, EffectKind::Created), guests.len());
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_boots_in_the_middle_of_creates_runs_every_guest_once() {
    let stage = slow(HostOptions::new("host-1")).await;
    let guests = stage.put_guests(0..6).await;
    works_on(&stage, 4).await;
    stage.hosts[0].happen(Event::Reboot);
    stage.all_run(&guests).await;
    assert_eq!(count(&stage, EffectKind::Created), guests.len());
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_boots_without_its_guests_in_the_middle_of_creates_gets_them_all_again() {
    let stage = slow(HostOptions::new("host-1")).await;
    let first = stage.put_guests(0..5).await;
    let before = stage.all_run(&first).await;
    let second = stage.put_guests(5..10).await;
    works_on(&stage, 3).await;
    stage.hosts[0].happen(Event::RebootEmpty);
    // Those that ran need a new life, those that were being made the rest of theirs.
    eventually("the lost ones are made again", async || match count(&stage, EffectKind::Created) {
        enough if enough >= first.len() + second.len() + first.len() => Ok(()),
        few => Err(format!("{few} were made")),
    })
    .await;
    let after = stage.all_run(&[first.clone(), second].concat()).await;
    for id in &first {
        assert_eq!(after[id].placement, before[id].placement, "they keep place and address");
    }
    stage.finish().await;
}
