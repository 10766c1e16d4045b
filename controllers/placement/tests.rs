//! The placement loop's decisions, on worlds in miniature.

mod addresses;
mod claims;
mod histories;
mod networks;
mod unheard;

use std::time::Duration;

use lochness_api::document::Resources;
use lochness_api::keys::Key;
use lochness_api::status::{Phase, Reason};
use lochness_api::{GuestId, Mac};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::time::Instant;

use super::claims::{Claim, Claims, Planner};
use super::filter::Fleet;
use super::plan::{Decision, plan};
use super::refusal::Refusal;
use crate::context::Hold;
use crate::reports::Reports;
use crate::testing::{Store, answering, id, report};

fn decide_with(store: &Store, reports: &Reports, claims: &Claims, guest: GuestId) -> Decision {
    let reports = reports.read();
    let fleet = Fleet {
        world: &store.world,
        reports: &reports,
        claims,
        now: Instant::now(),
        reachable_window: Duration::from_secs(30),
    };
    plan(fleet, guest, None, &mut SmallRng::seed_from_u64(1))
}

fn decide(store: &Store, reports: &Reports, guest: GuestId) -> Decision {
    decide_with(store, reports, &Claims::default(), guest)
}

#[track_caller]
fn refusal(decision: Decision) -> Refusal {
    let Decision::Refuse(refusal) = decision else { panic!("not refused: {decision:?}") };
    refusal
}

#[track_caller]
fn placement(decision: Decision) -> lochness_api::status::Placement {
    let Decision::Place(placement) = decision else { panic!("not placed: {decision:?}") };
    *placement
}

#[test]
fn a_guest_gets_a_host_the_lowest_free_address_and_the_flavors_resources() {
    let mut store = Store::basics();
    let host = store.host(10, 4096);
    let guest = store.guest(100, &json!({}));
    let placed = placement(decide(&store, &answering(&[host]), guest));
    assert_eq!((placed.hypervisor, placed.subnet), (host, id(2)));
    assert_eq!(placed.ip.to_string(), "10.0.0.2", "the gateway is .1");
    assert_eq!(placed.bridge, "br0");
    assert_eq!(placed.resources, Resources { memory: 1024, disk: 10, cpu: 1 });
}

#[test]
fn a_refusal_counts_the_hosts_by_the_first_filter_that_turned_them_away() {
    let mut store = Store::basics();
    let hosts: Vec<_> = (10..15).map(|number| store.host(number, 512)).collect();
    store.delete(&Key::Heartbeat(hosts[0]));
    store.put_text(&Key::HypervisorConfig(hosts[1], "cordon".to_owned()), "true");
    let guest = store.guest(100, &json!({}));
    let message = refusal(decide(&store, &answering(&hosts), guest)).message();
    assert_eq!(
        message,
        "0 of 5 hypervisors fit: 1 not alive, 1 cordoned, 3 short of memory (need 1024 MB, most free 512)"
    );
}

#[test]
fn a_host_of_which_somebody_says_that_its_guests_cannot_run_takes_none() {
    let mut store = Store::basics();
    let host = store.host(10, 4096);
    let guest = store.guest(100, &json!({}));
    store.put_text(&Key::HypervisorConfig(host, "fenced".to_owned()), "pulled the plug");
    let refused = refusal(decide(&store, &answering(&[host]), guest));
    assert!(refused.message().contains("1 fenced"), "{}", refused.message());
}

#[test]
fn a_host_that_never_answered_takes_no_guest() {
    let mut store = Store::basics();
    store.host(10, 4096);
    let guest = store.guest(100, &json!({}));
    let message = refusal(decide(&store, &Reports::default(), guest)).message();
    assert!(message.contains("1 not reachable"), "{message}");
}

#[test]
fn open_claims_count_as_used() {
    let mut store = Store::basics();
    let host = store.host(10, 1024);
    let guest = store.guest(100, &json!({}));
    let planner = Planner::new(1);
    let claim = Claim {
        hypervisor: host,
        resources: Resources { memory: 1, disk: 0, cpu: 0 },
        network: Some(id(1)),
        subnet: id(2),
        ip: "10.0.0.2".parse().unwrap(),
        mac: Mac::of_guest(id(55)),
        set: None,
    };
    let guard = Planner::lock(&planner).claim(claim, &planner);
    let reports = answering(&[host]);
    let message =
        refusal(decide_with(&store, &reports, &Planner::lock(&planner).claims, guest)).message();
    assert!(message.contains("need 1024 MB, most free 1023"), "{message}");
    drop(guard);
    let placed = placement(decide_with(&store, &reports, &Planner::lock(&planner).claims, guest));
    assert_eq!(placed.hypervisor, host);
}

