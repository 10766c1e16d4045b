//! What to do next about one guest that is placed: the next job, its teardown, or what its status should say.
//!
//! The order of questions: is it being torn down; is its document gone; is a job under way or just ended; is it what its
//! owner wants. One step at a time, each one transaction; what follows is planned from what that made.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use lochness_agent::wire::{CAPABILITY_SUSPEND, Power};
use lochness_api::document::Guest;
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::status::{ConditionStatus, ConditionType, GuestStatus, Phase, Placement, Reason};
use lochness_api::{GuestId, HypervisorId};
use lochness_mutant::Mutant;

use super::conditions::Conditions;
use super::{converge, teardown};
use crate::firewall::rules::ClosedGroup;
use crate::job::plan::Waiting;
use crate::outcomes::JobOutcome;
use crate::reports::{HostReport, Protocol};
use crate::settings::Settings;
use crate::world::GuestEntry;

/// The end of a job is written so much later at most, if a list is to show it. An agent with blocking lists needs a
/// round trip.
const LIST_PATIENCE: Duration = Duration::from_millis(250);

/// What is known of the guest on its host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sight<'a> {
    /// The host's heartbeat is gone: nothing is known.
    HostSilent,
    /// The host lives, and its agent was not heard of yet since this process leads, or since it moved: soon it will be.
    Unasked,
    /// The host lives, but its agent does not answer.
    Unreachable,
    /// A complete list does not have it.
    Absent,
    /// A complete list has it.
    Listed {
        /// What it does.
        power: Power,
        /// The agent's own word.
        word: &'a str,
        /// The address that it has there, when that is not the one of its place.
        address: Option<IpAddr>,
    },
}

/// Everything that a plan reads.
pub(super) struct Input<'a> {
    pub(super) entry: &'a GuestEntry,
    pub(super) status: &'a GuestStatus,
    pub(super) placement: &'a Placement,
    /// The job that the status names, if its key is still there.
    pub(super) job: Option<&'a Job>,
    /// How that job ended, if that is not in the store yet.
    pub(super) outcome: Option<&'a JobOutcome>,
    pub(super) sight: Sight<'a>,
    /// Another host that has the guest.
    pub(super) elsewhere: Option<HypervisorId>,
    /// A host that may have it without the store knowing it, and that was not heard since.
    pub(super) may_be_on: Option<HypervisorId>,
    /// Another guest that a host has with this one's address.
    pub(super) address_used_by: Option<GuestId>,
    /// Whether the list behind `sight` was asked for after the newest job ended: only then it may start another.
    pub(super) sight_is_fresh: bool,
    /// Whether the agent refuses what is old; whether it can suspend and resume; whether it says what guests do.
    pub(super) agent: AgentAbilities,
    /// Whether a teardown may begin now.
    pub(super) teardown: TeardownPermit,
    /// Who paused the cluster, the host or the guest.
    pub(super) paused: Option<&'static str>,
    /// The group of its placement, if that lets nothing in because nobody knows its rules.
    pub(super) closed_group: Option<ClosedGroup>,
    /// Another guest that bears the name.
    pub(super) name_taken_by: Option<String>,
    /// What the job under way waits for.
    pub(super) waiting: Option<Waiting>,
    pub(super) now: Timestamp,
    /// For how long the job has been seen under way, by a clock that does not jump; zero when it is not.
    pub(super) under_way_for: Duration,
    /// For how long its end has been known without being written.
    pub(super) outcome_for: Duration,
    /// How long ago the job was first seen to have ended, by a clock that does not jump.
    pub(super) ended_for: Duration,
    pub(super) quarantine: Duration,
    pub(super) settings: &'a Settings,
}

/// What the agent of the guest's host can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct AgentAbilities {
    pub(super) order: bool,
    pub(super) suspend: bool,
    /// It says of some guest of this one's type what that does: it does not only echo what it was told.
    pub(super) tells: bool,
}

impl AgentAbilities {
    /// What it said of itself; the original says nothing.
    pub(super) fn of(report: Option<&HostReport>, guest: GuestId) -> Self {
        match report.and_then(|report| report.protocol.as_ref()) {
            Some(Protocol::Lochness(capabilities)) => Self {
                order: report.is_some_and(HostReport::has_order),
                suspend: capabilities.has(CAPABILITY_SUSPEND),
                tells: true,
            },
            Some(Protocol::Original) => {
                Self { tells: report.is_some_and(|report| tells(report, guest)), ..Self::default() }
            }
            None => Self::default(),
        }
    }
}

