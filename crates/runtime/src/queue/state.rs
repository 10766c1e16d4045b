//! The queue without its lock and its clock: plain data, told what time it is.
//!
//! ```text
//!             add, due                     next
//!   absent ───────────────► ready ──────────────────────► working
//!     │                       ▲                              │ done: absent,
//!     └──────► delayed ───────┘ due, or add                  │ ready when it was added meanwhile,
//!    add_after, retry                                        ▼ delayed when it is to come again later
//! ```
//!
//! A key is at most in one of the three. Ready keys are handed out in turns of their lanes, and within a lane in the order in which they became due. What happens
//! to a key that is being worked on is kept beside it, and takes effect when it is done.

use std::collections::BTreeMap;
use std::hash::Hash;
use std::time::Duration;

use lochness_mutant::Mutant;
use rustc_hash::FxHashMap;
use tokio::time::Instant;

use super::ready::{Lane, Ready};
use crate::metrics::QueueLoad;

/// So many keys that were handed out are remembered, for whoever asks which they were.
const MOST_HANDED_OUT: usize = 1 << 16;

/// What put a key into the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A change, a timer or a retry.
    Announced,
    /// A rescan, and nothing else.
    Rescan,
}

/// A key that is handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handed<K> {
    pub(super) key: K,
    pub(super) cause: Cause,
    pub(super) due_since: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Waiting {
    Ready(Cause),
    Delayed { due: Instant, order: u64 },
}

#[derive(Debug)]
struct Working {
    since: Instant,
    /// When it is due again, once it is done.
    again: Option<Instant>,
    /// Whether [`State::retry`] was called for it.
    failed: bool,
}

/// See the module.
#[derive(Debug)]
pub(super) struct State<K> {
    waiting: FxHashMap<K, Waiting>,
    /// Keys that are due, with the time since when.
    ready: Ready<K>,
    /// Lanes of the keys that wait or are being worked on, other than the first.
    lanes: FxHashMap<K, Lane>,
    /// Keys that are due later, by time and then by order of arrival.
    delayed: BTreeMap<(Instant, u64), K>,
    working: FxHashMap<K, Working>,
    /// Only keys whose last work failed.
    failures: FxHashMap<K, u32>,
    next_order: u64,
    /// The keys that were handed out since somebody last asked; not kept when that is too long ago.
    handed_out: Option<Vec<K>>,
}

impl<K: Clone + Eq + Hash> State<K> {
    pub(super) fn new() -> Self {
        Self {
            waiting: FxHashMap::default(),
            ready: Ready::default(),
            lanes: FxHashMap::default(),
            delayed: BTreeMap::new(),
            working: FxHashMap::default(),
            failures: FxHashMap::default(),
            next_order: 0,
            handed_out: None,
        }
    }

    /// Makes the key due, and forgets its failures.
    pub(super) fn add(&mut self, key: K, now: Instant) {
        self.failures.remove(&key);
        self.make_due(key, now, Cause::Announced);
    }

    /// The key goes in this lane, until it neither waits nor is worked on. One that is due already stays where it is.
    pub(super) fn assign(&mut self, key: K, lane: Lane) {
        if lane == Lane::default() {
            self.lanes.remove(&key);
        } else {
            self.lanes.insert(key, lane);
        }
    }

    fn push_ready(&mut self, key: K, since: Instant) {
        let lane = self.lanes.get(&key).copied().unwrap_or_default();
        self.ready.push(lane, key, since);
    }

    /// Makes the key due for a rescan: not one that is being worked on, nor one that waits for its retry.
    pub(super) fn rescan(&mut self, key: K, now: Instant) {
        if !self.working.contains_key(&key) && !self.failures.contains_key(&key) {
            self.make_due(key, now, Cause::Rescan);
        }
    }

    fn make_due(&mut self, key: K, now: Instant, cause: Cause) {
        self.promote(now);
        if let Some(working) = self.working.get_mut(&key)
            && !lochness_mutant::is(Mutant::TwoWorkers)
        {
            working.again = Some(now);
            return;
        }
        let cause = match self.waiting.get_mut(&key) {
            Some(Waiting::Ready(before)) => {
                if cause == Cause::Announced {
                    *before = Cause::Announced;
                }
                return;
            }
            Some(Waiting::Delayed { due, order }) => {
                self.delayed.remove(&(*due, *order));
                Cause::Announced // its timer had announced it, whatever woke it earlier
            }
            None => cause,
        };
        self.waiting.insert(key.clone(), Waiting::Ready(cause));
        self.push_ready(key, now);
    }