#[test]
fn what_a_guest_refers_to_is_named_when_it_is_missing_or_broken() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let reports = answering(&[host]);
    let flavor = store.guest(100, &json!({"flavor": id::<()>(33)}));
    let refused = refusal(decide(&store, &reports, flavor));
    assert_eq!(refused.reason(), Reason::FlavorMissing);
    assert!(refused.message().contains(&id::<()>(33).to_string()));
    let network = store.guest(101, &json!({"network": id::<()>(44)}));
    assert_eq!(refusal(decide(&store, &reports, network)).reason(), Reason::NetworkMissing);
    store.put_text(&Key::Flavor(id(3)), "{not json");
    let broken = store.guest(102, &json!({}));
    let refused = refusal(decide(&store, &reports, broken));
    assert_eq!(refused.reason(), Reason::FlavorMissing);
    assert!(refused.message().contains("is invalid"), "{}", refused.message());
}

#[test]
fn a_document_that_does_not_parse_is_refused_with_its_fault_and_no_other_guest_notices() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let broken: GuestId = id(100);
    store.put_text(&Key::Guest(broken), "{\"flavor\": 7}");
    let fine = store.guest(101, &json!({}));
    let reports = answering(&[host]);
    let refused = refusal(decide(&store, &reports, broken));
    assert!(refused.is_invalid_document());
    assert!(refused.message().contains("flavor"), "{}", refused.message());
    placement(decide(&store, &reports, fine));
}

#[test]
fn the_second_guest_of_a_name_is_told_who_has_it() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let first = store.guest(100, &json!({"metadata": {"name": "web"}}));
    let second = store.guest(101, &json!({"metadata": {"name": "web"}}));
    let reports = answering(&[host]);
    placement(decide(&store, &reports, first));
    let refused = refusal(decide(&store, &reports, second));
    assert_eq!(refused.reason(), Reason::NameTaken);
    assert!(refused.message().contains(&first.to_string()));
    store.delete(&Key::Guest(first));
    placement(decide(&store, &reports, second));
}

#[test]
fn a_pinned_guest_waits_for_its_host_alone() {
    let mut store = Store::basics();
    let (full, empty) = (store.host(10, 512), store.host(11, 8192));
    let pinned = store.guest(100, &json!({"hypervisor": full}));
    let refused = refusal(decide(&store, &answering(&[full, empty]), pinned));
    assert!(refused.message().starts_with("0 of 1 hypervisors fit: 1 short of memory"));
    let gone = store.guest(101, &json!({"hypervisor": id::<()>(99)}));
    let refused = refusal(decide(&store, &answering(&[full, empty]), gone));
    assert_eq!(refused.reason(), Reason::HypervisorMissing);
}

#[test]
fn guests_of_a_set_are_kept_apart() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let first = store.guest(100, &json!({"metadata": {"set": "db"}}));
    let reports = answering(&[host]);
    let placed = placement(decide(&store, &reports, first));
    store.put(&Key::GuestStatus(first), &json!({"phase": "Running", "placement": placed}));
    let second = store.guest(101, &json!({"metadata": {"set": "db"}}));
    let message = refusal(decide(&store, &reports, second)).message();
    assert!(message.contains("1 with a guest of the same set"), "{message}");
}

#[test]
fn no_host_is_brought_above_what_may_be_allocated() {
    let mut store = Store::basics();
    let host = store.host(10, 2048);
    let reports = answering(&[host]);
    for number in 100..102 {
        let guest = store.guest(number, &json!({}));
        let placed = placement(decide(&store, &reports, guest));
        store.put(&Key::GuestStatus(guest), &json!({"phase": "Running", "placement": placed}));
    }
    let third = store.guest(102, &json!({}));
    assert_eq!(refusal(decide(&store, &reports, third)).reason(), Reason::NoHostFits);
    store.put_text(&Key::Config("overcommit_memory".to_owned()), "2");
    placement(decide(&store, &reports, third));
}

