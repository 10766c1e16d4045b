//! What a host's status says. Pure: the time comes in.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use lochness_agent::wire::Order;
use lochness_api::status::{Condition, ConditionType, HypervisorStatus, Reason, UnplacedGuest};
use lochness_api::{GuestId, HypervisorId, Kind};
use tokio::time::Instant;

use super::images::{Lack, missing_images};
use crate::agents::target;
use crate::firewall::plan::{is_wanted, keeps_groups, newest_placement};
use crate::reports::{Contact, HostReport, Inner, Protocol};
use crate::statuses::Conditions;
use crate::world::{HostEntry, World};

/// How many names a message lists before it only counts.
const NAMED: usize = 3;

/// What a host is judged by.
pub(crate) struct Facts<'a> {
    pub(crate) world: &'a World,
    pub(crate) reports: &'a Inner,
    pub(crate) entry: &'a HostEntry,
    pub(crate) now: Instant,
    /// The wall clock, for documents.
    pub(crate) wall: Timestamp,
    pub(crate) reachable_window: Duration,
    pub(crate) incarnation: u64,
}

/// Whether a host can be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Usability {
    pub(crate) alive: bool,
    pub(crate) reachable: bool,
    /// Its agent applies rulesets.
    pub(crate) has_firewall: bool,
}

impl Facts<'_> {
    pub(crate) fn report(&self) -> Option<&HostReport> {
        self.reports.host(self.entry.id)
    }

    pub(crate) fn usability(&self) -> Usability {
        let reachable = self
            .report()
            .is_some_and(|report| report.is_reachable(self.now, self.reachable_window));
        let has_firewall = self.report().is_some_and(HostReport::has_firewall);
        Usability { alive: self.entry.is_alive(), reachable, has_firewall }
    }
}

/// What was said of a host that lives and whose agent was not heard of yet, since this process leads or since it moved:
/// soon it will be, and until then that stands.
pub(crate) fn said_before_asking(facts: &Facts<'_>) -> Option<HypervisorStatus> {
    let heard = facts.report().is_some_and(|report| report.contact != Contact::Never);
    if heard || !facts.entry.is_alive() || target(facts.entry).is_none() {
        return None;
    }
    facts.entry.status.as_ref()?.value.as_deref().cloned()
}

/// The status that a host should have; `None` when nothing of it is left.
pub(crate) fn status(facts: &Facts<'_>) -> Option<HypervisorStatus> {
    let entry = facts.entry;
    if is_gone(entry) {
        return None;
    }
    let former = entry.status.as_ref().and_then(|status| status.value.as_deref());
    let known = former.cloned().unwrap_or_default();
    let heartbeat = entry.heartbeat.as_ref().map(|entry| &entry.heartbeat);
    let capabilities = match facts.report().and_then(|report| report.protocol.as_ref()) {
        Some(Protocol::Lochness(capabilities)) => Some(capabilities),
        Some(Protocol::Original) | None => None,
    };
    let Usability { alive, reachable, .. } = facts.usability();
    let undeclared = undeclared(facts.world, entry.id, facts.report());
    Some(HypervisorStatus {
        alive,
        reachable,
        address: entry.authority().or(known.address),
        boot_id: capabilities
            .map(|known| known.boot_id.clone())
            .or_else(|| heartbeat?.boot_id.clone())
            .or(known.boot_id),
        version: capabilities
            .map(|known| known.version.clone())
            .or_else(|| heartbeat?.version.clone())
            .or(known.version),
        capabilities: capabilities
            .map(|known| &known.capabilities)
            .or(heartbeat.map(|heartbeat| &heartbeat.capabilities))
            .cloned()
            .unwrap_or(known.capabilities),
        total: entry.total(),
        allocatable: entry.allocatable(),
        used: entry.used,
        guests: count(entry.placed.len()),
        undeclared: count(undeclared.len()),
        unplaced: unplaced(facts).unwrap_or(known.unplaced),
        listed_in: facts
            .report()
            .and_then(|it| it.guests.as_ref())
            .map_or(known.listed_in, |_| facts.world.incarnation()),
        conditions: conditions(facts, &known.conditions, &undeclared),
    })
}

