//! What the world keeps over a new list, who has which hardware address, and which subnets meet.

use lochness_api::keys::Key;
use lochness_api::{Kind, Prefix};
use lochness_kv::{Header, KeyValue};
use serde_json::{Value, json};

use super::{MacHolder, World};
use crate::testing::{Store, id};

/// A key with its value, created at one revision and put at another.
fn kv(key: &Key, value: &str, create_revision: i64, mod_revision: i64) -> KeyValue {
    KeyValue {
        key: Prefix::default().key(key).into(),
        value: value.to_owned().into(),
        create_revision,
        mod_revision,
        version: 1,
        lease: None,
    }
}

fn list(former: &World, kvs: &[KeyValue], revision: i64) -> World {
    World::from_list(former, kvs, Header { cluster_id: 1, revision })
}

/// A document of every kind, and configuration of the cluster and of a host.
fn everything() -> Vec<(Key, Value)> {
    let named = |name: &str| json!({"metadata": {"name": name}});
    let with = |mut document: Value, more: Value| {
        document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        document
    };
    vec![
        (
            Key::Guest(id(1)),
            with(named("a"), json!({"flavor": id::<()>(4), "network": id::<()>(2)})),
        ),
        (Key::Network(id(2)), named("b")),
        (
            Key::Subnet(id(3)),
            with(named("c"), json!({"network": id::<()>(2), "cidr": "10.0.0.0/24"})),
        ),
        (
            Key::Flavor(id(4)),
            with(named("d"), json!({"image": id::<()>(5), "memory": 1, "cpu": 1})),
        ),
        (Key::Image(id(5)), with(named("e"), json!({"source": "http://i/5"}))),
        (Key::FwGroup(id(6)), with(named("f"), json!({"rules": [{"protocol": "tcp"}]}))),
        (Key::Hypervisor(id(7)), with(named("g"), json!({"ip": "192.0.2.1"}))),
        (Key::VlanGroup(id(8)), with(named("h"), json!({"description": "x"}))),
        (Key::Vlan(lochness_api::document::VlanTag::new(9).unwrap()), json!({"description": "y"})),
        (Key::Config("quarantine_seconds".to_owned()), json!(77)),
        (Key::HypervisorConfig(id(7), "reserve_memory".to_owned()), json!(88)),
    ]
}

/// What is understood of every one of them.
fn understood(world: &World) -> [bool; 11] {
    [
        world.guest(id(1)).and_then(|it| it.understood()).is_some(),
        world.network(id(2)).is_some_and(|it| it.understood.is_some()),
        world.subnet(id(3)).and_then(|it| it.declared()).is_some(),
        world.flavor(id(4)).is_some_and(|it| it.understood.is_some()),
        world.image(id(5)).is_some_and(|it| it.understood.is_some()),
        world.fwgroup(id(6)).is_some_and(|it| it.understood.is_some()),
        world.host(id(7)).and_then(|it| it.declared()).is_some(),
        world.vlangroup(id(8)).is_some_and(|it| it.understood.is_some()),
        world.object(Kind::Vlan, "9").is_some_and(|it| it.invalid.is_some()),
        world.config().quarantine_seconds == 77,
        world.host(id(7)).is_some_and(|it| it.config.reserve_memory == Some(88)),
    ]
}

fn listed(value: impl Fn(&Value) -> String, create: i64, put: i64) -> Vec<KeyValue> {
    everything().iter().map(|(key, good)| kv(key, &value(good), create, put)).collect()
}

#[test]
fn what_was_understood_is_lent_over_a_new_list_to_every_kind() {
    let first = list(&World::default(), &listed(Value::to_string, 5, 5), 5);
    let mut vlan_is_valid = understood(&first);
    vlan_is_valid[8] = true;
    assert_eq!(vlan_is_valid, [true; 11]);
    let broken = list(&first, &listed(|_| "{".to_owned(), 5, 6), 6);
    assert_eq!(understood(&broken), [true; 11]);
    assert!(broken.guest(id(1)).unwrap().document.as_ref().unwrap().invalid.is_some());
    assert_eq!(broken.subnets_of(id(2)).collect::<Vec<_>>(), [id(3)]);
    assert_eq!(broken.names().bearers(Kind::FwGroup, "f").count(), 1, "its name is still its own");
    assert_eq!(broken.config_errors().len(), 1);
    let again = list(&broken, &listed(|_| "{".to_owned(), 5, 6), 7);
    assert_eq!(understood(&again), [true; 11], "also over the next list");
}

