//! What must hold of the hosts' true histories, by the numbers of the invariants.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use jiff::{SignedDuration, Timestamp};
use lochness_agent::server::{Effect, EffectKind};
use lochness_agent::wire::Order;
use lochness_api::job::JobAction;
use lochness_api::status::GuestStatus;
use lochness_api::{GuestId, HypervisorId, JobId, Key, SubnetId};

use super::record::Record;
use super::{HostHistory, Violation};

/// What was sent for a job has arrived, and is done, within this time after its end.
const LATEST: SignedDuration = SignedDuration::from_secs(90);

/// Whether the guest runs at the end of the history.
pub(crate) fn runs(history: &[Effect], guest: GuestId) -> bool {
    let of_guest = history.iter().filter(|effect| effect.guest == Some(guest));
    of_guest.fold(false, |runs, effect| change_of(effect.kind).map_or(runs, |to| to == Life::Runs))
}

/// What an effect makes of a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    Runs,
    Rests,
    Gone,
}

fn change_of(kind: EffectKind) -> Option<Life> {
    match kind {
        EffectKind::Started => Some(Life::Runs),
        EffectKind::Created | EffectKind::Stopped | EffectKind::Crashed => Some(Life::Rests),
        EffectKind::Deleted | EffectKind::Lost => Some(Life::Gone),
        EffectKind::Redefined
        | EffectKind::Paused
        | EffectKind::Resumed
        | EffectKind::Rebooted
        | EffectKind::FirewallApplied
        | EffectKind::ImageFetched
        | EffectKind::Booted => None,
    }
}

/// What is wrong with what truly happened.
pub(super) fn check(
    record: &Record,
    histories: &[HostHistory],
    foreign: &BTreeSet<GuestId>,
) -> Vec<Violation> {
    let mut judge = Judge::new(record, foreign);
    judge.originals = histories.iter().filter(|it| !it.ordered).map(|it| it.host).collect();
    // One machine, one clock: effects of several hosts can be put in order.
    let mut all: Vec<_> = histories
        .iter()
        .flat_map(|history| history.effects.iter().map(move |effect| (history, effect)))
        .collect();
    all.sort_by_key(|(_, effect)| (effect.at, effect.sequence));
    for (history, effect) in all {
        if let Some(guest) = effect.guest {
            judge.lives(history.host, guest, effect);
            judge.intends(history, guest, effect);
        }
    }
    judge.counts_creations();
    judge.found.extend(freed_too_early(record, histories));
    judge.found
}

/// S3: who runs keeps the reservation of its address. A revision is seen after it was made, so what has ended by then may
/// have ended too late, but what still runs is certainly wrong.
fn freed_too_early(record: &Record, histories: &[HostHistory]) -> Vec<Violation> {
    let mut found = Vec::new();
    for step in &record.steps {
        for change in &step.changes {
            let (Some(Key::Address(subnet, ip)), Some(before)) = (&change.key, &change.before)
            else {
                continue;
            };
            let holder = std::str::from_utf8(&before.value).ok().and_then(|id| id.parse().ok());
            let Some(guest) = holder else { continue };
            if change.after.as_ref().is_some_and(|after| after.value == before.value) {
                continue;
            }
            if has_another_address(record, step.revision, guest, (*subnet, *ip)) {
                continue;
            }
            for history in histories {
                let until = history.effects.iter().filter(|effect| effect.at <= step.seen);
                let until: Vec<_> = until.cloned().collect();
                if runs(&until, guest) {
                    found.push(Violation {
                        revision: step.revision,
                        guest: Some(guest),
                        what: format!("S3: {ip} was freed while {guest} runs on {}", history.host),
                        unless_ours: true,
                        of_originals: !history.ordered,
                    });
                }
            }
        }
    }
    found
}

