//! How a guest that runs is brought to rest: asked, waited for, cut off.

use std::time::Duration;

use lochness_agent::wire::Power;
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::Phase;

use super::plan::{Input, Sight};

/// What is said of a guest between its shutdown and its end.
pub(super) const ASKED_TO_SHUT_DOWN: &str = "it was asked to shut down";

/// What brings a guest that runs closer to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It was asked, and has so long to do it.
    Wait(Duration),
    /// A job.
    Job(JobAction),
}

/// Asks first; cuts the power when asking did not help. A shutdown that is done was only asked for: agents do not wait until
/// the guest is down (the original's never does), so it then has the grace that a shutdown has.
pub(super) fn stop(input: &Input<'_>, last: Option<&Job>) -> Stop {
    let Some(job) = last else { return Stop::Job(JobAction::Shutdown) };
    match (job.action, job.status) {
        (JobAction::Shutdown | JobAction::Poweroff, JobStatus::Error) => {
            Stop::Job(JobAction::Poweroff)
        }
        // One that was down since, and runs again, is asked anew.
        (JobAction::Shutdown, JobStatus::Done) if input.status.phase == Phase::Stopping => {
            let grace = input.settings.shutdown_grace;
            let passed = job.finished_at.map_or(grace, |at| {
                // A clock that was turned back must not make the wait endless.
                Duration::try_from(input.now.duration_since(at)).unwrap_or(grace)
            });
            match grace.checked_sub(passed) {
                Some(left) if left > Duration::ZERO => Stop::Wait(left),
                Some(_) | None => Stop::Job(JobAction::Poweroff),
            }
        }
        (JobAction::Poweroff, JobStatus::Done) if input.status.phase == Phase::Stopping => {
            Stop::Job(JobAction::Poweroff)
        }
        (_, _) => Stop::Job(JobAction::Shutdown),
    }
}

/// What a shutdown or poweroff that is done leaves: the guest is down when its agent lists it so, not before.
pub(super) fn phase_after_stop(sight: Sight<'_>) -> Phase {
    match sight {
        Sight::Listed { power: Power::Up | Power::Paused, .. } => Phase::Stopping,
        Sight::Listed { power: Power::Down { .. } | Power::Unclear, .. }
        | Sight::Absent
        | Sight::HostSilent
        | Sight::Unasked
        | Sight::Unreachable => Phase::Stopped,
    }
}

/// Whether the action is meant to end in a guest at rest.
pub(super) fn is_stop(action: JobAction) -> bool {
    matches!(action, JobAction::Shutdown | JobAction::Poweroff)
}
