//! Which of several subnets a guest gets its address from.

use lochness_api::document::Resources;
use lochness_api::keys::Key;
use lochness_api::status::{Placement, Reason};
use lochness_api::{GuestId, HypervisorId, Mac, SubnetId};
use serde_json::{Value, json};

use super::super::claims::{Claim, Claims, Planner};
use super::{decide, decide_with, placement, refusal};
use crate::reports::Reports;
use crate::testing::{Store, answering, id};

/// Network 1 with the subnets that a test puts, and hosts that reach those that it says.
struct Scene {
    store: Store,
    reports: Reports,
    next: u128,
}

impl Scene {
    fn new(place: &str) -> Self {
        let mut store = Store::basics();
        store.delete(&Key::Subnet(id(2)));
        store.put(&Key::Network(id(1)), &json!({"metadata": {"place": place}}));
        Self { store, reports: Reports::default(), next: 100 }
    }

    fn host(&mut self, number: u128, bridges: &[u128]) -> HypervisorId {
        let host = self.store.host(number, 65_536);
        self.store.delete(&Key::HypervisorSubnet(host, id(2)));
        for subnet in bridges {
            self.store.put_text(&Key::HypervisorSubnet(host, id(*subnet)), "br0");
        }
        self.reports.change(host, |former| *former = crate::testing::report(host, &[]));
        host
    }

    fn subnet(&mut self, number: u128, cidr: &str, metadata: &Value) -> SubnetId {
        let document = json!({"network": id::<()>(1), "cidr": cidr, "metadata": metadata});
        self.store.put(&Key::Subnet(id(number)), &document);
        id(number)
    }

    fn declare(&mut self, more: &Value) -> GuestId {
        self.next += 1;
        self.store.guest(self.next, more)
    }

    /// Places one more guest, for good.
    fn place(&mut self, more: &Value) -> Placement {
        let guest = self.declare(more);
        let placed = placement(decide(&self.store, &self.reports, guest));
        let status = json!({"phase": "Running", "placement": placed});
        self.store.put(&Key::GuestStatus(guest), &status);
        self.store.put_text(&Key::Address(placed.subnet, placed.ip), &guest.to_string());
        placed
    }

    /// Places so many guests; the subnets that they got.
    fn subnets(&mut self, guests: usize) -> Vec<SubnetId> {
        (0..guests).map(|_| self.place(&json!({})).subnet).collect()
    }
}

#[test]
fn a_network_fills_its_subnets_by_priority_then_name_then_id() {
    let mut scene = Scene::new("");
    scene.host(10, &[2, 3, 4, 5]);
    scene.subnet(5, "10.0.5.0/30", &json!({"name": "a"}));
    scene.subnet(3, "10.0.3.0/30", &json!({"name": "b"}));
    scene.subnet(4, "10.0.4.0/30", &json!({"name": "z", "priority": "7"}));
    scene.subnet(2, "10.0.2.0/30", &json!({"name": "aa", "priority": "-1"}));
    let order = [4, 4, 5, 5, 3, 3, 2, 2].map(id);
    assert_eq!(scene.subnets(8), order);
    let guest = scene.declare(&json!({}));
    let refused = refusal(decide(&scene.store, &scene.reports, guest));
    assert_eq!(refused.reason(), Reason::NoAddressFree);
    let message = refused.message();
    assert!(message.starts_with("no address is free in any of 4 subnets: subnet z ("), "{message}");
}

#[test]
fn a_network_that_spreads_uses_the_subnet_with_the_largest_free_share() {
    let mut scene = Scene::new("spread");
    scene.host(10, &[2, 3]);
    scene.subnet(2, "10.0.2.0/29", &json!({"name": "small"}));
    scene.subnet(3, "10.0.3.0/28", &json!({"name": "twice"}));
    let subnets = scene.subnets(20);
    let first: Vec<_> = subnets[..9].iter().filter(|subnet| **subnet == id(2)).collect();
    assert_eq!(first.len(), 3, "a third of them: {subnets:?}");
    assert_eq!(subnets.iter().filter(|subnet| **subnet == id(2)).count(), 6, "until both are full");
}