/// Whether the guest's status said at that revision that it has another address: the reservation was no use to it.
fn has_another_address(
    record: &Record,
    revision: i64,
    guest: GuestId,
    address: (SubnetId, IpAddr),
) -> bool {
    let until = record.steps.iter().filter(|step| step.revision <= revision);
    let changes = until.flat_map(|step| &step.changes);
    let mut statuses = changes.filter(|change| change.key == Some(Key::GuestStatus(guest)));
    let last = statuses.next_back().and_then(|change| change.after.as_ref());
    let placement = last.and_then(|kv| GuestStatus::parse(&kv.value).ok()?.placement);
    placement.is_some_and(|it| (it.subnet, it.ip) != address)
}

struct Judge<'a> {
    record: &'a Record,
    foreign: &'a BTreeSet<GuestId>,
    /// Hosts whose agents know no order: less is promised for them.
    originals: BTreeSet<HypervisorId>,
    lives: BTreeMap<GuestId, BTreeMap<HypervisorId, Life>>,
    /// Who runs with an address, and where.
    addresses: BTreeMap<String, BTreeSet<(GuestId, HypervisorId)>>,
    /// When a job last had an effect.
    effects: BTreeMap<(JobId, String), Timestamp>,
    /// Creations on agents without order, where no effect names its job.
    created: BTreeMap<GuestId, usize>,
    found: Vec<Violation>,
}

impl<'a> Judge<'a> {
    fn new(record: &'a Record, foreign: &'a BTreeSet<GuestId>) -> Self {
        Self {
            record,
            foreign,
            originals: BTreeSet::new(),
            lives: BTreeMap::new(),
            addresses: BTreeMap::new(),
            effects: BTreeMap::new(),
            created: BTreeMap::new(),
            found: Vec::new(),
        }
    }

    fn wrong(&mut self, guest: GuestId, what: String) {
        self.wrong_by(guest, what, false);
    }

    fn wrong_by(&mut self, guest: GuestId, what: String, of_originals: bool) {
        let (revision, guest, unless_ours) = (0, Some(guest), false);
        self.found.push(Violation { revision, guest, what, unless_ours, of_originals });
    }

    /// S1 and S2: a guest is made once and runs on one host; an address has one running guest.
    fn lives(&mut self, host: HypervisorId, guest: GuestId, effect: &Effect) {
        let is_original = self.originals.contains(&host);
        let there = self.lives.entry(guest).or_default();
        let of = |life: &[Life]| {
            let hosts = there.iter().filter(|(_, it)| life.contains(it)).map(|(host, _)| *host);
            hosts.collect::<BTreeSet<_>>()
        };
        let (present, mut running) = (of(&[Life::Runs, Life::Rests]), of(&[Life::Runs]));
        let ran_here = running.remove(&host);
        if let Some(life) = change_of(effect.kind) {
            there.insert(host, life);
        }
        // Nothing is promised between two hosts one of which is an original.
        let is_of_originals = |others: &BTreeSet<HypervisorId>| {
            is_original || others.iter().all(|other| self.originals.contains(other))
        };
        match effect.kind {
            EffectKind::Created if !present.is_empty() => {
                let of_originals = is_of_originals(&present);
                let what = format!("S1: {guest} was created on {host} and is there already");
                self.wrong_by(guest, what, of_originals);
            }
            // An original makes one that does not run again: its record may have been all that was left of it.
            EffectKind::Redefined if ran_here || !is_original => {
                let what = format!("S1: {guest} was created a second time on {host}");
                self.wrong_by(guest, what, is_original);
            }
            EffectKind::Started => {
                if !running.is_empty() {
                    let of_originals = is_of_originals(&running);
                    let what = format!("S1: {guest} runs on {host} and on another host");
                    self.wrong_by(guest, what, of_originals);
                }
                for address in &effect.addresses {
                    self.takes(host, guest, address);
                }
            }
            _ if matches!(change_of(effect.kind), Some(Life::Rests | Life::Gone)) => {
                for holders in self.addresses.values_mut() {
                    holders.remove(&(guest, host));
                }
            }
            _ => {}
        }
    }

