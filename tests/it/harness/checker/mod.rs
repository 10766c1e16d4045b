//! The checker: follows every revision of a store and the true history of every host, and knows what must never be.
//!
//! [`rules`] judges each revision of etcd as it comes, [`truth`] the hosts' histories at the end of a test. A violation is
//! told with the [`timeline`] of its guest.

mod record;
mod rules;
mod tests;
mod timeline;
mod truth;
mod view;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use lochness_agent::server::Effect;
use lochness_api::{GuestId, HypervisorId};
use lochness_kv::{Event, Kv, KvError, WatchRequest};
use tokio::task::JoinHandle;

use super::eventually;
use super::store::Store;
pub(crate) use truth::runs;

use record::Record;

/// While etcd is away it is asked so often.
const RETRY: Duration = Duration::from_millis(50);
/// So many guests' timelines are printed.
const TIMELINES: usize = 3;

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
    /// It is none when the test itself wrote the revision.
    pub(crate) unless_ours: bool,
    /// It needs an agent without order, for which it is not promised.
    pub(crate) of_originals: bool,
}

/// Follows one store.
pub(crate) struct Checker {
    store: Store,
    record: Arc<Mutex<Record>>,
    /// The newest revision that was looked at, whoever made it.
    seen: Arc<AtomicI64>,
    follower: JoinHandle<()>,
    /// Guests that ran before the operator knew them, made by the test.
    foreign: BTreeSet<GuestId>,
}

impl Checker {
    /// Follows the store from its first revision on.
    pub(crate) fn start(store: &Store) -> Self {
        let record = Arc::new(Mutex::new(Record::new(store.prefix().clone())));
        let seen = Arc::new(AtomicI64::new(0));
        let follower = follow(store.clone(), Arc::clone(&record), Arc::clone(&seen));
        let follower = tokio::runtime::Handle::current().spawn(follower);
        Self { store: store.clone(), record, seen, follower, foreign: BTreeSet::new() }
    }

    /// The test itself made this guest on a host.
    pub(crate) fn expect_foreign(&mut self, guest: GuestId) {
        self.foreign.insert(guest);
    }

    /// Whether it has seen everything up to the revision.
    pub(crate) fn has_seen(&self, revision: i64) -> Result<(), String> {
        let taken = self.record.lock().expect("nobody panics under it").revision();
        let seen = self.seen.load(Ordering::Acquire).max(taken);
        if seen >= revision { Ok(()) } else { Err(format!("{seen} of {revision}")) }
    }

    /// Judges everything until now.
    pub(crate) async fn judge(&self, histories: &[HostHistory]) {
        assert!(!self.follower.is_finished(), "the checker lost its watch");
        let newest = self.store.revision().await;
        eventually("the checker has seen every revision", async || self.has_seen(newest)).await;
        let record = self.record.lock().expect("nobody panics under it");
        let mut violations = record.violations(|revision| self.store.is_own(revision));
        let truth = truth::check(&record, histories, &self.foreign);
        let ours = |it: &Violation| it.unless_ours && self.store.is_own(it.revision);
        violations.extend(truth.into_iter().filter(|it| !ours(it)));
        if violations.is_empty() {
            return;
        }
        let mut text = String::new();
        for violation in &violations {
            let _infallible = writeln!(text, "r{}: {}", violation.revision, violation.what);
        }
        let guests: BTreeSet<_> = violations.iter().filter_map(|it| it.guest).collect();
        for guest in guests.into_iter().take(TIMELINES) {
            text += &timeline::of_guest(&record, histories, guest);
        }
        panic!("what must never be has been:\n{text}");
    }

    /// How many revisions were the operator's, or an agent's.
    pub(crate) fn revisions(&self) -> usize {
        let record = self.record.lock().expect("nobody panics under it");
        record.steps.iter().filter(|step| !self.store.is_own(step.revision)).count()
    }

    /// What happened to a guest, for a test that fails for another reason.
    pub(crate) fn timeline(&self, histories: &[HostHistory], guest: GuestId) -> String {
        timeline::of_guest(&self.record.lock().expect("nobody panics under it"), histories, guest)
    }
}

impl Drop for Checker {
    fn drop(&mut self) {
        self.follower.abort();
    }
}

/// Hands whole revisions to the record, for ever; etcd may be away meanwhile.
async fn follow(store: Store, record: Arc<Mutex<Record>>, seen: Arc<AtomicI64>) {
    let mut next = 1;
    loop {
        let error = follow_once(&store, &record, &seen, &mut next).await;
        let lost = matches!(error, KvError::Compacted(_));
        assert!(!lost, "a test compacts what the checker has seen, and no more");
        tokio::time::sleep(RETRY).await;
    }
}

async fn follow_once(
    store: &Store,
    record: &Mutex<Record>,
    seen: &AtomicI64,
    next: &mut i64,
) -> KvError {
    // The whole store: an operator that writes outside its prefix is caught, too, unless others do so rightly.
    let request = WatchRequest::prefix("", *next);
    let mut stream = match store.kv().watch(request).await {
        Ok(stream) => stream,
        Err(error) => return error,
    };
    let mut waiting: Vec<Event> = Vec::new();
    loop {
        let batch = match stream.next().await {
            Ok(batch) => batch,
            Err(error) => return error,
        };
        waiting.extend(batch.events.into_iter().filter(|event| event.revision() >= *next));
        let complete = if batch.fragment {
            let last = waiting.last().map(Event::revision);
            waiting.partition_point(|event| Some(event.revision()) < last)
        } else {
            waiting.len()
        };
        let events: Vec<_> = waiting.drain(..complete).collect();
        let mut record = record.lock().expect("nobody panics under it");
        for revision in events.chunk_by(|one, other| one.revision() == other.revision()) {
            let ours = revision.iter().filter(|event| !store.is_others(event.key()));
            let ours: Vec<_> = ours.cloned().collect();
            if !ours.is_empty() {
                record.take(&ours, Timestamp::now());
            }
            *next = revision[0].revision() + 1;
            seen.store(*next - 1, Ordering::Release);
        }
    }
}