#[test]
fn shares_of_large_ranges_are_compared_exactly() {
    let mut scene = Scene::new("spread");
    scene.host(10, &[2, 3]);
    scene.subnet(2, "fd00:0:0:2::/64", &json!({}));
    scene.subnet(3, "fd00:0:0:3::/64", &json!({}));
    assert_eq!(scene.subnets(4), [2, 3, 2, 3].map(id));
}

#[test]
fn addresses_of_open_commits_count_when_guests_are_spread() {
    let mut scene = Scene::new("spread");
    let host = scene.host(10, &[2, 3]);
    scene.subnet(2, "10.0.2.0/24", &json!({}));
    scene.subnet(3, "10.0.3.0/24", &json!({}));
    let planner = Planner::new(1);
    let claim = Claim {
        hypervisor: host,
        resources: Resources::default(),
        network: Some(id(1)),
        subnet: id(2),
        ip: [10, 0, 2, 1].into(),
        mac: Mac::of_guest(id(55)),
        set: None,
    };
    let _guard = Planner::lock(&planner).claim(claim, &planner);
    let guest = scene.declare(&json!({}));
    let claims = &Planner::lock(&planner).claims;
    let placed = placement(decide_with(&scene.store, &scene.reports, claims, guest));
    assert_eq!(placed.subnet, id(3));
}

#[test]
fn a_word_that_is_not_understood_fills() {
    let mut scene = Scene::new("evenly");
    scene.host(10, &[2, 3]);
    scene.subnet(2, "10.0.2.0/29", &json!({"priority": "high"}));
    scene.subnet(3, "10.0.3.0/29", &json!({}));
    assert_eq!(scene.subnets(3), [2, 2, 2].map(id));
}

#[test]
fn hosts_that_reach_the_first_subnet_are_preferred_and_the_others_take_guests_through_the_second() {
    let mut scene = Scene::new("fill");
    let (both, second) = (scene.host(10, &[2, 3]), scene.host(11, &[3]));
    scene.subnet(2, "10.0.2.0/29", &json!({}));
    scene.subnet(3, "10.0.3.0/29", &json!({}));
    for _ in 0..4 {
        let placed = scene.place(&json!({}));
        assert_eq!((placed.hypervisor, placed.subnet), (both, id(2)), "it is the fuller one");
    }
    let pinned = scene.place(&json!({"hypervisor": second}));
    assert_eq!((pinned.hypervisor, pinned.subnet), (second, id(3)));
    assert_eq!(scene.place(&json!({"subnet": id::<()>(3)})).subnet, id(3));
}

#[test]
fn a_subnet_that_no_host_reaches_stops_nobody() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[3]);
    scene.subnet(2, "10.0.2.0/29", &json!({"priority": "9"}));
    scene.subnet(3, "10.0.3.0/29", &json!({}));
    assert_eq!(scene.subnets(2), [3, 3].map(id));
}

#[test]
fn ipv4_and_ipv6_subnets_of_one_network_are_used_in_the_same_order() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2, 3]);
    scene.subnet(2, "10.0.2.0/30", &json!({"name": "v4"}));
    scene.subnet(3, "fd00::/64", &json!({"name": "v6"}));
    assert_eq!(scene.subnets(3), [2, 2, 3].map(id));
    let wish = scene.place(&json!({"ip": "fd00::99"}));
    assert_eq!((wish.subnet, wish.ip.to_string()), (id(3), "fd00::99".to_owned()));
}

#[test]
fn the_younger_of_two_subnets_that_overlap_takes_no_new_guests() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2, 3]);
    scene.subnet(2, "10.0.0.0/29", &json!({"name": "elder"}));
    scene.subnet(3, "10.0.0.0/24", &json!({"name": "younger", "priority": "9"}));
    assert_eq!(scene.place(&json!({})).subnet, id(2));
    let asks = scene.declare(&json!({"subnet": id::<()>(3)}));
    let refused = refusal(decide(&scene.store, &scene.reports, asks));
    assert_eq!(refused.reason(), Reason::SubnetsOverlap);
    let message = refused.message();
    assert!(message.contains("younger (") && message.contains("elder ("), "{message}");
    scene.subnet(2, "10.1.0.0/29", &json!({"name": "elder"}));
    assert_eq!(placement(decide(&scene.store, &scene.reports, asks)).subnet, id(3));
}

