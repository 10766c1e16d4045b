//! Teardown: from the document's absence to the last key.
//!
//! The order is the promise: one transaction that finds the document absent and writes the intent; the delete at the
//! agent, even when it does not list the guest; confirmed; then one transaction that frees address, index and status. A
//! document that is put back after the first is placed anew when the last is done.

use std::time::Duration;

use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::{Phase, Reason};
use lochness_mutant::Mutant;

use super::conditions::Conditions;
use super::converge::wait_before;
use super::plan::{
    Action, Closing, Input, JobState, NextJob, Plan, Sight, TeardownPermit, answered,
};

/// How soon to ask again when only so many teardowns may begin in a minute.
const PERMIT_RETRY: Duration = Duration::from_secs(1);
/// The same when too many wait: whose document is put back announces it of itself alone.
const HELD_RETRY: Duration = Duration::from_secs(5);
/// How soon to look again for a list that is newer than the end of the delete.
const CONFIRM_RETRY: Duration = Duration::from_millis(100);

/// The document is gone: begin, unless something says "not now".
pub(super) fn begin(input: &Input<'_>, state: &JobState<'_>) -> Plan {
    let mut status = answered(input);
    let mut conditions = Conditions::of(&mut status, input.now);
    if let Some(who) = input.paused {
        conditions.not_ready(Reason::Paused, format!("{who} is paused: no teardown begins"));
        return Plan::write(status);
    }
    match input.teardown {
        TeardownPermit::Granted => {}
        TeardownPermit::Later => {
            let message = "its document is gone; only so many teardowns begin in a minute";
            conditions.stuck(Reason::Waiting, message);
            return Plan::write(status).again_in(PERMIT_RETRY);
        }
        TeardownPermit::Held { pending, budget } => {
            let message = format!(
                "its document is gone, but so are those of {pending} guests, and at most {budget} are torn down unasked: confirm with lochnessctl confirm-deletion, or put the documents back"
            );
            // The phase stays: it still runs.
            conditions.stuck(Reason::Held, message);
            return Plan::write(status).again_in(HELD_RETRY);
        }
    }
    // Where nobody looks its address would be freed under it.
    if let Some(host) = input.elsewhere {
        conditions.elsewhere(host);
        return Plan::write(status);
    }
    if let Some(host) = input.may_be_on {
        conditions.not_asked(host);
        return Plan::write(status).again_in(PERMIT_RETRY);
    }
    conditions.not_ready(Reason::Deleting, "");
    conditions.remove(lochness_api::status::ConditionType::Progressing);
    status.phase = Phase::Deleting;
    let close = match state {
        JobState::Active(_) => Some(Closing {
            result: Err("superseded: the guest is being deleted".to_owned()),
            finished_at: input.now,
        }),
        JobState::Ended(_, closing) => Some(closing.clone()),
        JobState::None | JobState::Closed(_) => None,
    };
    Plan {
        action: Action::Write {
            status: Box::new(status),
            next: Some(NextJob { action: JobAction::Delete, attempt: 0 }),
            close,
            only_if_undeclared: true,
        },
        again_in: None,
    }
}

/// Past the point of no return.
pub(super) fn go_on(input: &Input<'_>, state: &JobState<'_>) -> Plan {
    match state {
        JobState::Active(job)
            if job.status == JobStatus::Working
                && lochness_mutant::is(Mutant::FreedUnconfirmed) =>
        {
            Plan { action: Action::Free { close: None }, again_in: None }
        }
        JobState::Active(job) => {
            let mut status = input.status.clone();
            let mut conditions = Conditions::of(&mut status, input.now);
            conditions.job_under_way(job, input.waiting.as_ref());
            status.phase = Phase::Deleting;
            Plan::write(status)
        }
        JobState::Ended(job, closing) => after_delete(input, job, Some(closing)),
        JobState::Closed(job) => after_delete(input, job, None),
        JobState::None => delete_again(input, None, 0, Duration::ZERO),
    }
}

