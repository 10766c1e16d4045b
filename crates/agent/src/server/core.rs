//! The host as a synchronous state machine: what it knows, and the one way in which that changes.
//!
//! Guarantees: a change is stored before it is applied, and applied before anyone is answered; what belongs together is
//! one batch. Everything here runs under the host's lock and never waits, but for the disk.

use std::sync::Arc;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Duration, Instant};
use uuid::{Builder, Uuid};

use super::changes::Changes;
use super::config::{Compat, FirewallConfig, HostConfig};
use super::driver::{Driver, Simulated};
use super::faults::CurrentFaults;
use super::firewall::{InForce, Repairs};
use super::guests::{GuestRecord, Trouble};
use super::history::{Effect, EffectKind};
use super::jobs::{MISTIFY_JOBS_KEPT, Subject};
use super::record::{Cause, Record};
use super::state::State;
use super::stats::Stats;
use super::storage::{Storage, StorageError};
use crate::wire::{AgentJobStatus, FirewallState};

/// Where the time of day comes from.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The original looks at the length of its job log so often.
const LOG_CUT_EVERY: Duration = Duration::from_secs(60);
/// How often old tombstones are looked for.
const FOLD_EVERY: SignedDuration = SignedDuration::from_hours(1);
/// Keeps seeds of successive starts far apart: 2^64 divided by the golden ratio.
const SEED_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a host knows.
pub(crate) struct Core {
    pub(super) config: HostConfig,
    pub(super) state: State,
    pub(super) faults: CurrentFaults,
    pub(super) driver: Driver,
    pub(super) rng: StdRng,
    pub(super) stats: Stats,
    /// Whether the host's lease is lost for longer than it promised: evacuated guests must not start.
    pub(super) self_fenced: bool,
    /// Whether the stored ruleset is in force.
    pub(super) in_force: InForce,
    /// How often what is in force changed without the doing of the leader of that time.
    pub(super) firewall_moves: u64,
    repairs: Repairs,
    storage: Storage,
    clock: WallClock,
    /// Names this life of the agent in list tags, since versions begin again in each.
    instance: String,
    /// Counts changes that a list, or one who waits for a job, wants to know.
    changes: Changes,
    list: Option<(u64, Bytes)>,
    next_cut: Option<Instant>,
    next_fold: Option<Timestamp>,
}

impl Core {
    /// Reads what is stored and puts right what the end of the last life left behind. The queues of the subjects want
    /// workers.
    pub(super) fn open(
        config: HostConfig,
        storage: Storage,
        clock: WallClock,
        changes: Changes,
    ) -> Result<(Self, Vec<Subject>), StorageError> {
        let in_force = match &config.firewall {
            FirewallConfig::None | FirewallConfig::Simulated => InForce::Yes,
            FirewallConfig::Nft(_) => InForce::NotYet,
        };
        let mut core = Self {
            driver: Driver::Simulated(Simulated::new(config.delays)),
            faults: CurrentFaults::new(config.faults.clone()),
            rng: StdRng::seed_from_u64(config.seed),
            state: State::default(),
            stats: Stats::default(),
            self_fenced: false,
            in_force,
            firewall_moves: 0,
            repairs: Repairs::default(),
            instance: String::new(),
            list: None,
            next_cut: None,
            next_fold: None,
            config,
            storage,
            clock,
            changes,
        };
        let subjects = core.reopen()?;
        Ok((core, subjects))
    }

    /// As after a restart of the process: everything but the disk is lost.
    pub(super) fn reopen(&mut self) -> Result<Vec<Subject>, StorageError> {
        self.state = State::of(self.storage.load()?);
        let opened = self.state.opened + 1;
        self.rng =
            StdRng::seed_from_u64(self.config.seed.wrapping_add(opened.wrapping_mul(SEED_STEP)));
        self.instance = self.random_id();
        self.list = None;
        self.next_cut = None;
        let mut batch = vec![Record::Opened(opened)];
        if self.state.boot_id.is_empty() {
            batch.push(Record::Boot(self.random_id()));
        }
        batch.extend(self.state.fence.fold(self.now()).into_iter().map(Record::Fence));
        match self.config.compat {
            Compat::Lochness => batch.extend(self.interrupt_running_jobs()),
            Compat::Mistify => batch.extend(self.forget_jobs()),
        }
        self.commit(batch)?;
        Ok(self.requeue())
    }

