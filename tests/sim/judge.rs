//! Judges a history while it happens and at its end.
//!
//! Every change of the store and every effect on a host is taken in as soon as anybody has spoken to either. Time stands
//! still meanwhile, so nothing is taken in later than it happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use lochness_agent::server::{Effect, EffectKind, Host};
use lochness_api::document::{DesiredState, Guest};
use lochness_api::status::Phase;
use lochness_api::{Digest, Document as _, GuestId, Key};
use lochness_kv::{Event, MemoryKv};
use lochness_runtime::clock::{Clock as _, PausedClock};
use tokio::time::Instant;

use crate::checker::{Checker, HostHistory, runs};
use crate::course::Course;

/// So many guests' timelines are printed.
const TIMELINES: usize = 2;

/// What a history is judged by.
pub(crate) struct Judge {
    kv: MemoryKv,
    course: Arc<Course>,
    clock: PausedClock,
    inner: Mutex<Inner>,
}

struct Inner {
    hosts: Vec<Watched>,
    checker: Checker,
    /// Revisions that the user wrote.
    users: BTreeSet<i64>,
    /// Who runs now, with which addresses.
    running: BTreeMap<GuestId, Vec<String>>,
    found: Vec<(Option<GuestId>, String)>,
    last_write: Instant,
}

struct Watched {
    host: Host,
    sequence: u64,
}

impl Judge {
    pub(crate) fn new(kv: MemoryKv, course: Arc<Course>, clock: PausedClock) -> Arc<Self> {
        let inner = Mutex::new(Inner {
            hosts: Vec::new(),
            checker: Checker::new(),
            users: BTreeSet::new(),
            running: BTreeMap::new(),
            found: Vec::new(),
            last_write: Instant::now(),
        });
        Arc::new(Self { kv, course, clock, inner })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this host is watched.
    pub(crate) fn watch(&self, host: Host) {
        self.lock().hosts.push(Watched { host, sequence: 0 });
    }

    /// The user wrote this revision.
    pub(crate) fn users(&self, revision: i64) {
        self.lock().users.insert(revision);
    }

    /// Something was wrong that no rule of the checker knows.
    pub(crate) fn wrong(&self, what: String) {
        self.lock().found.push((None, what));
    }

    /// Takes in what has happened.
    pub(crate) fn catch_up(&self) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        for watched in &mut inner.hosts {
            for effect in watched.host.history_since(watched.sequence) {
                watched.sequence = effect.sequence;
                self.course.note(&told(&watched.host, &effect));
                run(&mut inner.running, &effect);
            }
        }
        inner.check_reservations();
        let seen = Timestamp::from_millisecond(self.clock.unix_millis()).expect("it is a time");
        while let Some(events) = self.kv.changes(inner.checker.revision() + 1) {
            for event in &events {
                self.course.note(&format!("r{} {}", event.revision(), line(event)));
                if !is_expiry(event) {
                    inner.last_write = Instant::now();
                }
            }
            inner.checker.take(&events, seen);
            inner.check_reservations();
        }
    }

    /// When something was last written, and how many changes the agents were asked for.
    pub(crate) fn stir(&self) -> (Instant, u64) {
        let inner = self.lock();
        let mutations = inner.hosts.iter().map(|watched| watched.host.stats().mutations).sum();
        (inner.last_write, mutations)
    }

    /// What is not yet as the documents say.
    pub(crate) fn amiss(&self) -> Vec<(Option<GuestId>, String)> {
        let inner = self.lock();
        let guests = inner.checker.guests().into_iter();
        let amiss = guests.filter_map(|id| Some((Some(id), inner.amiss(id)?)));
        amiss.collect()
    }

    /// Everything that was wrong, with the timelines of the guests concerned; `unmet` is what the end should have brought.
    pub(crate) fn verdict(&self, unmet: Vec<(Option<GuestId>, String)>) -> Option<String> {
        let mut inner = self.lock();
        let histories = inner.histories();
        let users = inner.users.clone();
        let mut all = std::mem::take(&mut inner.found);
        let violations = inner.checker.violations(&histories, |revision| users.contains(&revision));
        let told =
            |it: crate::checker::Violation| (it.guest, format!("r{}: {}", it.revision, it.what));
        all.extend(violations.into_iter().map(told));
        all.extend(unmet);
        if all.is_empty() {
            return None;
        }
        let mut text = String::new();
        for (_, what) in &all {
            let _ = write!(text, "\n  {what}");
        }
        let guests: BTreeSet<_> = all.iter().filter_map(|(guest, _)| *guest).collect();
        for guest in guests.into_iter().take(TIMELINES) {
            let _ = write!(text, "\n{}", inner.checker.timeline(&histories, guest));
        }
        Some(text)
    }
}

