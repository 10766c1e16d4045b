//! What to do for an agent without order: look before sending, and adopt what is found. Pure.
//!
//! The original deduplicates nothing and carries out what its client gave up (AGENT-WIRE.md, sections 3 and 4). So a
//! request goes out only when no job of the guest is under way and what is there does not answer it already, and a
//! request whose outcome is unknown is never repeated: its job is recognised by not having been there before.

use std::collections::BTreeSet;
use std::time::Duration;

use lochness_agent::GuestLookup;
use lochness_agent::wire::{AgentGuest, AgentJob, AgentJobStatus, Power};
use lochness_api::job::JobAction;

/// The original shows a record up to a second after its delete is `Complete` (trap 3); this is that with a margin.
pub(super) const DELETE_LAG: Duration = Duration::from_secs(5);
/// A request without an answer that left no trace for so long is taken for lost.
pub(super) const UNKNOWN_SETTLES: Duration = Duration::from_secs(10);

/// What was read from the agent, and what is remembered of this job. The jobs are read before the guest: what they say
/// has ended is in the guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look<'a> {
    pub(super) action: JobAction,
    /// The jobs of the guest, newest first.
    pub(super) jobs: &'a [AgentJob],
    pub(super) guest: &'a GuestLookup,
    /// For a create: what it is to make.
    pub(super) wanted: Option<&'a AgentGuest>,
    /// Since when this job is being looked at.
    pub(super) looking_for: Duration,
    /// The request that was sent and got no answer, if there is one.
    pub(super) unanswered: Option<Unanswered<'a>>,
}

/// A request that got no answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unanswered<'a> {
    /// The agent's jobs of the guest before it was sent.
    pub(super) before: &'a BTreeSet<String>,
    /// How long ago it was sent.
    pub(super) ago: Duration,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Sight {
    /// Nothing is in the way.
    Send,
    /// The agent has this job already.
    Adopt(String),
    /// What is there is what is wished.
    Done,
    /// Look again later; says what is in the way.
    Wait(String),
    /// It cannot be done.
    Fail(String),
}

pub(super) fn judge(look: Look<'_>) -> Sight {
    let same = |job: &&AgentJob| job.action == look.action.as_str();
    if let Some(Unanswered { before, .. }) = look.unanswered
        && let Some(ours) = look.jobs.iter().filter(same).find(|job| !before.contains(&job.id))
    {
        return Sight::Adopt(ours.id.clone());
    }
    let mut active = look.jobs.iter().filter(|job| !job.status.is_final());
    if let Some(job) = active.next() {
        if same(&job) && active.next().is_none() {
            return Sight::Adopt(job.id.clone());
        }
        return Sight::Wait(format!("{} of the same guest is under way", job.action));
    }
    if let Some(Unanswered { ago, .. }) = look.unanswered {
        return unanswered(look, ago);
    }
    let newest = look.jobs.first();
    let deleted = newest.is_some_and(|job| {
        job.action == JobAction::Delete.as_str() && job.status == AgentJobStatus::Complete
    });
    if deleted && matches!(look.guest, GuestLookup::Found(_)) && look.looking_for < DELETE_LAG {
        return Sight::Wait("its former self is deleted and its record not yet gone".to_owned());
    }
    match look.guest {
        GuestLookup::Absent => absent(look.action),
        GuestLookup::Damaged => damaged(look.action),
        GuestLookup::Found(guest) => found(look, guest),
    }
}

/// Nothing of the unanswered request is to be seen among the jobs, and none is under way.
fn unanswered(look: Look<'_>, ago: Duration) -> Sight {
    if is_as_wished(look.action, look.guest) {
        return Sight::Done;
    }
    if ago < UNKNOWN_SETTLES {
        return Sight::Wait("a request without an answer may still be carried out".to_owned());
    }
    Sight::Fail("the agent gave no answer, and nothing came of the request".to_owned())
}

/// Whether the guest shows that the action was done. A reboot leaves no trace.
pub(super) fn is_as_wished(action: JobAction, guest: &GuestLookup) -> bool {
    let power = match guest {
        GuestLookup::Found(guest) => guest.power(),
        GuestLookup::Absent => return action == JobAction::Delete,
        GuestLookup::Damaged => return false,
    };
    match action {
        JobAction::Create => power != Power::Unclear,
        JobAction::Start | JobAction::Resume => power == Power::Up,
        JobAction::Shutdown | JobAction::Poweroff => matches!(power, Power::Down { .. }),
        JobAction::Suspend => power == Power::Paused,
        JobAction::Reboot | JobAction::Restart | JobAction::Delete => false,
    }
}

fn absent(action: JobAction) -> Sight {
    match action {
        JobAction::Create => Sight::Send,
        JobAction::Delete => Sight::Done,
        JobAction::Start
        | JobAction::Shutdown
        | JobAction::Poweroff
        | JobAction::Reboot
        | JobAction::Restart
        | JobAction::Suspend
        | JobAction::Resume => Sight::Fail("the agent does not have the guest".to_owned()),
    }
}