/// Whether neither a document, nor an agent, nor a guest is left of the host.
fn is_gone(entry: &HostEntry) -> bool {
    entry.document.is_none()
        && entry.heartbeat.is_none()
        && entry.placed.is_empty()
        && entry.index.is_empty()
        && entry.stale.is_empty()
}

/// Whether the host lists guests, or the index names some, that are not placed here.
pub(crate) fn has_strangers(facts: &Facts<'_>) -> bool {
    let entry = facts.entry;
    let is_placed = |id: &GuestId| entry.placed.contains(id);
    let list = facts.report().and_then(|report| report.guests.as_ref());
    !entry.index.keys().all(is_placed)
        || list.is_some_and(|list| !list.guests.keys().all(is_placed))
}

/// The guests that the host lists and nobody declared here: neither their status nor the index puts them here, and they
/// do not wait for a place, which this then is.
pub(crate) fn undeclared(
    world: &World,
    host: HypervisorId,
    report: Option<&HostReport>,
) -> Vec<GuestId> {
    let Some(list) = report.and_then(|report| report.guests.as_ref()) else { return Vec::new() };
    let entry = world.host(host);
    let is_here = |id: &GuestId| {
        entry.is_some_and(|entry| entry.placed.contains(id) || entry.index.contains_key(id))
    };
    let waits = |id: &GuestId| {
        world
            .outline(*id)
            .is_some_and(|guest| !guest.is_placed() && (guest.is_declared() || guest.has_status()))
    };
    let is_known = |id: &GuestId| is_here(id) || waits(id);
    list.guests.keys().copied().filter(|id| !is_known(id)).collect()
}

/// Guests that the host lists and that neither their status nor the index puts here, or that have another address here than
/// is reserved for them, as far as they are named; `None` before its first list.
fn unplaced(facts: &Facts<'_>) -> Option<Vec<UnplacedGuest>> {
    let list = facts.report()?.guests.as_ref()?;
    let entry = facts.entry;
    let is_here = |id: &GuestId, addresses: &[IpAddr]| {
        if !entry.placed.contains(id) {
            return entry.index.contains_key(id);
        }
        let placement = facts.world.placement_of(*id);
        addresses.is_empty() || placement.is_none_or(|it| addresses.contains(&it.ip))
    };
    let strangers = list.guests.iter().filter(|(id, guest)| !is_here(id, &guest.addresses));
    let named = strangers.take(HypervisorStatus::UNPLACED).map(|(guest, reported)| {
        let addresses = reported.addresses.clone();
        UnplacedGuest { guest: *guest, addresses }
    });
    Some(named.collect())
}

/// Another host whose agent is said to listen at the same address.
pub(crate) fn sharing_address(world: &World, entry: &HostEntry) -> Option<HypervisorId> {
    let ip = entry.declared()?.ip?;
    let authority = entry.authority()?;
    world
        .hosts_at(ip)
        .filter(|other| other.id != entry.id && other.authority().as_ref() == Some(&authority))
        .map(|other| other.id)
        .next()
}

/// The host that bears the name that this one asks for too.
pub(crate) fn name_taken_by(world: &World, entry: &HostEntry) -> Option<HypervisorId> {
    let name = entry.declared()?.metadata.name()?;
    world.names().taken_by(Kind::Hypervisor, name, &entry.id.to_string())?.parse().ok()
}

/// The other hosts that ask for the name of this one.
pub(crate) fn namesakes(world: &World, entry: &HostEntry) -> Vec<HypervisorId> {
    let Some(name) = entry.declared().and_then(|document| document.metadata.name()) else {
        return Vec::new();
    };
    let bearers = world.names().bearers(Kind::Hypervisor, name);
    bearers.filter_map(|id| id.parse().ok()).filter(|id| *id != entry.id).collect()
}

fn conditions(facts: &Facts<'_>, former: &[Condition], undeclared: &[GuestId]) -> Vec<Condition> {
    let mut conditions = Conditions::after(former, facts.wall);
    validity(facts, &mut conditions);
    contact(facts, &mut conditions);
    use_of(facts.entry, &mut conditions);
    capacity(facts, &mut conditions);
    images(facts, &mut conditions);
    firewall(facts, &mut conditions);
    if !undeclared.is_empty() {
        let message = format!("runs guests that nobody declared: {}", named(undeclared));
        conditions.yes(ConditionType::Undeclared, Reason::Undeclared, message);
    }
    conditions.into_vec()
}

