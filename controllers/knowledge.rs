//! Whether the operator knows all that there is: what frees something for good asks first. Pure.

use std::time::Duration;

use lochness_api::{GuestId, HypervisorId};
use lochness_mutant::Mutant;
use tokio::time::Instant;

use crate::reports::{HostReport, Inner};
use crate::world::World;

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

/// What is said of that, and what to do about it.
pub(crate) fn not_asked(host: HypervisorId) -> String {
    format!(
        "hypervisor {host} may run it and was not heard since: bring its agent back (check the address in its document), or fence it (config/fenced) once it is sure that it runs nothing"
    )
}

/// Whether the host's newest list is what it runs now.
pub(crate) fn knows_guests(report: &HostReport, now: Instant, window: Duration) -> bool {
    report.guests.is_some() && report.is_reachable(now, window)
}
