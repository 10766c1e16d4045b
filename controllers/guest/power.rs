//! What a guest does where its agent's word does not say: some agents echo what they were told. Pure.

use lochness_agent::wire::Power;
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::{ConditionType, GuestStatus, Phase, Reason};

/// Where the agent's word says nothing of the guest's power, the job that ended last does (AGENT-WIRE.md, section 2).
/// Jobs are forgotten after a day; then the phase that the last one brought still says it.
pub(super) fn clarified(power: Power, last: Option<&Job>, former: &GuestStatus) -> Power {
    if power != Power::Unclear {
        return power;
    }
    match last.map(|job| (job.status, job.action)) {
        None if former.phase == Phase::Stopped => Power::Down { crashed: false },
        None if former.phase == Phase::Suspended => Power::Paused,
        None if has_failed(former) => Power::Unclear,
        Some((JobStatus::Done, JobAction::Shutdown | JobAction::Poweroff)) => {
            Power::Down { crashed: false }
        }
        Some((JobStatus::Done, JobAction::Suspend)) => Power::Paused,
        Some((status, JobAction::Create)) if status != JobStatus::Done => Power::Unclear,
        // Also one that was found without a job of ours: somebody else's create made it, and it is taken to run.
        Some((_, _)) | None => Power::Up,
    }
}

/// Whether the guest was last seen not to have come up: also while its host has been silent since.
fn has_failed(status: &GuestStatus) -> bool {
    status.phase == Phase::Failed
        || status.conditions.iter().any(|condition| {
            condition.kind == ConditionType::Created && condition.reason == Reason::CreateFailed
        })
}
