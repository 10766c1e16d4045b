//! Handing a job to its agent, and writing down that the agent has it.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::SignedDuration;
use lochness_agent::wire::{AgentJob, Power};
use lochness_agent::{AgentError, GuestLookup};
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_mutant::Mutant;
use lochness_runtime::controller::{Outcome, ReconcileError};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::look::{Look, Sight, Unanswered, is_same_nic, judge};
use super::memory::FIRST_POLL;
use super::plan::Task;
use super::{End, JobReconciler};
use crate::agents::{Agent, CallError};
use crate::world::GuestEntry;

/// An agent that fails so often in a row with one request does not merely stumble: the job ends with its words.
const FAILURES: u32 = 3;

/// What an agent with order shows of an earlier create.
enum Former {
    /// Nothing that a new one could disturb.
    Gone,
    /// It has not ended: what comes of it is not known yet.
    UnderWay,
    /// The guest is there and as wished.
    Lives,
}

impl JobReconciler {
    /// Hands a job to its agent, once.
    pub(super) async fn submit(&self, task: &Task) -> Result<Outcome, ReconcileError> {
        let id = task.job.id;
        let remembered = self.memory.recall(id);
        if let Some(remote) = remembered.accepted {
            return self.record(task, remote).await;
        }
        let Some(agent) = self.agent(task) else {
            return Ok(self.end(task, &End::Failed("its host has no address".to_owned())));
        };
        if task.is_ordered() {
            if self.is_there_already(task, remembered.first_seen) {
                return Ok(self.end(task, &End::Done));
            }
            return match self.former_create(task, &agent).await {
                Ok(Former::Gone) => self.send(task, &agent, None).await,
                Ok(Former::Lives) => Ok(self.end(task, &End::Done)),
                Ok(Former::UnderWay) => Ok(self.await_former(task, remembered.first_seen)),
                Err(error) => Self::not_now(&error, self.context.term.lease()),
            };
        }
        self.look(task, &agent).await
    }

    /// Whether a create has nothing to do: a list that was asked for after the placement has the guest alive, as wished.
    fn is_there_already(&self, task: &Task, first_seen: Instant) -> bool {
        let Some(wanted) = &task.guest else { return false };
        let reports = self.context.reports.read();
        let list = reports.host(task.job.hypervisor).and_then(|report| report.guests.as_ref());
        let Some(list) = list.filter(|list| list.asked_at > first_seen) else { return false };
        list.guests.get(&wanted.id).is_some_and(|guest| {
            // Off may mean that it is only being made.
            matches!(guest.state.power(), Power::Up | Power::Paused)
                && is_same_nic(wanted, &guest.record)
        })
    }

    /// What became of an earlier create of a guest that is to be made again: a second one replaces the record under a
    /// running guest. A list can be wrong, and a create that counts as failed can have been accepted: an answer was lost,
    /// and the request that went again was refused on the way.
    async fn former_create(&self, task: &Task, agent: &Agent) -> Result<Former, CallError> {
        let Some(wanted) = task.guest.as_ref().filter(|_| !self.is_first(task)) else {
            return Ok(Former::Gone);
        };
        // The jobs are read before the guest: what they say has ended is in the guest.
        let jobs = agent.jobs_of(wanted.id).await?;
        let creates = |job: &AgentJob| job.action == JobAction::Create.as_str();
        if jobs.iter().any(|job| creates(job) && !job.status.is_final()) {
            return Ok(Former::UnderWay);
        }
        Ok(match agent.guest(wanted.id).await? {
            GuestLookup::Found(found)
                if matches!(found.power(), Power::Up | Power::Paused)
                    && is_same_nic(wanted, &found) =>
            {
                Former::Lives
            }
            GuestLookup::Found(_) | GuestLookup::Absent | GuestLookup::Damaged => Former::Gone,
        })
    }

    /// Looks again later how an earlier create ends, for as long as a create may take.
    fn await_former(&self, task: &Task, first_seen: Instant) -> Outcome {
        let Job { id, guest, action, .. } = task.job;
        let limit = self.limit(action);
        if first_seen.elapsed() > limit {
            let message = format!("an earlier create did not end within {limit:?}");
            return self.end(task, &End::Failed(message));
        }
        debug!(%guest, "an earlier create is under way at the agent");
        Outcome::unchanged().after(self.memory.next_poll(id))
    }

    /// Whether the job was made in the transaction that placed its guest.
    fn is_first(&self, task: &Task) -> bool {
        let world = self.context.world.read();
        let placed = world.guest(task.job.guest).map(GuestEntry::placement_revision);
        task.order.map(|order| order.revision) == placed.map(i64::unsigned_abs)
    }

    /// Looks before sending: for an agent without order.
    async fn look(&self, task: &Task, agent: &Agent) -> Result<Outcome, ReconcileError> {
        let Job { id, guest, action, .. } = task.job;
        let (jobs, lookup) = match read(agent, task).await {
            Ok(read) => read,
            Err(error) => return Self::not_now(&error, self.context.term.lease()),
        };
        let remembered = self.memory.recall(id);
        let unanswered = remembered.unanswered.as_ref();
        let looking_for = remembered.first_seen.elapsed();
        let look = Look {
            action,
            jobs: &jobs,
            guest: &lookup,
            wanted: task.guest.as_ref(),
            looking_for,
            unanswered: unanswered.map(|(at, before)| Unanswered { before, ago: at.elapsed() }),
        };
        match judge(look) {
            Sight::Send => {
                let before = jobs.into_iter().map(|job| job.id).collect();
                self.send(task, agent, Some(before)).await
            }
            Sight::Adopt(remote) => {
                debug!(%guest, %action, remote, "the agent has the job already");
                self.record(task, remote).await
            }
            Sight::Done => Ok(self.end(task, &End::Done)),
            Sight::Wait(why) if looking_for > self.limit(action) => {
                let message =
                    format!("it could not be sent within {:?}: {why}", self.limit(action));
                Ok(self.end(task, &End::Failed(message)))
            }
            Sight::Wait(why) => {
                debug!(%guest, %action, why, "job waits for its turn at the agent");
                Ok(Outcome::unchanged().after(self.memory.next_poll(id)))
            }
            Sight::Fail(why) => Ok(self.end(task, &End::Failed(why))),
        }
    }

