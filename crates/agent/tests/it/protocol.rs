//! Sections 1–3: what the original answers, ours answers the same.

use std::time::Duration;

use lochness_agent::client::{AgentError, GuestList, GuestLookup};
use lochness_agent::server::{Delays, EffectKind, Faults, HostConfig};
use lochness_agent::wire::{AgentImage, AgentJobStatus, ImageFetch};
use lochness_api::ImageId;
use lochness_api::job::JobAction;
use serde_json::Value;
use uuid::Uuid;

use crate::fixture::{Fixture, config, guest, guest_id, ticket};

#[tokio::test(start_paused = true)]
async fn a_created_guest_runs_and_a_deleted_one_is_gone_when_its_job_is_complete() {
    let agent = Fixture::new(config());
    assert_eq!(agent.create(1, 10).await.status, AgentJobStatus::Complete);
    assert_eq!(agent.state(1).await.as_deref(), Some("running"));
    assert_eq!(agent.act(1, JobAction::Delete, 11).await.status, AgentJobStatus::Complete);
    assert_eq!(agent.state(1).await, None);
    assert_eq!(
        agent.effects(),
        [EffectKind::Created, EffectKind::Started, EffectKind::Stopped, EffectKind::Deleted]
    );
    let history = agent.host.history();
    assert_eq!((history[1].job, history[1].order), (Some(ticket(10).job), ticket(10).order));
    assert_eq!(history[1].addresses, ["10.1.0.1"]);
}

