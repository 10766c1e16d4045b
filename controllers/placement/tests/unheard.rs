//! Guests and addresses that may be on a host which was not heard since this term began.

use lochness_api::keys::Key;
use lochness_api::status::Reason;
use lochness_api::{GuestId, HypervisorId};
use serde_json::json;

use super::{decide, placement, refusal};
use crate::testing::{Store, answering, id, report};

/// Two hosts and a guest that wants to be placed.
fn scene() -> (Store, [HypervisorId; 2], GuestId) {
    let mut store = Store::basics();
    let hosts = [10, 11].map(|number| store.host(number, 8192));
    let guest = store.guest(100, &json!({}));
    (store, hosts, guest)
}

fn accept(store: &mut Store) {
    store.put_text(&Key::Config("accept_store".to_owned()), "today");
    store.put_text(&Key::Incarnation, "7");
}

#[test]
fn in_an_accepted_store_nobody_is_placed_before_every_host_that_it_knew_was_heard() {
    let (mut store, [one, two], guest) = scene();
    accept(&mut store);
    // One that was declared afterwards, and that sends no heartbeat, has nothing of the store's past.
    store.put(&Key::Hypervisor(id(12)), &json!({}));
    let refused = refusal(decide(&store, &answering(&[one]), guest));
    assert_eq!(refused.reason(), Reason::HostNotAsked);
    assert!(refused.message().contains(&two.to_string()), "{}", refused.message());
    placement(decide(&store, &answering(&[one, two]), guest));
}

#[test]
fn what_was_heard_in_this_life_of_the_store_or_is_fenced_is_not_waited_for() {
    let (mut store, [one, two], guest) = scene();
    accept(&mut store);
    let refused = |store: &Store| refusal(decide(store, &answering(&[one]), guest)).reason();
    store.put(&Key::HypervisorStatus(two), &json!({ "listed_in": 6 }));
    assert_eq!(refused(&store), Reason::HostNotAsked, "that was another life");
    let changes = store.put(&Key::HypervisorStatus(two), &json!({ "listed_in": 7 }));
    placement(decide(&store, &answering(&[one]), guest));
    let by_nobody = refusal(decide(&store, &answering(&[]), guest)).reason();
    assert_eq!(by_nobody, Reason::HostNotAsked, "the other one has no status yet");
    assert!(!changes.contains(&crate::world::Change::Everything));
    let changes = store.put(&Key::HypervisorStatus(one), &json!({ "listed_in": 7 }));
    assert!(changes.contains(&crate::world::Change::Everything), "now all may be placed");
    placement(decide(&store, &answering(&[one]), guest));
    store.delete(&Key::HypervisorStatus(two));
    assert_eq!(refused(&store), Reason::HostNotAsked);
    store.put_text(&Key::HypervisorConfig(two, "fenced".to_owned()), "pulled the plug");
    placement(decide(&store, &answering(&[one]), guest));
}

#[test]
fn a_guest_that_an_unheard_host_listed_and_its_address_are_given_to_nobody_else() {
    let (mut store, [one, two], guest) = scene();
    let other = store.guest(101, &json!({}));
    let wishing = store.guest(102, &json!({ "ip": "10.0.0.2" }));
    let unplaced = json!({ "unplaced": [{ "guest": guest, "addresses": ["10.0.0.2"] }] });
    store.put(&Key::HypervisorStatus(two), &unplaced);
    let reports = answering(&[one]);
    let refused = refusal(decide(&store, &reports, guest));
    assert_eq!(refused.reason(), Reason::HostNotAsked);
    let placed = placement(decide(&store, &reports, other));
    assert_eq!(placed.ip.to_string(), "10.0.0.3", "another guest may have the first one");
    assert_eq!(refusal(decide(&store, &reports, wishing)).reason(), Reason::AddressTaken);
    // The host is heard: it does not have it any more.
    let reports = answering(&[one, two]);
    assert_eq!(placement(decide(&store, &reports, guest)).ip.to_string(), "10.0.0.2");
    // Or it has.
    reports.change(two, |it| *it = report(two, &[(guest, "running", "10.0.0.2")]));
    let decision = decide(&store, &reports, guest);
    assert!(matches!(decision, super::Decision::Adopt(_)), "{decision:?}");
}