#[test]
fn a_key_that_was_deleted_and_put_again_inherits_nothing() {
    let first = list(&World::default(), &listed(Value::to_string, 5, 5), 5);
    let anew = list(&first, &listed(|_| "{".to_owned(), 6, 6), 6);
    let mut vlan_is_invalid = [false; 11];
    vlan_is_invalid[8] = true;
    assert_eq!(understood(&anew), vlan_is_invalid);
}

#[test]
fn a_value_of_the_configuration_that_does_not_parse_leaves_the_one_before() {
    let mut store = Store::default();
    let key = Key::Config("quarantine_seconds".to_owned());
    store.put_text(&key, "9");
    store.put_text(&key, "soon");
    assert_eq!(store.world.config().quarantine_seconds, 9);
    assert_eq!(store.world.config_errors().len(), 1);
    store.delete(&key);
    assert_eq!(
        (store.world.config().quarantine_seconds, store.world.config_errors().len()),
        (300, 0)
    );
}

#[test]
fn a_hardware_address_is_the_placed_guests_then_the_eldest_askers() {
    let mut store = Store::basics();
    let mac = "02:00:00:00:00:07";
    let [elder, younger, placed] =
        [100, 101, 102].map(|number| store.guest(number, &json!({"mac": mac})));
    let taken = |store: &Store, id| store.world.mac_taken_by(mac.parse().unwrap(), id);
    assert_eq!(taken(&store, elder), None);
    assert_eq!(taken(&store, younger), Some(MacHolder::AskedEarlier(elder)));
    let status = json!({"phase": "Running", "placement": {"hypervisor": id::<()>(10),
        "subnet": id::<()>(2), "ip": "10.0.0.9", "cidr": "10.0.0.0/24", "mac": mac}});
    let changes = store.put(&Key::GuestStatus(placed), &status);
    for asker in [elder, younger] {
        assert_eq!(taken(&store, asker), Some(MacHolder::Placed(placed)));
        assert!(changes.contains(&super::Change::Guest(asker)), "{changes:?}");
    }
    assert_eq!(taken(&store, placed), None);
    store.delete(&Key::GuestStatus(placed));
    store.delete(&Key::Guest(elder));
    assert_eq!(taken(&store, younger), None);
    assert_eq!(taken(&store, placed), Some(MacHolder::AskedEarlier(younger)));
}

#[test]
fn a_hardware_address_that_follows_from_an_id_is_waited_for_like_one_that_is_asked_for() {
    let mut store = Store::basics();
    let derived: lochness_api::GuestId = id(101);
    let mac = lochness_api::Mac::of_guest(derived);
    let asker = store.guest(100, &json!({"mac": mac.to_string()}));
    store.guest(101, &json!({}));
    assert_eq!(store.world.mac_taken_by(mac, derived), Some(MacHolder::AskedEarlier(asker)));
    let changes = store.delete(&Key::Guest(asker));
    assert_eq!(store.world.mac_taken_by(mac, derived), None);
    assert!(changes.contains(&super::Change::Guest(derived)), "it is told: {changes:?}");
}

#[test]
fn subnets_of_one_network_meet_as_their_documents_come_and_go() {
    let mut store = Store::default();
    let mut put = |number: u128, network: u128, cidr: &str| {
        let document = json!({"network": id::<()>(network), "cidr": cidr});
        store.put(&Key::Subnet(id(number)), &document);
        store.world.neighbours(id(1)).map(|(id, _)| id).collect::<Vec<_>>()
    };
    assert_eq!(put(1, 1, "10.0.0.0/24"), []);
    assert_eq!(put(2, 1, "10.0.0.128/25"), [id(2)]);
    assert_eq!(put(3, 2, "10.0.0.0/24"), [id(2)], "that one is in another network");
    assert_eq!(put(3, 1, "10.0.0.0/16"), [id(2), id(3)]);
    assert_eq!(put(2, 1, "10.0.1.0/24"), [id(3)]);
    assert_eq!(put(4, 1, "fd00::/64"), [id(3)]);
    store.delete(&Key::Subnet(id(3)));
    assert_eq!(store.world.neighbours(id(1)).count(), 0);
}

