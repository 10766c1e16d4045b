//! The rules that the end-to-end tests check, too: the same files, fed from the model's log instead of a watch.

#[path = "../it/harness/checker/record.rs"]
mod record;
#[path = "../it/harness/checker/rules.rs"]
mod rules;
#[path = "../it/harness/checker/timeline.rs"]
mod timeline;
#[path = "../it/harness/checker/truth.rs"]
mod truth;
#[path = "../it/harness/checker/view.rs"]
mod view;

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use lochness_agent::server::Effect;
use lochness_api::status::GuestStatus;
use lochness_api::{GuestId, HypervisorId, JobId, Key, Prefix};
use lochness_kv::Event;

use crate::wishes::SUBNETS;
use record::Record;
pub(crate) use truth::runs;
use view::View;

/// What one host's agent did, by its own account.
pub(crate) struct HostHistory {
    pub(crate) host: HypervisorId,
    /// Whether the agent knows orders; the original does not, and less is promised for it.
    pub(crate) ordered: bool,
    pub(crate) effects: Vec<Effect>,
    /// When its agent lost all that it knew, and its guests.
    pub(crate) wiped: Vec<Timestamp>,
}

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The revision at which it was seen, 0 for a host's history.
    pub(crate) revision: i64,
    /// Which guest it is about.
    pub(crate) guest: Option<GuestId>,
    /// What, in words; led by the invariant's number.
    pub(crate) what: String,
    /// It is none when the user wrote the revision.
    pub(crate) unless_ours: bool,
    /// It needs an agent without order, for which it is not promised.
    pub(crate) of_originals: bool,
}

/// The store at one moment.
pub(crate) struct Kept {
    view: View,
    revision: i64,
}

impl Kept {
    /// The revision that it shows.
    pub(crate) fn revision(&self) -> i64 {
        self.revision
    }
}

/// The store's whole history, judged.
pub(crate) struct Checker(Record);

impl Checker {
    pub(crate) fn new() -> Self {
        Self(Record::new(Prefix::default()))
    }

    /// The newest revision that was taken in.
    pub(crate) fn revision(&self) -> i64 {
        self.0.revision()
    }

    /// Takes one whole revision in.
    pub(crate) fn take(&mut self, events: &[Event], seen: Timestamp) {
        self.0.take(events, seen);
    }

    /// Everything that was wrong with the revisions and the hosts' histories.
    pub(crate) fn violations(
        &self,
        histories: &[HostHistory],
        is_users: impl Fn(i64) -> bool,
    ) -> Vec<Violation> {
        let mut violations = self.0.violations(is_users);
        violations.extend(truth::check(&self.0, histories, &BTreeSet::new()));
        violations
    }

    /// The store as it is now, for a time at which it goes back to that.
    pub(crate) fn keep(&self) -> Kept {
        Kept { view: self.0.view.clone(), revision: self.revision() }
    }

    /// The store is again as it was then. What was done meanwhile stays known; what was wrong was told.
    pub(crate) fn go_back(&mut self, kept: Kept) {
        let former = std::mem::replace(&mut self.0, Record::new(Prefix::default()));
        self.0.view = kept.view;
        self.0.steps = former.steps;
        self.0.steps.retain(|step| step.revision <= kept.revision);
        self.0.jobs = former.jobs;
        self.0.lives = former.lives;
        self.0.placed = former.placed;
        self.0.went_back_to = former.went_back_to;
        self.0.went_back_to.push(kept.revision);
        self.0.incarnations = former.incarnations;
    }

    /// Jobs that were made after this revision.
    pub(crate) fn jobs_since(&self, revision: i64) -> BTreeSet<JobId> {
        let jobs = self.0.jobs.iter().filter(|(_, (_, born))| *born > revision);
        jobs.map(|(id, _)| *id).collect()
    }

    /// The revision at which a job was made.
    pub(crate) fn born(&self, job: JobId) -> Option<i64> {
        self.0.jobs.get(&job).map(|(_, born)| *born)
    }

    /// What happened to a guest.
    pub(crate) fn timeline(&self, histories: &[HostHistory], guest: GuestId) -> String {
        timeline::of_guest(&self.0, histories, guest)
    }

    /// For whom an address is reserved now.
    pub(crate) fn reserved_for(&self, ip: IpAddr) -> Option<&str> {
        SUBNETS.iter().find_map(|subnet| self.0.view.text(&Key::Address(*subnet, ip)))
    }

    /// Whether an address is reserved for this guest.
    pub(crate) fn reserves(&self, ip: IpAddr, guest: GuestId) -> bool {
        self.reserved_for(ip).and_then(|holder| holder.parse().ok()) == Some(guest)
    }

    /// The value of a key now.
    pub(crate) fn value(&self, key: &Key) -> Option<&[u8]> {
        self.0.view.keys.get(key).map(|stored| &stored.value[..])
    }

    /// Every key with its value now.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&Key, &[u8])> {
        self.0.view.keys.iter().map(|(key, stored)| (key, &stored.value[..]))
    }

    /// Every guest that a document, a status, an index or an address names now.
    pub(crate) fn guests(&self) -> BTreeSet<GuestId> {
        let named = |key: &Key| match key {
            Key::Guest(id) | Key::GuestStatus(id) | Key::Placement(_, id) => Some(*id),
            _ => None,
        };
        self.0.view.keys.keys().filter_map(named).collect()
    }

    /// A guest's status now.
    pub(crate) fn status(&self, guest: GuestId) -> Option<&GuestStatus> {
        self.0.view.guests.get(&guest)
    }

    /// In how many hosts' indexes a guest is now.
    pub(crate) fn indexed(&self, guest: GuestId) -> usize {
        let of_guest = |key: &&Key| matches!(key, Key::Placement(_, id) if *id == guest);
        self.0.view.keys.keys().filter(of_guest).count()
    }
}