    /// Makes the key due at `due`, if it is not due earlier already.
    pub(super) fn add_at(&mut self, key: K, due: Instant, now: Instant) {
        self.promote(now);
        if let Some(working) = self.working.get_mut(&key) {
            working.again = Some(working.again.map_or(due, |again| again.min(due)));
            return;
        }
        match self.waiting.get(&key) {
            Some(Waiting::Ready(_)) => return,
            Some(Waiting::Delayed { due: earlier, .. }) if *earlier <= due => return,
            Some(Waiting::Delayed { due: later, order }) => {
                self.delayed.remove(&(*later, *order));
            }
            None => {}
        }
        let order = self.next_order;
        self.next_order += 1;
        self.waiting.insert(key.clone(), Waiting::Delayed { due, order });
        self.delayed.insert((due, order), key);
    }

    /// Counts a failure of the key; the answer is how many went before it. The caller adds it again after its delay.
    pub(super) fn count_failure(&mut self, key: &K) -> u32 {
        if let Some(working) = self.working.get_mut(key) {
            working.failed = true;
        }
        let failures = self.failures.entry(key.clone()).or_default();
        let before = *failures;
        *failures = failures.saturating_add(1);
        before
    }

    /// Takes the key that has been due longest in the lane whose turn it is.
    pub(super) fn next(&mut self, now: Instant) -> Option<Handed<K>> {
        self.promote(now);
        let (key, due_since) = self.ready.pop()?;
        let cause = match self.waiting.remove(&key) {
            Some(Waiting::Ready(cause)) => cause,
            Some(Waiting::Delayed { .. }) | None => unreachable!("a ready key waits as ready"),
        };
        self.working.insert(key.clone(), Working { since: now, again: None, failed: false });
        self.note_handed_out(&key);
        Some(Handed { key, cause, due_since })
    }

    /// The work on the key has ended; the answer is how long it took, or nothing when it was not being worked on.
    pub(super) fn done(&mut self, key: &K, now: Instant) -> Option<Duration> {
        let Working { since, again, failed } = self.working.remove(key)?;
        if !failed {
            self.failures.remove(key);
        }
        match again {
            Some(again) => self.add_at(key.clone(), again.max(now), now),
            None => {
                self.lanes.remove(key);
            }
        }
        Some(now.duration_since(since))
    }

    /// When the next delayed key is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.first_key_value().map(|((due, _), _)| *due)
    }

    /// The keys that were handed out since this was last called; `None` when they are too many to tell.
    pub(super) fn take_handed_out(&mut self) -> Option<Vec<K>> {
        self.handed_out.replace(Vec::new())
    }

    fn note_handed_out(&mut self, key: &K) {
        if let Some(keys) = &mut self.handed_out {
            keys.push(key.clone());
            if keys.len() > MOST_HANDED_OUT {
                self.handed_out = None;
            }
        }
    }

    /// Keys that wait, due or not, or are being worked on.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.working.len()
    }

    pub(super) fn due(&mut self, now: Instant) -> usize {
        self.promote(now);
        self.ready.len()
    }

    pub(super) fn backlog(&mut self, now: Instant) -> usize {
        self.due(now) + self.working.len()
    }

    pub(super) fn load(&mut self, now: Instant) -> QueueLoad {
        self.promote(now);
        let times = || self.working.values().map(|working| now.duration_since(working.since));
        QueueLoad {
            due: self.ready.len(),
            working: self.working.len(),
            unfinished: times().sum(),
            longest: times().max().unwrap_or_default(),
        }
    }

    /// Moves what has become due from the delayed to the ready. Everything that adds or takes does so first, so that
    /// ready keys lie in the order of their due times.
    fn promote(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            let (due, _) = *entry.key();
            if due > now {
                return;
            }
            let key = entry.remove();
            self.waiting.insert(key.clone(), Waiting::Ready(Cause::Announced));
            self.push_ready(key, due);
        }
    }
}