#[test]
fn among_equal_hosts_the_choice_is_random_and_the_emptier_one_wins() {
    let mut store = Store::basics();
    let hosts: Vec<_> = (10..14).map(|number| store.host(number, 8192)).collect();
    let reports = answering(&hosts);
    let guest = store.guest(100, &json!({}));
    let claims = Claims::default();
    let reports = reports.read();
    let fleet = Fleet {
        world: &store.world,
        reports: &reports,
        claims: &claims,
        now: Instant::now(),
        reachable_window: Duration::from_secs(30),
    };
    let mut chosen = std::collections::BTreeSet::new();
    for seed in 0..50 {
        let decision = plan(fleet, guest, None, &mut SmallRng::seed_from_u64(seed));
        chosen.insert(placement(decision).hypervisor);
    }
    assert_eq!(chosen.len(), 4, "every one of the equal hosts is chosen now and then");
}

#[test]
fn a_guest_that_an_agent_lists_is_adopted_with_its_address_and_never_placed_again() {
    let mut store = Store::basics();
    let (host, other) = (store.host(10, 8192), store.host(11, 8192));
    let guest = store.guest(100, &json!({}));
    let reports = answering(&[other]);
    reports.change(host, |former| *former = report(host, &[(guest, "running", "10.0.0.9")]));
    let Decision::Adopt(found) = decide(&store, &reports, guest) else { panic!("not adopted") };
    assert_eq!(found.placement.hypervisor, host);
    assert_eq!(found.placement.ip.to_string(), "10.0.0.9");
    assert_eq!(found.phase, Phase::Running);
    assert!(found.reserve && found.index);
}

#[test]
fn a_guest_of_the_originals_store_keeps_host_and_address() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let ip = "10.0.0.50".parse().unwrap();
    let guest =
        store.guest(100, &json!({"hypervisor": host, "subnet": id::<()>(2), "ip": "10.0.0.50"}));
    store.put_text(&Key::Placement(host, guest), &guest.to_string());
    store.put_text(&Key::Address(id(2), ip), &guest.to_string());
    let decision = decide(&store, &Reports::default(), guest);
    let Decision::Adopt(found) = decision else { panic!("not adopted: {decision:?}") };
    assert_eq!((found.placement.hypervisor, found.placement.ip), (host, ip));
    assert!(!found.reserve && !found.index, "both keys are there");
}

#[test]
fn a_guest_that_two_hosts_list_is_reported_and_left() {
    let mut store = Store::basics();
    let (one, two) = (store.host(10, 8192), store.host(11, 8192));
    let guest = store.guest(100, &json!({}));
    let reports = Reports::default();
    for host in [one, two] {
        reports.change(host, |former| *former = report(host, &[(guest, "running", "10.0.0.9")]));
    }
    assert_eq!(refusal(decide(&store, &reports, guest)).reason(), Reason::AdoptionConflict);
}

#[test]
fn another_guests_address_is_a_conflict_that_is_reported_and_left() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let guest = store.guest(100, &json!({"ip": "10.0.0.50"}));
    store.put_text(&Key::Placement(host, guest), &guest.to_string());
    let owner: GuestId = id(7);
    store.put_text(&Key::Address(id(2), "10.0.0.50".parse().unwrap()), &owner.to_string());
    let refused = refusal(decide(&store, &Reports::default(), guest));
    assert_eq!(refused.reason(), Reason::AdoptionConflict);
    assert!(refused.message().contains(&owner.to_string()));
}

#[test]
fn an_undeclared_guest_is_not_this_loops_business() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let reports = Reports::default();
    reports.change(host, |former| *former = report(host, &[(id(999), "running", "10.0.0.9")]));
    assert!(matches!(decide(&store, &reports, id(999)), Decision::Leave));
}

#[test]
fn nothing_is_placed_while_the_cluster_is_paused() {
    let mut store = Store::basics();
    let host = store.host(10, 8192);
    let guest = store.guest(100, &json!({}));
    let reports = answering(&[host]);
    let (reports, claims) = (reports.read(), Claims::default());
    let fleet = Fleet {
        world: &store.world,
        reports: &reports,
        claims: &claims,
        now: Instant::now(),
        reachable_window: Duration::from_secs(30),
    };
    let decision = plan(fleet, guest, Some(&Hold::Paused), &mut SmallRng::seed_from_u64(1));
    assert_eq!(refusal(decision).reason(), Reason::Paused);
}

#[test]
fn the_status_of_a_guest_that_was_never_placed_goes_with_its_document() {
    let mut store = Store::basics();
    let guest: GuestId = id(100);
    store.put(&Key::GuestStatus(guest), &json!({"phase": "Pending"}));
    assert!(matches!(decide(&store, &Reports::default(), guest), Decision::Forget));
}
