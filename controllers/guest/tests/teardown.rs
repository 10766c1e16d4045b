//! When a guest is torn down, and when what it had is free again.

use super::*;

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
fn a_teardown_that_waits_for_its_turn_says_so() {
    let teardown = TeardownPermit::Later;
    let plan = Case { document: Value::Null, teardown, ..Case::default() }.plan();
    assert_eq!(condition(written(&plan), ConditionType::Progressing).1, Reason::Waiting);
    assert!(plan.again_in.is_some(), "its turn is announced by nothing");
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