#[tokio::test(start_paused = true)]
async fn every_action_leads_to_its_state() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    let steps = [
        (JobAction::Suspend, "paused"),
        (JobAction::Resume, "running"),
        (JobAction::Shutdown, "shutoff"),
        (JobAction::Start, "running"),
        (JobAction::Reboot, "running"),
        (JobAction::Poweroff, "shutoff"),
        (JobAction::Restart, "running"),
    ];
    for (number, (action, state)) in steps.into_iter().enumerate() {
        let job = agent.act(1, action, 2 + number as u64).await;
        assert_eq!(job.status, AgentJobStatus::Complete, "{action}: {}", job.message);
        assert_eq!(agent.state(1).await.as_deref(), Some(state), "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_job_is_an_error_of_the_job_and_never_of_http() {
    let agent = Fixture::new(HostConfig {
        faults: Faults { failing_jobs: 1000, ..Faults::default() },
        ..config()
    });
    let job = agent.create(1, 1).await;
    assert_eq!(job.status, AgentJobStatus::Error);
    assert!(!job.message.is_empty());
    assert_eq!(agent.state(1).await.as_deref(), Some("shutoff"), "its record stays");
    assert_eq!(agent.effects(), []);
}

#[tokio::test(start_paused = true)]
async fn paths_and_methods_are_answered_as_the_original_does() {
    let agent = Fixture::new(config());
    for (method, path, status) in [
        ("GET", "/metadata", 200),
        ("GET", "/nothing", 404),
        ("DELETE", "/metadata", 404),
        ("DELETE", "/guests/x", 404),
        ("GET", "/guests/x/start", 404),
        ("POST", "/guests/x/dance", 404),
        ("POST", "/guests/", 301),
        ("GET", "//guests", 301),
        ("GET", "/guests//x", 301),
        ("GET", "/jobs/none", 404),
        ("GET", "/images/none", 404),
    ] {
        let answer = agent.raw(method, path, &[], "").await;
        assert_eq!(answer.status().as_u16(), status, "{method} {path}");
    }
    let moved = agent.raw("POST", "/guests//x/", &[], "").await;
    assert_eq!(moved.headers()["location"], "/guests/x");
    let unknown = agent.raw("DELETE", "/metadata", &[], "").await;
    assert_eq!(unknown.headers()["content-type"], "text/plain; charset=utf-8");
}

#[tokio::test(start_paused = true)]
async fn empty_lists_of_guests_and_images_are_null_and_of_jobs_an_array() {
    let agent = Fixture::new(config());
    assert_eq!(agent.raw("GET", "/guests", &[], "").await.body(), "null");
    assert_eq!(agent.raw("GET", "/images", &[], "").await.body(), "null");
    assert_eq!(agent.raw("GET", "/jobs", &[], "").await.body(), "[]");
    assert_eq!(agent.raw("GET", "/metadata", &[], "").await.body(), "{}");
    let list = agent.client.list_guests(None).await.unwrap();
    assert!(matches!(list, GuestList::Complete { guests, .. } if guests.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn a_guest_without_id_gets_one_and_one_with_a_bad_id_is_refused() {
    let agent = Fixture::new(config());
    let answer = agent.raw("POST", "/guests", &[], "{}").await;
    assert_eq!(answer.status(), 202);
    let made: Value = serde_json::from_slice(answer.body()).unwrap();
    assert!(Uuid::parse_str(made["id"].as_str().unwrap()).is_ok());
    assert_eq!(made["state"], "create");
    assert!(answer.headers().contains_key("X-Guest-Job-ID"));
    for body in [r#"{"id":"web-1"}"#, r#"{"id":7}"#, "{", "[]"] {
        let answer = agent.raw("POST", "/guests", &[], body).await;
        assert_eq!(answer.status(), 400, "{body}");
        let error: Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(error["code"], 400);
    }
}

#[tokio::test(start_paused = true)]
async fn ids_are_compared_as_text() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    let path = format!("/guests/{}", guest_id(1).to_string().to_uppercase());
    assert_eq!(agent.raw("GET", &path, &[], "").await.status(), 404);
}

#[tokio::test(start_paused = true)]
async fn jobs_of_a_guest_run_one_at_a_time_and_those_of_others_beside_them() {
    let delays = Delays { create: Duration::from_secs(10), ..Delays::default() };
    let agent = Fixture::new(HostConfig { delays, ..config() });
    let first = agent.client.create(&guest(1), &ticket(1)).await.unwrap();
    let second = agent.client.create(&guest(2), &ticket(2)).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    for remote in [&first, &second] {
        let job = agent.client.job(remote).await.unwrap().unwrap();
        assert_eq!(job.status, AgentJobStatus::Running);
        assert!(job.started_at.is_some());
    }
    let stop = agent.client.act(guest_id(1), JobAction::Poweroff, &ticket(3)).await.unwrap();
    let waiting = agent.client.job(&stop).await.unwrap().unwrap();
    assert_eq!((waiting.status, waiting.started_at), (AgentJobStatus::Queued, None));
    agent.ended(&stop).await;
    assert_eq!(agent.state(1).await.as_deref(), Some("shutoff"));
    let jobs = agent.client.jobs_of(guest_id(1)).await.unwrap();
    let actions: Vec<_> = jobs.iter().map(|job| job.action.as_str()).collect();
    assert_eq!(actions, ["poweroff", "create"], "newest first, and none of the other guest");
}

#[tokio::test(start_paused = true)]
async fn an_image_is_fetched_once() {
    let agent = Fixture::new(config());
    let fetch = ImageFetch {
        id: ImageId::new(Uuid::from_u128(7)),
        image_type: "kvm".into(),
        source: "http://images/7".into(),
        sha256: None,
    };
    for _ in 0..2 {
        let remote = agent.client.fetch_image(&fetch, Duration::from_secs(5)).await.unwrap();
        let job = agent.ended(&remote).await;
        assert_eq!((job.guest_id.as_str(), job.action.as_str()), ("agent", "fetchImage"));
        assert_eq!(job.status, AgentJobStatus::Complete);
    }
    let images = agent.client.images().await.unwrap();
    assert_eq!(images.iter().map(AgentImage::image_id).collect::<Vec<_>>(), [Some(fetch.id)]);
    assert_eq!(agent.effects(), [EffectKind::ImageFetched]);
    let missing = agent.raw("POST", "/images", &[], r#"{"type":"kvm"}"#).await;
    assert_eq!(missing.status(), 400);
    assert_eq!(agent.raw("GET", "/images?type=docker", &[], "").await.body(), "null");
}

#[tokio::test(start_paused = true)]
async fn the_hundred_and_first_waiting_job_is_refused() {
    let agent = Fixture::new(HostConfig {
        faults: Faults { hang_jobs: true, ..Faults::default() },
        ..config()
    });
    agent.client.create(&guest(1), &ticket(1)).await.unwrap();
    agent.until("the first job has begun", |host| host.stats().jobs_begun == 1).await;
    for number in 2..=101 {
        agent.client.act(guest_id(1), JobAction::Start, &ticket(number)).await.unwrap();
    }
    let refused = agent.client.act(guest_id(1), JobAction::Start, &ticket(102)).await;
    assert!(matches!(refused, Err(AgentError::Refused { code: 429, .. })), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn the_log_of_jobs_is_bounded() {
    let agent = Fixture::new(config());
    agent.create(1, 1).await;
    for number in 2..600 {
        agent.act(1, JobAction::Start, number).await;
    }
    let jobs = agent.client.jobs_of(guest_id(1)).await.unwrap();
    assert!((200..=300).contains(&jobs.len()), "{}", jobs.len());
    assert_eq!(agent.client.guest(guest_id(2)).await.unwrap(), GuestLookup::Absent);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_asked_for_when_one_is_set() {
    let agent = Fixture::new(HostConfig { bearer: Some("secret".into()), ..config() });
    assert_eq!(agent.raw("GET", "/guests", &[], "").await.status(), 401);
    let wrong = [("authorization", "Bearer secre")];
    assert_eq!(agent.raw("GET", "/guests", &wrong, "").await.status(), 401);
    let right = [("authorization", "Bearer secret")];
    assert_eq!(agent.raw("GET", "/guests", &right, "").await.status(), 200);
}
