//! The job loop: hands jobs to agents, follows them, and learns how they ended.
//!
//! ```text
//!            gates open, 202, recorded          end seen                 guest loop
//!   new ─────────────────────────────▶ working ─────────▶ (outcome) ─────────────────▶ done, error
//!    │                                    │
//!    └── no status names it ──────────────┴──▶ error "superseded"
//! ```
//!
//! Guarantees: nothing is sent for a job whose gates are closed or which no status names; to an agent with order the same
//! request goes with the same number until it is answered, and counts once; to one without, a request goes out only
//! after a look, and one whose outcome is unknown is never repeated. Every job ends: well, badly, or by a deadline that
//! counts on this process' own clock. While its agent cannot be asked a job waits, for nobody knows what became of it.
//!
//! The ends are written by the guest loop, together with the status. Deliberately not here: what job comes next.

mod build;
mod follow;
mod look;
mod memory;
pub mod plan;
mod progress;
mod submit;

#[cfg(test)]
mod tests;

use std::time::Duration;

use async_trait::async_trait;
use lochness_api::JobId;
use lochness_api::job::{Job, JobStatus};
use lochness_api::keys::Key;
use lochness_kv::{Compare, Op};
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use tracing::{debug, info, warn};

use crate::agents::{Agent, CallError};
use crate::context::{Context, Hold};
use crate::outcomes::JobOutcome;
use memory::Memory;
use plan::{Step, Task, Waiting, plan};

/// What the error of a job says that no status names.
const SUPERSEDED: &str = "superseded";
/// How soon to look again at first at a gate that a report opens. Whoever opens a gate wakes the job, so this is for what
/// nobody thought of.
const GATE_RETRY: Duration = Duration::from_secs(5);
/// The same for gates that other loops open.
const READINESS_RETRY: Duration = Duration::from_secs(1);
/// How soon to try again when the agent has enough requests.
const BUSY_RETRY: Duration = Duration::from_millis(50);

/// Brings jobs to their end.
pub struct JobReconciler {
    context: Context,
    memory: Memory,
}

/// How a job ended, and what that says of its agent.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Done,
    Failed(String),
    /// The agent may have died of it.
    Lost(String),
}

impl JobReconciler {
    /// A reconciler that remembers nothing yet.
    pub fn new(context: Context) -> Self {
        Self { context, memory: Memory::default() }
    }

    fn agent(&self, task: &Task) -> Option<Agent> {
        let target = task.target.clone()?;
        Some(self.context.agents.agent_at(task.job.hypervisor, target))
    }

    /// A gate is closed.
    fn wait(&self, id: JobId, waiting: &Waiting) -> Outcome {
        debug!(waiting = %waiting.message(), "job waits");
        let retry = if waiting.ends_by_report() { GATE_RETRY } else { READINESS_RETRY };
        Outcome::unchanged().after(self.memory.next_wait(id, retry))
    }

    /// Notes how a job ended, and lets the guest loop write it.
    fn end(&self, task: &Task, end: &End) -> Outcome {
        let Job { id, guest, action, .. } = task.job;
        let result = match end {
            End::Done => Ok(()),
            End::Failed(why) | End::Lost(why) => Err(why.clone()),
        };
        match &result {
            Ok(()) => info!(%guest, %action, "job done"),
            Err(error) => warn!(%guest, %action, error, "job failed"),
        }
        self.context.agents.metrics().job_finished(action, &result);
        let finished_at = self.context.now();
        self.context.outcomes.record(id, guest, JobOutcome { result, finished_at });
        if let Some(agent) = self.agent(task) {
            match end {
                End::Done | End::Failed(_) => agent.job_ended(),
                End::Lost(_) => agent.job_lost(),
            }
            // What follows is planned on a list that was asked for after this end.
            agent.refresh();
        }
        self.memory.forget(id);
        self.context.queues.guest.add(guest);
        Outcome::unchanged()
    }

    /// A request was not sent, or its answer helps nobody: when to try again.
    fn not_now(error: &CallError, lease: Duration) -> Result<Outcome, ReconcileError> {
        let retry_in = match error {
            CallError::NoBudget | CallError::Held => lease / 10,
            CallError::Busy => BUSY_RETRY,
            CallError::LeftAlone { retry_in } => *retry_in,
            CallError::Agent(error) => {
                return Err(ReconcileError::failed(error.reason(), error.to_string()));
            }
        };
        Ok(Outcome::unchanged().after(retry_in))
    }

    /// Closes a job that no status names.
    async fn supersede(&self, job: Job, revision: i64) -> Result<Outcome, ReconcileError> {
        let id = job.id;
        let job = Job {
            status: JobStatus::Error,
            error: Some(SUPERSEDED.to_owned()),
            finished_at: Some(self.context.now()),
            ..job
        };
        let lease = self.context.leases.lease(self.context.settings.job_retention).await?;
        self.put(&job, revision, Some(lease)).await?;
        self.memory.forget(id);
        self.context.outcomes.forget(id);
        Ok(Outcome::changed())
    }

    /// Writes a job over the one of that revision.
    async fn put(
        &self,
        job: &Job,
        revision: i64,
        lease: Option<lochness_kv::LeaseId>,
    ) -> Result<i64, ReconcileError> {
        let key = self.context.key(&Key::Job(job.id));
        let value = serde_json::to_vec(job).expect("a job is plain data");
        let commit = Commit {
            compares: vec![Compare::ModRevision(key.clone().into(), revision)],
            writes: vec![Op::Put { key: key.into(), value: value.into(), lease }],
        };
        self.context.commit(commit).await
    }
}

#[async_trait]
impl Reconciler for JobReconciler {
    type Key = JobId;

    fn name(&self) -> &'static str {
        "job"
    }

    async fn reconcile(&self, id: &JobId) -> Result<Outcome, ReconcileError> {
        let ended = self.context.outcomes.get(*id).is_some();
        let (step, hold) = {
            let world = self.context.world.read();
            let step = plan(&world, &self.context.reports.read(), *id, ended);
            (step, self.context.hold(&world))
        };
        match step {
            Step::Settled => {
                self.memory.forget(*id);
                self.context.outcomes.forget(*id);
                Ok(Outcome::unchanged())
            }
            Step::Unreadable => Err(ReconcileError::failed(
                "JobUnreadable",
                format!("the value of job {id} cannot be understood"),
            )),
            Step::Ended(guest) => {
                self.context.queues.guest.add(guest);
                Ok(Outcome::unchanged())
            }
            Step::Supersede(job, revision) => match hold {
                Some(Hold::StoreReplaced(_) | Hold::Suspected) => {
                    Ok(Outcome::unchanged().after(GATE_RETRY))
                }
                Some(Hold::Paused) | None => self.supersede(*job, revision).await,
            },
            Step::Wait(waiting) => Ok(self.wait(*id, &waiting)),
            Step::Fail(task, why) => Ok(self.end(&task, &End::Failed(why))),
            Step::Submit(_) if hold.is_some() => Ok(Outcome::unchanged().after(GATE_RETRY)),
            Step::Submit(task) => {
                self.memory.passed(*id);
                self.submit(&task).await
            }
            Step::Follow(task, remote) => self.follow(&task, &remote).await,
        }
    }
}
