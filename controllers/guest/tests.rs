//! The guest loop's decisions, one guest at a time.

mod patience;

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
fn a_guest_that_another_host_lists_is_not_made_a_second_time() {
    let absent = || Case { state: None, ..Case::default() };
    assert_eq!(next(&absent().plan()), Some((JobAction::Create, 0)));
    let plan = Case { may_be_on: Some(id(11)), ..absent() }.plan();
    assert_eq!(next(&plan), None, "nobody knows yet");
    assert!(plan.again_in.is_some());
    let stopped = || Case { state: Some("shutoff"), phase: "Stopped", ..Case::default() };
    assert_eq!(next(&stopped().plan()), Some((JobAction::Start, 0)));
    let plan = Case { elsewhere: Some(id(11)), ..stopped() }.plan();
    assert_eq!(next(&plan), None, "nor started beside it");
    let other = Some("10.0.0.99".parse().unwrap());
    let plan = Case { address: other, ..stopped() }.plan();
    assert_eq!(next(&plan), None, "nor with an address that is not reserved for it");
    let (ready, reason, _) = condition(written(&plan), ConditionType::Ready);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::AdoptionConflict));
    for case in [absent(), stopped()] {
        let plan = Case { address_used_by: Some(id(77)), ..case }.plan();
        assert_eq!(next(&plan), None, "nor while another guest has its address");
        assert!(plan.again_in.is_some());
    }
    let plan = Case { elsewhere: Some(id(11)), ..absent() }.plan();
    assert_eq!(next(&plan), None);
    let status = written(&plan);
    assert_eq!(status.phase, Phase::Unknown);
    let (ready, reason, message) = condition(status, ConditionType::Ready);
    assert_eq!((ready, reason), (ConditionStatus::False, Reason::AdoptionConflict));
    assert!(message.contains(&id::<HypervisorId>(11).to_string()), "{message}");
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
fn a_guest_that_died_is_started_again_and_waits_longer_each_time() {
    let died = |job| Case { state: Some("crashed"), job, ..Case::default() }.plan();
    assert_eq!(next(&died(None)), Some((JobAction::Start, 0)));
    let long_ago = Some(job(JobAction::Start, JobStatus::Done, 3, 3600));
    assert_eq!(next(&died(long_ago)), Some((JobAction::Start, 0)));
    let lately = Some(job(JobAction::Start, JobStatus::Done, 3, 1));
    let plan = died(lately);
    assert_eq!((next(&plan), plan.again_in), (None, Some(Duration::from_secs(3))));
    let waited = Some(job(JobAction::Start, JobStatus::Done, 3, 4));
    assert_eq!(next(&died(waited)), Some((JobAction::Start, 4)));
}

#[test]
fn a_clock_that_jumped_back_delays_an_attempt_by_no_more_than_its_whole_wait() {
    let after = |ended_for| {
        let job = Some(job(JobAction::Start, JobStatus::Error, 0, -86_400));
        Case { state: Some("shutoff"), job, ended_for: Some(ended_for), ..Case::default() }.plan()
    };
    assert_eq!(after(Duration::ZERO).again_in, Some(Duration::from_millis(500)));
    assert_eq!(next(&after(Duration::from_secs(1))), Some((JobAction::Start, 1)));
}

#[test]
fn restart_decides_about_a_guest_that_stopped_by_itself() {
    let stopped = |restart: &str, state| {
        let document = json!({"restart": restart});
        next(&Case { document, state: Some(state), ..Case::default() }.plan())
    };
    let start = Some((JobAction::Start, 0));
    assert_eq!(stopped("always", "shutoff"), start);
    assert_eq!(stopped("on-failure", "crashed"), start);
    assert_eq!(stopped("on-failure", "shutoff"), None);
    assert_eq!(stopped("never", "crashed"), None);
}

#[test]
fn a_guest_that_was_stopped_on_purpose_starts_again_whatever_restart_says() {
    let plan = Case {
        document: json!({"restart": "never"}),
        phase: "Stopped",
        state: Some("shutoff"),
        ready: Some(Reason::Stopped),
        ..Case::default()
    }
    .plan();
    assert_eq!(next(&plan), Some((JobAction::Start, 0)));
}

