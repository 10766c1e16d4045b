//! What the store says of places, addresses, indexes, room and jobs, against itself.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lochness_api::document::Resources;
use lochness_api::{GuestId, HypervisorId, Key, SubnetId};
use lochness_kv::Op;

use super::finding::{Finding, Mend, Repair, Rule};
use super::{Lists, Store};

/// What the value of a quarantined address begins with.
const QUARANTINE: &str = "quarantine:";

pub(super) fn check(store: &Store, lists: &Lists) -> Vec<Finding> {
    let mut found = double_holders(store);
    for (guest, placement) in store.placements() {
        found.extend(reserved(store, guest, placement.subnet, placement.ip));
        found.extend(indexed(store, guest, placement.hypervisor));
    }
    found.extend(leaked_index(store, lists));
    found.extend(leaked_addresses(store, lists));
    found.extend(overfull(store));
    found.extend(jobs(store));
    found
}

/// Two placed guests with one address.
fn double_holders(store: &Store) -> Vec<Finding> {
    let mut holders: BTreeMap<(SubnetId, IpAddr), GuestId> = BTreeMap::new();
    let mut found = Vec::new();
    for (guest, placement) in store.placements() {
        if let Some(other) = holders.insert((placement.subnet, placement.ip), guest) {
            let what = format!("it and guest {other} are both placed with {}", placement.ip);
            let advice = "delete one of the two guests, and declare it again";
            let subject = format!("guests/{guest}");
            found.push(Finding::for_people(Rule::OneHolder, subject, what, advice));
        }
    }
    found
}

/// A placed guest has its address reserved.
fn reserved(store: &Store, guest: GuestId, subnet: SubnetId, ip: IpAddr) -> Option<Finding> {
    let key = Key::Address(subnet, ip);
    let holder = store.text(&key);
    let id = guest.to_string();
    if holder == Some(&*id) {
        return None;
    }
    let what = match holder {
        None => format!("{ip} is not reserved for it"),
        Some(other) => format!("{ip} is reserved for {other}, not for it"),
    };
    // Its own quarantine is nobody else's claim.
    let is_free = holder.is_none_or(|holder| holder.strip_prefix(QUARANTINE) == Some(&*id));
    let mend = if is_free {
        Mend::Repair(Repair {
            say: format!("reserve {key} for it"),
            compares: vec![store.unchanged(&key), store.unchanged(&Key::GuestStatus(guest))],
            ops: vec![Op::put(store.prefix.key(&key), id)],
        })
    } else {
        Mend::Person("delete one of the two guests, and declare it again")
    };
    Some(Finding { rule: Rule::Reserved, subject: format!("guests/{guest}"), what, mend })
}

/// A placed guest is in its host's index.
fn indexed(store: &Store, guest: GuestId, host: HypervisorId) -> Option<Finding> {
    let key = Key::Placement(host, guest);
    if store.get(&key).is_some() {
        return None;
    }
    let repair = Repair {
        say: format!("put {key}"),
        compares: vec![store.unchanged(&key), store.unchanged(&Key::GuestStatus(guest))],
        ops: vec![Op::put(store.prefix.key(&key), guest.to_string())],
    };
    Some(Finding {
        rule: Rule::Reserved,
        subject: format!("guests/{guest}/index"),
        what: format!("it is placed on {host}, whose index does not name it"),
        mend: Mend::Repair(repair),
    })
}

/// Entries of an index whose guest is placed elsewhere, or is nowhere. An entry of a declared guest without a place is the
/// original's word, which the operator adopts.
fn leaked_index(store: &Store, lists: &Lists) -> Vec<Finding> {
    let mut found = Vec::new();
    for (host, guest) in store.index() {
        let placed = store.guests.get(&guest).and_then(|status| status.placement.as_ref());
        let is_declared = store.get(&Key::Guest(guest)).is_some();
        let is_right = placed.is_some_and(|placement| placement.hypervisor == host);
        if is_right || store.is_unreadable(guest) || (placed.is_none() && is_declared) {
            continue;
        }
        let key = Key::Placement(host, guest);
        let mend = if lists.lacks(host, guest) {
            let (status, document) = (Key::GuestStatus(guest), Key::Guest(guest));
            Mend::Repair(Repair {
                say: format!("delete {key}"),
                compares: [&key, &status, &document].map(|key| store.unchanged(key)).into(),
                ops: vec![Op::delete(store.prefix.key(&key))],
            })
        } else {
            Mend::Person("its host lists it, or does not answer: look at the host first")
        };
        let what = format!("the index of {host} names guest {guest}, which is not placed there");
        found.push(Finding { rule: Rule::Leak, subject: key.to_string(), what, mend });
    }
    found
}

