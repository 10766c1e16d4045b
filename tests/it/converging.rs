//! Documents put by anything that can put a key, in any order.

use lochness_api::manifest::id_of;
use lochness_api::status::Phase;
use lochness_api::{FlavorId, GuestId, ImageId, Key, Kind, NetworkId, SubnetId};
use serde_json::{Value, json};

use crate::harness::{HostOptions, Stage, eventually, host_id};

/// One guest with everything that it refers to, of its own.
struct Family {
    guest: GuestId,
    members: Vec<(Key, Value)>,
}

const IMAGE: usize = 0;
const FLAVOR: usize = 1;
const NETWORK: usize = 2;
const SUBNET: usize = 3;
const BRIDGE: usize = 4;
const GUEST: usize = 5;

fn family(number: u8) -> Family {
    let name = format!("family-{number}");
    let image = ImageId::new(id_of(Kind::Image, &name));
    let flavor = FlavorId::new(id_of(Kind::Flavor, &name));
    let network = NetworkId::new(id_of(Kind::Network, &name));
    let subnet = SubnetId::new(id_of(Kind::Subnet, &name));
    let guest = GuestId::new(id_of(Kind::Guest, &name));
    let members = vec![
        (Key::Image(image), json!({ "source": "http://images.invalid/x.img" })),
        (Key::Flavor(flavor), json!({ "image": image, "memory": 64, "disk": 64, "cpu": 1 })),
        (Key::Network(network), json!({})),
        (Key::Subnet(subnet), json!({ "network": network, "cidr": format!("10.2.{number}.0/28") })),
        (Key::HypervisorSubnet(host_id("host-1"), subnet), json!("br0")),
        (Key::Guest(guest), json!({ "flavor": flavor, "network": network })),
    ];
    Family { guest, members }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_put_in_any_order_converge_alike() {
    const ORDERS: [[usize; 6]; 8] = [
        [GUEST, FLAVOR, IMAGE, NETWORK, BRIDGE, SUBNET],
        [GUEST, SUBNET, BRIDGE, NETWORK, IMAGE, FLAVOR],
        [SUBNET, GUEST, NETWORK, BRIDGE, FLAVOR, IMAGE],
        [BRIDGE, IMAGE, GUEST, SUBNET, FLAVOR, NETWORK],
        [FLAVOR, SUBNET, BRIDGE, GUEST, NETWORK, IMAGE],
        [NETWORK, SUBNET, FLAVOR, IMAGE, GUEST, BRIDGE],
        [IMAGE, BRIDGE, NETWORK, FLAVOR, SUBNET, GUEST],
        [IMAGE, FLAVOR, NETWORK, SUBNET, BRIDGE, GUEST],
    ];
    let mut stage = Stage::empty().await;
    stage.host(&HostOptions::new("host-1")).await;
    stage.operator("one").await;
    let families: Vec<_> = (0..8).map(family).collect();
    for turn in 0..6 {
        for (family, order) in families.iter().zip(ORDERS) {
            let (key, value) = &family.members[order[turn]];
            stage.store.put(key, value).await;
        }
        // The operator must have seen, and answered, what is half said before the rest is.
        let said: Vec<_> = families
            .iter()
            .zip(ORDERS)
            .filter(|(_, order)| order[..=turn].contains(&GUEST))
            .map(|(family, _)| family.guest)
            .collect();
        eventually("every guest has a status", async || {
            let statuses = stage.store.guests().await;
            let missing = said.iter().find(|id| !statuses.contains_key(id));
            missing.map_or(Ok(()), |id| Err(format!("{id} has none")))
        })
        .await;
    }
    let guests: Vec<_> = families.iter().map(|family| family.guest).collect();
    let statuses = stage.all_run(&guests).await;
    let told = |status: &lochness_api::status::GuestStatus| {
        let answers = status.conditions.iter().map(|it| (it.kind, it.status, it.reason));
        (status.phase, answers.collect::<Vec<_>>())
    };
    let first = told(&statuses[&guests[0]]);
    assert_eq!(first.0, Phase::Running);
    for guest in &guests {
        assert_eq!(told(&statuses[guest]), first, "the order of the puts can be told from {guest}");
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_there_before_the_operator_converges_and_putting_it_again_moves_nothing() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    let guests = stage.put_guests(0..5).await;
    stage.host(&HostOptions::new("host-1")).await;
    stage.operator("one").await;
    stage.all_run(&guests).await;
    // A job that is done makes a guest `Running` before the next list of its host says so, too.
    let before = eventually("the lists say so, too", async || {
        let statuses = stage.store.guests().await;
        let other = statuses.values().find(|it| it.agent_state.as_deref() != Some("running"));
        other.map_or(Ok(statuses.clone()), |status| Err(format!("{status:?}")))
    })
    .await;
    let mutations = stage.mutations();
    for _ in 0..3 {
        stage.put_guests(0..5).await;
        stage.put_network().await;
    }
    // What is put last is answered last: when it runs, the others have been looked at.
    let last = stage.put_guests([9]).await;
    stage.all_run(&last).await;
    let created = stage.mutations() - mutations;
    for (id, status) in stage.store.guests().await {
        let Some(before) = before.get(&id) else { continue };
        assert_eq!(*before, status, "{id} moved");
    }
    assert!(created <= 2, "one create and its ruleset, not {created} changes");
    stage.finish().await;
}
