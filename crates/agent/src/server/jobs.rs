//! The log of jobs, and one queue a guest. Pure.
//!
//! Guarantees: jobs of one guest run one at a time in the order they came; jobs of different guests do not wait for each
//! other; image jobs share one queue. The log is bounded.

use std::collections::{BTreeMap, VecDeque};

use jiff::Timestamp;
use lochness_api::GuestId;
use lochness_api::job::JobAction;
use serde::{Deserialize, Serialize};

use super::record::Cause;
use crate::wire::{AGENT_QUEUE, AgentGuest, AgentJob, AgentJobStatus, ImageFetch, Order};

/// So many jobs may wait in a queue.
pub(crate) const QUEUE_LIMIT: usize = 100;
/// The original cuts its log to so many jobs.
pub(crate) const MISTIFY_JOBS_KEPT: usize = 1_000;
/// Our agent keeps so many ended jobs, besides those that have not ended: enough to answer for the last minutes.
const ENDED_JOBS_KEPT: usize = 256;

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) id: String,
    pub(crate) work: Work,
    pub(crate) cause: StoredCause,
    pub(crate) queued_at: Timestamp,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) updated_at: Timestamp,
    pub(crate) status: AgentJobStatus,
    pub(crate) message: String,
    /// What the ruleset in force must at least be of when it begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ruleset: Option<Order>,
    /// The guest as it was when the request came: the original's actions carry it, and their result overwrites the
    /// record with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<Box<AgentGuest>>,
}

/// The part of a job's cause that is not its own id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct StoredCause {
    pub(crate) job: Option<lochness_api::JobId>,
    pub(crate) order: Option<Order>,
}

/// What a job does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Work {
    Guest(GuestId, JobAction),
    FetchImage(ImageFetch),
}

/// Whose queue: a guest's, or the one for images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    Images,
    Guest(GuestId),
}

/// The log and the queues.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    log: BTreeMap<u64, JobRecord>,
    numbers: BTreeMap<String, u64>,
    last: u64,
    ended: VecDeque<u64>,
    queues: BTreeMap<Subject, Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// Whole records: the original cuts waiting jobs from its log, and does them all the same.
    waiting: VecDeque<JobRecord>,
    busy: bool,
}

impl JobRecord {
    pub(crate) fn subject(&self) -> Subject {
        match &self.work {
            Work::Guest(guest, _) => Subject::Guest(*guest),
            Work::FetchImage(_) => Subject::Images,
        }
    }

    pub(crate) fn cause(&self) -> Cause {
        Cause { job: self.cause.job, remote: Some(self.id.clone()), order: self.cause.order }
    }

    /// The job as it is answered.
    pub(crate) fn to_wire(&self) -> AgentJob {
        let (guest_id, action) = match &self.work {
            Work::Guest(guest, action) => (guest.to_string(), action.to_string()),
            Work::FetchImage(_) => (AGENT_QUEUE.to_owned(), "fetchImage".to_owned()),
        };
        AgentJob {
            id: self.id.clone(),
            guest_id,
            action,
            queued_at: Some(self.queued_at),
            started_at: self.started_at,
            updated_at: Some(self.updated_at),
            status: self.status,
            message: self.message.clone(),
        }
    }

    /// The job, begun.
    pub(crate) fn running(self, now: Timestamp) -> Self {
        Self { status: AgentJobStatus::Running, started_at: Some(now), updated_at: now, ..self }
    }

    /// The job, ended.
    pub(crate) fn ended(self, now: Timestamp, result: Result<(), String>) -> Self {
        let (status, message) = match result {
            Ok(()) => (AgentJobStatus::Complete, String::new()),
            Err(why) => (AgentJobStatus::Error, why),
        };
        Self { status, message, updated_at: now, snapshot: None, ..self }
    }
}

impl Jobs {
    pub(crate) fn get(&self, id: &str) -> Option<&JobRecord> {
        self.log.get(self.numbers.get(id)?)
    }

    /// The newest first.
    pub(crate) fn newest(&self) -> impl Iterator<Item = &JobRecord> {
        self.log.values().rev()
    }

    /// The oldest first.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = &JobRecord> {
        self.log.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.log.len()
    }

    /// Puts a job as it is now, new or changed.
    pub(crate) fn put(&mut self, job: JobRecord) {
        let number = self.numbers.get(&job.id).copied().unwrap_or_else(|| {
            self.last += 1;
            self.numbers.insert(job.id.clone(), self.last);
            self.last
        });
        let ended = job.status.is_final();
        let before = self.log.insert(number, job);
        if ended && before.is_none_or(|before| !before.status.is_final()) {
            self.ended.push_back(number);
        }
    }

    pub(crate) fn remove(&mut self, id: &str) {
        if let Some(number) = self.numbers.remove(id) {
            self.log.remove(&number);
            self.ended.retain(|ended| *ended != number);
        }
    }

    /// The ended jobs that are too many when one more has ended, longest ended first.
    pub(crate) fn surplus(&self) -> Vec<String> {
        let many = (self.ended.len() + 1).saturating_sub(ENDED_JOBS_KEPT);
        let jobs = self.ended.iter().take(many).filter_map(|number| self.log.get(number));
        jobs.map(|job| job.id.clone()).collect()
    }

    /// All but the newest `kept`, whatever they do.
    pub(crate) fn all_but_newest(&self, kept: usize) -> Vec<String> {
        self.newest().skip(kept).map(|job| job.id.clone()).collect()
    }

    /// Queues a job. Says whether a worker must be started for the queue.
    pub(crate) fn enqueue(&mut self, job: JobRecord) -> bool {
        let queue = self.queues.entry(job.subject()).or_default();
        queue.waiting.push_back(job);
        !std::mem::replace(&mut queue.busy, true)
    }

    /// The next job of a queue; none ends its worker.
    pub(crate) fn next(&mut self, subject: Subject) -> Option<JobRecord> {
        let queue = self.queues.get_mut(&subject)?;
        let next = queue.waiting.pop_front();
        if next.is_none() {
            self.queues.remove(&subject);
        }
        next
    }

    /// How many jobs wait.
    pub(crate) fn waiting(&self, subject: Subject) -> usize {
        self.queues.get(&subject).map_or(0, |queue| queue.waiting.len())
    }

    /// How many jobs wait before this one; 0 when it does not wait.
    pub(crate) fn position(&self, subject: Subject, id: &str) -> usize {
        let queue = self.queues.get(&subject);
        queue
            .and_then(|queue| queue.waiting.iter().position(|waiting| waiting.id == id))
            .unwrap_or_default()
    }
}
