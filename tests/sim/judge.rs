//! Judges a history while it happens and at its end.
//!
//! Every change of the store and every effect on a host is taken in as soon as anybody has spoken to either. Time stands
//! still meanwhile, so nothing is taken in later than it happened.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use lochness_agent::server::{Compat, Effect, EffectKind, Host, StateWords};
use lochness_api::document::{DesiredState, Guest};
use lochness_api::status::{GuestStatus, HypervisorStatus, Phase, Reason};
use lochness_api::{Digest, Document as _, GuestId, HypervisorId, Key};
use lochness_kv::MemoryKv;
use lochness_runtime::clock::{Clock as _, PausedClock};
use tokio::time::Instant;

use crate::checker::{Checker, HostHistory, Violation, runs};
use crate::clock::WallClock;
use crate::course::Course;
use crate::deletions::Deletions;
use crate::election::Election;
use crate::known::Known;
use crate::moves::Moves;
use crate::restores::Restores;
use crate::truths::Truths;
use crate::words::{is_expiry, line, reasons, says_why, told, told_key};

/// So many guests' timelines are printed.
const TIMELINES: usize = 2;
/// Who followed a store that went back reads it several times until that is believed.
const NOTICED: Duration = Duration::from_secs(20);

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
    truths: Truths,
    deletions: Deletions,
    election: Election,
    restores: Restores,
    moves: Moves,
    known: Known,
    /// Guests that may wait for ever, as somebody wished what cannot be.
    excused: BTreeSet<GuestId>,
    found: Vec<(Option<GuestId>, String)>,
    last_write: (Instant, String),
}

/// A host, with everything that happened on it, at its true time.
struct Watched {
    host: Host,
    clock: WallClock,
    effects: Vec<Effect>,
    /// Its agent does not say what its guests do.
    only_echoes: bool,
    /// When its agent lost all that it knew.
    wiped: Vec<Timestamp>,
}

impl Watched {
    fn is_ordered(&self) -> bool {
        self.host.compat() == Compat::Lochness
    }
}

