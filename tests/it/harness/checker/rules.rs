//! What must hold at every revision of etcd, by the numbers of the invariants.

use std::collections::BTreeMap;

use lochness_agent::wire::Order;
use lochness_api::document::{Guest, Resources};
use lochness_api::job::Job;
use lochness_api::status::{ClusterStatus, ConditionType, GuestStatus, Phase, Reason};
use lochness_api::{Document as _, GuestId, HypervisorId, Key};

use super::Violation;
use super::record::Step;
use super::view::{Change, Stored, View};

/// Cores are promised so often, unless a test's configuration says otherwise; memory and disk once.
const OVERCOMMIT_CPU: u32 = 4;

/// How the value of an address begins that waits until it may be used again.
const QUARANTINE: &str = "quarantine:";

/// Who may write a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Users,
    Agents,
    Operator,
    /// The leader's key itself, which is put without leading.
    Candidates,
}

/// What is wrong with this revision. `before` is every guest's status just before it, `led` whether somebody led then.
pub(super) fn check(
    view: &View,
    before: &BTreeMap<GuestId, GuestStatus>,
    step: &Step,
    led: bool,
) -> Vec<Violation> {
    let mut found = Vec::new();
    let mut wrong = |guest: Option<GuestId>, unless_ours: bool, what: String| {
        let (revision, of_originals) = (step.revision, false);
        found.push(Violation { revision, guest, what, unless_ours, of_originals });
    };
    for (guest, what) in reservations(view) {
        wrong(Some(guest), false, what);
    }
    for what in overfull(view, before) {
        wrong(None, false, what);
    }
    for change in &step.changes {
        if let Some(what) = owner_wrote(change, led) {
            wrong(None, true, what);
        }
        if let Some(what) = leader_wrote(view, change) {
            wrong(None, true, what);
        }
        if let Some((guest, what)) = job_born(view, change) {
            wrong(Some(guest), true, what);
        }
        if let Some((guest, what)) = spoilt(view, change) {
            wrong(Some(guest), true, what);
        }
        if let Some(what) = taken_over(change).or_else(|| job_again(change)) {
            wrong(None, true, what);
        }
    }
    for (guest, former) in before {
        if let Some(what) = status_moved(view, *guest, former) {
            wrong(Some(*guest), true, what);
        }
    }
    for (guest, what) in placed_before(view, before, step) {
        wrong(Some(guest), true, what);
    }
    for (guest, what) in teardowns(view, before) {
        wrong(Some(guest), true, what);
    }
    for (guest, what) in jobs_at_once(view) {
        wrong(Some(guest), false, what);
    }
    found
}

/// S2, S3 and "one placement a guest": whoever has a place has its address and its index key, alone.
fn reservations(view: &View) -> Vec<(GuestId, String)> {
    let mut found = Vec::new();
    let mut holders = BTreeMap::new();
    for (guest, placement) in view.placements() {
        let (subnet, ip, host) = (placement.subnet, placement.ip, placement.hypervisor);
        if let Some(other) = holders.insert((subnet, ip), guest) {
            found.push((guest, format!("S2: {guest} and {other} are both placed with {ip}")));
        }
        let reserved = view.text(&Key::Address(subnet, ip));
        if reserved != Some(&*guest.to_string()) {
            found.push((
                guest,
                format!("S3: {guest} is placed with {ip}, whose reservation says {reserved:?}"),
            ));
        }
        if !view.keys.contains_key(&Key::Placement(host, guest)) {
            found.push((guest, format!("S3: {guest} is placed on {host} and not in its index")));
        }
    }
    let mut indexed: BTreeMap<GuestId, HypervisorId> = BTreeMap::new();
    for key in view.keys.keys() {
        let Key::Placement(host, guest) = key else { continue };
        if let Some(other) = indexed.insert(*guest, *host) {
            found.push((*guest, format!("S1: {guest} is in the indexes of {other} and {host}")));
        }
    }
    found
}

/// S6: no transaction that places a guest brings its host above what may be allocated.
fn overfull(view: &View, before: &BTreeMap<GuestId, GuestStatus>) -> Vec<String> {
    let is_new =
        |guest: &GuestId| before.get(guest).is_none_or(|status| status.placement.is_none());
    let grown: Vec<_> = view
        .placements()
        .filter(|(guest, _)| is_new(guest))
        .map(|(_, placement)| placement.hypervisor)
        .collect();
    let mut found = Vec::new();
    for host in grown {
        let Some(total) = view.total(host) else { continue };
        let here = view.placements().filter(|(_, placement)| placement.hypervisor == host);
        let used = here.fold(Resources::default(), |sum, (_, placement)| Resources {
            memory: sum.memory + placement.resources.memory,
            disk: sum.disk + placement.resources.disk,
            cpu: sum.cpu + placement.resources.cpu,
        });
        let cpu = total.cpu * OVERCOMMIT_CPU;
        if used.memory > total.memory || used.disk > total.disk || used.cpu > cpu {
            found.push(format!("S6: {used:?} is placed on {host}, which has {total:?}"));
        }
    }
    found
}

