//! Everything that was ever in the store, and what was wrong with it.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use lochness_api::job::Job;
use lochness_api::{GuestId, HypervisorId, JobId, Key, Prefix};
use lochness_kv::Event;

use super::Violation;
use super::rules;
use super::view::{Change, View};

/// One revision, when it was seen, and what it did.
pub(super) struct Step {
    pub(super) revision: i64,
    pub(super) seen: Timestamp,
    pub(super) changes: Vec<Change>,
}

/// A guest got its place on a host.
pub(super) struct Placed {
    pub(super) guest: GuestId,
    pub(super) host: HypervisorId,
    /// The create revision of the index key.
    pub(super) revision: i64,
    /// The life of the store in which it did.
    life: usize,
}

/// Everything that was ever in the store.
pub(super) struct Record {
    pub(super) view: View,
    pub(super) steps: Vec<Step>,
    /// Every job that there ever was, as it was last, with its create revision.
    pub(super) jobs: BTreeMap<JobId, (Job, i64)>,
    /// When a job was first seen to have ended.
    pub(super) finished: BTreeMap<JobId, Timestamp>,
    /// In which life of the store a job was made.
    pub(super) lives: BTreeMap<JobId, usize>,
    /// Every placement that there ever was.
    pub(super) placed: Vec<Placed>,
    /// The revisions to which the store went back: each time it began another life.
    pub(super) went_back_to: Vec<i64>,
    /// Every number that ever led epochs and orders.
    pub(super) incarnations: BTreeSet<u64>,
    found: Vec<Violation>,
    told: BTreeSet<String>,
}

impl Record {
    pub(super) fn new(prefix: Prefix) -> Self {
        Self {
            view: View::new(prefix),
            steps: Vec::new(),
            jobs: BTreeMap::new(),
            finished: BTreeMap::new(),
            lives: BTreeMap::new(),
            placed: Vec::new(),
            went_back_to: Vec::new(),
            incarnations: BTreeSet::new(),
            found: Vec::new(),
            told: BTreeSet::new(),
        }
    }

    /// The newest revision that was taken in.
    pub(super) fn revision(&self) -> i64 {
        // A store begins at revision 1, without an event.
        self.steps.last().map_or(1, |step| step.revision)
    }

    /// Takes one whole revision in, seen at this time, and judges it.
    pub(super) fn take(&mut self, events: &[Event], seen: Timestamp) {
        let revision = events[0].revision();
        let led = self.view.keys.contains_key(&Key::Leader);
        let before = self.view.guests.clone();
        let changes: Vec<_> = events.iter().map(|event| self.view.apply(event)).collect();
        let step = Step { revision, seen, changes };
        for violation in rules::check(&self.view, &before, &step, led) {
            // What stays wrong is told once. What a change did is told each time: the test itself may have done it before.
            if violation.unless_ours || self.told.insert(violation.what.clone()) {
                self.found.push(violation);
            }
        }
        self.remember(&step);
        self.steps.push(step);
    }

    fn remember(&mut self, step: &Step) {
        for change in &step.changes {
            let (Some(key), Some(after)) = (&change.key, &change.after) else { continue };
            match key {
                Key::Job(id) => {
                    if let Some(job) = self.view.jobs.get(id) {
                        self.jobs.insert(*id, (job.clone(), after.created));
                        self.lives.entry(*id).or_insert(self.went_back_to.len());
                        if job.status.is_finished() {
                            self.finished.entry(*id).or_insert(step.seen);
                        }
                    }
                }
                Key::Placement(host, guest) if after.version == 1 => {
                    let life = self.went_back_to.len();
                    let (guest, host, revision) = (*guest, *host, after.created);
                    self.placed.push(Placed { guest, host, revision, life });
                }
                Key::Incarnation => {
                    let number = self.view.text(key);
                    let number = number.and_then(|text| text.trim().parse::<u64>().ok());
                    self.incarnations.extend(number);
                }
                _ => {}
            }
        }
    }

    /// The revision of the newest place of a guest on a host that was made before this number and that the store knew in
    /// the life in which this job was made.
    pub(super) fn placed_before(
        &self,
        (guest, host): (GuestId, HypervisorId),
        job: JobId,
        number: u64,
    ) -> Option<u64> {
        let life = self.lives.get(&job).copied().unwrap_or_default();
        let is_known = |it: &&Placed| {
            let since = self.went_back_to.get(it.life..life);
            since.is_some_and(|since| since.iter().all(|revision| it.revision <= *revision))
        };
        let here = self.placed.iter().rev().filter(|it| it.guest == guest && it.host == host);
        let mut revisions = here.filter(is_known).map(|it| it.revision.unsigned_abs());
        revisions.find(|revision| *revision <= number)
    }

    /// What was wrong, without what the test itself did in the revisions that are its own.
    pub(super) fn violations(&self, is_own: impl Fn(i64) -> bool) -> Vec<Violation> {
        let ours = |found: &Violation| found.unless_ours && is_own(found.revision);
        self.found.iter().filter(|found| !ours(found)).cloned().collect()
    }
}