impl Judge {
    pub(crate) fn new(kv: MemoryKv, course: Arc<Course>, clock: PausedClock) -> Arc<Self> {
        let inner = Mutex::new(Inner {
            hosts: Vec::new(),
            checker: Checker::new(),
            users: BTreeSet::new(),
            truths: Truths::default(),
            deletions: Deletions::default(),
            election: Election::new(),
            restores: Restores::default(),
            moves: Moves::default(),
            known: Known::default(),
            excused: BTreeSet::new(),
            found: Vec::new(),
            last_write: (Instant::now(), String::new()),
        });
        Arc::new(Self { kv, course, clock, inner })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on this host is watched, whose agent has this clock.
    pub(crate) fn watch(&self, host: Host, clock: WallClock) {
        let original = host.compat() == Compat::Mistify;
        let only_echoes = original && self.course.profile.words == StateWords::Echo;
        self.lock().hosts.push(Watched {
            host,
            clock,
            effects: Vec::new(),
            only_echoes,
            wiped: Vec::new(),
        });
    }

    /// The host's agent forgets everything that it had promised.
    pub(crate) fn forgets(&self, host: HypervisorId) {
        self.catch_up();
        let now = self.now();
        let mut inner = self.lock();
        inner.truths.forget(host);
        let watched = inner.hosts.iter_mut().filter(|watched| watched.host.id() == host);
        watched.for_each(|watched| watched.wiped.push(now));
    }

    /// These guests may wait for ever, if they say why.
    pub(crate) fn excuse(&self, guests: BTreeSet<GuestId>) {
        self.lock().excused = guests;
    }

    /// From now on at most so many guests are torn down unasked.
    pub(crate) fn budget(&self, budget: usize) {
        self.lock().deletions.limit(budget);
    }

    /// Somebody confirms the deletions up to this revision.
    pub(crate) fn confirmed(&self, revision: i64) {
        self.lock().deletions.confirm(revision);
    }

    /// The user wrote this revision.
    pub(crate) fn users(&self, revision: i64) {
        self.lock().users.insert(revision);
    }

    /// Something was wrong that no rule of the checker knows.
    pub(crate) fn wrong(&self, what: String) {
        self.course.note(|| format!("WRONG {what}"));
        self.lock().found.push((None, what));
    }

    /// Takes in what has happened.
    pub(crate) fn catch_up(&self) {
        let mut inner = self.lock();
        let inner = &mut *inner;
        let mut happened = false;
        for watched in &mut inner.hosts {
            let known = watched.effects.last().map_or(0, |effect| effect.sequence);
            for effect in watched.host.history_since(known) {
                self.course.note(|| told(&watched.host, &effect));
                let effect = Effect { at: watched.clock.truth(effect.at), ..effect };
                let (host, ordered) = (watched.host.id(), watched.is_ordered());
                inner.found.extend(inner.truths.take(host, ordered, &effect));
                inner.found.extend(inner.restores.effect(&effect, &inner.checker));
                effect.guest.into_iter().for_each(|guest| inner.known.has(guest));
                if ordered {
                    inner.moves.effect(host, &effect);
                }
                watched.effects.push(effect);
                happened = true;
            }
        }
        let seen = self.now();
        if happened {
            inner.check_reservations();
        }
        let undisturbed = self.course.undisturbed_since();
        while let Some(events) = self.kv.changes(inner.checker.revision() + 1) {
            for event in &events {
                self.course.note(|| format!("r{} {}", event.revision(), line(event)));
                if !is_expiry(event) {
                    inner.last_write = (Instant::now(), told_key(event));
                }
            }
            inner.checker.take(&events, seen);
            inner.known.take(&events);
            inner.found.extend(inner.deletions.take(&events, &inner.checker));
            if !inner.users.contains(&inner.checker.revision()) {
                let has = |key: &Key| inner.checker.value(key).is_some();
                inner.found.extend(inner.moves.take(&events, has));
            }
            let known = inner
                .truths
                .ruled(|host| inner.restores.is_heard(host, can_be_asked(&inner.checker, host)));
            inner.found.extend(inner.restores.take(&events, &inner.checker, known));
            let vacant = inner.election.take(&events, undisturbed);
            inner.found.extend(vacant.map(|what| (None, what)));
            inner.check_reservations();
        }
        let vacant = inner.election.overdue(undisturbed);
        inner.found.extend(vacant.map(|what| (None, what)));
    }

    /// Somebody takes a snapshot of the store now.
    pub(crate) fn keep(&self) {
        self.catch_up();
        let mut inner = self.lock();
        let kept = inner.checker.keep();
        inner.restores.keep(kept);
    }

    /// The store went back to the snapshot, and has been judged until then.
    pub(crate) fn goes_back(&self) {
        self.course.disturb(NOTICED);
        let mut inner = self.lock();
        let inner = &mut *inner;
        let so_far = inner.violations();
        inner.found.extend(so_far);
        let effects = inner.hosts.iter().flat_map(|watched| &watched.effects);
        let known: BTreeSet<_> = effects.filter_map(|effect| effect.guest).collect();
        let there = known.into_iter().filter(|guest| inner.is_anywhere(*guest)).collect();
        let running = inner.truths.addresses();
        let revision = inner.restores.go_back(&mut inner.checker, &there, running);
        inner.users.retain(|of_users| *of_users <= revision);
        inner.known.goes_back(&inner.checker);
        inner.election.begins_anew(inner.checker.value(&Key::Leader).is_some());
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.unix_millis()).expect("it is a time")
    }

    /// The queue of a process has so many keys.
    pub(crate) fn queued(&self, process: &str, queue: &str, length: usize) {
        let is_too_long = |judge: &Self| judge.lock().known.judge(queue, length);
        if is_too_long(self).is_none() {
            return;
        }
        // A transaction that landed late may have been seen by the process first.
        self.catch_up();
        if let Some(wrong) = is_too_long(self) {
            self.wrong(format!("{wrong} in {process}"));
        }
    }

    /// Whether a leader can be told that its lease lives when that is gone.
    pub(crate) fn lies_to_leaders(&self) -> bool {
        self.course.profile.store.keepalive_lies > 0
    }

    /// Looks at the store as it is now.
    pub(crate) fn look<T>(&self, look: impl FnOnce(&Checker) -> T) -> T {
        look(&self.lock().checker)
    }