/// S7 and S12: users' keys change by users alone, the operator's only while somebody leads.
fn owner_wrote(change: &Change, led: bool) -> Option<String> {
    let text = &change.text;
    let Some(key) = &change.key else {
        return Some(format!("S12: {text} is no key of the contract, and changed"));
    };
    match owner(key) {
        // An agent creates its host's document, and never writes it again.
        Owner::Users if matches!(key, Key::Hypervisor(_)) && is_born(change) => None,
        Owner::Users => Some(format!("S12: {text} belongs to the users, and changed")),
        Owner::Operator if !led && change.after.is_some() => {
            Some(format!("S7: {text} was written while nobody led"))
        }
        Owner::Operator if matches!(key, Key::Incarnation) && !has_grown(change) => {
            Some("S8: operator/incarnation went back".to_owned())
        }
        Owner::Operator | Owner::Agents | Owner::Candidates => None,
    }
}

/// Whether a number is there that was not, or that is higher than the one before.
fn has_grown(change: &Change) -> bool {
    let number = |stored: &Stored| std::str::from_utf8(&stored.value).ok()?.trim().parse().ok();
    let before: Option<u64> = change.before.as_ref().and_then(number);
    change.after.as_ref().and_then(number) > before
}

/// S7: the cluster's status says whose it is, and that one leads when it lands.
fn leader_wrote(view: &View, change: &Change) -> Option<String> {
    if !matches!(change.key, Some(Key::ClusterStatus)) {
        return None;
    }
    let status: ClusterStatus = serde_json::from_slice(&change.after.as_ref()?.value).ok()?;
    let epoch: Order = status.epoch?.parse().ok()?;
    let leads = view.keys.get(&Key::Leader).and_then(|key| u64::try_from(key.created).ok());
    (leads != Some(epoch.revision))
        .then(|| format!("S7: status/cluster was written in epoch {epoch}, and {leads:?} leads"))
}

fn is_born(change: &Change) -> bool {
    change.after.as_ref().is_some_and(|stored| stored.version == 1)
}

fn owner(key: &Key) -> Owner {
    match key {
        Key::Guest(_)
        | Key::Flavor(_)
        | Key::Image(_)
        | Key::Network(_)
        | Key::Subnet(_)
        | Key::FwGroup(_)
        | Key::Vlan(_)
        | Key::VlanGroup(_)
        | Key::VlanGroupMember(..)
        | Key::Hypervisor(_)
        | Key::HypervisorSubnet(..)
        | Key::HypervisorConfig(..)
        | Key::Config(_) => Owner::Users,
        Key::Heartbeat(_) => Owner::Agents,
        Key::Leader => Owner::Candidates,
        Key::Placement(..)
        | Key::Address(..)
        | Key::Job(_)
        | Key::GuestStatus(_)
        | Key::HypervisorStatus(_)
        | Key::SubnetStatus(_)
        | Key::FwGroupStatus(_)
        | Key::KindStatus(..)
        | Key::ClusterStatus
        | Key::Event { .. }
        | Key::ClusterEvent(_)
        | Key::Incarnation
        | Key::Stale(..) => Owner::Operator,
    }
}

/// S4: a job is born in the transaction that makes it its guest's.
fn job_born(view: &View, change: &Change) -> Option<(GuestId, String)> {
    let Some(Key::Job(id)) = &change.key else { return None };
    let job = view.jobs.get(id).filter(|_| is_born(change))?;
    let current = view.guests.get(&job.guest).and_then(|status| status.job);
    (current != Some(*id)).then(|| {
        let text =
            format!("S4: job {id} was made and the status of {} names {current:?}", job.guest);
        (job.guest, text)
    })
}

/// S2: what is reserved for a guest, in quarantine or not, is given to another one only after it was free.
fn taken_over(change: &Change) -> Option<String> {
    let Some(Key::Address(_, ip)) = &change.key else { return None };
    let holder = |stored: &Option<Stored>| {
        let text = std::str::from_utf8(&stored.as_ref()?.value).ok()?.to_owned();
        text.strip_prefix(QUARANTINE).unwrap_or(&text).parse::<GuestId>().ok()
    };
    let (from, to) = (holder(&change.before)?, holder(&change.after)?);
    (from != to).then(|| format!("S2: {ip} was reserved for {from}, and now is for {to}"))
}