#[test]
fn an_address_is_its_guests_in_the_whole_network_whatever_becomes_of_the_subnet() {
    let mut store = Store::basics();
    let guest = store.guest(100, &json!({}));
    let status = json!({"phase": "Running", "placement": {"hypervisor": id::<()>(10),
        "subnet": id::<()>(2), "network": id::<()>(1), "ip": "10.0.0.9", "cidr": "10.0.0.0/24",
        "mac": "02:00:00:00:00:01"}});
    store.put(&Key::GuestStatus(guest), &status);
    let check = |world: &World, held: bool| {
        let ip = [10, 0, 0, 9].into();
        let holder = world.held_by_another(id(1), ip, id(7));
        assert_eq!(holder, held.then_some(guest));
        let next = if held { [10, 0, 0, 10].into() } else { ip };
        assert_eq!(world.first_unheld(id(1), ip), Some(next));
        assert_eq!(world.held_by_another(id(1), ip, guest), None, "it may have what it has");
        assert_eq!(world.first_unheld(id(99), ip), Some(ip), "another network");
    };
    check(&store.world, true);
    store.delete(&Key::Subnet(id(2)));
    check(&store.world, true);
    check(
        &list(&World::default(), &[kv(&Key::GuestStatus(guest), &status.to_string(), 1, 1)], 3),
        true,
    );
    store.delete(&Key::GuestStatus(guest));
    check(&store.world, false);
}

#[test]
fn a_host_counts_what_its_guests_need_and_a_group_where_its_members_are() {
    let mut store = Store::basics();
    let host = store.host(10, 1024);
    let place = |store: &mut Store, number: u128, phase: &str| {
        let status = json!({"phase": phase, "placement": {"hypervisor": host, "subnet": id::<()>(2),
            "ip": "10.0.0.2", "cidr": "10.0.0.0/24", "mac": "02:00:00:00:00:01",
            "image": id::<()>(7), "fwgroup": id::<()>(8)}});
        store.put(&Key::GuestStatus(id(number)), &status);
    };
    let seen = |store: &Store| {
        let images = store.world.host(host).unwrap().images.get(&id(7)).copied();
        (images, store.world.fwgroup_hosts(id(8)).collect::<Vec<_>>())
    };
    place(&mut store, 100, "Running");
    place(&mut store, 101, "Running");
    assert_eq!(seen(&store), (Some(2), vec![host]));
    place(&mut store, 100, "Deleting");
    assert_eq!(seen(&store), (Some(1), vec![host]), "what is torn down needs no image");
    store.delete(&Key::GuestStatus(id(100)));
    assert_eq!(seen(&store), (Some(1), vec![host]));
    store.delete(&Key::GuestStatus(id(101)));
    assert_eq!(seen(&store), (None, vec![]));
}

#[test]
fn what_each_look_at_a_host_asks_for_follows_every_key_that_decides_it() {
    let mut store = Store::basics();
    let host = store.host(10, 1024);
    let seen = |store: &Store| {
        let entry = store.world.host(host).unwrap();
        (entry.is_open(), entry.allocatable().memory)
    };
    assert_eq!(seen(&store), (true, 1024));
    store.put_text(&Key::Config("overcommit_memory".to_owned()), "2");
    assert_eq!(seen(&store), (true, 2048));
    let reserve = Key::HypervisorConfig(host, "reserve_memory".to_owned());
    store.put_text(&reserve, "24");
    assert_eq!(seen(&store), (true, 2024));
    store.delete(&Key::Config("overcommit_memory".to_owned()));
    assert_eq!(seen(&store), (true, 1000));
    for name in ["pause", "cordon", "drain"] {
        let key = Key::HypervisorConfig(host, name.to_owned());
        store.put_text(&key, "true");
        assert_eq!(seen(&store), (false, 1000), "{name}");
        store.delete(&key);
        assert_eq!(seen(&store), (true, 1000), "{name}");
    }
    let stale = Key::Stale(host, id(100));
    store.put_text(&stale, "");
    assert_eq!(seen(&store), (false, 1000));
    store.delete(&stale);
    store.delete(&Key::Heartbeat(host));
    assert_eq!(seen(&store), (false, 1000));
    store.put_text(&Key::Heartbeat(host), "alive");
    assert_eq!(seen(&store), (true, 1000));
    store.put_text(&Key::Placement(host, id(100)), "");
    store.delete(&Key::Hypervisor(host));
    assert_eq!(seen(&store), (false, 0), "its guest keeps it in the world");
}
