//! No job is under way: is the guest what its owner wants, and if not, what is the next job?

use std::time::Duration;

use lochness_agent::wire::Power;
use lochness_api::document::{DesiredState, Guest, RestartPolicy};
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::{ConditionType, GuestStatus, Phase, Reason};
use lochness_mutant::Mutant;

use super::conditions::{Conditions, reason_of};
use super::plan::{Closing, Input, NextJob, Plan, Sight, answered};
use super::power::{clarified, is_made_anew};
use super::stopping::{ASKED_TO_SHUT_DOWN, Stop, is_stop, phase_after_stop, stop};

/// How soon to look again when the newest list is older than the end of the newest job.
const STALE_LIST_RETRY: Duration = Duration::from_millis(100);
/// How soon to look again whether every host that may have the guest was asked.
const UNASKED_RETRY: Duration = Duration::from_secs(1);
/// A reboot that fails is tried so often in all: it is a wish for once, not a state.
const REBOOT_ATTEMPTS: u32 = 5;
/// What is said of a guest whose agent knows it as no more than a record, and knew more before.
const MADE_ANEW: &str = "its record was made anew, by a request that came late or twice: its agent does not say that it runs";

/// What the guest is to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Want {
    /// It is what its owner wants.
    Nothing(Phase, Reason),
    /// It stopped by itself, and `restart` leaves it so.
    LeftStopped,
    /// It was asked to shut down, and has so long to do it.
    GoDown(Duration),
    /// A job brings it closer.
    Job(JobAction),
    /// Its agent cannot do what is wanted.
    Unsupported(JobAction),
}

/// Plans for a guest without a job under way. `last` is the job that ended last.
pub(super) fn converge(input: &Input<'_>, last: Option<&Job>) -> Plan {
    let mut status = answered(input);
    let (power, word) = match input.sight {
        // What was said of it stands.
        Sight::Unasked => return Plan::write(status),
        Sight::HostSilent | Sight::Unreachable => return out_of_sight(input, status),
        // From before the end of the newest job: what that brought is what the status says, and this would take it back.
        Sight::Absent | Sight::Listed { .. } if !input.sight_is_fresh => {
            return Plan::write(input.status.clone()).again_in(STALE_LIST_RETRY);
        }
        Sight::Absent => {
            status.agent_state = None;
            if let Some(host) = input.elsewhere {
                status.phase = Phase::Unknown;
                Conditions::of(&mut status, input.now).elsewhere(host);
                return Plan::write(status);
            }
            if let Some(host) = input.may_be_on {
                status.phase = Phase::Unknown;
                Conditions::of(&mut status, input.now).not_asked(host);
                return Plan::write(status).again_in(UNASKED_RETRY);
            }
            return start(input, status, last, JobAction::Create);
        }
        Sight::Listed { power, word, address } => {
            status.agent_state = Some(word.to_owned());
            if let Some(address) = address {
                // Nobody has reserved that for it: it is neither started with it nor stopped for it.
                status.phase = phase_of(power, status.phase);
                Conditions::of(&mut status, input.now).other_address(address, input.placement.ip);
                return Plan::write(status);
            }
            (power, word)
        }
    };
    let clear = clarified(input, power, word, last);
    // The record of a create that failed is no guest, and must not be taken for one when its job is forgotten.
    if clear != Power::Unclear {
        Conditions::of(&mut status, input.now).created(Ok(()));
    } else if is_made_anew(input, word) {
        let failed = (Reason::CreateFailed, MADE_ANEW.to_owned());
        Conditions::of(&mut status, input.now).created(Err(failed));
    }
    let Some(document) = input.entry.understood() else {
        // Never understood since this process started, so nobody knows what is wanted: what runs keeps running.
        status.phase = phase_of(power, status.phase);
        return Plan::write(status);
    };
    match want(input, document, clear, last) {
        Want::Nothing(phase, reason) => {
            status.phase = phase;
            if phase == Phase::Stopped {
                // A token that comes while it is stopped counts as done.
                status.reboot.clone_from(&document.reboot);
            }
            let mut conditions = Conditions::of(&mut status, input.now);
            conditions.ready(reason);
            if document.metadata.is_paused() {
                let message =
                    "the guest (metadata.pause) is paused: nothing is changed on its agent";
                conditions.stuck(Reason::Paused, message);
            }
            Plan::write(status)
        }
        Want::LeftStopped => {
            status.phase = Phase::Stopped;
            status.reboot.clone_from(&document.reboot);
            let message = "it stopped by itself, and `restart` leaves it so";
            let mut conditions = Conditions::of(&mut status, input.now);
            conditions.not_ready(Reason::RestartNotWanted, message);
            conditions.remove(ConditionType::Progressing);
            Plan::write(status)
        }
        Want::GoDown(left) => {
            status.phase = Phase::Stopping;
            let mut conditions = Conditions::of(&mut status, input.now);
            conditions.not_ready(Reason::Stopping, ASKED_TO_SHUT_DOWN);
            conditions.remove(ConditionType::Progressing);
            Plan::write(status).again_in(left)
        }
        Want::Job(JobAction::Start | JobAction::Resume) if input.elsewhere.is_some() => {
            status.phase = phase_of(power, status.phase);
            let mut conditions = Conditions::of(&mut status, input.now);
            input.elsewhere.into_iter().for_each(|host| conditions.elsewhere(host));
            Plan::write(status)
        }
        Want::Job(action) => start(input, status, last, action),
        Want::Unsupported(action) => {
            status.phase = phase_of(power, status.phase);
            let message = format!("the agent of its hypervisor cannot {action} guests");
            Conditions::of(&mut status, input.now).not_ready(Reason::Unsupported, message);
            Plan::write(status)
        }
    }
}

