//! Asking the agent how far a job is.

use std::time::Duration;

use lochness_agent::AgentError;
use lochness_api::job::Job;
use lochness_runtime::controller::{Outcome, ReconcileError};
use tokio::time::Instant;

use super::plan::Task;
use super::progress::{Open, Progress, by_guest, by_job};
use super::submit::read;
use super::{End, JobReconciler};
use crate::agents::{Agent, CallError};

impl JobReconciler {
    /// Asks how far a job is, and ends it when it has ended or takes too long.
    pub(super) async fn follow(
        &self,
        task: &Task,
        remote: &str,
    ) -> Result<Outcome, ReconcileError> {
        let Some(agent) = self.agent(task) else {
            return Ok(self.end(task, &End::Failed("its host has no address".to_owned())));
        };
        self.begin_deadline(&task.job);
        let progress = match self.progress(task, &agent, remote).await {
            Ok(progress) => progress,
            Err(CallError::Agent(
                error @ (AgentError::Refused { .. }
                | AgentError::Fenced(_)
                | AgentError::Failed { .. }
                | AgentError::Garbled(_)),
            )) if self.is_overdue(&task.job) => {
                return Ok(
                    self.end(task, &End::Failed(self.overdue(&task.job, &error.to_string())))
                );
            }
            Err(error) => return Self::not_now(&error, self.context.term.lease()),
        };
        let end = match progress {
            Progress::Done => End::Done,
            Progress::Failed(why) => End::Failed(why),
            Progress::Lost(why) => End::Lost(why),
            Progress::Working(how) if self.is_overdue(&task.job) => {
                End::Failed(self.overdue(&task.job, &format!("the agent says it is {how}")))
            }
            Progress::Working(_) | Progress::Read(_) => {
                return Ok(Outcome::unchanged().after(self.memory.next_poll(task.job.id)));
            }
        };
        Ok(self.end(task, &end))
    }

    async fn progress(
        &self,
        task: &Task,
        agent: &Agent,
        remote: &str,
    ) -> Result<Progress, CallError> {
        let Job { id, action, .. } = task.job;
        let job = agent.job(remote).await?;
        let unknown_for = self.memory.change(id, |remembered| match job {
            Some(_) => {
                remembered.unknown_since = None;
                Duration::ZERO
            }
            None => remembered.unknown_since.get_or_insert_with(Instant::now).elapsed(),
        });
        let ordered = task.is_ordered();
        match by_job(action, ordered, job.as_ref(), unknown_for) {
            Progress::Read(open @ (Open::DeleteComplete | Open::Unknown { .. })) => {
                let (jobs, guest) = read(agent, task).await?;
                Ok(by_guest(action, ordered, open, &jobs, &guest))
            }
            progress @ (Progress::Working(_)
            | Progress::Done
            | Progress::Failed(_)
            | Progress::Lost(_)) => Ok(progress),
        }
    }

    /// The deadline counts from when this process first saw the job working. What its document leaves of the time makes
    /// it shorter, but a clock that jumped makes it neither longer than the whole nor end before the agent was asked.
    fn begin_deadline(&self, job: &Job) {
        let limit = self.limit(job.action);
        let left = job.deadline.map_or(limit, |deadline| {
            let left = deadline.duration_since(self.context.now());
            Duration::try_from(left).unwrap_or(Duration::ZERO).min(limit)
        });
        self.memory.change(job.id, |remembered| {
            remembered.deadline.get_or_insert_with(|| Instant::now() + left);
        });
    }

    fn is_overdue(&self, job: &Job) -> bool {
        let deadline = self.memory.recall(job.id).deadline;
        deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }

    fn overdue(&self, job: &Job, how: &str) -> String {
        format!("its deadline of {:?} has passed: {how}", self.limit(job.action))
    }
}
