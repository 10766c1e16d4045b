//! Which address a guest gets, and why not another one.

use lochness_api::document::Resources;
use lochness_api::keys::Key;
use lochness_api::status::Reason;
use lochness_api::{GuestId, Mac};
use serde_json::json;

use super::super::claims::{Claim, Planner};
use super::{decide, decide_with, placement, refusal};
use crate::placement::plan::Decision;
use crate::reports::Reports;
use crate::testing::{Store, answering, id, report};

#[test]
fn an_address_that_any_listed_guest_has_is_taken() {
    let mut store = Store::basics();
    let host = store.host(10, 4096);
    let guest = store.guest(100, &json!({}));
    let reports = Reports::default();
    reports.change(host, |former| *former = report(host, &[(id(999), "running", "10.0.0.2")]));
    assert_eq!(placement(decide(&store, &reports, guest)).ip.to_string(), "10.0.0.3");
    let wish = store.guest(101, &json!({"ip": "10.0.0.2"}));
    assert_eq!(refusal(decide(&store, &reports, wish)).reason(), Reason::AddressTaken);
}

#[test]
fn an_address_of_a_guest_of_another_network_is_free_in_this_one() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let range = json!({"network": id::<()>(21), "cidr": "10.0.0.0/24", "gateway": "10.0.0.1"});
    store.put(&Key::Network(id(21)), &json!({}));
    store.put(&Key::Subnet(id(22)), &range);
    store.put_text(&Key::HypervisorSubnet(host, id(22)), "br1");
    let there = store.guest(200, &json!({"network": id::<()>(21)}));
    let reports = Reports::default();
    reports.change(host, |former| *former = report(host, &[(there, "running", "10.0.0.2")]));
    let here = store.guest(100, &json!({}));
    let wish = store.guest(101, &json!({"ip": "10.0.0.2"}));
    let first = |store: &Store| placement(decide(store, &reports, here)).ip.to_string();
    assert_eq!(first(&store), "10.0.0.3", "nobody knows yet in which network it has that address");
    let status = json!({"phase": "Running", "placement": {"hypervisor": host, "subnet": id::<()>(22),
        "network": id::<()>(21), "ip": "10.0.0.2", "cidr": "10.0.0.0/24",
        "mac": "02:00:00:00:00:01"}});
    store.put(&Key::GuestStatus(there), &status);
    assert_eq!(first(&store), "10.0.0.2");
    assert_eq!(placement(decide(&store, &reports, wish)).ip.to_string(), "10.0.0.2");
}

#[test]
fn a_wished_address_is_given_exactly_or_refused_with_its_holder() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let reports = answering(&[host]);
    let wish = store.guest(100, &json!({"ip": "10.0.0.77"}));
    assert_eq!(placement(decide(&store, &reports, wish)).ip.to_string(), "10.0.0.77");
    let other: GuestId = id(7);
    store.put_text(&Key::Address(id(2), "10.0.0.77".parse().unwrap()), &other.to_string());
    let refused = refusal(decide(&store, &reports, wish));
    assert!(refused.message().contains(&other.to_string()), "{}", refused.message());
    let gateway = store.guest(101, &json!({"ip": "10.0.0.1"}));
    assert_eq!(refusal(decide(&store, &reports, gateway)).reason(), Reason::AddressNotUsable);
    let outside = store.guest(102, &json!({"ip": "10.0.9.1"}));
    assert_eq!(refusal(decide(&store, &reports, outside)).reason(), Reason::AddressNotUsable);
}

#[test]
fn a_full_subnet_is_said_to_be_full() {
    let mut store = Store::basics();
    store.put(
        &Key::Subnet(id(2)),
        &json!({"network": id::<()>(1), "cidr": "10.0.0.0/30", "gateway": "10.0.0.1"}),
    );
    let host = store.host(10, 8192);
    store.put_text(&Key::Address(id(2), "10.0.0.2".parse().unwrap()), "quarantine:x");
    let guest = store.guest(100, &json!({}));
    assert_eq!(refusal(decide(&store, &answering(&[host]), guest)).reason(), Reason::NoAddressFree);
}

#[test]
fn an_address_that_an_open_commit_will_take_is_not_given_twice() {
    let mut store = Store::basics();
    let host = store.host(10, 4096);
    let guest = store.guest(100, &json!({}));
    let planner = Planner::new(1);
    let claim = Claim {
        hypervisor: host,
        resources: Resources::default(),
        network: Some(id(1)),
        subnet: id(2),
        ip: "10.0.0.2".parse().unwrap(),
        mac: Mac::of_guest(id(55)),
        set: None,
    };
    let _guard = Planner::lock(&planner).claim(claim, &planner);
    let reports = answering(&[host]);
    let placed = placement(decide_with(&store, &reports, &Planner::lock(&planner).claims, guest));
    assert_eq!(placed.ip.to_string(), "10.0.0.3");
}