/// Whether the host's newest list says of a guest of the same type what it does.
fn tells(report: &HostReport, guest: GuestId) -> bool {
    let Some(list) = &report.guests else { return false };
    let Some(listed) = list.guests.get(&guest) else { return false };
    // Whoever is told of needs no other: the whole list is looked through only for one whose word says nothing.
    listed.state.power() != Power::Unclear
        || list.guests.values().any(|other| {
            other.record.guest_type == listed.record.guest_type
                && other.state.power() != Power::Unclear
        })
}

/// Whether a teardown may begin now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TeardownPermit {
    /// It may.
    Granted,
    /// Not yet: so many may begin in a minute.
    Later,
    /// More would be deleted than the budget allows, and nobody has confirmed it.
    Held { pending: usize, budget: usize },
}

/// A job to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NextJob {
    pub(super) action: JobAction,
    pub(super) attempt: u32,
}

/// How the present job is closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Closing {
    pub(super) result: Result<(), String>,
    pub(super) finished_at: Timestamp,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing, or nothing but a status that says it better.
    Write {
        /// The whole status, but for the id of the next job.
        status: Box<GuestStatus>,
        /// The job that is created with it.
        next: Option<NextJob>,
        /// How the present job is closed with it.
        close: Option<Closing>,
        /// Only if the document is still absent: the point of no return.
        only_if_undeclared: bool,
    },
    /// The guest is gone from its host: free its address, its index key and its status.
    Free {
        /// How the delete job is closed with it.
        close: Option<Closing>,
    },
}

/// What to do, and when to look again without being woken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) action: Action,
    pub(super) again_in: Option<Duration>,
}

/// The job that the status names, as far as it goes.
pub(super) enum JobState<'a> {
    /// There is none, or its key is gone: whatever it was, it is over.
    None,
    /// It is under way.
    Active(&'a Job),
    /// It ended, and the store does not say so yet.
    Ended(&'a Job, Closing),
    /// It ended.
    Closed(&'a Job),
}

/// Plans the next step. `None` when the guest has no placement: that is the placement loop's business.
pub(super) fn plan(input: &Input<'_>) -> Plan {
    let state = job_state(input);
    if input.status.phase == Phase::Deleting {
        return teardown::go_on(input, &state);
    }
    if input.sight == Sight::HostSilent && lochness_mutant::is(Mutant::SilentHostFreed) {
        return Plan { action: Action::Free { close: None }, again_in: None };
    }
    if input.entry.document.is_none() {
        return teardown::begin(input, &state);
    }
    match state {
        JobState::Active(job) => under_way(input, job),
        JobState::Ended(job, closing) => ended(input, job, closing),
        JobState::Closed(job) => converge::converge(input, Some(job)),
        JobState::None => converge::converge(input, None),
    }
}

fn job_state<'a>(input: &Input<'a>) -> JobState<'a> {
    let Some(job) = input.job else { return JobState::None };
    match (job.status, input.outcome) {
        (JobStatus::Done | JobStatus::Error, _) => JobState::Closed(job),
        (JobStatus::New | JobStatus::Working, None) => JobState::Active(job),
        (JobStatus::New | JobStatus::Working, Some(outcome)) => {
            let closing =
                Closing { result: outcome.result.clone(), finished_at: outcome.finished_at };
            JobState::Ended(job, closing)
        }
    }
}

/// A job is under way: only the status moves. What the document says is answered at once; how far the job is, only once
/// it has been under way for a moment. Most end sooner, and each such word would cost a transaction.
fn under_way(input: &Input<'_>, job: &Job) -> Plan {
    let mut status = answered(input);
    let answers_anew = status != *input.status;
    status.phase = phase_during(job, input.status.phase);
    let mut conditions = Conditions::of(&mut status, input.now);
    conditions.job_under_way(job, input.waiting.as_ref());
    let left = input.settings.status_interval.saturating_sub(input.under_way_for);
    if answers_anew || left.is_zero() || status == *input.status {
        return Plan::write(status);
    }
    Plan::write(input.status.clone()).again_in(left)
}