fn damaged(action: JobAction) -> Sight {
    match action {
        JobAction::Create => Sight::Send,
        JobAction::Start
        | JobAction::Shutdown
        | JobAction::Poweroff
        | JobAction::Reboot
        | JobAction::Restart
        | JobAction::Suspend
        | JobAction::Resume => {
            let message = "the agent's record of the guest is damaged: creating it again heals it";
            Sight::Fail(message.to_owned())
        }
        // Creating it again would let a guest run that nobody wants.
        JobAction::Delete => {
            let message =
                "the agent's record of the guest is damaged: a person has to remove it there";
            Sight::Fail(message.to_owned())
        }
    }
}

fn found(look: Look<'_>, guest: &AgentGuest) -> Sight {
    if look.action == JobAction::Create
        && guest.power() != Power::Unclear
        && let Some(wanted) = look.wanted
        && !is_same_nic(wanted, guest)
    {
        let message = "the agent has a guest of this id with another address: remove it there";
        return Sight::Fail(message.to_owned());
    }
    // A bare `create` means no more than that: whether it was done, the job that made it says, while the agent knows it.
    let created = look.action == JobAction::Create
        && look.jobs.first().is_some_and(|job| {
            job.action == JobAction::Create.as_str() && job.status == AgentJobStatus::Complete
        });
    if created || is_as_wished(look.action, look.guest) { Sight::Done } else { Sight::Send }
}

/// Whether the nic of a record is the wished one, as far as the record tells.
pub(super) fn is_same_nic(wanted: &AgentGuest, found: &AgentGuest) -> bool {
    let (Some(wanted), Some(found)) = (wanted.nics.first(), found.nics.first()) else {
        return true;
    };
    let same = |wanted: &str, found: &str| found.is_empty() || wanted.eq_ignore_ascii_case(found);
    same(&wanted.mac, &found.mac) && same(&wanted.address, &found.address)
}

#[cfg(test)]
mod tests {
    use lochness_agent::wire::Nic;
    use lochness_api::GuestId;
    use uuid::Uuid;

    use super::*;

    const NOW: Duration = Duration::ZERO;

    fn guest(state: &str, address: &str) -> AgentGuest {
        let mut guest = AgentGuest::new(GuestId::new(Uuid::from_u128(1)));
        state.clone_into(&mut guest.state);
        guest.nics = vec![Nic { address: address.to_owned(), ..Nic::default() }];
        guest
    }

    fn found(state: &str) -> GuestLookup {
        GuestLookup::Found(guest(state, "10.0.0.7"))
    }

    fn job(id: &str, action: JobAction, status: AgentJobStatus) -> AgentJob {
        AgentJob {
            id: id.to_owned(),
            guest_id: Uuid::from_u128(1).to_string(),
            action: action.to_string(),
            queued_at: None,
            started_at: None,
            updated_at: None,
            status,
            message: String::new(),
        }
    }

    fn look(action: JobAction, guest: &GuestLookup, jobs: &[AgentJob]) -> Sight {
        look_after(action, guest, jobs, NOW)
    }

    fn look_after(
        action: JobAction,
        guest: &GuestLookup,
        jobs: &[AgentJob],
        looking_for: Duration,
    ) -> Sight {
        let wanted = self::guest("", "10.0.0.7");
        let wanted = Some(&wanted);
        judge(Look { action, jobs, guest, wanted, looking_for, unanswered: None })
    }

    fn look_unanswered(
        action: JobAction,
        guest: &GuestLookup,
        jobs: &[AgentJob],
        ago: Duration,
    ) -> Sight {
        let before = BTreeSet::from(["old".to_owned()]);
        let unanswered = Some(Unanswered { before: &before, ago });
        judge(Look { action, jobs, guest, wanted: None, looking_for: ago, unanswered })
    }

    fn is_wait(sight: &Sight) -> bool {
        matches!(sight, Sight::Wait(_))
    }

    use AgentJobStatus::{Complete, Error, Queued, Running};
    use JobAction::{Create, Delete, Reboot, Shutdown, Start, Suspend};

    #[test]
    fn trap_2_a_create_is_sent_only_when_nothing_is_there() {
        assert_eq!(look(Create, &GuestLookup::Absent, &[]), Sight::Send);
        for state in ["running", "paused", "shutoff", "crashed"] {
            assert_eq!(look(Create, &found(state), &[]), Sight::Done, "{state}");
        }
    }

    #[test]
    fn trap_2_a_create_that_was_sent_before_a_crash_is_adopted() {
        let jobs = [job("7", Create, Running), job("6", Delete, Complete)];
        assert_eq!(look(Create, &found("create"), &jobs), Sight::Adopt("7".to_owned()));
    }