/// S5: a job that has ended does not begin again.
fn job_again(change: &Change) -> Option<String> {
    let Some(Key::Job(id)) = &change.key else { return None };
    let is_finished = |stored: &Option<Stored>| {
        let job = Job::parse(&stored.as_ref()?.value).ok()?;
        Some(job.status.is_finished())
    };
    let again = is_finished(&change.before)? && !is_finished(&change.after)?;
    again.then(|| format!("S5: job {id} has ended and begins again"))
}

/// S13: the index key of a guest that gets its place and its first job is born with them: its create revision says which
/// rulesets know the guest.
fn placed_before(
    view: &View,
    before: &BTreeMap<GuestId, GuestStatus>,
    step: &Step,
) -> Vec<(GuestId, String)> {
    let mut found = Vec::new();
    for change in &step.changes {
        let Some(Key::GuestStatus(guest)) = &change.key else { continue };
        let had_place = before.get(guest).is_some_and(|status| status.placement.is_some());
        let Some(status) = view.guests.get(guest).filter(|it| !had_place && it.job.is_some())
        else {
            continue;
        };
        let Some(host) = status.placement.as_ref().map(|it| it.hypervisor) else { continue };
        let born = view.keys.get(&Key::Placement(host, *guest)).map(|key| key.created);
        if born != Some(step.revision) {
            let what = format!("S13: {guest} gets its place, and its index key is of {born:?}");
            found.push((*guest, what));
        }
    }
    found
}

/// S11: a guest without a place, whose status is based on its document, is called invalid only when that is.
fn spoilt(view: &View, change: &Change) -> Option<(GuestId, String)> {
    let Some(Key::GuestStatus(id)) = &change.key else { return None };
    let status = view.guests.get(id).filter(|status| status.placement.is_none())?;
    let is_called_invalid = status.conditions.iter().any(|condition| {
        condition.kind == ConditionType::Valid && condition.reason == Reason::Invalid
    });
    let document = &view.keys.get(&Key::Guest(*id))?.value;
    let is_valid = Guest::parse(&id.to_string(), document).is_ok();
    (is_called_invalid && is_valid)
        .then(|| (*id, format!("S11: the document of {id} is valid and called invalid")))
}

/// S8, S14, and: a guest keeps its place, and a place is given up only through a teardown.
fn status_moved(view: &View, guest: GuestId, former: &GuestStatus) -> Option<String> {
    let Some(now) = view.guests.get(&guest) else {
        let place = former.placement.as_ref().filter(|_| former.phase != Phase::Deleting)?;
        let host = place.hypervisor;
        if !view.keys.contains_key(&Key::Heartbeat(host)) {
            return Some(format!("S14: {guest} lost its place while its host {host} was silent"));
        }
        let text =
            format!("S9: the status of {guest} went in phase {:?} with its place", former.phase);
        return Some(text);
    };
    if let (Some(from), Some(to)) = (order(former), order(now))
        && to < from
    {
        return Some(format!("S8: the order of {guest} went back from {from} to {to}"));
    }
    let place = |status: &GuestStatus| {
        status.placement.as_ref().map(|it| (it.hypervisor, it.subnet, it.ip, it.mac))
    };
    match (place(former), place(now)) {
        (Some(from), to) if to != Some(from) => {
            Some(format!("S3: the place of {guest} changed from {from:?} to {to:?}"))
        }
        _ => None,
    }
}

fn order(status: &GuestStatus) -> Option<Order> {
    status.order.as_deref().and_then(|text| text.parse().ok())
}

/// S9: at the point of no return the document is absent, and the delete job is written.
fn teardowns(view: &View, before: &BTreeMap<GuestId, GuestStatus>) -> Vec<(GuestId, String)> {
    let was = |guest: &GuestId| before.get(guest).is_some_and(|it| it.phase == Phase::Deleting);
    let begun = view.guests.iter().filter(|(id, it)| it.phase == Phase::Deleting && !was(id));
    begun
        .filter(|(guest, _)| view.keys.contains_key(&Key::Guest(**guest)))
        .map(|(guest, _)| {
            (*guest, format!("S9: the teardown of {guest} began and it has a document"))
        })
        .collect()
}

/// One job a guest.
fn jobs_at_once(view: &View) -> Vec<(GuestId, String)> {
    let mut open = BTreeMap::new();
    let mut found = Vec::new();
    for (id, job) in view.jobs.iter().filter(|(_, job)| !job.status.is_finished()) {
        if let Some(other) = open.insert(job.guest, id) {
            found.push((
                job.guest,
                format!("S5: {} has two jobs at once, {other}, {id}", job.guest),
            ));
        }
    }
    found
}
