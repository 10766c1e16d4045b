//! Networks of several subnets, and reservations that are not as they should be.

use std::collections::BTreeSet;
use std::net::IpAddr;

use lochness_api::document::Kind;
use lochness_api::status::{Condition, ConditionStatus, ConditionType, GuestStatus, Reason};
use lochness_api::{Key, SubnetId};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::harness::{NETWORK, SUBNET, Stage, condition, eventually, guest_id};

/// A second subnet of the network.
const SECOND: SubnetId = SubnetId::new(Uuid::from_u128(0x5b2e_0000_0002));

/// Puts the second subnet, which every host reaches.
async fn put_second(stage: &Stage, cidr: &str, name: &str) {
    let document = json!({ "network": NETWORK, "cidr": cidr, "metadata": { "name": name } });
    for host in &stage.hosts {
        stage.store.put(&Key::HypervisorSubnet(host.id(), SECOND), &json!("br1")).await;
    }
    stage.store.put(&Key::Subnet(SECOND), &document).await;
}

/// Puts the first subnet with other ends.
async fn resize_first(stage: &Stage, start: &str, end: &str) {
    let document = json!({ "network": NETWORK, "cidr": "10.1.0.0/24", "gateway": "10.1.0.1",
        "start": start, "end": end, "metadata": { "name": "first" } });
    stage.store.put(&Key::Subnet(SUBNET), &document).await;
}

/// Waits until a subnet's condition has this reason; its message.
async fn says(stage: &Stage, subnet: SubnetId, kind: ConditionType, reason: Reason) -> String {
    let what = format!("{kind} of {subnet} becomes {reason}");
    let found = eventually(&what, async || {
        let conditions = stage.store.conditions(Kind::Subnet, &subnet.to_string()).await;
        let found = condition(&conditions, kind).filter(|it| it.reason == reason).cloned();
        found.ok_or_else(|| format!("{conditions:?}"))
    });
    let Condition { message, .. } = found.await;
    message
}

fn refusal(status: &GuestStatus) -> Option<(Reason, String)> {
    let placed = condition(&status.conditions, ConditionType::Placed)?;
    (placed.status == ConditionStatus::False).then(|| (placed.reason, placed.message.clone()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_fills_its_first_subnet_then_the_second_and_says_when_both_are_full() {
    let stage = Stage::with_hosts(2).await;
    resize_first(&stage, "10.1.0.10", "10.1.0.11").await;
    put_second(&stage, "10.1.1.0/30", "second").await;
    let mut subnets = Vec::new();
    for number in 0..4 {
        let guest = stage.put_guest(number, json!({})).await;
        let statuses = stage.all_run(&[guest]).await;
        subnets.push(statuses[&guest].placement.as_ref().expect("it runs").subnet);
    }
    assert_eq!(subnets, [SUBNET, SUBNET, SECOND, SECOND]);
    let waiting = stage.put_guest(4, json!({})).await;
    let (reason, message) = stage.status(waiting, "it is refused", refusal).await;
    assert_eq!(reason, Reason::NoAddressFree);
    assert!(message.contains("subnet first (") && message.contains("subnet second ("), "{message}");
    let message = says(&stage, SECOND, ConditionType::Capacity, Reason::Exhausted).await;
    assert!(message.starts_with("0 of 2 addresses are free"), "{message}");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reservations_of_no_use_are_reported_and_freed_and_others_stay() {
    let stage = Stage::with_hosts(1).await;
    let guest = stage.put_guest(0, json!({})).await;
    let statuses = stage.all_run(&[guest]).await;
    let own = statuses[&guest].placement.as_ref().expect("it runs").ip;
    let address = |low: u8| Key::Address(SUBNET, [10, 1, 0, low].into());
    let by_hand = address(93);
    stage.store.put_bytes(&by_hand, "the printer").await;
    let leaks = [
        (address(90), guest_id(99).to_string()),
        (address(91), guest.to_string()),
        (Key::Address(SECOND, [10, 9, 0, 1].into()), guest_id(98).to_string()),
    ];
    for (key, text) in &leaks {
        stage.store.put_bytes(key, text.clone()).await;
    }
    let message = says(&stage, SUBNET, ConditionType::Ready, Reason::Unused).await;
    assert!(message.contains("10.1.0.9"), "{message}");
    for (key, _) in &leaks {
        eventually("the leak is freed", async || match stage.store.get(key).await {
            None => Ok(()),
            Some(_) => Err(format!("{key:?} is still reserved")),
        })
        .await;
    }
    assert!(stage.store.get(&by_hand).await.is_some(), "somebody's own reservation stays");
    assert!(stage.store.get(&Key::Address(SUBNET, own)).await.is_some(), "the guest keeps its own");
    stage.store.delete(&by_hand).await;
    says(&stage, SUBNET, ConditionType::Ready, Reason::Accepted).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subnet_that_overlaps_an_elder_one_takes_no_guest_until_they_differ() {
    let stage = Stage::with_hosts(1).await;
    resize_first(&stage, "10.1.0.10", "10.1.0.20").await;
    put_second(&stage, "10.1.0.128/25", "second").await;
    let message = says(&stage, SECOND, ConditionType::Valid, Reason::SubnetsOverlap).await;
    assert!(message.contains("second (") && message.contains("first ("), "{message}");
    let asks = json!({ "subnet": SECOND });
    let waiting = stage.put_guest(0, asks).await;
    let (reason, _) = stage.status(waiting, "it is refused", refusal).await;
    assert_eq!(reason, Reason::SubnetsOverlap);
    let other = stage.put_guest(1, json!({})).await;
    let statuses = stage.all_run(&[other]).await;
    assert_eq!(statuses[&other].placement.as_ref().map(|it| it.subnet), Some(SUBNET));
    put_second(&stage, "10.2.0.0/25", "second").await;
    let statuses = stage.all_run(&[waiting]).await;
    assert_eq!(statuses[&waiting].placement.as_ref().map(|it| it.subnet), Some(SECOND));
    says(&stage, SECOND, ConditionType::Valid, Reason::Accepted).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_keep_their_addresses_when_the_range_changes_and_the_subnet_says_so() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..3).await;
    let addresses = |statuses: &std::collections::BTreeMap<_, GuestStatus>| -> BTreeSet<IpAddr> {
        statuses.values().filter_map(|it| Some(it.placement.as_ref()?.ip)).collect()
    };
    let before = addresses(&stage.all_run(&guests).await);
    resize_first(&stage, "10.1.0.100", "10.1.0.120").await;
    let message = says(&stage, SUBNET, ConditionType::InRange, Reason::RangeChanged).await;
    assert!(message.starts_with("3 guests keep"), "{message}");
    assert!(before.iter().any(|ip| message.contains(&ip.to_string())), "{message}");
    let next = stage.put_guest(3, json!({})).await;
    let status = stage.all_run(&[next]).await;
    assert_eq!(addresses(&status), BTreeSet::from([IpAddr::from([10, 1, 0, 100])]));
    assert_eq!(addresses(&stage.all_run(&guests).await), before);
    let narrowed: Value = json!("10.1.0.10");
    resize_first(&stage, narrowed.as_str().expect("is a text"), "10.1.0.120").await;
    says(&stage, SUBNET, ConditionType::InRange, Reason::Accepted).await;
    stage.finish().await;
}
