//! Who is woken by what.

use lochness_api::keys::Key;
use lochness_api::{GuestId, HypervisorId};
use lochness_runtime::metrics::Metrics;
use serde_json::{Value, json};

use super::wake;
use crate::queues::Queues;
use crate::settings::Settings;
use crate::testing::{Store, id};
use crate::world::Change;

/// The guests that the placement loop looks at because of these changes.
fn placement_woken_by(store: &Store, changes: &[Change]) -> Vec<GuestId> {
    let queues = Queues::new(&Settings::default(), &Metrics::new());
    wake(&store.world, changes, &queues);
    std::iter::from_fn(|| queues.placement.try_next()).collect()
}

/// The keys of a guest that is placed on a host, but for its document.
fn place(store: &mut Store, guest: GuestId, host: HypervisorId) {
    let status = json!({"phase": "Running", "placement": {"hypervisor": host,
        "subnet": id::<()>(2), "ip": "10.0.0.2", "cidr": "10.0.0.0/24",
        "mac": "02:00:00:00:00:01", "resources": {"memory": 1024}}});
    store.put(&Key::GuestStatus(guest), &status);
    store.put_text(&Key::Placement(host, guest), &guest.to_string());
}

fn named(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

#[test]
fn room_that_a_torn_down_guest_leaves_wakes_those_who_wait_for_a_place() {
    let mut store = Store::basics();
    let host = store.host(10, 1024);
    let gone: GuestId = id(100);
    place(&mut store, gone, host);
    let waiting = store.guest(101, &json!({}));
    let mut changes = store.delete(&Key::GuestStatus(gone));
    changes.extend(store.delete(&Key::Placement(host, gone)));
    assert_eq!(placement_woken_by(&store, &changes), [waiting]);
}

#[test]
fn a_placement_wakes_none_of_those_who_wait_for_a_place() {
    let mut store = Store::basics();
    let host = store.host(10, 1024);
    store.guest(101, &json!({}));
    let placed = store.guest(100, &json!({}));
    place(&mut store, placed, host);
    let changes = [Change::GuestStatus(placed), Change::Placement(host, placed)];
    assert!(placement_woken_by(&store, &changes).is_empty());
}

#[test]
fn a_name_that_becomes_free_wakes_the_next_who_asked_for_it() {
    let mut store = Store::basics();
    let elder = store.guest(100, &named("web"));
    let younger = store.guest(101, &named("web"));
    let changes = store.delete(&Key::Guest(elder));
    assert!(placement_woken_by(&store, &changes).contains(&younger), "its bearer is gone");
    let third = store.guest(102, &named("web"));
    let document = json!({"flavor": id::<()>(3), "network": id::<()>(1)});
    let changes = store.put(&Key::Guest(younger), &document);
    assert!(placement_woken_by(&store, &changes).contains(&third), "its bearer has no name now");
}

#[test]
fn a_name_that_an_elder_takes_wakes_who_had_it() {
    let mut store = Store::basics();
    let elder = store.guest(100, &named("db"));
    let younger = store.guest(101, &named("web"));
    let mut document = named("web");
    document["flavor"] = json!(id::<()>(3));
    document["network"] = json!(id::<()>(1));
    let changes = store.put(&Key::Guest(elder), &document);
    assert!(placement_woken_by(&store, &changes).contains(&younger));
}

#[test]
fn a_firewall_group_that_comes_wakes_the_guests_that_are_in_it() {
    let mut store = Store::basics();
    let host = store.host(10, 1024);
    let (member, other): (GuestId, GuestId) = (id(100), id(101));
    for (guest, group) in [(member, Some(id::<()>(7))), (other, None)] {
        let status = json!({"phase": "Running", "placement": {"hypervisor": host,
            "subnet": id::<()>(2), "ip": "10.0.0.2", "cidr": "10.0.0.0/24", "fwgroup": group,
            "mac": "02:00:00:00:00:01", "resources": {"memory": 1024}}});
        store.put(&Key::GuestStatus(guest), &status);
    }
    let changes = store.put(&Key::FwGroup(id(7)), &json!({"rules": []}));
    let queues = Queues::new(&Settings::default(), &Metrics::new());
    wake(&store.world, &changes, &queues);
    let woken: Vec<_> = std::iter::from_fn(|| queues.guest.try_next()).collect();
    assert_eq!(woken, [member]);
}

#[test]
fn those_who_wait_for_a_place_are_queued_once_until_one_of_them_is_looked_at() {
    let mut store = Store::basics();
    let (one, other) = (store.guest(100, &json!({})), store.guest(101, &json!({})));
    let queues = Queues::new(&Settings::default(), &Metrics::new());
    for _ in 0..3 {
        super::wake_pending(&store.world, &queues);
    }
    assert_eq!(queues.placement.len(), 2);
    assert_eq!(queues.placement.try_next(), Some(one));
    queues.placement.done(&one);
    super::wake_pending(&store.world, &queues);
    let woken: Vec<_> = std::iter::from_fn(|| queues.placement.try_next()).collect();
    assert_eq!(woken, [other, one], "who was looked at is looked at again");
}

#[test]
fn a_status_concerns_the_guests_host_only_when_it_gives_or_takes_a_place() {
    let mut store = Store::basics();
    let (host, guest) = (store.host(10, 1024), store.guest(100, &json!({})));
    let mut status = json!({"phase": "Scheduled", "placement": {"hypervisor": host,
        "subnet": id::<()>(2), "ip": "10.0.0.2", "cidr": "10.0.0.0/24",
        "mac": "02:00:00:00:00:01", "resources": {"memory": 1024}}});
    let mut woken = |status: &Value| {
        let changes = store.put(&Key::GuestStatus(guest), status);
        let queues = Queues::new(&Settings::default(), &Metrics::new());
        wake(&store.world, &changes, &queues);
        assert_eq!(queues.guest.try_next(), Some(guest));
        let hosts = [&queues.host, &queues.firewall].map(|queue| queue.try_next());
        (hosts, queues.subnet.try_next().is_some())
    };
    assert_eq!(woken(&status), ([Some(host), Some(host)], true), "it is placed");
    status["phase"] = json!("Running");
    assert_eq!(woken(&status), ([None, None], false));
    status["phase"] = json!("Deleting");
    assert_eq!(woken(&status), ([Some(host), Some(host)], true), "it needs no image any more");
}

#[test]
fn whatever_may_open_the_gate_of_a_job_wakes_it() {
    let mut store = Store::basics();
    let (host, guest) = (store.host(10, 1024), store.guest(100, &json!({})));
    place(&mut store, guest, host);
    let status = json!({"phase": "Scheduled", "job": id::<()>(200), "placement": {"hypervisor": host,
        "subnet": id::<()>(2), "ip": "10.0.0.2", "cidr": "10.0.0.0/24",
        "mac": "02:00:00:00:00:01", "resources": {"memory": 1024}}});
    store.put(&Key::GuestStatus(guest), &status);
    for change in [
        Change::Guest(guest),
        Change::Placement(host, guest),
        Change::Hypervisor(host),
        Change::Heartbeat(host),
    ] {
        let queues = Queues::new(&Settings::default(), &Metrics::new());
        wake(&store.world, std::slice::from_ref(&change), &queues);
        assert_eq!(queues.job.try_next(), Some(id(200)), "{change:?}");
    }
}

#[test]
fn a_guest_of_another_network_does_not_wait_for_a_thousand_that_came_before_it() {
    let mut store = Store::basics();
    let queues = Queues::new(&Settings::default(), &Metrics::new());
    let mut come = |number: u128, document: &Value| {
        let guest = store.guest(number, document);
        wake(&store.world, &[Change::Guest(guest)], &queues);
        guest
    };
    for number in 1_000..2_000 {
        come(number, &json!({}));
    }
    let urgent = come(100, &json!({"network": id::<()>(77)}));
    let first: Vec<_> = (0..2).filter_map(|_| queues.placement.try_next()).collect();
    assert!(first.contains(&urgent));
}
