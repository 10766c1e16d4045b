//! The original's protocol with its traps, by their numbers.

use std::time::Duration;

use lochness_agent::client::{AgentError, GuestLookup, Ticket};
use lochness_agent::server::{Compat, Delays, EffectKind, Event, Faults, HostConfig, StateWords};
use lochness_agent::wire::{AgentGuest, AgentJobStatus};
use lochness_api::job::JobAction;

use crate::fixture::{Fixture, bare_ticket, config, guest, guest_id};

fn mistify() -> HostConfig {
    HostConfig { compat: Compat::Mistify, ..config() }
}

#[tokio::test(start_paused = true)]
async fn it_offers_none_of_the_extensions() {
    let agent = Fixture::new(mistify());
    agent.create(1, 1).await;
    assert_eq!(agent.client.capabilities().await.unwrap(), None);
    assert_eq!(agent.raw("GET", "/firewall", &[], "").await.status(), 404);
    let suspend = agent.client.act(guest_id(1), JobAction::Suspend, &bare_ticket(2)).await;
    let expected = "suspend: Not configured".to_owned();
    assert_eq!(suspend, Err(AgentError::Refused { code: 404, message: expected }));
    let resume = agent.client.act(guest_id(1), JobAction::Resume, &bare_ticket(2)).await;
    assert!(matches!(resume, Err(AgentError::Refused { code: 404, .. })), "{resume:?}");
    let list = agent.raw("GET", "/guests?wait=30s", &[("if-none-match", "\"x-1\"")], "").await;
    assert_eq!((list.status().as_u16(), list.headers().get("etag")), (200, None));
}

