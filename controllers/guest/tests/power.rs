//! Starting, stopping, suspending and rebooting.

use super::*;

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
fn a_guest_that_must_be_started_and_may_not_yet_does_not_count_as_running() {
    let crashed = || Case { state: Some("crashed"), ..Case::default() };
    let job = Some(job(JobAction::Start, JobStatus::Done, 3, 0));
    assert_eq!(written(&Case { job, ..crashed() }.plan()).phase, Phase::Failed);
    let paused = Some("its hypervisor (config/pause)");
    assert_eq!(written(&Case { paused, ..crashed() }.plan()).phase, Phase::Failed);
}