#[test]
fn an_address_that_a_guest_has_in_a_subnet_that_came_to_overlap_is_not_given_again() {
    let mut scene = Scene::new("fill");
    let host = scene.host(10, &[2, 3]);
    scene.subnet(2, "10.0.2.0/29", &json!({}));
    scene.subnet(3, "10.0.3.0/29", &json!({}));
    let there = scene.place(&json!({"subnet": id::<()>(3)}));
    assert_eq!(there.ip.to_string(), "10.0.3.1");
    scene.subnet(2, "10.0.3.0/29", &json!({}));
    assert_eq!(scene.place(&json!({})).ip.to_string(), "10.0.3.2");
    let wish = scene.declare(&json!({"ip": "10.0.3.1"}));
    assert_eq!(refusal(decide(&scene.store, &scene.reports, wish)).reason(), Reason::AddressTaken);
    let claims = Claims::default();
    let again = decide_with(&scene.store, &answering(&[host]), &claims, wish);
    assert_eq!(refusal(again).reason(), Reason::AddressTaken, "whoever lists it");
}

#[test]
fn of_two_parts_of_one_range_each_gives_its_own_addresses_also_as_a_wish() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2, 3]);
    let part = |start: &str, end: &str, gateway: Option<&str>| {
        json!({"network": id::<()>(1), "cidr": "10.0.0.0/24", "start": start, "end": end,
            "gateway": gateway})
    };
    scene.store.put(&Key::Subnet(id(2)), &part("10.0.0.10", "10.0.0.11", Some("10.0.0.1")));
    scene.store.put(&Key::Subnet(id(3)), &part("10.0.0.20", "10.0.0.21", None));
    assert_eq!(scene.subnets(3), [2, 2, 3].map(id));
    assert_eq!(scene.place(&json!({"ip": "10.0.0.21"})).subnet, id(3));
    let asks = |scene: &mut Scene, wish: Value| {
        let guest = scene.declare(&wish);
        refusal(decide(&scene.store, &scene.reports, guest)).message()
    };
    let message = asks(&mut scene, json!({"ip": "10.0.0.20", "subnet": id::<()>(2)}));
    assert!(message.contains("gives to guests; ask for that subnet"), "{message}");
    let message = asks(&mut scene, json!({"ip": "10.0.0.1", "subnet": id::<()>(3)}));
    assert!(message.contains("it is the gateway of subnet"), "{message}");
}

#[test]
fn a_guest_that_names_a_subnet_waits_while_its_network_has_no_document() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2]);
    scene.subnet(2, "10.0.2.0/29", &json!({}));
    let guest = scene.store.guest(100, &json!({"subnet": id::<()>(2), "network": null}));
    scene.store.delete(&Key::Network(id(1)));
    let refused = refusal(decide(&scene.store, &scene.reports, guest));
    assert_eq!(refused.reason(), Reason::NetworkMissing);
    scene.store.put(&Key::Network(id(1)), &json!({}));
    assert_eq!(placement(decide(&scene.store, &scene.reports, guest)).subnet, id(2));
}

#[test]
fn a_bridge_without_a_name_is_no_bridge() {
    let mut scene = Scene::new("fill");
    let (named, nameless) = (scene.host(10, &[2]), scene.host(11, &[2]));
    scene.subnet(2, "10.0.2.0/29", &json!({}));
    scene.store.put_text(&Key::HypervisorSubnet(nameless, id(2)), " ");
    assert_eq!(scene.store.world.hosts_reaching(id(2)), [named]);
    let guest = scene.declare(&json!({"hypervisor": nameless}));
    let refused = refusal(decide(&scene.store, &scene.reports, guest));
    assert_eq!(refused.reason(), Reason::NoHostFits);
    assert_eq!(scene.place(&json!({})).hypervisor, named);
    scene.store.put_text(&Key::HypervisorSubnet(nameless, id(2)), "br7");
    assert_eq!(placement(decide(&scene.store, &scene.reports, guest)).bridge, "br7");
    scene.store.delete(&Key::HypervisorSubnet(named, id(2)));
    assert_eq!(scene.store.world.hosts_reaching(id(2)), [nameless]);
}