/// Reservations whose guest has another address, or is nowhere.
fn leaked_addresses(store: &Store, lists: &Lists) -> Vec<Finding> {
    let mut found = Vec::new();
    for (subnet, ip, kv) in store.addresses() {
        let key = Key::Address(subnet, ip);
        let text = String::from_utf8_lossy(&kv.value);
        let text = text.trim();
        let (holder, is_quarantine) = match text.strip_prefix(QUARANTINE) {
            Some(rest) => (rest, true),
            None => (text, false),
        };
        let Ok(guest) = holder.parse::<GuestId>() else {
            let advice = "delete the key when nobody uses the address";
            let what = format!("it is reserved for {text:?}, which is no guest's id");
            found.push(Finding::for_people(Rule::Unreadable, key.to_string(), what, advice));
            continue;
        };
        // One that hangs on a lease goes by itself.
        if (is_quarantine && kv.lease.is_some()) || store.is_unreadable(guest) {
            continue;
        }
        let placed = store.guests.get(&guest).and_then(|status| status.placement.as_ref());
        let is_held = placed.is_some_and(|it| (it.subnet, it.ip) == (subnet, ip));
        let is_wished = placed.is_none() && store.get(&Key::Guest(guest)).is_some();
        if (is_held || is_wished) && !is_quarantine {
            continue;
        }
        let mend = if lists.nobody_uses(ip) && lists.nobody_has(guest) {
            let (status, document) = (Key::GuestStatus(guest), Key::Guest(guest));
            Mend::Repair(Repair {
                say: format!("delete {key}"),
                compares: [&key, &status, &document].map(|key| store.unchanged(key)).into(),
                ops: vec![Op::delete(store.prefix.key(&key))],
            })
        } else {
            Mend::Person("a guest uses it, or a host does not answer: look at the hosts first")
        };
        let what = format!("{ip} is kept for guest {guest}, which does not have it");
        found.push(Finding { rule: Rule::Leak, subject: key.to_string(), what, mend });
    }
    found
}

/// Hosts that have promised more than may be promised there.
fn overfull(store: &Store) -> Vec<Finding> {
    let mut used: BTreeMap<HypervisorId, Resources> = BTreeMap::new();
    for (_, placement) in store.placements() {
        let sum = used.entry(placement.hypervisor).or_default();
        *sum = sum.saturating_add(placement.resources);
    }
    let mut found = Vec::new();
    for (host, used) in used {
        let Some(status) = store.hosts.get(&host) else { continue };
        let room = status.allocatable;
        if used.memory > room.memory || used.disk > room.disk || used.cpu > room.cpu {
            let what = format!(
                "{} MB memory, {} MB disk, {} cores are promised; {} MB, {} MB, {} may be",
                used.memory, used.disk, used.cpu, room.memory, room.disk, room.cpu
            );
            let advice = "it takes no new guests; move some, or give it what it had";
            let subject = format!("hypervisors/{host}");
            found.push(Finding::for_people(Rule::Capacity, subject, what, advice));
        }
    }
    found
}

/// Jobs that are under way and that no status names.
fn jobs(store: &Store) -> Vec<Finding> {
    let open = store.jobs.iter().filter(|(_, job)| !job.status.is_finished());
    let stray = open.filter(|(id, job)| {
        let current = store.guests.get(&job.guest).and_then(|status| status.job);
        current != Some(**id) && !store.is_unreadable(job.guest)
    });
    let told = stray.map(|(id, job)| {
        let what = format!(
            "{} of guest {} is open, and its status does not name it",
            job.action, job.guest
        );
        let advice = "delete the key once the agent's own job has ended";
        Finding::for_people(Rule::Jobs, format!("jobs/{id}"), what, advice)
    });
    told.collect()
}
