//! Whether the operator knows all that there is: what frees something for good asks first. Pure.

use std::net::IpAddr;
use std::time::Duration;

use lochness_api::{GuestId, HypervisorId, NetworkId};
use lochness_mutant::Mutant;
use tokio::time::Instant;

use crate::reports::{HostReport, Inner};
use crate::world::{GuestEntry, World};

/// Whether every host that there may be has given a complete list and answers now. A host that has a document but is
/// silent may run anything.
pub(crate) fn is_complete(world: &World, reports: &Inner, now: Instant, window: Duration) -> bool {
    world
        .hosts()
        .iter()
        .filter(|host| host.document.is_some() || host.heartbeat.is_some())
        .all(|host| reports.host(host.id).is_some_and(|report| knows_guests(report, now, window)))
}

/// A host that may run the guest without the store knowing it, and that was not heard since this term began: the guest is
/// made nowhere else.
pub(crate) fn may_run_on(world: &World, reports: &Inner, guest: GuestId) -> Option<HypervisorId> {
    if lochness_mutant::is(Mutant::UnaskedHostsForgotten) {
        return None;
    }
    world.may_run(guest).find(|host| !reports.was_heard(*host))
}

/// Another guest that has this guest's address by its host's list, or by the last one of a host that was not heard since,
/// unless it is known to have it in another network: as after a restore, when that one got the address in what is lost. While
/// it does, this one is neither given the address nor let run.
pub(crate) fn address_used_by(
    world: &World,
    reports: &Inner,
    guest: GuestId,
    network: Option<NetworkId>,
    ip: IpAddr,
) -> Option<GuestId> {
    let unheard = world.may_have(ip).filter(|(host, _)| !reports.was_heard(*host));
    let listed = reports.guests_with(ip).iter().copied();
    let is_elsewhere = |other: GuestId| {
        let theirs = world.guest(other).and_then(GuestEntry::placement);
        let theirs = theirs.filter(|it| it.ip == ip).and_then(|it| it.network);
        theirs.zip(network).is_some_and(|(theirs, ours)| theirs != ours)
    };
    let others = listed.chain(unheard.map(|(_, other)| other));
    others.filter(|other| *other != guest).find(|other| !is_elsewhere(*other))
}

/// What is said of a host that was not asked, and what to do about it.
pub(crate) fn not_asked(host: HypervisorId) -> String {
    format!(
        "hypervisor {host} may run it and was not heard since: bring its agent back (check the address in its document), or fence it (config/fenced) once it is sure that it runs nothing"
    )
}

/// Whether the host's newest list is what it runs now.
pub(crate) fn knows_guests(report: &HostReport, now: Instant, window: Duration) -> bool {
    report.guests.is_some() && report.is_reachable(now, window)
}
