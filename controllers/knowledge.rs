//! Whether the operator knows all that there is: what frees something for good asks first. Pure.

use std::time::Duration;

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

/// Whether the host's newest list is what it runs now.
pub(crate) fn knows_guests(report: &HostReport, now: Instant, window: Duration) -> bool {
    report.guests.is_some() && report.is_reachable(now, window)
}