    /// When something was last written, and how many changes the agents were asked for.
    pub(crate) fn stir(&self) -> (Instant, u64) {
        let inner = self.lock();
        let mutations = inner.hosts.iter().map(|watched| watched.host.stats().mutations).sum();
        (inner.last_write.0, mutations)
    }

    /// How much happened on all hosts to guests, and how many images and rulesets were brought to them.
    pub(crate) fn effects(&self) -> usize {
        self.lock().hosts.iter().map(|watched| watched.effects.len()).sum()
    }

    /// What was last written.
    pub(crate) fn last_write(&self) -> String {
        self.lock().last_write.1.clone()
    }

    /// L2: what is reserved for nobody when every quarantine is over.
    pub(crate) fn left_over(&self) -> Vec<(Option<GuestId>, String)> {
        let inner = self.lock();
        let mut found = Vec::new();
        for (key, value) in inner.checker.keys() {
            let holder = String::from_utf8_lossy(value);
            let Key::Address(_, ip) = key else { continue };
            let guest = holder.parse().ok();
            let status = guest.and_then(|guest| inner.checker.status(guest));
            if status.and_then(|status| status.placement.as_ref()).is_none_or(|it| it.ip != *ip) {
                found.push((guest, format!("L2: {ip} is still reserved for {holder}")));
            }
        }
        found
    }

    /// What is not yet as the documents say.
    pub(crate) fn amiss(&self) -> Vec<(Option<GuestId>, String)> {
        let inner = self.lock();
        let guests = inner.checker.guests().into_iter();
        let amiss = guests.filter_map(|id| Some((Some(id), inner.amiss(id)?)));
        amiss.chain(inner.unreported()).chain(inner.unruled()).collect()
    }

    /// L6: hosts whose rules somebody deleted, and nobody put back.
    pub(crate) fn unruled(&self) -> Vec<(Option<GuestId>, String)> {
        self.lock().unruled()
    }