/// The delete job has ended: free everything, or try again.
fn after_delete(input: &Input<'_>, job: &Job, closing: Option<&Closing>) -> Plan {
    let succeeded = match closing {
        Some(closing) => closing.result.is_ok(),
        None => job.status == JobStatus::Done && job.action == JobAction::Delete,
    };
    if !succeeded {
        return after_failure(input, job, closing);
    }
    if let Some(wait) = unconfirmed(input, job, closing) {
        return wait;
    }
    if input.elsewhere.is_some() || input.may_be_on.is_some() {
        return kept(input, closing);
    }
    Plan { action: Action::Free { close: closing.cloned() }, again_in: None }
}

fn after_failure(input: &Input<'_>, job: &Job, closing: Option<&Closing>) -> Plan {
    if let Some(closing) = closing {
        let mut status = input.status.clone();
        let message = closing.result.clone().err().unwrap_or_default();
        Conditions::of(&mut status, input.now)
            .not_ready(Reason::JobFailed, format!("{} failed: {message}", job.action));
        let mut plan = Plan::write(status);
        if let Action::Write { close, .. } = &mut plan.action {
            *close = Some(closing.clone());
        }
        return plan;
    }
    let attempt = if job.action == JobAction::Delete { job.attempt.saturating_add(1) } else { 0 };
    let wait = wait_before(input, Some(job), attempt);
    delete_again(input, None, attempt, wait)
}

/// What keeps a delete that ended well from being believed, if anything.
fn unconfirmed(input: &Input<'_>, job: &Job, closing: Option<&Closing>) -> Option<Plan> {
    let listed = matches!(input.sight, Sight::Listed { .. });
    if listed && !input.sight_is_fresh {
        return Some(Plan::write(input.status.clone()).again_in(CONFIRM_RETRY));
    }
    if listed {
        return Some(delete_again(input, closing, job.attempt.saturating_add(1), Duration::ZERO));
    }
    if input.agent.order {
        return None;
    }
    // An agent without order may still get a late request: the guest is watched for a while before its address is freed.
    // No wall clock decides that: one that jumped would free it at once, or never.
    let left = input.quarantine.saturating_sub(input.ended_for);
    // That nothing is known of its host does not make it absent there.
    let is_absent = input.sight == Sight::Absent && input.sight_is_fresh;
    if left == Duration::ZERO && is_absent {
        return None;
    }
    let mut plan = Plan::write(input.status.clone()).again_in(left.max(PERMIT_RETRY));
    if let Action::Write { close, .. } = &mut plan.action {
        *close = closing.cloned();
    }
    Some(plan)
}

/// Its host does not have it any more, but another one has it, or may: its address is not free.
fn kept(input: &Input<'_>, closing: Option<&Closing>) -> Plan {
    let mut status = input.status.clone();
    let mut conditions = Conditions::of(&mut status, input.now);
    match (input.elsewhere, input.may_be_on) {
        (Some(host), _) => conditions.elsewhere(host),
        (None, Some(host)) => conditions.not_asked(host),
        (None, None) => {}
    }
    let mut plan = Plan::write(status).again_in(PERMIT_RETRY);
    if let Action::Write { close, .. } = &mut plan.action {
        *close = closing.cloned();
    }
    plan
}

fn delete_again(
    input: &Input<'_>,
    closing: Option<&Closing>,
    attempt: u32,
    wait: Duration,
) -> Plan {
    let status = input.status.clone();
    if wait > Duration::ZERO || input.paused.is_some() {
        return Plan::write(status).again_in(wait.max(PERMIT_RETRY));
    }
    let mut plan = Plan::start(status, NextJob { action: JobAction::Delete, attempt });
    if let Action::Write { close, .. } = &mut plan.action {
        *close = closing.cloned();
    }
    plan
}