impl Inner {
    fn histories(&self) -> Vec<HostHistory> {
        let of = |watched: &Watched| HostHistory {
            host: watched.host.id(),
            ordered: true,
            effects: watched.host.history(),
        };
        self.hosts.iter().map(of).collect()
    }

    /// S3: whoever runs with an address has it reserved.
    fn check_reservations(&mut self) {
        let mut found = Vec::new();
        for (guest, addresses) in &self.running {
            for address in addresses {
                let Ok(ip) = address.parse() else { continue };
                let holder = self.checker.reserved_for(ip);
                if holder != Some(&*guest.to_string()) {
                    let what =
                        format!("S3: {guest} runs with {ip}, which is reserved for {holder:?}");
                    found.push((Some(*guest), what));
                }
            }
        }
        for wrong in found {
            // What stays wrong is told once.
            if !self.found.contains(&wrong) {
                self.found.push(wrong);
            }
        }
    }

    fn amiss(&self, id: GuestId) -> Option<String> {
        let status = self.checker.status(id);
        let Some(document) = self.checker.value(&Key::Guest(id)) else {
            let rest = status.is_some() || self.checker.indexed(id) > 0 || self.is_anywhere(id);
            return rest.then(|| format!("L2: {id} has no document, and is still there"));
        };
        let guest = Guest::parse(&id.to_string(), document).ok()?;
        let Some(status) = status else { return Some(format!("L1: {id} has no status")) };
        let (phase, power) = match guest.state {
            DesiredState::Running => (Phase::Running, Some(true)),
            DesiredState::Stopped => (Phase::Stopped, Some(false)),
            DesiredState::Suspended => (Phase::Suspended, None),
        };
        let host = status.placement.as_ref().map(|placement| placement.hypervisor);
        let here = self.hosts.iter().find(|watched| Some(watched.host.id()) == host);
        let truth = here.map(|watched| runs(&watched.host.history(), id));
        if status.phase != phase {
            Some(format!("L1: {id} is {:?} and not {phase:?}", status.phase))
        } else if status.observed != Some(Digest::of_guest(&guest)) {
            Some(format!("L1: the status of {id} answers another document"))
        } else if self.checker.indexed(id) != 1 {
            Some(format!("L1: {id} is in {} indexes", self.checker.indexed(id)))
        } else if power.is_some() && truth != power {
            Some(format!("L1: {id} is {phase:?} and runs: {truth:?}"))
        } else {
            None
        }
    }

    /// Whether a host has a record of the guest.
    fn is_anywhere(&self, id: GuestId) -> bool {
        self.hosts.iter().any(|watched| {
            watched.host.history().iter().filter(|effect| effect.guest == Some(id)).fold(
                false,
                |there, effect| match effect.kind {
                    EffectKind::Created => true,
                    EffectKind::Deleted | EffectKind::Lost => false,
                    _ => there,
                },
            )
        })
    }
}

/// Keys that hang on leases go by themselves: what frees an address at the end of its quarantine is no write.
fn is_expiry(event: &Event) -> bool {
    let key = String::from_utf8_lossy(event.key());
    matches!(event, Event::Delete { .. })
        && (key.contains("/addresses/") || key.contains("/events/"))
}

fn run(running: &mut BTreeMap<GuestId, Vec<String>>, effect: &Effect) {
    let Some(guest) = effect.guest else { return };
    match effect.kind {
        EffectKind::Started => {
            running.insert(guest, effect.addresses.clone());
        }
        EffectKind::Stopped | EffectKind::Crashed | EffectKind::Deleted | EffectKind::Lost => {
            running.remove(&guest);
        }
        _ => {}
    }
}

fn told(host: &Host, effect: &Effect) -> String {
    let guest = effect.guest.map(|guest| guest.to_string()).unwrap_or_default();
    let order = effect.order.map(|order| order.to_string()).unwrap_or_default();
    format!("{} {:?} {guest} {order}", host.name(), effect.kind)
}

fn line(event: &Event) -> String {
    let key = String::from_utf8_lossy(event.key());
    match event {
        Event::Put(kv) => format!("put {key} {}", String::from_utf8_lossy(&kv.value)),
        Event::Delete { .. } => format!("del {key}"),
    }
}
