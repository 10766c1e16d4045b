//! The guest loop's decisions, one guest at a time.

mod create;
mod patience;
mod power;
mod teardown;

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lochness_agent::wire::{GuestState, Power};
use lochness_api::document::Guest;
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::keys::Key;
use lochness_api::status::{ConditionStatus, ConditionType, GuestStatus, Phase, Reason};
use lochness_api::{Document, GuestId, HypervisorId};
use lochness_runtime::controller::{Outcome, ReconcileError};
use serde_json::{Value, json};

use super::GuestReconciler;
use super::plan::{Action, AgentAbilities, Closing, Input, Plan, Sight, TeardownPermit, plan};
use crate::agents::bench::Bench;
use crate::firewall::rules::ClosedGroup;
use crate::outcomes::JobOutcome;
use crate::settings::Settings;
use crate::test_world::placement;
use crate::testing::{Store, id};

const NOW: &str = "2026-01-01T00:10:00Z";

/// A placed guest and what is known of it; each test changes what it is about.
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct Case {
    document: Value,
    /// Its whole status, where that matters; its phase and the like are then not used.
    former: Option<GuestStatus>,
    phase: &'static str,
    reboot: Option<&'static str>,
    job: Option<Job>,
    outcome: Option<Result<(), String>>,
    state: Option<&'static str>,
    host_silent: bool,
    elsewhere: Option<HypervisorId>,
    may_be_on: Option<HypervisorId>,
    address_used_by: Option<GuestId>,
    address: Option<IpAddr>,
    fresh: bool,
    order: bool,
    tells: bool,
    teardown: TeardownPermit,
    paused: Option<&'static str>,
    closed_group: Option<ClosedGroup>,
    ready: Option<Reason>,
    /// Why it is said not to be created.
    created: Option<Reason>,
    /// By a clock that does not jump; the same as by the wall clock if it is not given.
    ended_for: Option<Duration>,
    /// For how long the job has been seen under way, or its end has been known.
    seen_for: Duration,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            document: json!({}),
            former: None,
            phase: "Running",
            reboot: None,
            job: None,
            outcome: None,
            state: Some("running"),
            host_silent: false,
            elsewhere: None,
            may_be_on: None,
            address_used_by: None,
            address: None,
            fresh: true,
            order: true,
            tells: false,
            teardown: TeardownPermit::Granted,
            paused: None,
            closed_group: None,
            ready: None,
            created: None,
            ended_for: None,
            seen_for: Duration::from_secs(60),
        }
    }
}

impl Case {
    fn plan(self) -> Plan {
        let mut store = Store::basics();
        let host = store.host(10, 8192);
        let guest: GuestId = id(100);
        if !self.document.is_null() {
            store.guest(100, &self.document);
        }
        let mut conditions = Vec::new();
        if let Some(reason) = self.ready {
            conditions.push(json!({"type": "Ready", "status": "True", "reason": reason,
                "message": "", "last_transition": NOW}));
        }
        if let Some(reason) = self.created {
            conditions.push(json!({"type": "Created", "status": "False", "reason": reason,
                "message": "", "last_transition": NOW}));
        }
        let plain = json!({
            "phase": self.phase,
            "reboot": self.reboot,
            "conditions": conditions,
            "placement": {"hypervisor": host, "subnet": id::<()>(2), "network": id::<()>(1),
                "ip": "10.0.0.2", "cidr": "10.0.0.0/24", "mac": "02:00:00:00:00:01"},
        });
        let former = self.former.map(|former| serde_json::to_value(former).unwrap());
        store.put(&Key::GuestStatus(guest), &former.unwrap_or(plain));
        let entry = store.world.guest(guest).unwrap();
        let status = entry.status().unwrap();
        let now: Timestamp = NOW.parse().unwrap();
        let outcome = self.outcome.map(|result| JobOutcome { result, finished_at: now });
        let input = Input {
            entry,
            status,
            placement: status.placement.as_ref().unwrap(),
            job: self.job.as_ref(),
            outcome: outcome.as_ref(),
            sight: match (self.host_silent, self.state) {
                (true, _) => Sight::HostSilent,
                (false, None) => Sight::Absent,
                (false, Some(word)) => Sight::Listed {
                    power: GuestState::of(word).power(),
                    word,
                    address: self.address,
                },
            },
            elsewhere: self.elsewhere,
            may_be_on: self.may_be_on,
            address_used_by: self.address_used_by,
            sight_is_fresh: self.fresh,
            agent: AgentAbilities { order: self.order, suspend: true, tells: self.tells },
            teardown: self.teardown,
            paused: self.paused,
            closed_group: self.closed_group,
            name_taken_by: None,
            waiting: None,
            now,
            under_way_for: self.seen_for,
            outcome_for: self.seen_for,
            ended_for: self.ended_for.unwrap_or_else(|| since_end(self.job.as_ref(), now)),
            quarantine: Duration::from_secs(300),
            settings: &Settings::default(),
        };
        plan(&input)
    }
}

