//! What a subnet's status says, and which reservations are wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use lochness_api::keys::Key;
use lochness_api::status::{ConditionType, Reason, SubnetStatus};
use lochness_api::{GuestId, HypervisorId, SubnetId};
use lochness_kv::LeaseId;
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

use super::audit::{Audit, Cause, Leak, Unreserved, audit};
use super::plan::{self, Facts};
use crate::reports::{Contact, GuestReport, Reports};
use crate::test_world::{TestWorld, id};

struct Scene {
    world: TestWorld,
    reports: Reports,
    now: Instant,
    host: HypervisorId,
    subnet: SubnetId,
}

impl Scene {
    /// A subnet of 14 addresses and a host without guests that answers.
    fn new() -> Self {
        let mut world = TestWorld::new();
        let host = world.host(1);
        let subnet = world.subnet(1, "10.0.0.0/28");
        let scene = Self { world, reports: Reports::default(), now: Instant::now(), host, subnet };
        scene.answers(host);
        scene
    }

    fn answers(&self, host: HypervisorId) {
        let list = GuestReport { guests: [].into(), asked_at: self.now, sequence: 1 };
        self.reports.change(host, |report| {
            report.contact = Contact::Answered(self.now);
            report.guests = Some(Arc::new(list));
        });
    }

    /// The host lists one guest with that address.
    fn lists(&self, guest: GuestId, ip: &str) {
        self.reports.change(self.host, |report| {
            *report = crate::testing::report(self.host, &[(guest, "running", ip)]);
        });
    }

