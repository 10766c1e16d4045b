//! Which loops a report wakes.

use lochness_api::HypervisorId;

use super::listing::Difference;
use crate::queues::Queues;
use crate::wake::{self, wake_guest, wake_job_of, wake_pending};
use crate::world::World;

/// Jobs of the guests placed on a host: what they wait for on the host may have come.
pub fn wake_jobs_on(world: &World, host: HypervisorId, queues: &Queues) {
    let Some(entry) = world.host(host) else { return };
    wake::wake_jobs_on(entry, world, queues);
}

/// The guests placed on a host, and their jobs.
pub fn wake_guests_on(world: &World, host: HypervisorId, queues: &Queues) {
    let Some(entry) = world.host(host) else { return };
    queues.guest.add_all(entry.placed.iter().copied());
    wake_jobs_on(world, host, queues);
}

/// What a new list concerns.
pub(super) fn wake_difference(
    world: &World,
    host: HypervisorId,
    difference: &Difference,
    queues: &Queues,
) {
    for guest in &difference.guests {
        wake_guest(world, *guest, queues);
        wake_job_of(world, *guest, queues);
    }
    if difference.membership {
        queues.host.add(host);
    }
    if difference.freed {
        wake_pending(world, queues);
    }
}

#[cfg(test)]
mod tests {
    use lochness_runtime::metrics::Metrics;
    use serde_json::json;

    use super::*;
    use crate::settings::Settings;
    use crate::testing::{Store, id};

    #[test]
    fn a_guest_that_waits_for_a_place_is_woken_when_a_host_lists_it() {
        let mut store = Store::basics();
        let host = store.host(10, 1024);
        let guest = store.guest(100, &json!({}));
        let queues = Queues::new(&Settings::default(), &Metrics::new());
        let appeared = Difference { guests: vec![guest, id(999)], membership: true, freed: false };
        wake_difference(&store.world, host, &appeared, &queues);
        assert_eq!(queues.placement.try_next(), Some(guest), "that is its place");
        assert_eq!(queues.placement.try_next(), None);
    }
}
