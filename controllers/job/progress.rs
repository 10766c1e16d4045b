//! How far a job is that the agent has accepted, from what the agent says of it. Pure.
//!
//! A job that the agent no longer knows says nothing of its outcome (trap 7): then the guest does.

use std::time::Duration;

use lochness_agent::GuestLookup;
use lochness_agent::wire::{AgentJob, AgentJobStatus, Power};
use lochness_api::job::JobAction;

use super::look::is_as_wished;

/// What our agent says of a job that it died in the middle of.
const INTERRUPTED: &str = "interrupted";
/// The original also forgets jobs that still run, when it has too many: their effect is waited for so long.
pub(super) const LOST_GRACE: Duration = Duration::from_secs(10);

/// How far a job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Progress {
    /// Not ended; says how far, in the agent's words.
    Working(&'static str),
    /// Ended well.
    Done,
    /// Ended badly.
    Failed(String),
    /// Ended with the agent, or nobody knows how. The agent may have died of it.
    Lost(String),
    /// The guest and its jobs must be read to know: was the delete `Complete`, or is the job unknown?
    Read(Open),
}

/// What the job left open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    /// The delete is `Complete`; the record may still be there (trap 3).
    DeleteComplete,
    /// The agent does not know the job.
    Unknown {
        /// For how long it has not.
        since: Duration,
    },
}

/// From the job alone. `ordered`: the agent refuses what is old, and its word is enough.
pub(super) fn by_job(
    action: JobAction,
    ordered: bool,
    job: Option<&AgentJob>,
    unknown_for: Duration,
) -> Progress {
    let Some(job) = job else { return Progress::Read(Open::Unknown { since: unknown_for }) };
    match job.status {
        AgentJobStatus::Queued => Progress::Working("queued"),
        AgentJobStatus::Running => Progress::Working("running"),
        AgentJobStatus::Complete if action == JobAction::Delete && !ordered => {
            Progress::Read(Open::DeleteComplete)
        }
        AgentJobStatus::Complete => Progress::Done,
        AgentJobStatus::Error if job.message == INTERRUPTED => {
            Progress::Lost("the agent ended in the middle of it".to_owned())
        }
        AgentJobStatus::Error if job.message.is_empty() => {
            Progress::Failed("the agent did not say why".to_owned())
        }
        AgentJobStatus::Error => Progress::Failed(job.message.clone()),
    }
}

/// From the guest and its jobs, where the job left something open. The jobs are read before the guest.
pub(super) fn by_guest(
    action: JobAction,
    ordered: bool,
    open: Open,
    jobs: &[AgentJob],
    guest: &GuestLookup,
) -> Progress {
    if jobs.iter().any(|job| !job.status.is_final()) {
        return Progress::Working("followed by another job of the guest");
    }
    match open {
        Open::DeleteComplete if *guest == GuestLookup::Absent => Progress::Done,
        Open::DeleteComplete => Progress::Working("complete, and its record not yet gone"),
        Open::Unknown { .. } if shows_the_end(action, ordered, guest) => Progress::Done,
        Open::Unknown { since } if !ordered && since < LOST_GRACE => {
            Progress::Working("not known to the agent any more")
        }
        Open::Unknown { .. } => Progress::Lost(
            "the agent does not know the job any more, and the guest does not show its end"
                .to_owned(),
        ),
    }
}

/// Our agent lists a guest as off while it is being made; the original, by then, says nothing clear.
fn shows_the_end(action: JobAction, ordered: bool, guest: &GuestLookup) -> bool {
    let off =
        matches!(guest, GuestLookup::Found(found) if matches!(found.power(), Power::Down { .. }));
    is_as_wished(action, guest) && !(action == JobAction::Create && ordered && off)
}

#[cfg(test)]
mod tests {
    use lochness_agent::wire::AgentGuest;
    use lochness_api::GuestId;
    use uuid::Uuid;

    use AgentJobStatus::{Complete, Error, Queued, Running};
    use JobAction::{Create, Delete, Poweroff, Reboot, Shutdown, Start};

    use super::*;

    const ORIGINAL: bool = false;
    const OURS: bool = true;
    const JUST_NOW: Open = Open::Unknown { since: Duration::ZERO };
    const LONG_AGO: Open = Open::Unknown { since: LOST_GRACE };