/// A job has just ended: the status that closes it. The next job, if any, comes with the next plan.
pub(super) fn settle(input: &Input<'_>, job: &Job, closing: &Closing) -> Plan {
    let mut status = answered(input);
    if let Sight::Listed { word, .. } = input.sight {
        status.agent_state = Some(word.to_owned());
    }
    let phase = match (&closing.result, job.action) {
        (
            Ok(()),
            JobAction::Create
            | JobAction::Start
            | JobAction::Resume
            | JobAction::Reboot
            | JobAction::Restart,
        ) => Phase::Running,
        (Ok(()), JobAction::Shutdown | JobAction::Poweroff) => phase_after_stop(input.sight),
        (Ok(()), JobAction::Suspend) => Phase::Suspended,
        (Ok(()), JobAction::Delete) => status.phase,
        (Err(_), JobAction::Create | JobAction::Start) => Phase::Failed,
        (Err(_), _) => phase_by_sight(input.sight, status.phase),
    };
    status.phase = phase;
    let wanted = input.entry.understood().map(|document| document.state);
    let mut conditions = Conditions::of(&mut status, input.now);
    match &closing.result {
        Ok(()) => {
            conditions.created(Ok(()));
            conditions.remove(ConditionType::Progressing);
            match converged_reason(phase, wanted) {
                Some(reason) => conditions.ready(reason),
                None if phase == Phase::Stopping => {
                    conditions.not_ready(Reason::Stopping, ASKED_TO_SHUT_DOWN);
                }
                None => conditions.not_ready(Reason::Waiting, ""),
            }
        }
        Err(message) => {
            let is_create = job.action == JobAction::Create;
            let reason = if is_create { Reason::CreateFailed } else { Reason::JobFailed };
            let message = format!("{} failed: {message}", job.action);
            if is_create {
                conditions.created(Err((reason, message.clone())));
            }
            conditions.not_ready(reason, message);
        }
    }
    Plan::write(status)
}

/// Why a guest in this phase is ready, if that phase is the wanted one.
fn converged_reason(phase: Phase, wanted: Option<DesiredState>) -> Option<Reason> {
    match (phase, wanted) {
        (Phase::Running, Some(DesiredState::Running) | None) => Some(Reason::Running),
        (Phase::Stopped, Some(DesiredState::Stopped)) => Some(Reason::Stopped),
        (Phase::Suspended, Some(DesiredState::Suspended)) => Some(Reason::Suspended),
        (_, _) => None,
    }
}

fn want(input: &Input<'_>, document: &Guest, power: Power, last: Option<&Job>) -> Want {
    match (document.state, power) {
        (DesiredState::Running, Power::Up) if reboot_due(input, document, last) => {
            Want::Job(JobAction::Reboot)
        }
        (DesiredState::Running, Power::Up) => Want::Nothing(Phase::Running, Reason::Running),
        (DesiredState::Running, Power::Paused) => able(input, JobAction::Resume),
        // A create that failed leaves its record, in whatever state; the same create again heals it.
        (DesiredState::Running | DesiredState::Suspended, Power::Down { .. })
            if create_failed(last) =>
        {
            Want::Job(JobAction::Create)
        }
        (DesiredState::Running, Power::Down { crashed }) => {
            if lochness_mutant::is(Mutant::DriftIgnored) {
                Want::Nothing(Phase::Running, Reason::Running)
            } else if restarts(document.restart, crashed) || stopped_on_purpose(input.status, last)
            {
                Want::Job(JobAction::Start)
            } else {
                Want::LeftStopped
            }
        }
        (DesiredState::Stopped, Power::Down { .. }) => {
            Want::Nothing(Phase::Stopped, Reason::Stopped)
        }
        (DesiredState::Stopped, Power::Paused) => Want::Job(JobAction::Poweroff),
        (DesiredState::Stopped, Power::Up | Power::Unclear) => match stop(input, last) {
            Stop::Wait(left) => Want::GoDown(left),
            Stop::Job(action) => Want::Job(action),
        },
        (DesiredState::Suspended, Power::Paused) => {
            Want::Nothing(Phase::Suspended, Reason::Suspended)
        }
        (DesiredState::Suspended, Power::Up) => able(input, JobAction::Suspend),
        (DesiredState::Suspended, Power::Down { .. }) => Want::Job(JobAction::Start),
        // A create that failed leaves its record; the same create again heals it.
        (DesiredState::Running | DesiredState::Suspended, Power::Unclear) => {
            Want::Job(JobAction::Create)
        }
    }
}