    #[test]
    fn trap_2_a_create_that_ended_before_it_was_recorded_is_done_even_if_the_state_only_echoes() {
        let jobs = [job("7", Create, Complete)];
        assert_eq!(look(Create, &found("create"), &jobs), Sight::Done);
    }

    #[test]
    fn trap_2_a_guest_of_this_id_with_another_address_is_not_taken_for_ours() {
        let other = GuestLookup::Found(guest("running", "10.0.0.8"));
        assert!(matches!(look(Create, &other, &[]), Sight::Fail(_)));
    }

    #[test]
    fn trap_3_nothing_is_sent_while_the_record_of_a_completed_delete_is_still_there() {
        let jobs = [job("7", Delete, Complete), job("6", Create, Complete)];
        for action in [Create, Start, Delete] {
            assert!(is_wait(&look(action, &found("running"), &jobs)), "{action}");
        }
        assert_eq!(look(Create, &GuestLookup::Absent, &jobs), Sight::Send);
        assert_eq!(look(Delete, &GuestLookup::Absent, &jobs), Sight::Done);
    }

    #[test]
    fn trap_3_a_record_that_outlives_its_delete_by_far_is_deleted_again() {
        let jobs = [job("7", Delete, Complete)];
        assert_eq!(look_after(Delete, &found("running"), &jobs, DELETE_LAG), Sight::Send);
    }

    #[test]
    fn trap_4_nothing_is_sent_while_another_job_of_the_guest_is_under_way() {
        for status in [Queued, Running] {
            let jobs = [job("7", Create, status)];
            assert!(is_wait(&look(Delete, &found("create"), &jobs)));
            assert!(is_wait(&look(Start, &found("create"), &jobs)));
        }
        let two = [job("8", Delete, Queued), job("7", Create, Running)];
        assert!(is_wait(&look(Delete, &found("create"), &two)), "the first has to end first");
    }

    #[test]
    fn trap_5_the_record_of_a_failed_create_is_created_again() {
        assert_eq!(look(Create, &found("create"), &[job("7", Create, Error)]), Sight::Send);
        assert_eq!(look(Create, &found("create"), &[]), Sight::Send, "the agent forgot the job");
    }

    #[test]
    fn trap_5_a_damaged_record_is_healed_by_the_same_create_and_by_nothing_else() {
        assert_eq!(look(Create, &GuestLookup::Damaged, &[]), Sight::Send);
        assert!(matches!(look(Start, &GuestLookup::Damaged, &[]), Sight::Fail(_)));
        assert!(matches!(look(Delete, &GuestLookup::Damaged, &[]), Sight::Fail(_)));
    }

    #[test]
    fn what_is_as_wished_needs_no_request() {
        assert_eq!(look(Start, &found("running"), &[]), Sight::Done);
        assert_eq!(look(Start, &found("shutoff"), &[]), Sight::Send);
        assert_eq!(look(Shutdown, &found("stopped"), &[]), Sight::Done);
        assert_eq!(look(Shutdown, &found("create"), &[]), Sight::Send);
        assert_eq!(look(Suspend, &found("paused"), &[]), Sight::Done);
        assert_eq!(look(Reboot, &found("running"), &[]), Sight::Send);
        assert_eq!(look(Delete, &GuestLookup::Absent, &[]), Sight::Done);
        assert_eq!(look(Delete, &found("crashed"), &[]), Sight::Send);
        assert!(matches!(look(Start, &GuestLookup::Absent, &[]), Sight::Fail(_)));
    }

    #[test]
    fn a_request_without_an_answer_is_recognised_by_its_job_however_it_ended() {
        for status in [Queued, Running, Complete, Error] {
            let jobs = [job("new", Reboot, status), job("old", Reboot, Complete)];
            let sight = look_unanswered(Reboot, &found("running"), &jobs, NOW);
            assert_eq!(sight, Sight::Adopt("new".to_owned()));
        }
    }

    #[test]
    fn a_request_without_an_answer_is_never_repeated() {
        let jobs = [job("old", Reboot, Complete)];
        let sight = |ago| look_unanswered(Reboot, &found("running"), &jobs, ago);
        assert!(is_wait(&sight(NOW)));
        assert!(matches!(sight(UNKNOWN_SETTLES), Sight::Fail(_)));
        let create = look_unanswered(Create, &GuestLookup::Absent, &[], UNKNOWN_SETTLES);
        assert!(matches!(create, Sight::Fail(_)));
    }

    #[test]
    fn a_request_without_an_answer_that_shows_its_effect_is_done() {
        assert_eq!(look_unanswered(Create, &found("running"), &[], NOW), Sight::Done);
        assert_eq!(look_unanswered(Delete, &GuestLookup::Absent, &[], NOW), Sight::Done);
    }
}