/// How long ago the job ended by the wall clock; zero if that is still to come.
fn since_end(job: Option<&Job>, now: Timestamp) -> Duration {
    let ended = job.and_then(|job| job.finished_at);
    ended.and_then(|at| Duration::try_from(now.duration_since(at)).ok()).unwrap_or_default()
}

/// A job that ended so many seconds ago, or is under way.
fn job(action: JobAction, status: JobStatus, attempt: u32, seconds_ago: i64) -> Job {
    let now: Timestamp = NOW.parse().unwrap();
    let ended = matches!(status, JobStatus::Done | JobStatus::Error);
    Job {
        id: id(1),
        remote: None,
        action,
        guest: id(100),
        hypervisor: id(10),
        order: None,
        attempt,
        deadline: None,
        error: None,
        status,
        started_at: None,
        finished_at: ended.then(|| now - SignedDuration::from_secs(seconds_ago)),
    }
}

#[track_caller]
fn written(plan: &Plan) -> &GuestStatus {
    match &plan.action {
        Action::Write { status, .. } => status,
        Action::Free { .. } => panic!("nothing is written, everything freed: {plan:?}"),
    }
}

fn next(plan: &Plan) -> Option<(JobAction, u32)> {
    match &plan.action {
        Action::Write { next, .. } => next.map(|next| (next.action, next.attempt)),
        Action::Free { .. } => None,
    }
}

fn closing(plan: &Plan) -> Option<&Closing> {
    match &plan.action {
        Action::Write { close, .. } | Action::Free { close } => close.as_ref(),
    }
}

#[track_caller]
fn condition(status: &GuestStatus, kind: ConditionType) -> (ConditionStatus, Reason, &str) {
    let found = status.conditions.iter().find(|condition| condition.kind == kind);
    let found = found.unwrap_or_else(|| panic!("no {kind} in {status:?}"));
    (found.status, found.reason, &found.message)
}

#[test]
fn a_guest_that_runs_as_wanted_is_ready_and_gets_no_job() {
    let plan = Case::default().plan();
    assert_eq!(next(&plan), None);
    let status = written(&plan);
    assert_eq!(status.phase, Phase::Running);
    assert_eq!(condition(status, ConditionType::Ready).0, ConditionStatus::True);
    assert!(status.observed.is_some(), "the status says which document it answers");
}

#[test]
fn a_list_from_before_the_newest_jobs_end_takes_nothing_back() {
    // It was suspended, its owner wants it to run again, and the list still shows it as it was before.
    let job = Some(job(JobAction::Suspend, JobStatus::Done, 0, 0));
    let plan = Case { phase: "Suspended", job, fresh: false, ..Case::default() }.plan();
    assert_eq!((written(&plan).phase, next(&plan)), (Phase::Suspended, None));
    assert_eq!(written(&plan).observed, None, "the new document is not answered yet");
    assert!(plan.again_in.is_some());
}