fn validity(facts: &Facts<'_>, conditions: &mut Conditions) {
    let (world, entry) = (facts.world, facts.entry);
    let kind = ConditionType::Valid;
    let invalid = entry.document.as_ref().and_then(|document| document.invalid.as_ref());
    if entry.document.is_none() {
        conditions.no(kind, Reason::NotGiven, "has no document");
    } else if let Some(invalid) = invalid {
        let goes_on = "; the host goes on as last understood";
        conditions.no(kind, Reason::Invalid, format!("{invalid}{goes_on}"));
    } else if let Some(other) = name_taken_by(world, entry) {
        conditions.no(kind, Reason::NameTaken, format!("hypervisor {other} had the name first"));
    } else if let Some(other) = sharing_address(world, entry) {
        let at = entry.authority().unwrap_or_default();
        let message = format!("hypervisor {other} has the same agent address {at}");
        conditions.no(kind, Reason::AddressShared, message);
    } else {
        conditions.yes(kind, Reason::Accepted, "");
    }
    if entry.config_errors.is_empty() {
        conditions.yes(ConditionType::ConfigValid, Reason::ConfigAccepted, "");
    } else {
        let message = crate::cluster::plan::config_faults(&entry.config_errors);
        conditions.no(ConditionType::ConfigValid, Reason::ConfigRejected, message);
    }
    if entry.document.is_none() && !entry.placed.is_empty() {
        let count = entry.placed.len();
        let message = format!("its document is gone, and {count} guests are placed here");
        conditions.yes(ConditionType::Orphaned, Reason::HostMissing, message);
    }
}

fn contact(facts: &Facts<'_>, conditions: &mut Conditions) {
    let entry = facts.entry;
    let Usability { alive, reachable, .. } = facts.usability();
    if alive {
        conditions.yes(ConditionType::Alive, Reason::HeartbeatSeen, "");
    } else {
        let message = "no heartbeat: what it runs is not known";
        conditions.no(ConditionType::Alive, Reason::HeartbeatLost, message);
    }
    let kind = ConditionType::Reachable;
    match facts.report().map(|report| &report.contact) {
        _ if reachable => conditions.yes(kind, Reason::Answering, ""),
        _ if target(entry).is_none() => {
            let message = "neither its document nor its heartbeat says where its agent listens";
            conditions.no(kind, Reason::NoAddress, message);
        }
        Some(Contact::WrongHost { found }) => {
            let message = format!("the agent at its address says that it is {found}");
            conditions.no(kind, Reason::WrongHost, message);
        }
        Some(Contact::Silent { error, .. }) => {
            conditions.no(kind, Reason::NotAnswering, error.as_str());
        }
        Some(Contact::Answered(_)) => {
            conditions.no(kind, Reason::NotAnswering, "its agent has not answered for a while");
        }
        Some(Contact::Never) | None => {
            conditions.unknown(kind, Reason::Waiting, "its agent has not answered yet");
        }
    }
}

/// Why a host takes no new guests whatever room it has; `None` when it does.
pub(crate) fn not_schedulable(entry: &HostEntry) -> Option<(Reason, String)> {
    let (config, count) = (&entry.config, entry.placed.len());
    let because = |reason, text: &str| Some((reason, text.to_owned()));
    if entry.document.is_none() {
        return because(Reason::HostMissing, "has no document");
    }
    if config.fenced.is_some() {
        return because(Reason::FencedByPerson, "config/fenced says that its guests cannot run");
    }
    if !entry.stale.is_empty() {
        let stale = entry.stale.len();
        let message = format!("{stale} guests that were freed by a fence must be deleted first");
        return Some((Reason::StaleGuests, message));
    }
    if config.pause {
        return because(Reason::Paused, "config/pause is set");
    }
    if config.drain && count == 0 {
        return because(Reason::Drained, "config/drain is set, and it is empty");
    }
    if config.drain {
        return Some((Reason::Draining, format!("config/drain is set, {count} guests are left")));
    }
    config.cordon.then(|| (Reason::Cordoned, "config/cordon is set".to_owned()))
}

