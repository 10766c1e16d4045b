//! When a guest is made, and when it is not.

use super::*;

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
