//! The list that waits.

use std::time::Duration;

use lochness_agent::client::{AgentError, GuestList, Wait};
use lochness_agent::server::{Event, Faults, ReplyFault};
use tokio::time::Instant;

use crate::fixture::{Fixture, config, guest_id};

async fn tag(agent: &Fixture) -> String {
    match agent.client.list_guests(None).await.unwrap() {
        GuestList::Complete { tag: Some(tag), .. } => tag,
        other => panic!("{other:?}"),
    }
}

fn wait(tag: &str) -> Wait<'_> {
    Wait { at_most: Duration::from_secs(30), tag: Some(tag) }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_did_not_change_is_answered_at_the_end_of_the_wait() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    let tag = tag(&agent).await;
    let began = Instant::now();
    assert_eq!(agent.client.list_guests(Some(wait(&tag))).await.unwrap(), GuestList::Unchanged);
    assert_eq!(began.elapsed(), Duration::from_secs(30));
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_dies_is_seen_at_once() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    let tag = tag(&agent).await;
    let began = Instant::now();
    let dies = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        agent.host.happen(Event::CrashGuest(guest_id(1))).unwrap();
    };
    let (list, ()) = tokio::join!(agent.client.list_guests(Some(wait(&tag))), dies);
    let GuestList::Complete { guests, tag: Some(newer), .. } = list.unwrap() else { panic!() };
    assert_eq!(guests[0].state, "crashed");
    assert_eq!(began.elapsed(), Duration::from_secs(7));
    assert_ne!(newer, tag);
}

#[tokio::test(start_paused = true)]
async fn a_tag_of_a_former_life_is_no_tag_of_this_one() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    let tag = tag(&agent).await;
    agent.host.happen(Event::KillAgent { down_ms: 0 }).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let list = agent.client.list_guests(Some(wait(&tag))).await.unwrap();
    assert!(matches!(list, GuestList::Complete { .. }), "{list:?}");
}

#[tokio::test(start_paused = true)]
async fn a_death_of_the_agent_ends_the_wait() {
    let agent = Fixture::new(config());
    let tag = tag(&agent).await;
    let dies = async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        agent.host.happen(Event::KillAgent { down_ms: 60_000 }).unwrap();
    };
    let (list, ()) = tokio::join!(agent.client.list_guests(Some(wait(&tag))), dies);
    assert!(matches!(list, Err(AgentError::Unknown(_))), "{list:?}");
}

#[tokio::test(start_paused = true)]
async fn faults_of_answers_are_errors_and_never_shorter_lists() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    for (fault, reason) in [
        (ReplyFault::Status(500), "AgentFailed"),
        (ReplyFault::Status(404), "Refused"),
        (ReplyFault::Truncated, "Garbled"),
        (ReplyFault::Redirect, "Refused"),
        (ReplyFault::Hang, "NoAnswer"),
    ] {
        let faults = Faults { reply: Some(fault), ..Faults::default() };
        agent.host.set_faults(faults, Some(Duration::from_secs(60)));
        let error = agent.client.list_guests(None).await.unwrap_err();
        assert_eq!(error.reason(), reason, "{fault:?}");
    }
    tokio::time::sleep(Duration::from_secs(61)).await;
    agent.client.list_guests(None).await.expect("faults end by themselves");
}