    /// S2: a guest begins to run with an address.
    fn takes(&mut self, host: HypervisorId, guest: GuestId, address: &str) {
        let holders = self.addresses.entry(address.to_owned()).or_default();
        let others: Vec<_> = holders.iter().filter(|(other, _)| *other != guest).copied().collect();
        holders.insert((guest, host));
        for (other, at) in others {
            let of_originals = [host, at].iter().any(|host| self.originals.contains(host));
            let what = format!("S2: {guest} and {other} run with {address}");
            self.wrong_by(guest, what, of_originals);
        }
    }

    /// S4, S5 and S13: every effect has an earlier intent and happens once; who starts is covered by a ruleset.
    fn intends(&mut self, history: &HostHistory, guest: GuestId, effect: &Effect) {
        let kind = effect.kind;
        let Some(job) = effect.job else {
            let by_itself =
                matches!(kind, EffectKind::Stopped | EffectKind::Crashed | EffectKind::Lost);
            if history.ordered && !by_itself {
                self.wrong(guest, format!("S4: {kind:?} of {guest} without a job"));
            } else if kind == EffectKind::Created && !self.foreign.contains(&guest) {
                *self.created.entry(guest).or_default() += 1;
            }
            return;
        };
        let Some((document, revision)) = self.record.jobs.get(&job) else {
            return self
                .wrong(guest, format!("S4: {kind:?} of {guest} by job {job}, which never was"));
        };
        let asked = effect.order;
        // A job that was made before a store was accepted may be sent after it.
        let incarnation = asked.map_or(0, |order| order.incarnation);
        let order = Order::new(incarnation, revision.unsigned_abs());
        let is_known = self.record.incarnations.contains(&incarnation);
        if asked != Some(order) || !is_known || document.guest != guest {
            let text =
                format!("S4: {kind:?} of {guest} by job {job} with order {asked:?}, not {order}");
            self.wrong(guest, text);
        }
        let asked = document.action;
        if kind == EffectKind::Deleted && asked != JobAction::Delete {
            self.wrong(guest, format!("S4: {kind:?} of {guest} by job {job}, which is to {asked}"));
        }
        let former = self.effects.insert((job, format!("{kind:?}")), effect.at);
        if former.is_some_and(|former| !self.was_forgotten(history, job, former, effect.at)) {
            self.wrong(guest, format!("S5: {kind:?} of {guest} happened twice by job {job}"));
        }
        if matches!(kind, EffectKind::Started | EffectKind::Resumed) {
            self.is_covered((guest, history.host), job, effect, order);
        }
    }

    /// Whether the host forgot between two effects of a job that it had been asked for it: while the job was under way the
    /// same request went again, and what had been sent arrived soon after its end at the latest.
    fn was_forgotten(
        &self,
        history: &HostHistory,
        job: JobId,
        former: Timestamp,
        now: Timestamp,
    ) -> bool {
        let ended = self.record.finished.get(&job);
        history.wiped.iter().any(|wiped| {
            let between = former <= *wiped && *wiped <= now;
            between
                && ended
                    .is_none_or(|ended| *ended >= *wiped && now.duration_since(*ended) <= LATEST)
        })
    }

    fn is_covered(
        &mut self,
        (guest, host): (GuestId, HypervisorId),
        job: JobId,
        effect: &Effect,
        order: Order,
    ) {
        let placed = self.record.placed_before((guest, host), job, order.revision);
        let placed = placed.map(|revision| Order::new(order.incarnation, revision));
        if effect.firewall < placed || placed.is_none() {
            let text = format!(
                "S13: {guest} was started on {host} with the ruleset of {:?}, placed at {placed:?}",
                effect.firewall
            );
            self.wrong(guest, text);
        }
    }

    /// S4 where effects name no job: no more creations than create jobs.
    fn counts_creations(&mut self) {
        for (guest, created) in std::mem::take(&mut self.created) {
            let creates = |(job, _): &&(lochness_api::job::Job, i64)| {
                job.guest == guest && job.action == JobAction::Create
            };
            let jobs = self.record.jobs.values().filter(creates).count();
            if created > jobs {
                let what = format!("S5: {guest} was created {created} times by {jobs} jobs");
                self.wrong_by(guest, what, true);
            }
        }
    }
}