fn able(input: &Input<'_>, action: JobAction) -> Want {
    if input.agent.suspend { Want::Job(action) } else { Want::Unsupported(action) }
}

fn restarts(policy: RestartPolicy, crashed: bool) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => crashed,
        RestartPolicy::Never => false,
    }
}

/// Whether the guest is down because its owner wanted it so, and now wants otherwise.
fn stopped_on_purpose(status: &GuestStatus, last: Option<&Job>) -> bool {
    let by_job = last.is_some_and(|job| {
        matches!(job.action, JobAction::Shutdown | JobAction::Poweroff)
            && job.status == JobStatus::Done
    });
    let as_wanted = status.conditions.iter().any(|condition| {
        condition.kind == ConditionType::Ready && condition.reason == Reason::Stopped
    });
    // A start that failed leaves it down as well, and is tried again whatever the policy.
    let start_failed =
        last.is_some_and(|job| job.action == JobAction::Start && job.status == JobStatus::Error);
    by_job || as_wanted || start_failed
}

fn reboot_due(input: &Input<'_>, document: &Guest, last: Option<&Job>) -> bool {
    let failed = last.is_some_and(|job| {
        job.action == JobAction::Reboot
            && job.status == JobStatus::Error
            && job.attempt + 1 < REBOOT_ATTEMPTS
    });
    document.reboot.is_some() && (document.reboot != input.status.reboot || failed)
}

/// Starts a job, unless something says "not now".
fn start(
    input: &Input<'_>,
    mut status: GuestStatus,
    last: Option<&Job>,
    action: JobAction,
) -> Plan {
    let document = input.entry.understood();
    let mut conditions = Conditions::of(&mut status, input.now);
    if let Some(who) = input.paused {
        conditions.not_ready(Reason::Paused, format!("{who} is paused: no {action} is sent"));
        status.phase = phase_while_waiting(action, status.phase);
        return Plan::write(status);
    }
    let runs_then = matches!(action, JobAction::Create | JobAction::Start | JobAction::Resume);
    if let Some(other) = input.address_used_by.filter(|_| runs_then) {
        conditions.address_used(other, input.placement.ip);
        status.phase = phase_while_waiting(action, status.phase);
        return Plan::write(status).again_in(UNASKED_RETRY);
    }
    let attempt = attempt(input, last, action);
    let wait = wait_before(input, last, attempt);
    if wait > Duration::ZERO {
        let reason = ended_badly(input, last, action);
        let message = why(input, last, action);
        conditions.not_ready(reason, message);
        conditions
            .stuck(Reason::BackingOff, format!("attempt {} of {action} follows", attempt + 1));
        status.phase = phase_while_waiting(action, status.phase);
        return Plan::write(status).again_in(wait);
    }
    let message = what_attempt(input, attempt, last, action);
    conditions.not_ready(reason_of(action), message.clone());
    conditions.remove(ConditionType::Progressing);
    if action == JobAction::Create {
        conditions.created(Err((Reason::Creating, message)));
    }
    if matches!(action, JobAction::Reboot | JobAction::Start | JobAction::Create) {
        status.reboot = document.and_then(|document| document.reboot.clone());
    }
    status.phase = match action {
        JobAction::Create | JobAction::Start => Phase::Creating,
        JobAction::Shutdown | JobAction::Poweroff => Phase::Stopping,
        JobAction::Reboot
        | JobAction::Restart
        | JobAction::Suspend
        | JobAction::Resume
        | JobAction::Delete => status.phase,
    };
    Plan::start(status, NextJob { action, attempt })
}

fn create_failed(last: Option<&Job>) -> bool {
    last.is_some_and(|job| job.action == JobAction::Create && job.status == JobStatus::Error)
}