#[test]
fn a_full_subnet_says_who_has_its_addresses() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2]);
    scene.subnet(2, "10.0.2.0/29", &json!({"name": "small"}));
    scene.subnets(4);
    let held = |low: u8| Key::Address(id(2), [10, 0, 2, low].into());
    scene.store.put_text(&held(5), &format!("quarantine:{}", id::<()>(77)));
    let host: HypervisorId = id(12);
    let undeclared = crate::testing::report(host, &[(id(78), "running", "10.0.2.6")]);
    scene.reports.change(host, |former| *former = undeclared.clone());
    let guest = scene.declare(&json!({}));
    let message = refusal(decide(&scene.store, &scene.reports, guest)).message();
    let part = "10.0.2.1-10.0.2.6 (6 addresses: 4 used, 1 in quarantine, 1 about to be given";
    assert!(message.contains(part), "{message}");
}

#[test]
fn a_subnet_that_has_no_address_to_give_says_that() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2]);
    let fields = json!({"network": id::<()>(1), "cidr": "10.0.2.0/29", "start": "10.0.2.1",
        "end": "10.0.2.1", "gateway": "10.0.2.1"});
    scene.store.put(&Key::Subnet(id(2)), &fields);
    let guest = scene.declare(&json!({}));
    let message = refusal(decide(&scene.store, &scene.reports, guest)).message();
    assert!(message.contains("it has none to give"), "{message}");
}

#[test]
fn a_wish_for_an_address_of_a_subnet_that_takes_no_guests_says_why() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2, 3]);
    scene.subnet(2, "10.0.2.0/29", &json!({"name": "elder"}));
    scene.subnet(3, "10.0.2.0/24", &json!({"name": "younger"}));
    let mut message = |wish: Value| {
        let guest = scene.declare(&wish);
        refusal(decide(&scene.store, &scene.reports, guest)).message()
    };
    let overlapped = message(json!({"ip": "10.0.2.99"}));
    assert!(overlapped.contains("younger ("), "{overlapped}");
    assert!(overlapped.contains("overlaps subnet elder ("), "{overlapped}");
    let elsewhere = message(json!({"ip": "10.0.2.99", "subnet": id::<()>(2)}));
    assert!(elsewhere.contains("overlaps subnet elder ("), "{elsewhere}");
}

#[test]
fn in_a_large_fleet_the_few_hosts_that_reach_the_first_subnet_are_found_and_then_those_of_the_next()
{
    let mut scene = Scene::new("fill");
    for number in 1000..1200 {
        let bridges: &[u128] = match number {
            1007 => &[2],
            1100 | 1101 => &[3],
            _ => &[4],
        };
        scene.host(number, bridges);
    }
    for number in 2..=4 {
        scene.subnet(number, &format!("10.0.{number}.0/24"), &json!({}));
    }
    let first = scene.place(&json!({}));
    assert_eq!((first.hypervisor, first.subnet), (id(1007), id(2)));
    scene.store.put_text(&Key::HypervisorConfig(id(1007), "cordon".to_owned()), "true");
    let next: Vec<_> = (0..20).map(|_| scene.place(&json!({})).hypervisor).collect();
    assert!(next.contains(&id(1100)) && next.contains(&id(1101)), "both: {next:?}");
    assert!(next.iter().all(|host| [id(1100), id(1101)].contains(host)), "{next:?}");
    for host in [1100, 1101] {
        scene.store.put_text(&Key::HypervisorConfig(id(host), "cordon".to_owned()), "true");
    }
    assert_eq!(scene.place(&json!({})).subnet, id(4));
}

#[test]
fn a_network_without_a_valid_subnet_says_what_is_wrong_with_one() {
    let mut scene = Scene::new("fill");
    scene.host(10, &[2]);
    let guest = scene.declare(&json!({}));
    let message = |scene: &Scene| refusal(decide(&scene.store, &scene.reports, guest)).message();
    assert!(message(&scene).contains("names it as its `network`"), "{}", message(&scene));
    scene.subnet(2, "10.0.2.0/24", &json!({"name": "small"}));
    scene.subnet(2, "10.0.2.0/33", &json!({"name": "small"}));
    let invalid = message(&scene);
    assert!(invalid.contains("subnet small (") && invalid.contains("cidr"), "{invalid}");
}