fn use_of(entry: &HostEntry, conditions: &mut Conditions) {
    match not_schedulable(entry) {
        Some((reason, message)) => conditions.no(ConditionType::Schedulable, reason, message),
        None => conditions.yes(ConditionType::Schedulable, Reason::Schedulable, ""),
    }
    if entry.config.pause {
        let message = "config/pause is set: nothing is changed on it";
        conditions.yes(ConditionType::Paused, Reason::Paused, message);
    }
    if let Some(words) = &entry.config.fenced {
        let message = format!("config/fenced: {}", words.chars().take(256).collect::<String>());
        conditions.yes(ConditionType::Fenced, Reason::FencedByPerson, message);
    }
}

fn capacity(facts: &Facts<'_>, conditions: &mut Conditions) {
    let entry = facts.entry;
    let kind = ConditionType::Capacity;
    let (may, used) = (entry.allocatable(), entry.used);
    if entry.total().is_zero() {
        let message = "neither its document nor its heartbeat says what it has";
        conditions.no(kind, Reason::NoResources, message);
    } else if !may.fits(&used) {
        let message = format!(
            "uses {} of {} MB memory, {} of {} MB disk, {} of {} cores: takes no more",
            used.memory, may.memory, used.disk, may.disk, used.cpu, may.cpu
        );
        conditions.no(kind, Reason::Overcommitted, message);
    } else if used.memory == may.memory || used.cpu == may.cpu {
        conditions.no(kind, Reason::Full, "");
    } else {
        conditions.yes(kind, Reason::Available, "");
    }
}

fn images(facts: &Facts<'_>, conditions: &mut Conditions) {
    let kind = ConditionType::ImagesReady;
    let Some(images) = facts.report().and_then(|report| report.images.as_ref()) else {
        return conditions.unknown(kind, Reason::Waiting, "its images have not been read yet");
    };
    let missing = missing_images(facts.world, facts.entry, images);
    // The worst first: what will not come by itself, what failed, what is on its way.
    let worst = missing.iter().max_by_key(|missing| match missing.lack {
        Lack::NoDocument => 2,
        Lack::Failed(_) => 1,
        Lack::Fetching | Lack::NotFetched(_) => 0,
    });
    let Some(worst) = worst else {
        return conditions.yes(kind, Reason::Converged, "");
    };
    let (reason, words) = match &worst.lack {
        Lack::NoDocument => (Reason::ImageMissing, "has no document to say where it is".to_owned()),
        Lack::Failed(words) => (Reason::ImageFetchFailed, format!("could not be fetched: {words}")),
        Lack::Fetching | Lack::NotFetched(_) => {
            (Reason::ImageFetching, "is being fetched".to_owned())
        }
    };
    let more = match missing.len() - 1 {
        0 => String::new(),
        more => format!(", and {more} more are missing"),
    };
    conditions.no(kind, reason, format!("image {} {words}{more}", worst.image));
}

fn firewall(facts: &Facts<'_>, conditions: &mut Conditions) {
    let kind = ConditionType::FirewallApplied;
    let Some(report) = facts.report() else { return };
    if report.protocol.is_none() {
        return;
    }
    if !is_wanted(facts.entry, report) {
        let message = if keeps_groups(facts.entry, Some(report)) {
            "config/firewall leaves it to somebody else"
        } else {
            "the agent has no firewall: guests with a firewall group are not placed here unless config/firewall is external"
        };
        return conditions.no(kind, Reason::FirewallOff, message);
    }
    let newest = u64::try_from(newest_placement(facts.entry)).unwrap_or(0);
    match &report.firewall {
        Some(state) if state.error.is_some() => {
            let words = state.error.as_deref().unwrap_or_default();
            conditions.no(kind, Reason::FirewallFailed, words);
        }
        Some(state) if state.revision >= Order::new(facts.incarnation, newest) => {
            let message = if facts.entry.config.pause {
                "config/pause is set: what changed since in rules and members of groups waits"
            } else {
                ""
            };
            conditions.yes(kind, Reason::FirewallApplied, message);
        }
        None if facts.entry.placed.is_empty() => {
            conditions.yes(kind, Reason::FirewallApplied, "there is nothing to apply");
        }
        Some(_) | None => {
            let message = "the newest placements are not yet covered";
            conditions.no(kind, Reason::FirewallApplying, message);
        }
    }
}

fn named(guests: &[GuestId]) -> String {
    let names: Vec<_> = guests.iter().take(NAMED).map(GuestId::to_string).collect();
    match guests.len() - names.len() {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