#[test]
fn a_silent_host_makes_its_guests_unknown_and_moves_nothing() {
    let plan = Case { host_silent: true, ..Case::default() }.plan();
    assert_eq!(next(&plan), None);
    assert_eq!(written(&plan).phase, Phase::Unknown);
    let gone = Case { host_silent: true, document: Value::Null, ..Case::default() }.plan();
    assert_eq!(next(&gone), Some((JobAction::Delete, 0)), "the intent is written all the same");
}

#[test]
fn the_end_of_a_job_is_written_with_the_status() {
    let plan = Case {
        phase: "Creating",
        job: Some(job(JobAction::Create, JobStatus::Working, 0, 0)),
        outcome: Some(Ok(())),
        ..Case::default()
    }
    .plan();
    assert!(closing(&plan).is_some_and(|closing| closing.result.is_ok()));
    assert_eq!(written(&plan).phase, Phase::Running);
}

#[test]
fn nothing_is_started_or_torn_down_while_paused() {
    let paused = |document, state| {
        let who = Some("its hypervisor (config/pause)");
        next(&Case { document, state, paused: who, ..Case::default() }.plan())
    };
    assert_eq!(paused(json!({}), Some("crashed")), None);
    assert_eq!(paused(json!({"state": "stopped"}), Some("running")), None);
    assert_eq!(paused(Value::Null, Some("running")), None);
}

#[test]
fn a_firewall_group_that_does_not_exist_is_told_and_stops_nothing() {
    let plan = Case { closed_group: Some(ClosedGroup::Missing(id(7))), ..Case::default() }.plan();
    let (status, reason, _) = condition(written(&plan), ConditionType::FirewallApplied);
    assert_eq!((status, reason), (ConditionStatus::False, Reason::FwGroupMissing));
    assert_eq!(written(&plan).phase, Phase::Running);
    let plan = Case::default().plan();
    let told = &written(&plan).conditions;
    assert!(told.iter().all(|condition| condition.kind != ConditionType::FirewallApplied));
}

#[test]
fn a_pause_of_its_own_is_told_of_a_guest_that_runs_too() {
    let document = json!({"metadata": {"pause": "true"}});
    let plan = Case { document, ..Case::default() }.plan();
    assert_eq!(condition(written(&plan), ConditionType::Progressing).1, Reason::Paused);
}

#[test]
fn a_document_that_no_longer_parses_stops_nothing() {
    let mut store = Store::basics();
    let guest = store.guest(100, &json!({"state": "stopped"}));
    store.put_text(&Key::Guest(guest), "{\"state\": \"flying\"}");
    let entry = store.world.guest(guest).unwrap();
    let understood: &Guest = entry.understood().unwrap();
    assert_eq!(understood.to_json()["state"], "stopped");
    assert!(entry.document.as_ref().unwrap().invalid.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_a_guest_stands_until_its_host_was_asked() {
    let bench = Bench::new().await;
    let (guest, host): (GuestId, HypervisorId) = (id(100), id(1));
    let status = GuestStatus {
        phase: Phase::Running,
        placement: Some(placement(100, host, id(2))),
        ..GuestStatus::default()
    };
    bench
        .put(&[
            (Key::Hypervisor(host), json!({"ip": "192.0.2.1"})),
            (Key::Heartbeat(host), json!("alive")),
            (Key::Guest(guest), json!({"flavor": id::<u8>(1), "network": id::<u8>(1)})),
            (Key::GuestStatus(guest), json!(status)),
        ])
        .await;
    let guests = GuestReconciler::new(bench.context.clone());
    let ready = |plan: &Plan| {
        let conditions = &written(plan).conditions;
        conditions.iter().find(|it| it.kind == ConditionType::Ready).map(|it| it.reason)
    };
    assert_eq!(ready(&guests.step(guest).unwrap().plan), None, "a new leader has yet to ask");
    while bench.context.queues.guest.try_next().is_some() {
        bench.context.queues.guest.done(&guest);
    }
    bench.until("nobody answers", || bench.context.queues.guest.try_next().is_some()).await;
    let plan = guests.step(guest).unwrap().plan;
    assert_eq!(ready(&plan), Some(Reason::HostUnreachable));
    bench.end().await;
}
