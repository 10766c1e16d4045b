//! Accepting work: what a mutating request makes of a host before it is answered.

use jiff::Timestamp;
use lochness_api::GuestId;
use lochness_api::job::JobAction;
use rand::RngExt;

use super::config::Compat;
use super::core::Core;
use super::fence::{Admission, EpochVerdict, FenceRecord, Mark, Presence, Stamp};
use super::guests::{GuestRecord, PowerState, Trouble};
use super::jobs::{JobRecord, QUEUE_LIMIT, StoredCause, Subject, Work};
use super::record::Record;
use super::storage::StorageError;
use crate::wire::{AgentGuest, AgentJobStatus, ImageFetch, Order};

/// A job was made, or had been made.
#[derive(Debug)]
pub(crate) struct Accepted {
    /// The agent's id of it.
    pub(crate) job: String,
    /// The guest as it was before; none for images.
    pub(crate) guest: Option<AgentGuest>,
    /// Whose queue it is in.
    pub(crate) subject: Subject,
    /// Whether that queue wants a worker.
    pub(crate) wants_worker: bool,
}

/// Why nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Denied {
    #[error("epoch is below {0}")]
    Epoch(Order),
    #[error("order is not above {0}")]
    Order(Order),
    #[error("guest not found")]
    UnknownGuest,
    #[error("the host has a guest of this id with other interfaces: delete it first")]
    AnotherGuest,
    #[error("guest runner not found")]
    Damaged,
    #[error("queue is full")]
    QueueFull,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// What comes of work on a guest whose record is about to go, or whose queue is dead.
#[derive(Debug, Clone, Copy)]
enum Misfortune {
    Lost,
    Stuck,
    Damaged,
}

impl Core {
    /// Takes notice of a request's epoch. For a mutation an old one is a refusal.
    pub(super) fn see_epoch(&mut self, epoch: Option<Order>) -> Result<EpochVerdict, StorageError> {
        let verdict = self.state.fence.check_epoch(epoch);
        if let EpochVerdict::Raise(epoch) = verdict {
            self.commit(vec![Record::Fence(FenceRecord::Epoch(epoch))])?;
        }
        Ok(verdict)
    }

    /// `POST /guests`: makes the guest. The original overwrites the record of one that it has, and makes it again; ours
    /// keeps what was made, and sees to it that it runs.
    pub(super) fn create(
        &mut self,
        guest: AgentGuest,
        stamp: Option<Stamp>,
        ruleset: Option<Order>,
    ) -> Result<Accepted, Denied> {
        let id = guest.id;
        let answer = AgentGuest { state: "create".to_owned(), ..guest.clone() };
        if let Some(repeat) = self.admit(id, stamp, &answer)? {
            return Ok(repeat);
        }
        self.check_room(id)?;
        let known = self.state.guests.get(&id);
        let trouble = known.map_or(Trouble::None, |record| record.trouble);
        let power = known.map_or(PowerState::New, |record| record.power);
        let mut record = match known.filter(|_| self.config.compat == Compat::Lochness) {
            Some(made) if made.is_made() && !made.has_interfaces_of(&guest) => {
                return Err(Denied::AnotherGuest);
            }
            Some(made) if made.is_made() => made.clone(),
            Some(_) | None => GuestRecord { power, ..GuestRecord::new(guest) },
        };
        let job = self.new_job(Work::Guest(id, JobAction::Create), stamp, ruleset);
        match trouble {
            Trouble::Vanishing => {
                record.trouble = trouble;
                self.misfortune(&mut record, job, answer)
            }
            Trouble::None | Trouble::Stuck | Trouble::Damaged => {
                let job = self.with_snapshot(job, &record.guest);
                self.accept(vec![Record::Guest(Box::new(record))], job, stamp, Some(answer))
            }
        }
    }

    /// `POST /guests/{id}/{action}`.
    pub(super) fn act(
        &mut self,
        id: GuestId,
        action: JobAction,
        stamp: Option<Stamp>,
        ruleset: Option<Order>,
    ) -> Result<Accepted, Denied> {
        let known = self.state.guests.get(&id).cloned();
        let answer = match &known {
            Some(record) => record.to_wire(self.config.compat, self.config.state_words),
            None => AgentGuest::new(id),
        };
        if let Some(repeat) = self.admit(id, stamp, &answer)? {
            return Ok(repeat);
        }
        let Some(mut record) = known else {
            self.remember_absent(id, stamp)?;
            return Err(Denied::UnknownGuest);
        };
        self.check_room(id)?;
        let job = self.new_job(Work::Guest(id, action), stamp, ruleset);
        match record.trouble {
            Trouble::Damaged => Err(Denied::Damaged),
            Trouble::Vanishing | Trouble::Stuck => self.misfortune(&mut record, job, answer),
            Trouble::None => {
                let job = self.with_snapshot(job, &record.guest);
                self.accept(Vec::new(), job, stamp, Some(answer))
            }
        }
    }

    /// `POST /images`.
    pub(super) fn fetch_image(&mut self, fetch: ImageFetch) -> Result<Accepted, Denied> {
        let waiting = self.state.jobs.waiting(Subject::Images);
        if self.config.compat == Compat::Lochness && waiting >= QUEUE_LIMIT {
            return Err(Denied::QueueFull);
        }
        let job = self.new_job(Work::FetchImage(fetch), None, None);
        self.accept(Vec::new(), job, None, None)
    }

