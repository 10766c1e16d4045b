//! What is counted, what is free, and what it costs.

use std::net::IpAddr;
use std::sync::Arc;

use lochness_api::document::{Document, Subnet};
use lochness_api::{GuestId, SubnetId};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::testing::id;

fn subnet(cidr: &str, start: Option<&str>, end: Option<&str>) -> Arc<Subnet> {
    let document = json!({"network": id::<()>(1), "cidr": cidr, "start": start, "end": end});
    let own: SubnetId = id(2);
    Subnet::parse(&own.to_string(), document.to_string().as_bytes()).unwrap().into()
}

fn reservation(quarantined: bool) -> Reservation {
    let holder: Option<GuestId> = Some(id(7));
    Reservation { holder, quarantined, leased: quarantined, create_revision: 1, mod_revision: 1 }
}

fn as_declared(_: GuestId, _: &Subnet) -> Fit {
    Fit::AsDeclared
}

#[test]
fn the_size_of_a_range_costs_nothing() {
    for (cidr, first) in [("10.0.0.0/8", "10.0.0.1"), ("fd00::/64", "fd00::1"), ("::/0", "::1")] {
        let (subnet, mut addresses) = (subnet(cidr, None, None), Addresses::default());
        addresses.set_subnet(Some(Arc::clone(&subnet)), as_declared);
        let mut next = first.parse().unwrap();
        for _ in 0..100 {
            assert_eq!(addresses.first_free(&subnet, None), Some(next), "{cidr}");
            addresses.set_reservation(next, Some(reservation(false)));
            next = successor(next).unwrap();
        }
        assert_eq!(
            (addresses.entries.iter().count(), addresses.taken.ranges()),
            (100, 1),
            "{cidr}"
        );
    }
}

#[test]
fn the_worst_fragments_cost_one_range_for_each_address_that_is_used() {
    let (subnet, mut addresses) = (subnet("10.0.0.0/8", None, None), Addresses::default());
    addresses.set_subnet(Some(Arc::clone(&subnet)), as_declared);
    let every_other = |number: u32| IpAddr::from((0x0a00_0000 + 2 * number).to_be_bytes());
    for number in 1..=50_000 {
        addresses.set_reservation(every_other(number), Some(reservation(false)));
    }
    assert_eq!((addresses.entries.iter().count(), addresses.taken.ranges()), (50_000, 50_000));
    assert_eq!(addresses.first_free(&subnet, None), Some([10, 0, 0, 1].into()));
    for number in 1..=50_000 {
        addresses.set_reservation(every_other(number), None);
    }
    assert_eq!(
        (addresses.entries.iter().count(), addresses.taken.ranges()),
        (0, 0),
        "nothing is kept"
    );
}

#[test]
fn the_first_free_address_behind_a_dense_run_is_one_step_away() {
    let (subnet, mut addresses) = (subnet("10.0.0.0/8", None, None), Addresses::default());
    for number in 1..=100_000_u32 {
        let ip = IpAddr::from((0x0a00_0000 + number).to_be_bytes());
        addresses.set_reservation(ip, Some(reservation(false)));
    }
    assert_eq!(addresses.taken.ranges(), 1, "one look-up passes them all");
    assert_eq!(addresses.first_free(&subnet, None), Some([10, 1, 134, 161].into()));
}

#[test]
fn an_ipv6_key_below_an_ipv4_subnet_takes_no_ipv4_address() {
    let (subnet, mut addresses) = (subnet("10.0.0.0/24", None, None), Addresses::default());
    let stray = "::a00:1".parse().unwrap();
    addresses.set_reservation(stray, Some(reservation(false)));
    assert_eq!(addresses.first_free(&subnet, None), Some([10, 0, 0, 1].into()));
    addresses.set_reservation([10, 0, 0, 1].into(), Some(reservation(false)));
    addresses.set_reservation(stray, None);
    assert_eq!(addresses.first_free(&subnet, None), Some([10, 0, 0, 2].into()));
}

#[test]
fn the_last_address_of_all_has_no_successor() {
    let last = subnet("255.255.255.254/31", None, None);
    let mut addresses = Addresses::default();
    for ip in [last.start, last.end] {
        assert_eq!(addresses.first_free(&last, None), Some(ip));
        addresses.set_reservation(ip, Some(reservation(false)));
    }
    assert_eq!(addresses.first_free(&last, None), None);
}

/// One thing that happens to an address of 10.0.0.0/28.
#[derive(Debug, Clone)]
enum Step {
    Reserve(u8, bool),
    Free(u8),
    Place(u8, u8),
    Unplace(u8, u8),
    Resize(u8, u8),
    Undeclare,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..16_u8, any::<bool>()).prop_map(|(ip, quarantined)| Step::Reserve(ip, quarantined)),
        (0..16_u8).prop_map(Step::Free),
        (0..16_u8, 0..3_u8).prop_map(|(ip, guest)| Step::Place(ip, guest)),
        (0..16_u8, 0..3_u8).prop_map(|(ip, guest)| Step::Unplace(ip, guest)),
        (1..8_u8, 8..15_u8).prop_map(|(start, end)| Step::Resize(start, end)),
        Just(Step::Undeclare),
    ]
}

proptest! {
    #[test]
    fn what_is_counted_as_it_changes_is_what_counting_gives(
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut addresses = Addresses::default();
        let ip = |low: u8| IpAddr::from([10, 0, 0, low]);
        let guest = |number: u8| -> GuestId { id(number.into()) };
        // An odd guest is one that was placed with something else.
        let fit = |guest: GuestId| {
            if guest == id(1) { Fit::Outdated } else { Fit::AsDeclared }
        };
        for step in steps {
            match step {
                Step::Reserve(at, quarantined) => {
                    addresses.set_reservation(ip(at), Some(reservation(quarantined)));
                }
                Step::Free(at) => addresses.set_reservation(ip(at), None),
                Step::Place(at, number) => {
                    let fit = if addresses.subnet.is_some() {
                        fit(guest(number))
                    } else {
                        Fit::AsDeclared
                    };
                    addresses.set_placed(ip(at), guest(number), fit);
                }
                Step::Unplace(at, number) => addresses.clear_placed(ip(at), guest(number)),
                Step::Resize(start, end) => {
                    let (start, end) = (ip(start).to_string(), ip(end).to_string());
                    let new = subnet("10.0.0.0/28", Some(&start), Some(&end));
                    addresses.set_subnet(Some(new), |guest, _| fit(guest));
                }
                Step::Undeclare => addresses.set_subnet(None, as_declared),
            }
            let (mut all, mut inside) = (Tally::default(), Tally::default());
            let mut outdated = Vec::new();
            for (ip, entry) in addresses.iter() {
                all.add(entry);
                if addresses.counts(ip) {
                    inside.add(entry);
                }
                if addresses.subnet.is_some() && entry.placed == Some(guest(1)) {
                    outdated.push(ip);
                }
            }
            outdated.sort_unstable();
            prop_assert_eq!((addresses.tally(), addresses.inside()), (all, inside));
            prop_assert_eq!(addresses.outdated().collect::<Vec<_>>(), outdated);
            prop_assert_eq!(addresses.taken(), all.total());
        }
    }
}
