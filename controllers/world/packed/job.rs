//! Jobs, packed as guests are: a finished one stays in the store for a day, and most jobs are finished.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::{Id, JobId};
use uuid::Uuid;

use super::super::numbered::Numbered;
use super::super::stored::Stored;
use super::pool::Pool;
use super::unpacked::Unpacked;
use super::wire::{self, Reader, Writer};

const READABLE: u8 = 1;
const REMOTE: u8 = 1 << 1;
const ORDER: u8 = 1 << 2;
const DEADLINE: u8 = 1 << 3;
const ERROR: u8 = 1 << 4;
const STARTED: u8 = 1 << 5;
const FINISHED: u8 = 1 << 6;

const ACTIONS: [JobAction; 9] = [
    JobAction::Create,
    JobAction::Start,
    JobAction::Shutdown,
    JobAction::Poweroff,
    JobAction::Reboot,
    JobAction::Restart,
    JobAction::Suspend,
    JobAction::Resume,
    JobAction::Delete,
];
const STATUSES: [JobStatus; 4] =
    [JobStatus::New, JobStatus::Working, JobStatus::Done, JobStatus::Error];

/// Every job that has a key.
#[derive(Default)]
pub(in crate::world) struct Jobs {
    records: Numbered<JobId, Box<[u8]>>,
    pool: Pool,
    unpacked: Unpacked<JobId, Stored<Job>>,
}

impl Jobs {
    /// One job.
    pub(in crate::world) fn get(&self, id: JobId) -> Option<&Stored<Job>> {
        let record = self.records.get(&id)?;
        Some(self.unpacked.get(id, || read(&self.pool, record, id)))
    }

    /// All of them, in no order.
    pub(in crate::world) fn ids(&self) -> impl Iterator<Item = JobId> + '_ {
        self.records.iter().map(|(id, _)| id)
    }

    /// Takes a job in.
    pub(in crate::world) fn put(&mut self, id: JobId, stored: &Stored<Job>) {
        self.remove(id);
        *self.records.entry(id) = write(&mut self.pool, stored, id).into_boxed_slice();
    }

    /// Takes a job out.
    pub(in crate::world) fn remove(&mut self, id: JobId) {
        self.unpacked.take(id);
        if let Some(record) = self.records.remove(&id) {
            wire::release(&mut self.pool, &record);
        }
    }

    /// Whether more are unpacked than should be.
    pub(in crate::world) fn is_swollen(&self) -> bool {
        self.unpacked.are_many()
    }

    /// Lets go of entries that can be unpacked again, if they are many.
    pub(in crate::world) fn shrink(&mut self) {
        self.unpacked.shrink();
    }
}

impl fmt::Debug for Jobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jobs").field("count", &self.records.len()).finish_non_exhaustive()
    }
}

pub(super) fn write(pool: &mut Pool, stored: &Stored<Job>, key: JobId) -> Vec<u8> {
    let mut writer = Writer::new(pool);
    let flag = |flag: u8, given: bool| if given { flag } else { 0 };
    let flags = stored.value.as_deref().map_or(0, |job| {
        READABLE
            | flag(REMOTE, job.remote.is_some())
            | flag(ORDER, job.order.is_some())
            | flag(DEADLINE, job.deadline.is_some())
            | flag(ERROR, job.error.is_some())
            | flag(STARTED, job.started_at.is_some())
            | flag(FINISHED, job.finished_at.is_some())
    });
    writer.body.byte(flags);
    writer.body.signed(stored.create_revision);
    writer.body.signed(stored.mod_revision.wrapping_sub(stored.create_revision));
    if let Some(job) = stored.value.as_deref() {
        write_job(&mut writer, job, key);
    }
    writer.finish()
}

fn write_job(writer: &mut Writer<'_>, job: &Job, key: JobId) {
    let Job {
        id,
        remote,
        action,
        guest,
        hypervisor,
        order,
        attempt,
        deadline,
        error,
        status,
        started_at,
        finished_at,
    } = job;
    let action = ACTIONS.iter().position(|one| one == action).unwrap_or_default();
    let status = STATUSES.iter().position(|one| one == status).unwrap_or_default();
    writer.body.number(((action << 3) | (status << 1) | usize::from(*id != key)) as u64);
    if *id != key {
        writer.body.uuid(id.uuid());
    }
    writer.body.uuid(guest.uuid());
    writer.pooled_id(hypervisor.uuid());
    writer.body.number(u64::from(*attempt));
    if let Some(remote) = remote {
        write_remote(writer, remote, *id);
    }
    if let Some(order) = order {
        writer.order(order);
    }
    if let Some(error) = error {
        writer.text(error);
    }
    for time in [deadline, started_at, finished_at].into_iter().flatten() {
        writer.time(*time);
    }
}

/// Most agents give an id of their own, and some the one that they were given.
fn write_remote(writer: &mut Writer<'_>, remote: &str, id: JobId) {
    match remote.parse::<Uuid>() {
        Ok(uuid) if uuid == id.uuid() && uuid.to_string() == remote => writer.body.byte(0),
        Ok(uuid) if uuid.to_string() == remote => {
            writer.body.byte(1);
            writer.body.uuid(uuid);
        }
        Ok(_) | Err(_) => {
            writer.body.byte(2);
            writer.text(remote);
        }
    }
}

pub(super) fn read(pool: &Pool, record: &[u8], key: JobId) -> Stored<Job> {
    const READS: &str = "a job is read as it was written";
    let mut reader = Reader::new(pool, record);
    let flags = reader.body.byte();
    let create_revision = reader.body.signed();
    let mod_revision = create_revision.wrapping_add(reader.body.signed());
    if flags & READABLE == 0 {
        return Stored { create_revision, mod_revision, value: None };
    }
    let has = |flag: u8| flags & flag != 0;
    let words = reader.body.length();
    let id = if words & 1 == 0 { key } else { Id::new(reader.body.uuid()) };
    let guest = Id::new(reader.body.uuid());
    let hypervisor = Id::new(reader.pooled_id());
    let attempt = u32::try_from(reader.body.number()).expect(READS);
    let remote = has(REMOTE).then(|| match reader.body.byte() {
        0 => id.to_string(),
        1 => reader.body.uuid().to_string(),
        _ => reader.text(),
    });
    let order = has(ORDER).then(|| reader.order());
    let error = has(ERROR).then(|| reader.text());
    let mut time = |flag: u8| -> Option<Timestamp> { has(flag).then(|| reader.time()) };
    let (deadline, started_at, finished_at) = (time(DEADLINE), time(STARTED), time(FINISHED));
    let job = Job {
        id,
        remote,
        action: ACTIONS[words >> 3],
        guest,
        hypervisor,
        order,
        attempt,
        deadline,
        error,
        status: STATUSES[(words >> 1) & 3],
        started_at,
        finished_at,
    };
    Stored { create_revision, mod_revision, value: Some(Arc::new(job)) }
}