    fn facts<T>(&self, look: impl FnOnce(&Facts<'_>) -> T) -> T {
        let reports = self.reports.read();
        look(&Facts {
            world: &self.world,
            reports: &reports,
            id: self.subnet,
            entry: self.world.view().subnet(self.subnet).expect("there are keys of it"),
            now: self.now,
            wall: Timestamp::UNIX_EPOCH,
            reachable_window: Duration::from_secs(30),
        })
    }

    fn audit(&self) -> Audit {
        self.facts(audit)
    }

    fn status(&self) -> SubnetStatus {
        self.facts(|facts| plan::status(facts, &audit(facts))).expect("something is left")
    }

    fn reason(&self, kind: ConditionType) -> Option<(Reason, String)> {
        let conditions = self.status().conditions;
        let found = conditions.into_iter().find(|condition| condition.kind == kind)?;
        Some((found.reason, found.message))
    }

    fn reserve(&mut self, low: u8, text: &str) -> i64 {
        self.world.put(&Key::Address(self.subnet, [10, 0, 0, low].into()), text)
    }

    fn quarantine(&mut self, low: u8, guest: &str) {
        let key = Key::Address(self.subnet, [10, 0, 0, low].into());
        self.world.put_leased(&key, format!("quarantine:{guest}"), Some(LeaseId(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_are_counted_by_what_they_are() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    scene.reserve(2, &id::<u8>(7).to_string());
    scene.quarantine(3, &id::<u8>(8).to_string());
    let status = scene.status();
    let counts = (status.capacity, status.used, status.quarantined, status.free);
    assert_eq!(counts, (14, 2, 1, 11));
    assert_eq!(scene.reason(ConditionType::Capacity).unwrap().0, Reason::AddressesFree);
}

#[tokio::test(start_paused = true)]
async fn a_subnet_says_that_it_fills_before_it_is_full() {
    let mut scene = Scene::new();
    for low in 1..=13 {
        scene.reserve(low, &id::<u8>(usize::from(low)).to_string());
    }
    let (reason, message) = scene.reason(ConditionType::Capacity).unwrap();
    assert_eq!(reason, Reason::NearlyExhausted);
    assert!(message.contains("1 of 14"), "{message}");
    scene.quarantine(14, "x");
    assert_eq!(scene.reason(ConditionType::Capacity).unwrap().0, Reason::Exhausted);
}

#[tokio::test(start_paused = true)]
async fn a_subnet_that_moves_to_another_network_keeps_its_guests_and_says_so() {
    let mut scene = Scene::new();
    scene.world.placed_with(1, scene.host, scene.subnet, |placement| {
        placement.network = Some(id(1));
        placement.cidr = "10.0.0.0/28".parse().unwrap();
    });
    let move_to = |scene: &mut Scene, network: usize| {
        scene.world.put_json(&Key::Network(id(network)), &json!({}));
        let document = json!({"network": id::<u8>(network), "cidr": "10.0.0.0/28"});
        scene.world.put_json(&Key::Subnet(id(1)), &document);
        scene.reason(ConditionType::InRange).unwrap()
    };
    assert_eq!(move_to(&mut scene, 1).0, Reason::Accepted);
    let (reason, message) = move_to(&mut scene, 5);
    assert_eq!(reason, Reason::RangeChanged);
    assert!(message.starts_with("1 guests keep"), "{message}");
    assert_eq!(move_to(&mut scene, 1).0, Reason::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_subnet_whose_document_is_invalid_says_that_it_takes_no_new_guests() {
    let mut scene = Scene::new();
    let invalid = json!({"network": id::<u8>(1), "cidr": "10.0.0.0/33"});
    scene.world.put_json(&Key::Subnet(id(1)), &invalid);
    let (reason, message) = scene.reason(ConditionType::Valid).unwrap();
    assert_eq!(reason, Reason::Invalid);
    assert!(message.contains("cidr") && message.contains("takes no new ones"), "{message}");
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::Invalid);
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_reserved_for_another_guest_is_told_with_whose_it_is_and_so_are_leaks() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    let named = |name: &str| json!({"metadata": {"name": name}, "flavor": id::<u8>(1), "network": id::<u8>(1)});
    scene.world.put_json(&Key::Guest(id(1)), &named("web-1"));
    scene.world.put_json(&Key::Guest(id(9)), &named("db-9"));
    scene.reserve(11, &id::<u8>(9).to_string());
    scene.reserve(12, &id::<u8>(77).to_string());
    let (reason, message) = scene.reason(ConditionType::Ready).unwrap();
    assert_eq!(reason, Reason::AddressTaken);
    for part in ["guest web-1 (", "10.0.0.11", "reserved for guest db-9 (", "10.0.0.12 for guest"] {
        assert!(message.contains(part), "{part} in {message}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_subnets_that_overlap_the_younger_waits_and_both_are_named() {
    let mut scene = Scene::new();
    let named = |name: &str, cidr: &str| json!({"network": id::<u8>(1), "cidr": cidr, "metadata": {"name": name}});
    scene.world.put_json(&Key::Subnet(id(1)), &named("elder", "10.0.0.0/28"));
    scene.world.put_json(&Key::Subnet(id(2)), &named("younger", "10.0.0.8/29"));
    let (reason, message) = scene.reason(ConditionType::Valid).unwrap();
    assert_eq!(reason, Reason::Accepted, "the elder goes on");
    assert!(message.contains("subnet younger"), "{message}");
    scene.subnet = id(2);
    let (reason, message) = scene.reason(ConditionType::Valid).unwrap();
    assert_eq!(reason, Reason::SubnetsOverlap);
    for part in ["younger (", "elder (", "10.0.0.0/28", "10.0.0.8/29", "takes no new guests"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::SubnetsOverlap);
    scene.world.put_json(&Key::Subnet(id(1)), &named("elder", "10.0.0.0/29"));
    assert_eq!(scene.reason(ConditionType::Valid).unwrap().0, Reason::Accepted);
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::Accepted);
}

#[tokio::test(start_paused = true)]
async fn two_parts_of_one_range_do_not_overlap() {
    let mut scene = Scene::new();
    let part = |start: &str, end: &str| json!({"network": id::<u8>(1), "cidr": "10.0.0.0/28", "start": start, "end": end});
    scene.world.put_json(&Key::Subnet(id(1)), &part("10.0.0.1", "10.0.0.7"));
    scene.world.put_json(&Key::Subnet(id(2)), &part("10.0.0.8", "10.0.0.14"));
    assert_eq!(scene.reason(ConditionType::Valid), Some((Reason::Accepted, String::new())));
    scene.subnet = id(2);
    assert_eq!(scene.reason(ConditionType::Valid), Some((Reason::Accepted, String::new())));
    scene.world.put_json(&Key::Subnet(id(2)), &part("10.0.0.7", "10.0.0.14"));
    assert_eq!(scene.reason(ConditionType::Valid).unwrap().0, Reason::SubnetsOverlap);
}

#[tokio::test(start_paused = true)]
async fn guests_of_a_subnet_whose_range_changed_stay_and_are_counted() {
    let mut scene = Scene::new();
    for number in 1..=3 {
        scene.world.placed_with(number, scene.host, scene.subnet, |placement| {
            placement.cidr = "10.0.0.0/28".parse().unwrap();
        });
    }
    assert_eq!(scene.reason(ConditionType::InRange), Some((Reason::Accepted, String::new())));
    let document = |more: serde_json::Value| {
        let mut document = json!({"network": id::<u8>(1), "cidr": "10.0.0.0/28"});
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document
    };
    scene.world.put_json(&Key::Subnet(scene.subnet), &document(json!({"end": "10.0.0.12"})));
    let (reason, message) = scene.reason(ConditionType::InRange).unwrap();
    assert_eq!(reason, Reason::RangeChanged);
    assert!(message.starts_with("1 guests keep"), "{message}");
    assert!(message.contains("10.0.0.13 of guest"), "{message}");
    let status = scene.status();
    assert_eq!((status.capacity, status.used, status.free), (12, 2, 10), "one is outside");
    assert_eq!(scene.audit(), Audit::default(), "no reservation is touched");
    scene.world.put_json(&Key::Subnet(scene.subnet), &document(json!({"gateway": "10.0.0.1"})));
    let (_, message) = scene.reason(ConditionType::InRange).unwrap();
    assert!(message.starts_with("3 guests keep") && message.contains("; 0 have"), "{message}");
    scene.world.put_json(&Key::Subnet(scene.subnet), &document(json!({})));
    assert_eq!(scene.reason(ConditionType::InRange).unwrap().0, Reason::Accepted);
}

#[tokio::test(start_paused = true)]
async fn an_address_outside_of_start_and_end_that_its_guest_asks_for_is_as_wished() {
    let mut scene = Scene::new();
    let document = json!({"network": id::<u8>(1), "cidr": "10.0.0.0/28", "end": "10.0.0.5"});
    scene.world.put_json(&Key::Subnet(scene.subnet), &document);
    let guest = scene.world.placed_with(1, scene.host, scene.subnet, |placement| {
        placement.cidr = "10.0.0.0/28".parse().unwrap();
    });
    assert_eq!(scene.reason(ConditionType::InRange).unwrap().0, Reason::RangeChanged);
    let wish = json!({"flavor": id::<u8>(1), "network": id::<u8>(1), "ip": "10.0.0.11"});
    scene.world.put_json(&Key::Guest(guest), &wish);
    assert_eq!(scene.reason(ConditionType::InRange).unwrap().0, Reason::Accepted);
    assert_eq!(scene.status().used, 0, "it is none of those that the subnet gives");
}

#[tokio::test(start_paused = true)]
async fn a_priority_that_is_no_number_is_told_and_the_subnet_goes_on() {
    let mut scene = Scene::new();
    let document =
        json!({"network": id::<u8>(1), "cidr": "10.0.0.0/28", "metadata": {"priority": "high"}});
    scene.world.put_json(&Key::Subnet(scene.subnet), &document);
    let (reason, message) = scene.reason(ConditionType::Valid).unwrap();
    assert_eq!(reason, Reason::Invalid);
    assert!(message.starts_with("metadata.priority: must be a whole number"), "{message}");
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::Accepted);
}

#[tokio::test(start_paused = true)]
async fn a_subnet_without_its_network_is_not_ready() {
    let mut scene = Scene::new();
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::Accepted);
    scene.world.delete(&Key::Network(id(1)));
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::NetworkMissing);
}

#[tokio::test(start_paused = true)]
async fn a_subnet_without_document_is_told_while_addresses_are_held_and_then_forgotten() {
    let mut scene = Scene::new();
    scene.quarantine(2, "x");
    let known = scene.status();
    scene.world.put_json(&Key::SubnetStatus(scene.subnet), &json!(known));
    scene.world.delete(&Key::Subnet(scene.subnet));
    assert_eq!(scene.reason(ConditionType::Valid).unwrap().0, Reason::NotGiven);
    scene.world.delete(&Key::Address(scene.subnet, [10, 0, 0, 2].into()));
    assert_eq!(scene.facts(|facts| plan::status(facts, &Audit::default())), None);
}

#[tokio::test(start_paused = true)]
async fn the_address_of_a_placed_guest_that_is_not_reserved_is_found() {
    let mut scene = Scene::new();
    let guest = scene.world.placed(1, scene.host, scene.subnet);
    assert_eq!(scene.audit(), Audit::default());
    let ip = [10, 0, 0, 11].into();
    scene.world.delete(&Key::Address(scene.subnet, ip));
    let status_revision = scene.world.guest(guest).unwrap().status_revision();
    assert_eq!(scene.audit().unreserved, [Unreserved { ip, guest, status_revision }]);
}

#[tokio::test(start_paused = true)]
async fn another_guests_reservation_is_told_and_left() {
    let mut scene = Scene::new();
    let guest = scene.world.placed(1, scene.host, scene.subnet);
    scene.reserve(11, &id::<u8>(9).to_string());
    assert_eq!(scene.audit().contested, [([10, 0, 0, 11].into(), guest)]);
    assert_eq!(scene.audit().unreserved, []);
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::AddressTaken);
}

#[tokio::test(start_paused = true)]
async fn a_reservation_of_nobody_is_a_leak_only_when_every_host_has_said_so() {
    let mut scene = Scene::new();
    let nobody: GuestId = id(9);
    let revision = scene.reserve(2, &nobody.to_string());
    let cause = Cause::NoGuest(nobody);
    let leak = BTreeSet::from([Leak { ip: [10, 0, 0, 2].into(), revision, cause }]);
    assert_eq!(scene.audit().leaked, leak);
    let (reason, message) = scene.reason(ConditionType::Ready).unwrap();
    assert_eq!(reason, Reason::Unused);
    assert!(message.contains("10.0.0.2") && message.contains("freed soon"), "{message}");
    let other = scene.world.host(2);
    let audit = scene.audit();
    assert_eq!((audit.leaked, audit.suspected), (BTreeSet::new(), leak.clone()), "one is silent");
    let (reason, message) = scene.reason(ConditionType::Ready).unwrap();
    assert_eq!(reason, Reason::Unused);
    assert!(message.contains("every hypervisor"), "{message}");
    scene.answers(other);
    assert_eq!(scene.audit().leaked, leak);
    scene.world.put_json(&Key::Guest(nobody), &json!({}));
    assert_eq!(scene.audit(), Audit::default(), "it is declared");
}

#[tokio::test(start_paused = true)]
async fn a_reservation_whose_guest_or_address_is_listed_is_no_leak() {
    let mut scene = Scene::new();
    scene.reserve(2, &id::<u8>(9).to_string());
    assert_eq!(scene.audit().leaked.len(), 1);
    scene.lists(id(9), "10.0.0.7");
    assert_eq!(scene.audit(), Audit::default(), "the guest runs, whatever its address is");
    scene.lists(id(8), "10.0.0.2");
    assert_eq!(scene.audit(), Audit::default(), "somebody runs with the address");
    let elsewhere = scene.world.subnet(5, "10.0.0.0/24");
    scene.world.placed_with(8, scene.host, elsewhere, |it| it.ip = [10, 0, 0, 2].into());
    assert_eq!(scene.audit().leaked.len(), 1, "it has it from another subnet");
}

#[tokio::test(start_paused = true)]
async fn a_reservation_for_a_guest_that_has_another_address_is_a_leak() {
    let mut scene = Scene::new();
    let guest = scene.world.placed(1, scene.host, scene.subnet);
    let revision = scene.reserve(2, &guest.to_string());
    let leak = Leak { ip: [10, 0, 0, 2].into(), revision, cause: Cause::Elsewhere(guest) };
    assert_eq!(scene.audit().leaked, BTreeSet::from([leak]));
    scene.world.delete(&Key::GuestStatus(guest));
    assert_eq!(scene.audit(), Audit::default(), "without a place it may get the one or the other");
}

#[tokio::test(start_paused = true)]
async fn a_leak_below_a_subnet_that_nobody_declared_is_found_too() {
    let mut scene = Scene::new();
    scene.subnet = id(77);
    scene.reserve(2, &id::<u8>(9).to_string());
    assert_eq!(scene.audit().leaked.len(), 1);
    assert_eq!(scene.reason(ConditionType::Valid).unwrap().0, Reason::NotGiven);
    let (_, message) = scene.reason(ConditionType::Ready).unwrap();
    assert!(message.contains("10.0.0.2"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_quarantine_without_an_end_is_a_leak_and_one_with_a_lease_is_not() {
    let mut scene = Scene::new();
    scene.quarantine(2, &id::<u8>(9).to_string());
    assert_eq!(scene.audit(), Audit::default());
    let revision = scene.reserve(3, "quarantine:x");
    let leak = Leak { ip: [10, 0, 0, 3].into(), revision, cause: Cause::NoLease };
    assert_eq!(scene.audit().leaked, BTreeSet::from([leak]));
}

#[tokio::test(start_paused = true)]
async fn text_that_names_no_guest_is_told_and_left() {
    let mut scene = Scene::new();
    scene.reserve(3, "reserved by hand");
    assert_eq!(scene.audit().leaked, BTreeSet::new());
    let (reason, message) = scene.reason(ConditionType::Ready).unwrap();
    assert_eq!(reason, Reason::Unused);
    assert!(message.contains("10.0.0.3") && message.contains("deletes its key"), "{message}");
}