    /// Stores changes, whole or not at all, and takes them in.
    pub(super) fn commit(&mut self, batch: Vec<Record>) -> Result<(), StorageError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.storage.append(&batch)?;
        let visible = batch.iter().any(is_visible);
        for record in batch {
            self.state.apply(record);
        }
        if visible {
            self.changes.add();
        }
        if self.storage.is_bloated(self.state.size()) {
            self.storage.rewrite(&self.state.records())?;
        }
        Ok(())
    }

    /// Forgets everything but the truth: the fences, the guests, the jobs.
    pub(super) fn wipe(&mut self) -> Result<(), StorageError> {
        let truth =
            self.state.history.iter().map(|effect| Record::Effect(Box::new(effect.clone())));
        let kept =
            std::iter::once(Record::Opened(self.state.opened)).chain(truth).collect::<Vec<_>>();
        self.storage.rewrite(&kept)
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    pub(super) fn random_id(&mut self) -> String {
        self.random_uuid().to_string()
    }

    pub(super) fn random_uuid(&mut self) -> Uuid {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// The record of something that happened, `nth` in its batch.
    pub(super) fn effect(
        &self,
        nth: usize,
        kind: EffectKind,
        guest: Option<&GuestRecord>,
        cause: Cause,
    ) -> Effect {
        Effect {
            sequence: self.state.history.next_sequence() + nth as u64,
            at: self.now(),
            kind,
            guest: guest.map(GuestRecord::id),
            job: cause.job,
            remote: cause.remote,
            order: cause.order,
            firewall: self.state.firewall.revision(),
            addresses: guest.map(GuestRecord::addresses).unwrap_or_default(),
            detail: None,
        }
    }

    /// The changes that are due from time to time; asked before what could need them, so that an idle host does nothing.
    pub(super) fn housekeeping(&mut self) -> Vec<Record> {
        match self.config.compat {
            Compat::Lochness => {
                let now = self.now();
                if self.next_fold.is_some_and(|next| now < next) {
                    return Vec::new();
                }
                self.next_fold = now.checked_add(FOLD_EVERY).ok();
                self.state.fence.fold(now).into_iter().map(Record::Fence).collect()
            }
            Compat::Mistify => {
                let now = Instant::now();
                let next = *self.next_cut.get_or_insert(now + LOG_CUT_EVERY);
                if now < next {
                    return Vec::new();
                }
                self.next_cut = Some(now + LOG_CUT_EVERY);
                let cut = self.state.jobs.all_but_newest(MISTIFY_JOBS_KEPT);
                cut.into_iter().map(Record::JobGone).collect()
            }
        }
    }

    /// The firewall as it is answered.
    pub(super) fn told_firewall(&self) -> FirewallState {
        self.state.firewall.to_wire(&self.in_force, self.repairs)
    }

    /// Somebody changed the firewall, and it was put right.
    pub(super) fn note_repair(&mut self) {
        self.repairs = Repairs { count: self.repairs.count + 1, last: Some(self.now()) };
    }

    /// What is in force changed, and the leader does not know it: whoever waits for the list is told to look.
    pub(super) fn firewall_moved(&mut self) {
        self.firewall_moves += 1;
        self.changes.add();
    }

    /// The guests as JSON and the name of that state of them.
    pub(super) fn guest_list(&mut self) -> (String, Bytes) {
        let version = self.changes.count();
        let tag = format!("\"{}-{version}\"", self.instance);
        if let Some((known, body)) = &self.list
            && *known == version
        {
            return (tag, body.clone());
        }
        let (compat, words) = (self.config.compat, self.config.state_words);
        let guests: Vec<_> =
            self.state.guests.values().map(|guest| guest.to_wire(compat, words)).collect();
        // An empty list is null, as the original's.
        let guests = Some(guests).filter(|guests| !guests.is_empty());
        let body: Bytes = serde_json::to_vec(&guests).expect("guests have text keys alone").into();
        self.list = Some((version, body.clone()));
        (tag, body)
    }

    /// What ran when the agent died did not end; what came of it nobody knows.
    fn interrupt_running_jobs(&self) -> Vec<Record> {
        let now = self.now();
        let running =
            self.state.jobs.oldest().filter(|job| job.status == AgentJobStatus::Running).cloned();
        running
            .map(|job| Record::Job(Box::new(job.ended(now, Err("interrupted".to_owned())))))
            .collect()
    }

    /// The original keeps its jobs in memory.
    fn forget_jobs(&self) -> Vec<Record> {
        let jobs = self.state.jobs.oldest().map(|job| Record::JobGone(job.id.clone()));
        let guests = self.state.guests.values().filter_map(|guest| match guest.trouble {
            Trouble::Vanishing => Some(Record::GuestGone(guest.id())),
            Trouble::Stuck => Some(Record::Guest(Box::new(GuestRecord {
                trouble: Trouble::None,
                ..guest.clone()
            }))),
            Trouble::None | Trouble::Damaged => None,
        });
        jobs.chain(guests).collect()
    }

    fn requeue(&mut self) -> Vec<Subject> {
        let queued = |status| status == AgentJobStatus::Queued;
        let jobs: Vec<_> =
            self.state.jobs.oldest().filter(|job| queued(job.status)).cloned().collect();
        let mut subjects = Vec::new();
        for job in jobs {
            let subject = job.subject();
            if self.state.jobs.enqueue(job) {
                subjects.push(subject);
            }
        }
        subjects
    }
}

/// Whether a change shows in the list of guests, or ends a job that someone waits for.
fn is_visible(record: &Record) -> bool {
    match record {
        Record::Guest(_) | Record::GuestGone(_) => true,
        Record::Job(job) => job.status.is_final(),
        Record::Opened(_)
        | Record::Boot(_)
        | Record::Fence(_)
        | Record::JobGone(_)
        | Record::Image(_)
        | Record::Firewall(_)
        | Record::FirewallPatched(_)
        | Record::FirewallFailed(_)
        | Record::Effect(_) => false,
    }
}