#[tokio::test(start_paused = true)]
async fn trap_1_a_failing_job_kills_the_agent_and_its_jobs_are_forgotten() {
    let faults = Faults {
        poisoned: [guest_id(1)].into(),
        failed_job_kills_after_ms: Some(3000),
        ..Faults::default()
    };
    let agent = Fixture::new(HostConfig { faults, ..mistify() });
    let remote = agent.client.create(&guest(1), &bare_ticket(1)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let down = agent.client.job(&remote).await;
    assert!(matches!(down, Err(AgentError::NotSent(_))), "{down:?}");
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(agent.client.job(&remote).await.unwrap(), None);
    assert_eq!(agent.state(1).await.as_deref(), Some("create"), "trap 5: the record stays");
}

#[tokio::test(start_paused = true)]
async fn trap_2_the_same_create_twice_runs_twice() {
    let agent = Fixture::new(mistify());
    let first = agent.client.create(&guest(1), &bare_ticket(1)).await.unwrap();
    agent.ended(&first).await;
    let second = agent.client.create(&guest(1), &bare_ticket(1)).await.unwrap();
    assert_ne!(first, second);
    assert_eq!(agent.state(1).await.as_deref(), Some("create"), "a POST overwrites the state");
    agent.ended(&second).await;
    assert_eq!(agent.state(1).await.as_deref(), Some("running"));
    assert_eq!(agent.effects().last(), Some(&EffectKind::Redefined));
}

#[tokio::test(start_paused = true)]
async fn trap_3_some_deleted_guests_are_still_there_for_up_to_a_second() {
    let agent = Fixture::new(mistify());
    let mut seen = 0;
    for number in 0..60 {
        let job = 2 * u64::try_from(number).unwrap();
        let create = agent.client.create(&guest(number), &bare_ticket(job)).await.unwrap();
        agent.ended(&create).await;
        let ticket = bare_ticket(job + 1);
        let delete = agent.client.act(guest_id(number), JobAction::Delete, &ticket).await.unwrap();
        assert_eq!(agent.ended(&delete).await.status, AgentJobStatus::Complete);
        seen += usize::from(agent.state(number).await.is_some());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(agent.state(number).await, None);
    }
    assert!((3..30).contains(&seen), "{seen} of 60");
}

#[tokio::test(start_paused = true)]
async fn trap_3_work_on_a_vanishing_guest_is_lost_stuck_or_damages_the_record_until_it_is_posted_again()
 {
    let (mut lost, mut stuck, mut damaged) = (0, 0, 0);
    for seed in 0..120 {
        let agent = Fixture::new(HostConfig { seed, ..mistify() });
        let create = agent.client.create(&guest(1), &bare_ticket(1)).await.unwrap();
        agent.ended(&create).await;
        let delete =
            agent.client.act(guest_id(1), JobAction::Delete, &bare_ticket(2)).await.unwrap();
        agent.ended(&delete).await;
        if agent.state(1).await.is_none() {
            continue;
        }
        let again = agent.client.create(&guest(1), &bare_ticket(3)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let job = agent.client.job(&again).await.unwrap().unwrap();
        assert_eq!(job.status, AgentJobStatus::Queued, "for ever");
        match agent.client.guest(guest_id(1)).await.unwrap() {
            GuestLookup::Absent => lost += 1,
            GuestLookup::Found(_) => stuck += 1,
            GuestLookup::Damaged => {
                damaged += 1;
                let listed = agent.raw("GET", "/guests", &[], "").await;
                assert!(listed.body().starts_with(b"[{"), "it is listed");
                let start = agent.client.act(guest_id(1), JobAction::Start, &bare_ticket(4)).await;
                assert!(matches!(start, Err(AgentError::Failed { code: 500, .. })), "{start:?}");
            }
        }
        let healed = agent.client.create(&guest(1), &bare_ticket(5)).await.unwrap();
        assert_eq!(agent.ended(&healed).await.status, AgentJobStatus::Complete, "trap 5");
        assert_eq!(agent.state(1).await.as_deref(), Some("running"));
    }
    assert!(lost > 0 && stuck > 0 && damaged > 0, "{lost} lost, {stuck} stuck, {damaged} damaged");
}

#[tokio::test(start_paused = true)]
async fn trap_4_an_action_overwrites_the_record_with_the_guest_of_its_request() {
    let second = Duration::from_secs(1);
    let delays = Delays { start: second, create: second, ..Delays::default() };
    let agent = Fixture::new(HostConfig { delays, ..mistify() });
    let create = agent.client.create(&guest(1), &bare_ticket(1)).await.unwrap();
    agent.ended(&create).await;
    let start = agent.client.act(guest_id(1), JobAction::Start, &bare_ticket(2)).await.unwrap();
    let larger = AgentGuest { memory: 4096, ..guest(1) };
    let create = agent.client.create(&larger, &bare_ticket(3)).await.unwrap();
    assert_eq!(memory(&agent).await, 4096);
    agent.ended(&start).await;
    assert_eq!(memory(&agent).await, 512, "the older action's guest is back");
    agent.ended(&create).await;
    assert_eq!(memory(&agent).await, 4096);
}

async fn memory(agent: &Fixture) -> u64 {
    match agent.client.guest(guest_id(1)).await.unwrap() {
        GuestLookup::Found(guest) => guest.memory,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn trap_7_no_job_survives_a_restart_and_every_guest_does() {
    let agent = Fixture::new(mistify());
    let remote = agent.client.create(&guest(1), &bare_ticket(1)).await.unwrap();
    agent.ended(&remote).await;
    agent.host.happen(Event::KillAgent { down_ms: 0 }).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!(agent.client.job(&remote).await.unwrap(), None);
    assert_eq!(agent.state(1).await.as_deref(), Some("running"));
}

#[tokio::test(start_paused = true)]
async fn the_hundred_and_first_waiting_post_blocks_and_is_carried_out_although_its_client_gave_up()
{
    let delays = Delays { start: Duration::from_millis(100), ..Delays::default() };
    let agent = Fixture::new(HostConfig { delays, ..mistify() });
    let create = agent.client.create(&guest(1), &bare_ticket(1)).await.unwrap();
    agent.ended(&create).await;
    act_within(&agent, 100, Duration::from_secs(1)).await.unwrap();
    agent.until("the first start has begun", |host| host.stats().jobs_begun == 2).await;
    for number in 0..100 {
        act_within(&agent, number, Duration::from_millis(1)).await.unwrap();
    }
    let blocked = act_within(&agent, 200, Duration::from_millis(50)).await;
    assert!(matches!(blocked, Err(AgentError::Unknown(_))), "{blocked:?}");
    agent.until("all 103 jobs have begun", |host| host.stats().jobs_begun == 103).await;
}

async fn act_within(agent: &Fixture, number: u64, budget: Duration) -> Result<String, AgentError> {
    let ticket = Ticket { budget, ..bare_ticket(number) };
    agent.client.act(guest_id(1), JobAction::Start, &ticket).await
}

#[tokio::test(start_paused = true)]
async fn the_log_is_cut_every_minute_to_a_thousand_jobs() {
    let agent = Fixture::new(mistify());
    let first = agent.client.create(&guest(1), &bare_ticket(0)).await.unwrap();
    agent.ended(&first).await;
    for number in 1..1200 {
        let start = act_within(&agent, number, Duration::from_secs(5)).await.unwrap();
        agent.ended(&start).await;
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    let jobs = agent.client.jobs_of(guest_id(1)).await.unwrap();
    assert_eq!(jobs.len(), 1000);
    assert_eq!(agent.client.job(&first).await.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn every_sub_agent_has_its_own_words() {
    for (words, running, off) in [
        (StateWords::Libvirt, "running", "shutoff"),
        (StateWords::Docker, "running", "stopped"),
        (StateWords::Echo, "create", "create"),
    ] {
        let agent = Fixture::new(HostConfig { state_words: words, ..mistify() });
        agent.create(1, 1).await;
        assert_eq!(agent.state(1).await.as_deref(), Some(running), "{words:?}");
        agent.act(1, JobAction::Poweroff, 2).await;
        assert_eq!(agent.state(1).await.as_deref(), Some(off), "{words:?}");
    }
}
