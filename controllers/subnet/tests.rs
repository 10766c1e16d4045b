//! What a subnet's status says, and which reservations are wrong.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use lochness_api::keys::Key;
use lochness_api::status::{ConditionType, Reason, SubnetStatus};
use lochness_api::{GuestId, HypervisorId, SubnetId};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

use super::plan::{self, Audit, Facts, Unreserved};
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
        self.facts(plan::audit)
    }

    fn status(&self) -> SubnetStatus {
        self.facts(|facts| plan::status(facts, &plan::audit(facts))).expect("something is left")
    }

    fn reason(&self, kind: ConditionType) -> Option<(Reason, String)> {
        let conditions = self.status().conditions;
        let found = conditions.into_iter().find(|condition| condition.kind == kind)?;
        Some((found.reason, found.message))
    }

    fn reserve(&mut self, low: u8, text: &str) {
        self.world.put(&Key::Address(self.subnet, [10, 0, 0, low].into()), text);
    }
}

#[tokio::test(start_paused = true)]
async fn addresses_are_counted_by_what_they_are() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    scene.reserve(2, &id::<u8>(7).to_string());
    scene.reserve(3, &format!("quarantine:{}", id::<u8>(8)));
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
    scene.reserve(14, "quarantine:x");
    assert_eq!(scene.reason(ConditionType::Capacity).unwrap().0, Reason::Exhausted);
}

#[tokio::test(start_paused = true)]
async fn two_subnets_of_one_network_with_the_same_addresses_name_each_other() {
    let mut scene = Scene::new();
    let other = scene.world.subnet(2, "10.0.0.8/29");
    for (own, named) in [(scene.subnet, other), (other, scene.subnet)] {
        scene.subnet = own;
        let (reason, message) = scene.reason(ConditionType::Valid).unwrap();
        assert_eq!(reason, Reason::SubnetsOverlap);
        assert!(message.contains(&named.to_string()), "{message}");
    }
    let document = json!({"network": id::<u8>(1).to_string(), "cidr": "10.0.0.0/28", "start": "10.0.0.1", "end": "10.0.0.7"});
    scene.subnet = id(1);
    scene.world.put_json(&Key::Subnet(scene.subnet), &document);
    assert_eq!(scene.reason(ConditionType::Valid).unwrap().0, Reason::Accepted);
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
    scene.reserve(2, "quarantine:x");
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
    scene.reserve(2, &nobody.to_string());
    let leak = BTreeSet::from([([10, 0, 0, 2].into(), nobody)]);
    assert_eq!(scene.audit().leaked, leak);
    assert_eq!(scene.reason(ConditionType::Ready).unwrap().0, Reason::Unused);
    let other = scene.world.host(2);
    assert_eq!(scene.audit().leaked, BTreeSet::new(), "a host has not answered");
    scene.answers(other);
    assert_eq!(scene.audit().leaked, leak);
    scene.world.put_json(&Key::Guest(nobody), &json!({}));
    assert_eq!(scene.audit().leaked, BTreeSet::new(), "it is declared");
}

#[tokio::test(start_paused = true)]
async fn quarantine_and_text_that_names_no_guest_are_left_alone() {
    let mut scene = Scene::new();
    scene.reserve(2, &format!("quarantine:{}", id::<u8>(9)));
    scene.reserve(3, "reserved by hand");
    assert_eq!(scene.audit(), Audit::default());
}
