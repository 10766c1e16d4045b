//! What a guest does where its agent's word does not say: some agents echo what they were told. Pure.

use lochness_agent::wire::{GuestState, Power};
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::{ConditionType, GuestStatus, Phase, Reason};

use super::plan::Input;

/// Where the agent's word says nothing of the guest's power, the job that ended last does (AGENT-WIRE.md, section 2).
/// Jobs are forgotten after a day; then the phase that the last one brought still says it.
pub(super) fn clarified(input: &Input<'_>, power: Power, word: &str, last: Option<&Job>) -> Power {
    if power != Power::Unclear {
        return power;
    }
    let former = input.status;
    let is_unknown = is_made_anew(input, word) || create_has_failed(former);
    match last.map(|job| (job.status, job.action)) {
        None if former.phase == Phase::Stopped => Power::Down { crashed: false },
        None if former.phase == Phase::Suspended => Power::Paused,
        None if former.phase == Phase::Failed => Power::Unclear,
        Some((JobStatus::Done, JobAction::Shutdown | JobAction::Poweroff)) => {
            Power::Down { crashed: false }
        }
        Some((JobStatus::Done, JobAction::Suspend)) => Power::Paused,
        Some((status, JobAction::Create)) if status != JobStatus::Done => Power::Unclear,
        Some(_) | None if is_unknown => Power::Unclear,
        // Also one that was found without a job of ours: somebody else's create made it, and it is taken to run.
        Some((_, _)) | None => Power::Up,
    }
}

/// Whether the guest is no more than a record at an agent that says what guests do, and has said so of this one, or of
/// another of its type: a create that came late, or twice, made it anew. What became of that no job of ours says.
pub(super) fn is_made_anew(input: &Input<'_>, word: &str) -> bool {
    let former = input.status.agent_state.as_deref().map(GuestState::of);
    let has_told = former.is_some_and(|former| former.power() != Power::Unclear);
    GuestState::of(word) == GuestState::Create && (has_told || input.agent.tells)
}

/// Whether the guest was last seen not to have been made: also while its host has been silent since.
fn create_has_failed(status: &GuestStatus) -> bool {
    status.conditions.iter().any(|condition| {
        condition.kind == ConditionType::Created && condition.reason == Reason::CreateFailed
    })
}
