//! Whether the operator knows all that there is: what frees something for good asks first. Pure.

use std::time::Duration;

use lochness_api::status::Placement;
use lochness_api::{GuestId, HypervisorId};
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
    let is_unheard =
        |host: &HypervisorId| reports.host(*host).is_none_or(|report| report.guests.is_none());
    world.may_run(guest).find(is_unheard)
}

/// Another guest that a host lists with this guest's address, or may have, unless it is known to have it in another network:
/// as after a restore, when that one got the address in what is lost. While it does, this one is not let run.
pub(crate) fn address_used_by(
    world: &World,
    reports: &Inner,
    guest: GuestId,
    placement: &Placement,
) -> Option<GuestId> {
    let is_unheard =
        |host: HypervisorId| reports.host(host).is_none_or(|report| report.guests.is_none());
    let unheard = world.may_have(placement.ip).filter(|(host, _)| is_unheard(*host));
    let listed = reports.guests_with(placement.ip).iter().copied();
    let is_in_another_network = |other: GuestId| {
        let theirs = world.guest(other).and_then(GuestEntry::placement);
        theirs.is_some_and(|it| it.ip == placement.ip && it.network != placement.network)
    };
    let mut others = listed.chain(unheard.map(|(_, other)| other)).filter(|it| *it != guest);
    others.find(|other| !is_in_another_network(*other))
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