#[test]
fn stopping_asks_first_and_cuts_the_power_when_asking_did_not_help() {
    let stop = |job| Case { document: json!({"state": "stopped"}), job, ..Case::default() }.plan();
    assert_eq!(next(&stop(None)), Some((JobAction::Shutdown, 0)));
    let in_vain = Some(job(JobAction::Shutdown, JobStatus::Error, 0, 60));
    assert_eq!(next(&stop(in_vain)), Some((JobAction::Poweroff, 0)));
}

#[test]
fn a_guest_that_was_asked_to_shut_down_has_its_grace_and_then_loses_its_power() {
    let after = |phase, seconds| {
        let job = Some(job(JobAction::Shutdown, JobStatus::Done, 0, seconds));
        Case { document: json!({"state": "stopped"}), phase, job, ..Case::default() }.plan()
    };
    let waiting = after("Stopping", 20);
    assert_eq!((next(&waiting), waiting.again_in), (None, Some(Duration::from_secs(40))));
    assert_eq!(written(&waiting).phase, Phase::Stopping);
    assert_eq!(next(&after("Stopping", 60)), Some((JobAction::Poweroff, 0)));
    // It was down since, and somebody started it by hand.
    assert_eq!(next(&after("Stopped", 3600)), Some((JobAction::Shutdown, 0)));
}

