//! The job loop with real agents of this process: ours, and the original with its traps.

use std::collections::BTreeSet;
use std::time::Duration;

use lochness_agent::server::{
    Compat, Delays, EffectKind, Event, Faults, Host, HostConfig, StateWords,
};
use lochness_api::job::{JobAction, JobStatus};
use lochness_api::keys::Key;
use lochness_api::{GuestId, JobId};
use serde_json::json;
use tokio::time::Instant;

use super::SUPERSEDED;
use crate::agents::Numbers;
use crate::agents::bench::Bench;
use crate::test_world::id;

const HOST: usize = 1;
const GUEST: usize = 10;
const BOTH: [Compat; 2] = [Compat::Lochness, Compat::Mistify];

fn count(host: &Host, kind: EffectKind) -> usize {
    host.history().iter().filter(|effect| effect.kind == kind).count()
}

fn status(bench: &Bench, job: JobId) -> Option<JobStatus> {
    bench.context.world.read().job(job)?.value.as_ref().map(|job| job.status)
}

#[tokio::test(start_paused = true)]
async fn a_guest_is_created_stopped_started_and_deleted_by_either_agent() {
    for compat in BOTH {
        let bench = Bench::new().await;
        let host = bench.host(HOST, compat).await;
        bench.done(bench.place(GUEST, HOST, JobAction::Create).await).await;
        bench.until("it is listed", || bench.listed(HOST) == Some(1)).await;
        for action in [JobAction::Shutdown, JobAction::Start, JobAction::Reboot, JobAction::Delete]
        {
            bench.done(bench.next(GUEST, HOST, action).await).await;
        }
        bench.until("it is not listed", || bench.listed(HOST) == Some(0)).await;
        let effects = [
            (EffectKind::Created, 1),
            (EffectKind::Started, 2),
            (EffectKind::Rebooted, 1),
            (EffectKind::Deleted, 1),
        ];
        for (kind, times) in effects {
            assert_eq!(count(&host, kind), times, "{kind:?} {:?}", host.history());
        }
        assert_eq!(count(&host, EffectKind::Stopped), 2, "by shutdown and by delete");
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_accepted_job_is_written_with_remote_order_and_deadline() {
    let bench = Bench::new().await;
    let delays = Delays { create: Duration::from_secs(30), ..Delays::default() };
    let config = HostConfig { delays, ..HostConfig::new(id(HOST), "host") };
    let _host = bench.host_with(HOST, config).await;
    let job = bench.place(GUEST, HOST, JobAction::Create).await;
    bench.until("it works", || status(&bench, job) == Some(JobStatus::Working)).await;
    let stored = bench.context.world.read().job(job).cloned().unwrap();
    let written = stored.value.unwrap();
    assert!(written.remote.is_some());
    let order = bench.context.order(stored.create_revision).to_string();
    assert_eq!(written.order, Some(order));
    let allowed = written.deadline.unwrap().duration_since(written.started_at.unwrap());
    assert_eq!(allowed.unsigned_abs(), bench.context.settings.create_deadline);
    bench.done(job).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_a_guest_that_our_agent_never_had_is_sent_and_counts_as_done() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Lochness).await;
    bench.done(bench.place(GUEST, HOST, JobAction::Delete).await).await;
    assert_eq!(host.stats().mutations, 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_of_a_guest_that_the_original_does_not_have_is_done_without_a_request() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Mistify).await;
    bench.done(bench.place(GUEST, HOST, JobAction::Delete).await).await;
    assert_eq!(host.stats().mutations, 0);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_lost_lead_to_no_second_effect() {
    for compat in BOTH {
        let bench = Bench::new().await;
        let host = bench.host(HOST, compat).await;
        bench.until("it is listed", || bench.listed(HOST) == Some(0)).await;
        host.set_faults(Faults { lost_answers: 500, ..Faults::default() }, None);
        bench.done(bench.place(GUEST, HOST, JobAction::Create).await).await;
        bench.done(bench.next(GUEST, HOST, JobAction::Reboot).await).await;
        assert_eq!(count(&host, EffectKind::Created), 1, "{:?}", host.history());
        assert_eq!(count(&host, EffectKind::Redefined), 0);
        assert_eq!(count(&host, EffectKind::Rebooted), 1);
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_waits_for_the_one_before_it_that_counts_as_failed_and_is_under_way() {
    let bench = Bench::new().await;
    let delays = Delays { create: Duration::from_secs(30), ..Delays::default() };
    let config = HostConfig { delays, ..HostConfig::new(id(HOST), "host") };
    let host = bench.host_with(HOST, config).await;
    let first = bench.place(GUEST, HOST, JobAction::Create).await;
    bench.until("it works", || status(&bench, first) == Some(JobStatus::Working)).await;
    bench.done(bench.next(GUEST, HOST, JobAction::Create).await).await;
    assert_eq!(count(&host, EffectKind::Created), 1);
    assert_eq!(count(&host, EffectKind::Redefined), 0, "its record is not replaced while it runs");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_original_that_only_echoes_the_state_is_believed_by_its_jobs() {
    let bench = Bench::new().await;
    let config = HostConfig {
        compat: Compat::Mistify,
        state_words: StateWords::Echo,
        ..HostConfig::new(id(HOST), "host")
    };
    let host = bench.host_with(HOST, config).await;
    bench.done(bench.place(GUEST, HOST, JobAction::Create).await).await;
    bench.done(bench.next(GUEST, HOST, JobAction::Shutdown).await).await;
    bench.done(bench.next(GUEST, HOST, JobAction::Delete).await).await;
    assert_eq!(count(&host, EffectKind::Created), 1);
    assert_eq!(count(&host, EffectKind::Deleted), 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn trap_1_a_poisoned_guest_does_not_keep_its_agent_down() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Mistify).await;
    let faults = Faults {
        poisoned: BTreeSet::from([id(GUEST)]),
        failed_job_kills_after_ms: Some(200),
        ..Faults::default()
    };
    host.set_faults(faults, None);
    let poisoned = bench.place(GUEST, HOST, JobAction::Create).await;
    assert!(bench.end_of(poisoned).await.is_err());
    let begun = Instant::now();
    bench.done(bench.place(11, HOST, JobAction::Create).await).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn trap_6_a_job_that_never_ends_fails_at_its_deadline() {
    for compat in BOTH {
        let bench = Bench::new().await;
        let host = bench.host(HOST, compat).await;
        host.set_faults(Faults { hang_jobs: true, ..Faults::default() }, None);
        let begun = Instant::now();
        let end = bench.end_of(bench.place(GUEST, HOST, JobAction::Create).await).await;
        assert!(end.is_err_and(|why| why.contains("deadline") && why.contains("running")));
        let limit = bench.context.settings.create_deadline;
        assert!(begun.elapsed() >= limit && begun.elapsed() < limit + Duration::from_secs(10));
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn trap_7_a_job_that_the_agent_forgot_is_judged_by_the_guest() {
    for compat in BOTH {
        let bench = Bench::new().await;
        let host = bench.host(HOST, compat).await;
        host.set_faults(Faults { forget_jobs: true, ..Faults::default() }, None);
        bench.done(bench.place(GUEST, HOST, JobAction::Create).await).await;
        bench.done(bench.next(GUEST, HOST, JobAction::Delete).await).await;
        assert_eq!(count(&host, EffectKind::Created), 1);
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_job_of_a_silent_host_waits_and_ends_when_the_host_is_back() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Lochness).await;
    bench.until("it is listed", || bench.listed(HOST) == Some(0)).await;
    host.happen(Event::KillAgent { down_ms: 400_000 }).unwrap();
    let begun = Instant::now();
    let job = bench.place(GUEST, HOST, JobAction::Shutdown).await;
    let ended = bench.end_of(job).await;
    assert!(ended.is_err_and(|why| why.contains("not found")), "it never had the guest");
    assert!(begun.elapsed() >= Duration::from_secs(399), "{:?}", begun.elapsed());
    assert_eq!(host.stats().mutations, 1);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_refuses_an_old_order_ends_the_job() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Lochness).await;
    bench.until("it is listed", || bench.listed(HOST) == Some(0)).await;
    // Somebody with a higher number was there.
    let agent = bench.context.agents.agent_at(id(HOST), "192.0.2.1:8080".to_owned());
    let newer = lochness_agent::wire::Order::new(crate::agents::bench::INCARNATION + 1, 1);
    let guest: GuestId = id(GUEST);
    let numbers = Numbers { order: Some(newer), ruleset: None };
    let absent = agent.act(guest, JobAction::Delete, id(99), numbers).await;
    assert!(absent.is_err());
    let end = bench.end_of(bench.place(GUEST, HOST, JobAction::Create).await).await;
    assert!(end.is_err_and(|why| why.contains("order")));
    assert_eq!(count(&host, EffectKind::Created), 0);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_job_that_no_status_names_is_closed_and_not_sent() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Lochness).await;
    let orphan: JobId = id(99);
    let document = json!({"id": orphan, "guest": id::<u8>(GUEST), "hypervisor": id::<u8>(HOST),
        "action": "create", "status": "new"});
    bench.put(&[(Key::Job(orphan), document)]).await;
    bench.until("it is closed", || status(&bench, orphan) == Some(JobStatus::Error)).await;
    let stored = bench.context.world.read().job(orphan).cloned().unwrap();
    assert_eq!(stored.value.unwrap().error.as_deref(), Some(SUPERSEDED));
    assert_eq!(host.stats().mutations, 0);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_cluster_is_paused() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Lochness).await;
    let pause = Key::Config("pause".to_owned());
    bench.put(&[(pause.clone(), json!(true))]).await;
    let job = bench.place(GUEST, HOST, JobAction::Delete).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(host.stats().mutations, 0);
    bench.put(&[(pause, json!(false))]).await;
    bench.done(job).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_to_an_address_that_another_host_has() {
    let bench = Bench::new().await;
    let host = bench.host(HOST, Compat::Lochness).await;
    let other = bench.host(2, Compat::Lochness).await;
    bench
        .until("both are listed", || [HOST, 2].map(|host| bench.listed(host)) == [Some(0); 2])
        .await;
    let at =
        |number: usize| [(Key::Hypervisor(id(HOST)), json!({"ip": format!("192.0.2.{number}")}))];
    bench.put(&at(2)).await;
    let job = bench.place(GUEST, HOST, JobAction::Create).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(other.stats().mutations, 0, "{:?}", other.history());
    bench.put(&at(HOST)).await;
    bench.done(job).await;
    assert_eq!((count(&host, EffectKind::Created), other.stats().mutations), (1, 0));
    bench.end().await;
}