    /// Everything that was wrong, with the timelines of the guests concerned; `unmet` is what the end should have brought.
    pub(crate) fn verdict(&self, unmet: Vec<(Option<GuestId>, String)>) -> Option<String> {
        let mut inner = self.lock();
        let histories = inner.histories();
        let mut all = std::mem::take(&mut inner.found);
        for violation in inner.violations() {
            if !all.contains(&violation) {
                all.push(violation);
            }
        }
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

/// Whether the host's document says where its agent really is: of one that was restored it may say where it was.
fn can_be_asked(checker: &Checker, host: HypervisorId) -> bool {
    let field = |key: &Key, name: &str| {
        let value: serde_json::Value = serde_json::from_slice(checker.value(key)?).ok()?;
        value.get(name)?.as_str().map(ToOwned::to_owned)
    };
    let told = field(&Key::Hypervisor(host), "ip");
    told.is_none() || told == field(&Key::Heartbeat(host), "address")
}

impl Inner {
    /// What was wrong with the revisions since the store began, or went back, and with the hosts' histories.
    fn violations(&self) -> Vec<(Option<GuestId>, String)> {
        let is_users = |revision: i64| self.users.contains(&revision);
        let violations = self.checker.violations(&self.histories(), is_users);
        let is_ours = |it: &Violation| it.unless_ours && is_users(it.revision);
        let told = |it: Violation| (it.guest, format!("r{}: {}", it.revision, it.what));
        violations.into_iter().filter(|it| !is_ours(it) && !it.of_originals).map(told).collect()
    }

    fn histories(&self) -> Vec<HostHistory> {
        let of = |watched: &Watched| HostHistory {
            host: watched.host.id(),
            ordered: watched.is_ordered(),
            effects: watched.effects.clone(),
            wiped: watched.wiped.clone(),
        };
        self.hosts.iter().map(of).collect()
    }

    /// S3: whoever runs with an address has it reserved.
    fn check_reservations(&mut self) {
        let mut found = Vec::new();
        for (guest, ip) in self.truths.addresses() {
            if !self.checker.reserves(ip, guest) && !self.restores.excuses(guest, ip) {
                let holder = self.checker.reserved_for(ip);
                let what = format!("S3: {guest} runs with {ip}, which is reserved for {holder:?}");
                found.push((Some(guest), what));
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
        let unmet = self.unmet(id, &guest, status)?;
        let unsupported = |it: &lochness_api::status::Condition| it.reason == Reason::Unsupported;
        let host = status.placement.as_ref().map(|placement| placement.hypervisor);
        let may_wait = self.excused.contains(&id)
            || self.another_has_mac_of(id, &guest)
            || host.is_some_and(|host| self.truths.is_original(host))
                && status.conditions.iter().any(unsupported);
        (!(may_wait && says_why(status))).then_some(unmet)
    }

    fn unmet(&self, id: GuestId, guest: &Guest, status: &GuestStatus) -> Option<String> {
        let (phase, power) = match guest.state {
            DesiredState::Running => (Phase::Running, Some(true)),
            DesiredState::Stopped => (Phase::Stopped, Some(false)),
            DesiredState::Suspended => (Phase::Suspended, None),
        };
        let host = status.placement.as_ref().map(|placement| placement.hypervisor);
        let here = self.hosts.iter().find(|watched| Some(watched.host.id()) == host);
        let truth = here.map(|watched| runs(&watched.effects, id));
        let of_host = here.map_or("no host", |watched| watched.host.name());
        if status.phase != phase {
            let why = reasons(status);
            Some(format!("L1: {id} is {:?} on {of_host} and not {phase:?}: {why}", status.phase))
        } else if status.observed != Some(Digest::of_guest(guest)) {
            Some(format!("L1: the status of {id} answers another document"))
        } else if self.checker.indexed(id) != 1 {
            Some(format!("L1: {id} is in {} indexes", self.checker.indexed(id)))
        } else if power.is_some() && truth != power && here.is_some_and(|it| !it.only_echoes) {
            Some(format!("L1: {id} is {phase:?} and runs: {truth:?}"))
        } else if reasons(status).contains("=False") {
            Some(format!("L3: {id} is {phase:?} and says {}", reasons(status)))
        } else {
            None
        }
    }

    /// Whether the guest asks for a hardware address that another one is placed with: that one keeps it, even if its own
    /// document does not ask for it any more (DESIGN.md, *Documents*).
    fn another_has_mac_of(&self, id: GuestId, guest: &Guest) -> bool {
        let has = |other: GuestId, mac| {
            let placement = self.checker.status(other).and_then(|it| it.placement.as_ref());
            other != id && placement.is_some_and(|it| it.mac == mac)
        };
        guest.mac.is_some_and(|mac| self.checker.guests().into_iter().any(|it| has(it, mac)))
    }

    /// L6: on a host with guests the rules that it got are in force. One without guests needs none.
    fn unruled(&self) -> Vec<(Option<GuestId>, String)> {
        let placements =
            self.checker.guests().into_iter().filter_map(|guest| {
                Some(self.checker.status(guest)?.placement.as_ref()?.hypervisor)
            });
        let needed: BTreeSet<HypervisorId> = placements.collect();
        let lacks = |it: &&Watched| {
            it.is_ordered() && needed.contains(&it.host.id()) && !it.host.rules_are_in_force()
        };
        let told = |it: &Watched| format!("L6: the rules of {} are not in force", it.host.name());
        self.hosts.iter().filter(lacks).map(|it| (None, told(it))).collect()
    }

    /// L6: what runs and nobody declared is told in its host's status.
    fn unreported(&self) -> Vec<(Option<GuestId>, String)> {
        let strangers = self.restores.strangers();
        let mut found = Vec::new();
        for watched in &self.hosts {
            let here = strangers.iter().filter(|guest| runs(&watched.effects, **guest)).count();
            let status = self.checker.value(&Key::HypervisorStatus(watched.host.id()));
            let status = status.and_then(|it| serde_json::from_slice::<HypervisorStatus>(it).ok());
            let told = status.map_or(0, |status| status.undeclared);
            if usize::try_from(told).unwrap_or(0) < here {
                let name = watched.host.name();
                let what = format!(
                    "L6: {name} runs {here} guests that nobody declared and tells of {told}"
                );
                found.push((None, what));
            }
        }
        found
    }

    /// Whether a host has a record of the guest.
    fn is_anywhere(&self, id: GuestId) -> bool {
        self.hosts.iter().any(|watched| {
            watched.effects.iter().filter(|effect| effect.guest == Some(id)).fold(
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