    fn job(status: AgentJobStatus, message: &str) -> AgentJob {
        AgentJob {
            id: "7".to_owned(),
            guest_id: Uuid::from_u128(1).to_string(),
            action: "create".to_owned(),
            queued_at: None,
            started_at: None,
            updated_at: None,
            status,
            message: message.to_owned(),
        }
    }

    fn found(state: &str) -> GuestLookup {
        let mut guest = AgentGuest::new(GuestId::new(Uuid::from_u128(1)));
        state.clone_into(&mut guest.state);
        GuestLookup::Found(guest)
    }

    fn is_working(progress: &Progress) -> bool {
        matches!(progress, Progress::Working(_))
    }

    fn is_lost(progress: &Progress) -> bool {
        matches!(progress, Progress::Lost(_))
    }

    #[test]
    fn the_agents_word_is_the_end_of_a_job_but_for_a_delete_of_the_original() {
        let ends = |action, ordered, status, message: &str| {
            by_job(action, ordered, Some(&job(status, message)), Duration::ZERO)
        };
        assert!(is_working(&ends(Create, ORIGINAL, Queued, "")));
        assert!(is_working(&ends(Create, ORIGINAL, Running, "")));
        assert_eq!(ends(Create, ORIGINAL, Complete, ""), Progress::Done);
        assert_eq!(ends(Create, ORIGINAL, Error, "no"), Progress::Failed("no".to_owned()));
        assert_eq!(ends(Delete, OURS, Complete, ""), Progress::Done);
        let open = Progress::Read(Open::DeleteComplete);
        assert_eq!(ends(Delete, ORIGINAL, Complete, ""), open);
    }

    #[test]
    fn trap_1_a_job_that_died_with_its_agent_is_lost_and_not_merely_failed() {
        let interrupted = job(Error, INTERRUPTED);
        assert!(is_lost(&by_job(Create, OURS, Some(&interrupted), Duration::ZERO)));
        assert!(is_lost(&by_guest(Create, ORIGINAL, LONG_AGO, &[], &found("create"))));
        assert!(is_lost(&by_guest(Create, ORIGINAL, LONG_AGO, &[], &GuestLookup::Absent)));
    }

    #[test]
    fn trap_3_deleted_means_complete_and_gone_and_no_job_under_way() {
        let by_guest = |jobs: &[AgentJob], guest: &GuestLookup| {
            by_guest(Delete, ORIGINAL, Open::DeleteComplete, jobs, guest)
        };
        assert!(is_working(&by_guest(&[], &found("running"))));
        assert!(is_working(&by_guest(&[job(Queued, "")], &GuestLookup::Absent)));
        assert_eq!(by_guest(&[job(Complete, "")], &GuestLookup::Absent), Progress::Done);
    }

    #[test]
    fn trap_7_the_end_of_a_job_that_the_agent_forgot_is_read_from_the_guest() {
        let end = |action, guest: &GuestLookup| by_guest(action, ORIGINAL, JUST_NOW, &[], guest);
        assert_eq!(end(Create, &found("running")), Progress::Done);
        assert_eq!(end(Start, &found("running")), Progress::Done);
        assert_eq!(end(Shutdown, &found("shutoff")), Progress::Done);
        assert_eq!(end(Poweroff, &found("stopped")), Progress::Done);
        assert_eq!(end(Delete, &GuestLookup::Absent), Progress::Done);
        assert!(is_lost(&by_guest(Start, ORIGINAL, LONG_AGO, &[], &found("shutoff"))));
        assert!(is_lost(&by_guest(Reboot, ORIGINAL, LONG_AGO, &[], &found("running"))));
        assert!(is_lost(&by_guest(Delete, ORIGINAL, LONG_AGO, &[], &found("running"))));
    }

    #[test]
    fn trap_7_a_job_that_was_cut_from_the_log_while_it_ran_is_waited_for() {
        assert!(is_working(&by_guest(Create, ORIGINAL, JUST_NOW, &[], &found("create"))));
        let running = [job(Running, "")];
        assert!(is_working(&by_guest(Create, ORIGINAL, LONG_AGO, &running, &found("create"))));
    }

    #[test]
    fn a_guest_that_our_agent_lists_as_off_may_only_be_in_the_making() {
        assert!(is_lost(&by_guest(Create, OURS, JUST_NOW, &[], &found("shutoff"))));
        assert_eq!(by_guest(Create, OURS, JUST_NOW, &[], &found("running")), Progress::Done);
    }
}