/// A job has just ended: close it, and say what the guest does now. What follows is planned from there.
fn ended(input: &Input<'_>, job: &Job, closing: Closing) -> Plan {
    if let Some(left) = list_to_come(input, job, &closing) {
        return Plan::write(input.status.clone()).again_in(left);
    }
    let mut plan = converge::settle(input, job, &closing);
    if let Action::Write { close, .. } = &mut plan.action {
        *close = Some(closing);
    }
    plan
}

/// How long to wait for a list that shows what a job has brought, which was asked for when it ended: with it, one
/// transaction says what would else take two.
fn list_to_come(input: &Input<'_>, job: &Job, closing: &Closing) -> Option<Duration> {
    let brings_up = matches!(job.action, JobAction::Create | JobAction::Start | JobAction::Resume);
    let is_seen = input.sight_is_fresh
        || match input.sight {
            Sight::Listed { power, .. } => power == Power::Up,
            Sight::Absent => false,
            Sight::Unasked | Sight::Unreachable | Sight::HostSilent => true,
        };
    let left = LIST_PATIENCE.saturating_sub(input.outcome_for);
    (brings_up && closing.result.is_ok() && !is_seen && !left.is_zero()).then_some(left)
}

/// The phase while a job is under way.
fn phase_during(job: &Job, former: Phase) -> Phase {
    match (job.action, job.status) {
        (JobAction::Create, JobStatus::New) if former == Phase::Scheduled => Phase::Scheduled,
        (JobAction::Create | JobAction::Start, _) => Phase::Creating,
        (JobAction::Shutdown | JobAction::Poweroff, _) => Phase::Stopping,
        (JobAction::Delete, _) => Phase::Deleting,
        (JobAction::Reboot | JobAction::Restart | JobAction::Suspend | JobAction::Resume, _) => {
            former
        }
    }
}

/// The present status, answering the document as it is now: digest, validity, what cannot change in place.
pub(super) fn answered(input: &Input<'_>) -> GuestStatus {
    let mut status = input.status.clone();
    let Some(declared) = &input.entry.document else { return status };
    if declared.valid().is_some() {
        status.observed = input.entry.digest();
    }
    let mut conditions = Conditions::of(&mut status, input.now);
    conditions.validity(declared.invalid.as_deref(), input.name_taken_by.as_deref());
    if let Some(document) = declared.valid() {
        conditions.placement(&fields_that_wait(document, input.placement));
    }
    conditions.firewall(input.waiting.as_ref(), input.closed_group);
    if lochness_mutant::is(Mutant::SecretInStatus) {
        let text =
            declared.understood.as_ref().map(|document| format!("{:?}", document.metadata.0));
        conditions.set(
            ConditionType::Valid,
            ConditionStatus::True,
            Reason::Accepted,
            text.unwrap_or_default(),
        );
    }
    status
}

/// Fields of the document that say something else than the placement: they take effect when the guest is made anew.
fn fields_that_wait(document: &Guest, placement: &Placement) -> Vec<&'static str> {
    let mut fields = Vec::new();
    let mut differs = |field, differs: bool| {
        if differs {
            fields.push(field);
        }
    };
    differs("hypervisor", document.hypervisor.is_some_and(|id| id != placement.hypervisor));
    differs("subnet", document.subnet.is_some_and(|id| id != placement.subnet));
    differs(
        "network",
        document.network.is_some()
            && placement.network.is_some()
            && document.network != placement.network,
    );
    differs("ip", document.ip.is_some_and(|ip| ip != placement.ip));
    differs("mac", document.mac.is_some_and(|mac| mac != placement.mac));
    differs("fwgroup", document.fwgroup != placement.fwgroup);
    fields
}

impl Plan {
    pub(super) fn write(status: GuestStatus) -> Self {
        let action = Action::Write {
            status: Box::new(status),
            next: None,
            close: None,
            only_if_undeclared: false,
        };
        Self { action, again_in: None }
    }

    pub(super) fn start(status: GuestStatus, next: NextJob) -> Self {
        let action = Action::Write {
            status: Box::new(status),
            next: Some(next),
            close: None,
            only_if_undeclared: false,
        };
        Self { action, again_in: None }
    }

    pub(super) fn again_in(self, delay: Duration) -> Self {
        let again_in = Some(self.again_in.map_or(delay, |before| before.min(delay)));
        Self { again_in, ..self }
    }
}