    /// Asks the fence. `Some` is the answer to a repeated request.
    fn admit(
        &mut self,
        id: GuestId,
        stamp: Option<Stamp>,
        answer: &AgentGuest,
    ) -> Result<Option<Accepted>, Denied> {
        let here = self.state.guests.contains_key(&id);
        let presence = if here { Presence::Here } else { Presence::Absent };
        let remote = match self.state.fence.admit(id, presence, stamp) {
            Admission::Accept => return Ok(None),
            Admission::Stale(seen) => {
                self.stats.fenced += 1;
                return Err(Denied::Order(seen));
            }
            Admission::Repeat(remote) => remote,
            Admission::Renumber(mark) => {
                let remote = mark.remote.clone();
                self.commit(vec![Record::Fence(FenceRecord::Mark(id, mark))])?;
                remote
            }
        };
        Ok(Some(Accepted {
            job: remote.ok_or(Denied::UnknownGuest)?,
            guest: Some(answer.clone()),
            subject: Subject::Guest(id),
            wants_worker: false,
        }))
    }

    /// An order for a guest that is not here still counts: what is older and comes later must find it.
    fn remember_absent(&mut self, id: GuestId, stamp: Option<Stamp>) -> Result<(), Denied> {
        let Some(Stamp { order, job }) = stamp else { return Ok(()) };
        let mark = Mark { order, job, remote: None, gone_at: Some(self.now()) };
        self.commit(vec![Record::Fence(FenceRecord::Mark(id, mark))])?;
        Ok(())
    }

    /// Ours refuses when too many wait. The original takes any number and lets the client wait for its answer.
    fn check_room(&self, id: GuestId) -> Result<(), Denied> {
        let waiting = self.state.jobs.waiting(Subject::Guest(id));
        match self.config.compat {
            Compat::Lochness if waiting >= QUEUE_LIMIT => Err(Denied::QueueFull),
            Compat::Lochness | Compat::Mistify => Ok(()),
        }
    }

    fn new_job(&mut self, work: Work, stamp: Option<Stamp>, ruleset: Option<Order>) -> JobRecord {
        let now: Timestamp = self.now();
        JobRecord {
            id: self.random_id(),
            work,
            cause: StoredCause {
                job: stamp.map(|stamp| stamp.job),
                order: stamp.map(|stamp| stamp.order),
            },
            queued_at: now,
            started_at: None,
            updated_at: now,
            status: AgentJobStatus::Queued,
            message: String::new(),
            ruleset,
            snapshot: None,
        }
    }

    fn with_snapshot(&self, job: JobRecord, guest: &AgentGuest) -> JobRecord {
        let snapshot = match self.config.compat {
            Compat::Lochness => None,
            Compat::Mistify => Some(Box::new(guest.clone())),
        };
        JobRecord { snapshot, ..job }
    }

    /// Stores the job, the guest's new mark and whatever else comes with it as one, and queues the job.
    fn accept(
        &mut self,
        mut batch: Vec<Record>,
        job: JobRecord,
        stamp: Option<Stamp>,
        guest: Option<AgentGuest>,
    ) -> Result<Accepted, Denied> {
        if let (Work::Guest(id, _), Some(Stamp { order, job: cause })) = (&job.work, stamp) {
            let mark = Mark { order, job: cause, remote: Some(job.id.clone()), gone_at: None };
            batch.push(Record::Fence(FenceRecord::Mark(*id, mark)));
        }
        batch.push(Record::Job(Box::new(job.clone())));
        // Before the rest: what is forgotten of a guest's past must not take its new mark away.
        let mut all = self.housekeeping();
        all.append(&mut batch);
        self.commit(all)?;
        self.stats.jobs_accepted += 1;
        let (id, subject) = (job.id.clone(), job.subject());
        let wants_worker = self.state.jobs.enqueue(job);
        Ok(Accepted { job: id, guest, subject, wants_worker })
    }

    /// Work that nobody will do: its job stays `Queued` for ever, and what becomes of the record is chance.
    fn misfortune(
        &mut self,
        record: &mut GuestRecord,
        job: JobRecord,
        answer: AgentGuest,
    ) -> Result<Accepted, Denied> {
        let misfortune = match (record.trouble, self.rng.random_range(0..3)) {
            (Trouble::Stuck, _) | (_, 1) => Misfortune::Stuck,
            (_, 0) => Misfortune::Lost,
            _ => Misfortune::Damaged,
        };
        let mut batch = vec![Record::Job(Box::new(job.clone()))];
        match misfortune {
            Misfortune::Lost => {}
            Misfortune::Stuck => record.trouble = Trouble::Stuck,
            Misfortune::Damaged => record.trouble = Trouble::Damaged,
        }
        if record.trouble != Trouble::Vanishing {
            batch.push(Record::Guest(Box::new(record.clone())));
        }
        self.commit(batch)?;
        self.stats.jobs_accepted += 1;
        let subject = job.subject();
        Ok(Accepted { job: job.id, guest: Some(answer), subject, wants_worker: false })
    }
}