#[test]
fn what_keeps_a_wished_address_from_being_given_is_told_by_name() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let reports = answering(&[host]);
    let subnet = json!({"network": id::<()>(1), "cidr": "10.0.0.0/24", "gateway": "10.0.0.1",
        "metadata": {"name": "prod-v4"}});
    store.put(&Key::Subnet(id(2)), &subnet);
    let message = |store: &mut Store, ip: &str| {
        let guest = store.guest(100, &json!({"ip": ip}));
        refusal(decide(store, &reports, guest)).message()
    };
    for (ip, part) in [
        ("10.0.0.1", "it is the gateway address of subnet prod-v4 ("),
        ("10.0.0.0", "it is the network address of subnet prod-v4 ("),
        ("10.0.0.255", "it is the broadcast address of subnet prod-v4 ("),
        ("10.9.0.1", "it lies in no subnet that the guest may use (10.0.0.0/24)"),
    ] {
        let message = message(&mut store, ip);
        assert!(message.contains(part), "{message}");
    }
    let other = store.guest(7, &json!({"metadata": {"name": "web-1"}}));
    let key = Key::Address(id(2), [10, 0, 0, 9].into());
    store.put_text(&key, &other.to_string());
    let taken = message(&mut store, "10.0.0.9");
    assert!(taken.contains("it is guest web-1 (00000000"), "{taken}");
    store.put_text(&key, &format!("quarantine:{other}"));
    let waits = message(&mut store, "10.0.0.9");
    assert!(waits.contains("was guest web-1 (") && waits.contains("quarantine"), "{waits}");
    store.put_text(&key, "the printer");
    let by_hand = message(&mut store, "10.0.0.9");
    assert!(by_hand.contains("reserved by hand"), "{by_hand}");
}

#[test]
fn a_subnet_of_another_network_and_one_that_is_missing_are_named() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let reports = answering(&[host]);
    store.put(&Key::Network(id(21)), &json!({"metadata": {"name": "back"}}));
    let subnet =
        json!({"network": id::<()>(21), "cidr": "10.1.0.0/24", "metadata": {"name": "db"}});
    store.put(&Key::Subnet(id(22)), &subnet);
    let elsewhere = store.guest(100, &json!({"subnet": id::<()>(22)}));
    let refused = refusal(decide(&store, &reports, elsewhere));
    assert_eq!(refused.reason(), Reason::SubnetNotInNetwork);
    let message = refused.message();
    assert!(message.starts_with("subnet db (") && message.contains("network back ("), "{message}");
    let missing = store.guest(101, &json!({"subnet": id::<()>(33)}));
    let refused = refusal(decide(&store, &reports, missing));
    assert_eq!(refused.reason(), Reason::SubnetMissing);
    assert!(refused.message().contains(&id::<()>(33).to_string()));
}

#[test]
fn a_guest_gets_the_address_that_is_reserved_for_it_already() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let reports = answering(&[host]);
    let guest = store.guest(100, &json!({}));
    store.put_text(&Key::Address(id(2), [10, 0, 0, 50].into()), &guest.to_string());
    assert_eq!(placement(decide(&store, &reports, guest)).ip.to_string(), "10.0.0.50");
    let wish = store.guest(101, &json!({"ip": "10.0.0.51"}));
    store.put_text(&Key::Address(id(2), [10, 0, 0, 51].into()), &wish.to_string());
    assert_eq!(placement(decide(&store, &reports, wish)).ip.to_string(), "10.0.0.51");
}

#[test]
fn a_hardware_address_that_another_guest_has_is_refused_with_whose_it_is() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let reports = answering(&[host]);
    let first = store.guest(100, &json!({"metadata": {"name": "web-1"}}));
    let placed = placement(decide(&store, &reports, first));
    store.put(&Key::GuestStatus(first), &json!({"phase": "Running", "placement": placed}));
    let second = store.guest(101, &json!({"mac": Mac::of_guest(first)}));
    let refused = refusal(decide(&store, &reports, second));
    assert_eq!(refused.reason(), Reason::MacTaken);
    assert!(refused.message().contains("guest web-1 ("), "{}", refused.message());
    let third = id(102);
    let thief = store.guest(103, &json!({"mac": Mac::of_guest(third)}));
    store.guest(102, &json!({}));
    let stolen = placement(decide(&store, &reports, thief));
    store.put(&Key::GuestStatus(thief), &json!({"phase": "Running", "placement": stolen}));
    let refused = refusal(decide(&store, &reports, third));
    assert_eq!(refused.reason(), Reason::MacTaken, "one that is made of the id collides as well");
    store.delete(&Key::GuestStatus(thief));
    store.delete(&Key::Guest(thief));
    placement(decide(&store, &reports, third));
}

#[test]
fn a_hardware_address_that_an_open_commit_gives_away_is_waited_for() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let guest = store.guest(100, &json!({}));
    let planner = Planner::new(1);
    let claim = Claim {
        hypervisor: host,
        resources: Resources::default(),
        network: Some(id(1)),
        subnet: id(2),
        ip: "10.0.0.99".parse().unwrap(),
        mac: Mac::of_guest(guest),
        set: None,
    };
    let reports = answering(&[host]);
    let guard = Planner::lock(&planner).claim(claim, &planner);
    let decision = decide_with(&store, &reports, &Planner::lock(&planner).claims, guest);
    assert!(matches!(decision, Decision::Later), "{decision:?}");
    drop(guard);
    placement(decide_with(&store, &reports, &Planner::lock(&planner).claims, guest));
}

#[test]
fn a_guest_that_runs_with_another_guests_hardware_address_is_reported_and_left() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let first = store.guest(100, &json!({}));
    let placed = placement(decide(&store, &answering(&[host]), first));
    store.put(&Key::GuestStatus(first), &json!({"phase": "Running", "placement": placed}));
    let found = store.guest(101, &json!({"mac": Mac::of_guest(first)}));
    let reports = Reports::default();
    reports.change(host, |former| *former = report(host, &[(found, "running", "10.0.0.9")]));
    assert_eq!(refusal(decide(&store, &reports, found)).reason(), Reason::MacTaken);
}