#[test]
fn a_shutdown_that_is_done_is_not_yet_a_guest_at_rest() {
    let after = |state| {
        let job = Some(job(JobAction::Shutdown, JobStatus::Working, 0, 0));
        let document = json!({"state": "stopped"});
        let outcome = Some(Ok(()));
        let case = Case { document, phase: "Stopping", job, outcome, state, ..Case::default() };
        written(&case.plan()).phase
    };
    assert_eq!(after(Some("running")), Phase::Stopping);
    assert_eq!(after(Some("shutoff")), Phase::Stopped);
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
fn suspending_and_resuming_follow_the_wish() {
    let suspend = Case { document: json!({"state": "suspended"}), ..Case::default() }.plan();
    assert_eq!(next(&suspend), Some((JobAction::Suspend, 0)));
    let resume = Case { state: Some("paused"), phase: "Suspended", ..Case::default() }.plan();
    assert_eq!(next(&resume), Some((JobAction::Resume, 0)));
}

#[test]
fn a_new_reboot_token_is_one_reboot() {
    let with = |token, done, job| {
        Case { document: json!({"reboot": token}), reboot: done, job, ..Case::default() }.plan()
    };
    let plan = with("b", Some("a"), None);
    assert_eq!(next(&plan), Some((JobAction::Reboot, 0)));
    assert_eq!(written(&plan).reboot.as_deref(), Some("b"));
    assert_eq!(
        next(&with("b", Some("b"), Some(job(JobAction::Reboot, JobStatus::Done, 0, 1)))),
        None
    );
}

#[test]
fn a_reboot_token_that_comes_while_it_is_stopped_counts_as_done() {
    let plan = Case {
        document: json!({"state": "stopped", "reboot": "b"}),
        phase: "Stopped",
        reboot: Some("a"),
        state: Some("shutoff"),
        ..Case::default()
    }
    .plan();
    assert_eq!(next(&plan), None);
    assert_eq!(written(&plan).reboot.as_deref(), Some("b"));
}

#[test]
fn a_guest_that_a_complete_list_does_not_have_is_created_again() {
    let plan = Case { state: None, ..Case::default() }.plan();
    assert_eq!(next(&plan), Some((JobAction::Create, 0)));
}

#[test]
fn a_list_from_before_the_newest_job_ended_starts_nothing() {
    let job = Some(job(JobAction::Create, JobStatus::Done, 0, 0));
    let plan = Case { state: None, fresh: false, job, ..Case::default() }.plan();
    assert_eq!(next(&plan), None);
    assert_eq!(written(&plan).phase, Phase::Running, "nothing moves on old news");
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
fn a_create_that_failed_says_why_and_is_tried_again() {
    let words = "no space left on pool";
    let plan = Case {
        phase: "Creating",
        job: Some(job(JobAction::Create, JobStatus::Working, 0, 0)),
        outcome: Some(Err(words.to_owned())),
        state: Some("create"),
        ..Case::default()
    }
    .plan();
    let (_, reason, message) = condition(written(&plan), ConditionType::Created);
    assert_eq!((written(&plan).phase, reason), (Phase::Failed, Reason::CreateFailed));
    assert!(message.contains(words), "{message}");
    let failed = Some(job(JobAction::Create, JobStatus::Error, 0, 10));
    let plan = Case { phase: "Failed", job: failed, state: Some("create"), ..Case::default() };
    assert_eq!(next(&plan.plan()), Some((JobAction::Create, 1)));
}

#[test]
fn a_create_that_failed_is_repeated_whatever_it_left_and_its_words_stay_while_it_is() {
    for state in ["create", "shutoff", "crashed"] {
        let mut failed = job(JobAction::Create, JobStatus::Error, 0, 10);
        failed.error = Some("no space left on pool".to_owned());
        let document = json!({"restart": "never"});
        let case = Case { phase: "Failed", document, state: Some(state), ..Case::default() };
        let plan = Case { job: Some(failed), ..case }.plan();
        assert_eq!(next(&plan), Some((JobAction::Create, 1)), "{state}");
        let (_, _, message) = condition(written(&plan), ConditionType::Ready);
        assert_eq!(message, "attempt 2: create failed: no space left on pool");
    }
}

#[test]
fn an_agent_whose_word_says_nothing_is_believed_by_its_jobs() {
    assert_eq!(GuestState::of("create").power(), Power::Unclear);
    let done = Some(job(JobAction::Create, JobStatus::Done, 0, 10));
    let plan = Case { job: done, state: Some("create"), ..Case::default() }.plan();
    assert_eq!((next(&plan), written(&plan).phase), (None, Phase::Running));
    let stopped = Some(job(JobAction::Shutdown, JobStatus::Done, 0, 10));
    let document = json!({"state": "stopped"});
    let plan = Case { job: stopped, document, state: Some("create"), ..Case::default() }.plan();
    assert_eq!((next(&plan), written(&plan).phase), (None, Phase::Stopped));
}

#[test]
fn teardown_begins_only_while_the_document_is_absent_and_supersedes_the_job_under_way() {
    let plan = Case {
        document: Value::Null,
        job: Some(job(JobAction::Create, JobStatus::Working, 0, 0)),
        ..Case::default()
    }
    .plan();
    let Action::Write { only_if_undeclared, .. } = &plan.action else { panic!("{plan:?}") };
    assert!(only_if_undeclared);
    assert_eq!(next(&plan), Some((JobAction::Delete, 0)));
    assert!(closing(&plan).is_some_and(|closing| closing.result.is_err()));
    assert_eq!(written(&plan).phase, Phase::Deleting);
}

#[test]
fn a_held_deletion_leaves_the_guest_running_and_says_what_to_do() {
    let plan = Case {
        document: Value::Null,
        teardown: TeardownPermit::Held { pending: 30, budget: 10 },
        ..Case::default()
    }
    .plan();
    assert_eq!((next(&plan), written(&plan).phase), (None, Phase::Running));
    let (_, reason, message) = condition(written(&plan), ConditionType::Progressing);
    assert_eq!(reason, Reason::Held);
    assert!(message.contains("30 guests") && message.contains("confirm"), "{message}");
    assert!(plan.again_in.is_some(), "nothing tells it that others were put back");
}

#[test]
fn an_address_is_freed_only_when_the_guest_is_gone_from_its_host() {
    let deleted = |state, fresh| {
        let job = Some(job(JobAction::Delete, JobStatus::Working, 0, 0));
        let case = Case { phase: "Deleting", document: Value::Null, job, ..Case::default() };
        Case { outcome: Some(Ok(())), state, fresh, ..case }.plan()
    };
    assert!(matches!(deleted(None, true).action, Action::Free { close: Some(_) }));
    assert_eq!(next(&deleted(Some("running"), true)), Some((JobAction::Delete, 1)));
    let waits = deleted(Some("running"), false);
    assert_eq!((next(&waits), waits.again_in.is_some()), (None, true));
}

#[test]
fn nothing_is_freed_while_another_host_has_the_guest_or_may_have_it() {
    let deleted = || {
        let job = Some(job(JobAction::Delete, JobStatus::Working, 0, 0));
        let case = Case { phase: "Deleting", document: Value::Null, job, ..Case::default() };
        Case { outcome: Some(Ok(())), state: None, ..case }
    };
    let begun = || Case { document: Value::Null, ..Case::default() };
    let ready = |plan: &Plan| condition(written(plan), ConditionType::Ready).1;
    let other = Some(id(11));
    for (elsewhere, may_be_on, reason) in
        [(other, None, Reason::AdoptionConflict), (None, other, Reason::HostNotAsked)]
    {
        let plan = Case { elsewhere, may_be_on, ..deleted() }.plan();
        assert_eq!((next(&plan), ready(&plan)), (None, reason));
        assert!(plan.again_in.is_some());
        let plan = Case { elsewhere, may_be_on, ..begun() }.plan();
        assert_eq!((next(&plan), ready(&plan)), (None, reason), "nor does a teardown begin");
    }
}

#[test]
fn an_agent_without_order_keeps_the_address_for_the_quarantine() {
    let deleted = |seconds_ago| {
        let job = Some(job(JobAction::Delete, JobStatus::Done, 0, seconds_ago));
        let case = Case { phase: "Deleting", document: Value::Null, job, ..Case::default() };
        Case { state: None, order: false, ..case }.plan()
    };
    let waits = deleted(100);
    assert_eq!(waits.again_in, Some(Duration::from_secs(200)));
    assert_eq!(written(&waits).phase, Phase::Deleting);
    assert!(matches!(deleted(301).action, Action::Free { .. }));
}

#[test]
fn a_clock_that_jumped_makes_no_quarantine_shorter_or_longer() {
    let deleted = |seconds_ago, seconds| {
        let job = Some(job(JobAction::Delete, JobStatus::Done, 0, seconds_ago));
        let ended_for = Some(Duration::from_secs(seconds));
        let case = Case { phase: "Deleting", document: Value::Null, job, ..Case::default() };
        Case { state: None, order: false, ended_for, ..case }.plan()
    };
    assert_eq!(deleted(86_400, 100).again_in, Some(Duration::from_secs(200)));
    assert!(matches!(deleted(-86_400, 301).action, Action::Free { .. }));
}

#[test]
fn a_document_put_back_after_the_point_of_no_return_does_not_stop_the_teardown() {
    let job = Some(job(JobAction::Delete, JobStatus::Done, 0, 0));
    let plan = Case { phase: "Deleting", job, state: None, ..Case::default() }.plan();
    assert!(matches!(plan.action, Action::Free { .. }));
}

#[test]
fn a_document_put_back_before_it_is_only_an_edit() {
    let plan = Case::default().plan();
    assert_eq!(next(&plan), None);
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
fn a_guest_that_must_be_started_and_may_not_yet_does_not_count_as_running() {
    let crashed = || Case { state: Some("crashed"), ..Case::default() };
    let job = Some(job(JobAction::Start, JobStatus::Done, 3, 0));
    assert_eq!(written(&Case { job, ..crashed() }.plan()).phase, Phase::Failed);
    let paused = Some("its hypervisor (config/pause)");
    assert_eq!(written(&Case { paused, ..crashed() }.plan()).phase, Phase::Failed);
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
fn a_teardown_that_waits_for_its_turn_says_so() {
    let teardown = TeardownPermit::Later;
    let plan = Case { document: Value::Null, teardown, ..Case::default() }.plan();
    assert_eq!(condition(written(&plan), ConditionType::Progressing).1, Reason::Waiting);
    assert!(plan.again_in.is_some(), "its turn is announced by nothing");
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

#[test]
fn the_address_of_a_guest_of_the_original_is_freed_only_when_its_host_says_that_it_is_gone() {
    let after = |host_silent, fresh| {
        let job = Some(job(JobAction::Delete, JobStatus::Done, 0, 1_000));
        let case = Case { phase: "Deleting", document: Value::Null, job, ..Case::default() };
        Case { state: None, order: false, host_silent, fresh, ..case }.plan()
    };
    assert!(matches!(after(false, true).action, Action::Free { .. }));
    for plan in [after(true, true), after(false, false)] {
        assert_eq!((written(&plan).phase, next(&plan)), (Phase::Deleting, None));
        assert!(plan.again_in.is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn freeing_a_guest_leaves_no_key_that_was_put_right_meanwhile() {
    let bench = Bench::new().await;
    let (guest, host): (GuestId, HypervisorId) = (id(100), id(1));
    let placement = placement(100, host, id(2));
    let address = Key::Address(id(2), placement.ip);
    let status = GuestStatus {
        phase: Phase::Deleting,
        placement: Some(placement),
        ..GuestStatus::default()
    };
    bench.put(&[(Key::GuestStatus(guest), json!(status))]).await;
    let guests = GuestReconciler::new(bench.context.clone());
    let planned = guests.step(guest).unwrap();
    bench.put(&[(Key::Placement(host, guest), json!(guest))]).await;
    assert_eq!(guests.free(&planned, None).await, Ok(Outcome::changed()));
    assert!(bench.context.world.read().guest(guest).is_none(), "the index names nobody");

    bench.put(&[(Key::GuestStatus(guest), json!(status))]).await;
    let planned = guests.step(guest).unwrap();
    bench.put(&[(address, json!(guest))]).await;
    assert_eq!(guests.free(&planned, None).await, Err(ReconcileError::Conflict));
    assert_eq!(guests.free(&guests.step(guest).unwrap(), None).await, Ok(Outcome::changed()));
    assert!(bench.context.world.read().guest(guest).is_none(), "the address waits for nobody");
    bench.end().await;
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

#[test]
fn a_guest_whose_record_was_made_anew_by_a_late_create_is_not_taken_to_run() {
    let done = || Some(job(JobAction::Create, JobStatus::Done, 0, 3600));
    let running = || Case { job: done(), order: false, ..Case::default() };
    let former = written(&running().plan()).clone();
    assert_eq!(former.agent_state.as_deref(), Some("running"));
    let late = |former: GuestStatus, job| {
        let (former, state) = (Some(former), Some("create"));
        Case { former, state, job, order: false, ..Case::default() }.plan()
    };
    assert_eq!(next(&late(former.clone(), done())), Some((JobAction::Create, 0)));
    let just_now = job(JobAction::Create, JobStatus::Done, 3, 1);
    let waits = late(former.clone(), Some(just_now));
    assert_eq!((next(&waits), waits.again_in.is_some()), (None, true));
    let status = written(&waits).clone();
    assert_eq!((status.phase, status.agent_state.as_deref()), (Phase::Failed, Some("create")));
    assert_eq!(condition(&status, ConditionType::Created).1, Reason::CreateFailed);
    let restarted = Some(job(JobAction::Start, JobStatus::Error, 0, 3600));
    for last in [done(), restarted, None] {
        let next = next(&late(status.clone(), last));
        assert!(matches!(next, Some((JobAction::Create, _))), "the word before is forgotten");
    }
    // Before it was seen to run.
    let beside_others =
        Case { tells: true, state: Some("create"), order: false, ..Case::default() };
    let plan = Case { job: done(), ..beside_others }.plan();
    assert_eq!(next(&plan), Some((JobAction::Create, 0)), "of others the agent says what they do");
    let unknown =
        Case { former: Some(former), state: Some("unknown"), job: done(), ..Case::default() };
    assert_eq!(next(&unknown.plan()), None, "a sub-agent says that, of a guest that was made");
}

#[test]
fn a_guest_whose_create_failed_is_made_again_although_its_job_is_forgotten_and_its_word_says_nothing()
 {
    let failed = Case { phase: "Failed", state: Some("create"), order: false, ..Case::default() };
    assert_eq!(next(&failed.plan()), Some((JobAction::Create, 0)));
    // The host was silent since: the phase says no more what became of it.
    let silent = Case {
        phase: "Unknown",
        state: Some("create"),
        order: false,
        created: Some(Reason::CreateFailed),
        ..Case::default()
    };
    assert_eq!(next(&silent.plan()), Some((JobAction::Create, 0)));
    let adopted = Case { phase: "Unknown", state: Some("create"), order: false, ..Case::default() };
    assert_eq!(written(&adopted.plan()).phase, Phase::Running, "somebody else made it");
}
