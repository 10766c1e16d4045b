//! Which loops a report wakes.

use lochness_api::{GuestId, HypervisorId};

use super::listing::Difference;
use crate::queues::Queues;
use crate::wake::wake_pending;
use crate::world::World;

/// Jobs of the guests placed on a host: what they wait for on the host may have come.
pub fn wake_jobs_on(world: &World, host: HypervisorId, queues: &Queues) {
    let Some(entry) = world.host(host) else { return };
    for guest in &entry.placed {
        wake_job_of(world, *guest, queues);
    }
}

/// The guests placed on a host, and their jobs.
pub fn wake_guests_on(world: &World, host: HypervisorId, queues: &Queues) {
    let Some(entry) = world.host(host) else { return };
    for guest in &entry.placed {
        queues.guest.add(*guest);
        wake_job_of(world, *guest, queues);
    }
}

/// What a new list concerns.
pub(super) fn wake_difference(
    world: &World,
    host: HypervisorId,
    difference: &Difference,
    queues: &Queues,
) {
    for guest in &difference.guests {
        queues.guest.add(*guest);
        wake_job_of(world, *guest, queues);
    }
    if difference.membership {
        queues.host.add(host);
    }
    if difference.freed {
        wake_pending(world, queues);
    }
}

fn wake_job_of(world: &World, guest: GuestId, queues: &Queues) {
    if let Some(job) = world.guest(guest).and_then(|entry| entry.status()?.job) {
        queues.job.add(job);
    }
}