/// Which attempt it is, and what became of the one before: said for as long as the attempt takes.
fn what_attempt(input: &Input<'_>, attempt: u32, last: Option<&Job>, action: JobAction) -> String {
    match attempt {
        0 => String::new(),
        attempt => format!("attempt {}: {}", attempt + 1, why(input, last, action)),
    }
}

/// A guest that must be made or started does not run, whatever it did before.
fn phase_while_waiting(action: JobAction, former: Phase) -> Phase {
    match (action, former) {
        (JobAction::Create | JobAction::Start, Phase::Running) => Phase::Failed,
        (_, former) => former,
    }
}

/// The number of this attempt: it goes up while attempts fail, and while what was started does not last.
fn attempt(input: &Input<'_>, last: Option<&Job>, action: JobAction) -> u32 {
    let Some(job) = last else { return 0 };
    let brings_up = |action| matches!(action, JobAction::Create | JobAction::Start);
    let same = job.action == action || (brings_up(job.action) && brings_up(action));
    let recent = job.finished_at.is_some_and(|at| {
        let age = input.now.duration_since(at).unsigned_abs();
        age < input.settings.stable_after
    });
    if same && (job.status == JobStatus::Error || recent) {
        job.attempt.saturating_add(1)
    } else {
        0
    }
}

/// What is left of the wait before an attempt. A clock that jumped, ours or that of whoever wrote the end, does not make
/// it longer than the whole: not even if it is asked again and again.
pub(super) fn wait_before(input: &Input<'_>, last: Option<&Job>, attempt: u32) -> Duration {
    let whole = input.settings.retry_delay(attempt);
    let Some(ended) = last.and_then(|job| job.finished_at) else { return Duration::ZERO };
    let by_clock = Duration::try_from(input.now.duration_since(ended)).unwrap_or_default();
    whole.saturating_sub(by_clock.max(input.ended_for))
}

fn ended_badly(input: &Input<'_>, last: Option<&Job>, action: JobAction) -> Reason {
    match last.map(|job| job.status) {
        Some(JobStatus::Error) if action == JobAction::Create => Reason::CreateFailed,
        Some(JobStatus::Error) => Reason::JobFailed,
        Some(_) | None if is_stop(action) => reason_of(action),
        Some(_) | None if action == JobAction::Create => match input.sight {
            Sight::Listed { .. } => Reason::CreateFailed,
            Sight::Absent | Sight::HostSilent | Sight::Unasked | Sight::Unreachable => {
                Reason::Vanished
            }
        },
        Some(_) | None => Reason::Crashed,
    }
}

fn why(input: &Input<'_>, last: Option<&Job>, action: JobAction) -> String {
    match last {
        Some(Job { status: JobStatus::Error, action, error, .. }) => {
            format!("{action} failed: {}", error.as_deref().unwrap_or("its agent did not say why"))
        }
        Some(_) | None
            if action == JobAction::Create && matches!(input.sight, Sight::Listed { .. }) =>
        {
            MADE_ANEW.to_owned()
        }
        Some(_) | None if action == JobAction::Create => {
            "its hypervisor does not have it any more".to_owned()
        }
        Some(Job { action: last, .. }) if is_stop(action) => format!("it runs after its {last}"),
        Some(_) | None => "it stopped by itself soon after it was started".to_owned(),
    }
}

/// Its host is silent: the status says so, and nothing is done.
fn out_of_sight(input: &Input<'_>, mut status: GuestStatus) -> Plan {
    let host = input.placement.hypervisor;
    let mut conditions = Conditions::of(&mut status, input.now);
    match input.sight {
        Sight::HostSilent => {
            let message = format!("hypervisor {host} has no heartbeat: what it runs is not known");
            conditions.unknown(Reason::HostSilent, message);
            status.phase = Phase::Unknown;
        }
        Sight::Unasked | Sight::Unreachable | Sight::Absent | Sight::Listed { .. } => {
            let message = format!("the agent of hypervisor {host} does not answer");
            conditions.unknown(Reason::HostUnreachable, message);
        }
    }
    Plan::write(status)
}

fn phase_by_sight(sight: Sight<'_>, former: Phase) -> Phase {
    match sight {
        Sight::Listed { power, .. } => phase_of(power, former),
        Sight::Absent => Phase::Failed,
        Sight::HostSilent | Sight::Unasked | Sight::Unreachable => former,
    }
}

fn phase_of(power: Power, former: Phase) -> Phase {
    match power {
        Power::Up => Phase::Running,
        Power::Paused => Phase::Suspended,
        Power::Down { .. } => Phase::Stopped,
        Power::Unclear => former,
    }
}