    /// Sends the request. `before`: the agent's jobs of the guest, for an agent without order.
    async fn send(
        &self,
        task: &Task,
        agent: &Agent,
        before: Option<BTreeSet<String>>,
    ) -> Result<Outcome, ReconcileError> {
        let Job { id, guest, action, .. } = task.job;
        let sent_at = Instant::now();
        if lochness_mutant::is(Mutant::SecretLogged) {
            warn!(request = ?task.guest, "asking the agent");
        }
        let told = if lochness_mutant::is(Mutant::JobUnknown) {
            lochness_api::JobId::new(uuid::Uuid::nil())
        } else {
            id
        };
        let answer = match (&task.guest, action) {
            (Some(wanted), JobAction::Create) => agent.create(wanted, told, task.numbers()).await,
            (None, JobAction::Create) => {
                return Ok(self.end(task, &End::Failed("its document is gone".to_owned())));
            }
            (_, _) => agent.act(guest, action, told, task.numbers()).await,
        };
        match answer {
            Ok(remote) => {
                self.memory.change(id, |remembered| remembered.accepted = Some(remote.clone()));
                self.record(task, remote).await
            }
            Err(CallError::Agent(error)) => self.refused(task, &error, before, sent_at),
            Err(error) => Self::not_now(&error, self.context.term.lease()),
        }
    }

    /// The agent did not accept, or nobody knows.
    fn refused(
        &self,
        task: &Task,
        error: &AgentError,
        before: Option<BTreeSet<String>>,
        sent_at: Instant,
    ) -> Result<Outcome, ReconcileError> {
        let Job { id, action, .. } = task.job;
        let again = || Err(ReconcileError::failed(error.reason(), error.to_string()));
        match (error, before) {
            (AgentError::Fenced(message), _) if message.starts_with("epoch") => {
                // Nothing happened. A higher epoch than ours proves another leader, or a store that was rolled back: see
                // the module `rollback`.
                warn!(%error, "the agent has seen a newer leader");
                Err(ReconcileError::failed("EpochRefused", error.to_string()))
            }
            // Nothing is there to delete, and the agent refuses what may still come of it.
            (AgentError::Refused { code: 404, .. }, None) if action == JobAction::Delete => {
                Ok(self.end(task, &End::Done))
            }
            // It was there a moment ago: look again.
            (AgentError::Refused { code: 404, .. }, Some(_)) if action == JobAction::Delete => {
                Ok(Outcome::unchanged().after(FIRST_POLL))
            }
            (AgentError::Fenced(_) | AgentError::Refused { .. }, _) => {
                Ok(self.end(task, &End::Failed(error.to_string())))
            }
            (
                AgentError::Unknown(_) | AgentError::Failed { .. } | AgentError::Garbled(_),
                Some(before),
            ) => {
                warn!(%error, "request without an answer: looking what became of it");
                self.memory.change(id, |remembered| {
                    remembered.unanswered = Some((sent_at, before));
                });
                Ok(Outcome::unchanged().after(FIRST_POLL))
            }
            // It did not arrive; or the same number goes again, and counts once.
            (AgentError::NotSent(_), _) | (AgentError::Unknown(_), None) => again(),
            (AgentError::Failed { .. } | AgentError::Garbled(_), None) => {
                let failures = self.memory.change(id, |remembered| {
                    remembered.failures += 1;
                    remembered.failures
                });
                if failures < FAILURES {
                    return again();
                }
                Ok(self.end(task, &End::Failed(error.to_string())))
            }
        }
    }

    /// Writes down that the agent has the job.
    async fn record(&self, task: &Task, remote: String) -> Result<Outcome, ReconcileError> {
        let now = self.context.now();
        let limit = self.limit(task.job.action);
        let job = Job {
            remote: Some(remote),
            order: task.order.map(|order| order.to_string()),
            status: JobStatus::Working,
            started_at: Some(now),
            deadline: SignedDuration::try_from(limit)
                .ok()
                .and_then(|limit| now.checked_add(limit).ok()),
            ..task.job.clone()
        };
        self.put(&job, task.revision, None).await?;
        self.memory.change(job.id, |remembered| {
            remembered.deadline.get_or_insert(Instant::now() + limit);
        });
        Ok(Outcome::changed().after(FIRST_POLL))
    }

    /// How long an action may take at its agent.
    pub(super) fn limit(&self, action: JobAction) -> Duration {
        let settings = &self.context.settings;
        match action {
            JobAction::Create => settings.create_deadline,
            JobAction::Shutdown => settings.shutdown_grace,
            JobAction::Start
            | JobAction::Poweroff
            | JobAction::Reboot
            | JobAction::Restart
            | JobAction::Suspend
            | JobAction::Resume
            | JobAction::Delete => settings.action_deadline,
        }
    }
}

/// The agent's jobs of the guest, and then the guest: what the jobs say has ended is in it.
pub(super) async fn read(
    agent: &Agent,
    task: &Task,
) -> Result<(Vec<AgentJob>, GuestLookup), CallError> {
    let jobs = agent.jobs_of(task.job.guest).await?;
    let guest = agent.guest(task.job.guest).await?;
    Ok((jobs, guest))
}
