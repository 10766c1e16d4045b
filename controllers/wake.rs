//! Which change wakes which loop: the one table. Waking too much costs a plan; waking too little is a bug that the rescan
//! counts.

use lochness_api::{GuestId, HypervisorId, Kind};

use crate::afterwards::follows_from_placement;
use crate::firewall::plan::{hosts_naming, hosts_of};
use crate::queues::Queues;
use crate::world::{Change, HostEntry, Outline, World};

#[cfg(test)]
mod tests;

/// Queues what the changes concern.
pub fn wake(world: &World, changes: &[Change], queues: &Queues) {
    let is_rush = queues.is_rush();
    for change in changes {
        if is_rush && follows_from_placement(world, change) {
            queues.afterwards.keep(change.clone());
        } else {
            wake_one(world, change, queues);
        }
    }
    // Once for all of them: many may go at a time, and many may wait.
    if changes.iter().any(|change| may_help_pending(world, change)) {
        wake_pending(world, queues);
    }
}

/// Whether a guest that waits for a place may get one now.
fn may_help_pending(world: &World, change: &Change) -> bool {
    match change {
        Change::Hypervisor(_) | Change::Heartbeat(_) | Change::Stale(..) | Change::Object(..) => {
            true
        }
        // A guest is gone from the host, and leaves its room.
        Change::Placement(host, guest) => {
            world.host(*host).is_none_or(|entry| !entry.index.contains_key(guest))
        }
        Change::Address(subnet, ip) => !world.address(*subnet, *ip).is_taken(),
        // Nothing that a guest waits for, or a change that wakes every guest anyway.
        Change::Everything
        | Change::Config
        | Change::Guest(_)
        | Change::GuestStatus(_)
        | Change::GuestPlaced(_)
        | Change::Members(_)
        | Change::ObjectStatus(..)
        | Change::HypervisorStatus(_)
        | Change::Job(_)
        | Change::ClusterStatus => false,
    }
}

pub(crate) fn wake_one(world: &World, change: &Change, queues: &Queues) {
    match change {
        Change::Everything => wake_everything(world, queues),
        Change::Guest(id) => {
            wake_guest(world, *id, queues);
            // It may wait for the document, or for the end of its pause.
            wake_job_of(world, *id, queues);
            // Whether it has what its subnet gives is judged by what it asks for.
            if let Some(placement) = world.guest(*id).and_then(|entry| entry.placement()) {
                queues.subnet.add(placement.subnet);
            }
            queues.cluster.add(());
        }
        Change::GuestStatus(id) => {
            wake_guest(world, *id, queues);
            wake_job_of(world, *id, queues);
            queues.cluster.add(());
        }
        Change::GuestPlaced(id) => {
            wake_guest(world, *id, queues);
            wake_job_of(world, *id, queues);
            wake_placement_of(world, *id, queues);
            queues.cluster.add(());
        }
        Change::Object(kind, id) => wake_object(world, *kind, id, queues),
        Change::ObjectStatus(kind, id) => match kind {
            Kind::Subnet => {
                if let Ok(subnet) = id.parse() {
                    queues.subnet.add(subnet);
                }
            }
            Kind::Guest
            | Kind::Hypervisor
            | Kind::Network
            | Kind::Flavor
            | Kind::Image
            | Kind::FwGroup
            | Kind::Vlan
            | Kind::VlanGroup => queues.object.add((*kind, id.clone())),
        },
        Change::Hypervisor(host) | Change::Heartbeat(host) => {
            queues.host.add(*host);
            queues.firewall.add(*host);
            wake_guests_on(world, *host, queues);
            queues.cluster.add(());
        }
        Change::HypervisorStatus(host) | Change::Stale(host, _) => queues.host.add(*host),
        Change::Placement(host, guest) => {
            wake_guest(world, *guest, queues);
            wake_job_of(world, *guest, queues);
            queues.host.add(*host);
            queues.firewall.add(*host);
        }
        Change::Members(group) => {
            for host in hosts_naming(world, *group) {
                queues.firewall.add(host);
            }
        }
        Change::Address(subnet, ip) => {
            queues.subnet.add(*subnet);
            if let Some(guest) = world.address(*subnet, *ip).placed {
                queues.guest.add(guest);
            }
        }
        Change::Job(id) => {
            queues.job.add(*id);
            if let Some(job) = world.job(*id).and_then(|stored| stored.value.as_ref()) {
                queues.guest.add(job.guest);
            }
        }
        Change::Config => {
            queues.cluster.add(());
            for host in world.hosts() {
                queues.host.add(host.id);
                queues.firewall.add(host.id);
            }
            for (id, _) in world.subnets() {
                queues.subnet.add(id);
            }
            wake_all_guests(world, queues);
            for id in world.job_ids() {
                queues.job.add(id);
            }
        }
        Change::ClusterStatus => queues.cluster.add(()),
    }
}

/// A new leader, a new list, or a rescan: everything is looked at.
pub fn wake_everything(world: &World, queues: &Queues) {
    wake_all_guests(world, queues);
    for id in world.job_ids() {
        queues.job.add(id);
    }
    for host in world.hosts() {
        queues.host.add(host.id);
        queues.firewall.add(host.id);
    }
    for (id, _) in world.subnets() {
        queues.subnet.add(id);
    }
    for object in world.objects() {
        queues.object.add(object);
    }
    queues.cluster.add(());
}

fn wake_all_guests(world: &World, queues: &Queues) {
    for (id, _) in world.outlines() {
        wake_guest(world, id, queues);
    }
}

/// A guest has one loop at a time: placement until it has a placement, then the guest loop.
pub(crate) fn wake_guest(world: &World, id: GuestId, queues: &Queues) {
    match world.outline(id) {
        Some(guest) if guest.is_placed() => queues.guest.add(id),
        Some(guest) => queues.placement.add_in(guest.lane(), id),
        // Nothing is left of it.
        None => {}
    }
}

/// What a guest's placement concerns besides the guest.
fn wake_placement_of(world: &World, id: GuestId, queues: &Queues) {
    let Some(placement) = world.guest(id).and_then(|entry| entry.placement()) else { return };
    queues.host.add(placement.hypervisor);
    queues.firewall.add(placement.hypervisor);
    queues.subnet.add(placement.subnet);
}

/// The job that a guest's status names.
pub(crate) fn wake_job_of(world: &World, id: GuestId, queues: &Queues) {
    if let Some(job) = world.job_of(id) {
        queues.job.add(job);
    }
}

fn wake_guests_on(world: &World, host: HypervisorId, queues: &Queues) {
    let Some(entry) = world.host(host) else { return };
    queues.guest.add_all(entry.placed.iter().chain(entry.index.keys()).copied());
    wake_jobs_on(entry, world, queues);
}

/// Jobs of the guests placed on a host: a gate that they wait at may be open now.
pub(crate) fn wake_jobs_on(entry: &HostEntry, world: &World, queues: &Queues) {
    queues.job.add_all(entry.placed.iter().filter_map(|guest| world.job_of(*guest)));
}

/// Guests that wait for a place: something that may help one of them changed.
///
/// Who was woken by the last such change and not looked at since still waits in the queue, as does who came to wait
/// meanwhile: only who was looked at is queued again. A thousand hosts that come at once, each a hope for ten thousand
/// guests, would otherwise cost ten million times a look at the queue.
pub fn wake_pending(world: &World, queues: &Queues) {
    let lane = |id: GuestId| (world.outline(id).map_or(0, Outline::lane), id);
    match queues.placement.take_handed_out() {
        Some(looked_at) => {
            let waiting = looked_at.into_iter().filter(|id| world.is_pending(*id));
            queues.placement.add_all_in(waiting.map(lane));
        }
        None => queues.placement.add_all_in(world.pending().into_iter().map(lane)),
    }
}

fn wake_object(world: &World, kind: Kind, id: &str, queues: &Queues) {
    match kind {
        Kind::Subnet => {
            if let Ok(subnet) = id.parse() {
                queues.subnet.add(subnet);
            }
            queues.object.add((kind, id.to_owned()));
        }
        Kind::FwGroup => {
            queues.object.add((kind, id.to_owned()));
            for guest in id.parse().into_iter().flat_map(|group| world.fwgroup_members(group)) {
                queues.guest.add(guest);
            }
            if let Ok(group) = id.parse() {
                for host in hosts_of(world, group).chain(hosts_naming(world, group)) {
                    queues.firewall.add(host);
                }
            }
        }
        Kind::Image => {
            queues.object.add((kind, id.to_owned()));
            for host in world.hosts() {
                if !host.placed.is_empty() {
                    queues.host.add(host.id);
                }
                if id.parse().is_ok_and(|image| host.images.contains_key(&image)) {
                    wake_jobs_on(host, world, queues);
                }
            }
        }
        Kind::Network => {
            queues.object.add((kind, id.to_owned()));
            for subnet in id.parse().into_iter().flat_map(|network| world.subnets_of(network)) {
                queues.subnet.add(subnet);
            }
        }
        Kind::Flavor | Kind::Vlan | Kind::VlanGroup => {
            queues.object.add((kind, id.to_owned()));
        }
        // These have changes of their own.
        Kind::Guest | Kind::Hypervisor => {}
    }
    queues.cluster.add(());
}
