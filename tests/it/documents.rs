//! Documents that are wrong: each touches only its own status, which says what is wrong.

use lochness_api::status::{ConditionStatus, ConditionType, GuestStatus};
use lochness_api::{FlavorId, Key, Kind, SubnetId};
use serde_json::json;
use uuid::Uuid;

use crate::harness::{NETWORK, SUBNET, Stage, condition, eventually, guest_id};

/// What a guest's status says against its document or its place.
fn complaint(status: &GuestStatus) -> Option<String> {
    let said = [ConditionType::Valid, ConditionType::Placed];
    let said = said.iter().filter_map(|kind| condition(&status.conditions, *kind));
    said.filter(|it| it.status == ConditionStatus::False).map(|it| it.message.clone()).next()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_guest_document_is_told_in_words_disturbs_nobody_and_heals() {
    let stage = Stage::with_hosts(1).await;
    let good = stage.put_guests([0]).await;
    let before = stage.all_run(&good).await;

    let nested = |depth: usize| format!("{{\"metadata\":{}", "[".repeat(depth)).into_bytes();
    let missing = FlavorId::new(Uuid::from_u128(0xbeef));
    let wrong: [(u32, Vec<u8>, &[&str]); 10] = [
        (1, b"not json".to_vec(), &["JSON"]),
        (2, Vec::new(), &["empty"]),
        (3, b"[1, 2]".to_vec(), &["object"]),
        (4, json!({ "flavor": 7, "network": NETWORK }).to_string().into(), &["flavor"]),
        (5, nested(1 << 20), &["1048588 bytes"]),
        (10, nested(100_000), &["recursion"]),
        (6, json!({ "flavor": missing, "network": NETWORK }).to_string().into(), &["beef"]),
        (
            7,
            json!({ "id": guest_id(0), "flavor": crate::harness::FLAVOR, "network": NETWORK })
                .to_string()
                .into(),
            &["id"],
        ),
        (8, br#"{"flavor":"a","flavor":"b"}"#.to_vec(), &["flavor"]),
        (9, vec![0xff, 0xfe, b'{', b'}'], &["not a JSON document"]),
    ];
    for (number, bytes, _) in &wrong {
        stage.store.put_bytes(&Key::Guest(guest_id(*number)), bytes.clone()).await;
    }
    for (number, bytes, words) in &wrong {
        let says = |status: &GuestStatus| {
            let complaint = complaint(status)?.to_lowercase();
            words.iter().all(|word| complaint.contains(&word.to_lowercase())).then_some(complaint)
        };
        let shown: String = String::from_utf8_lossy(bytes).chars().take(60).collect();
        let said =
            stage.status(guest_id(*number), &format!("{words:?} is said of {shown}"), says).await;
        assert!(said.len() < 600, "{said}");
    }
    assert_eq!(stage.store.guests().await[&good[0]], before[&good[0]], "the good one moved");

    let healed = stage.put_guests(1..=10).await;
    stage.all_run(&healed).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_whose_document_becomes_garbage_runs_on() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests([0]).await;
    let before = stage.all_run(&guests).await;
    stage.store.put_bytes(&Key::Guest(guests[0]), "{").await;
    stage.status(guests[0], "it is told to be invalid", complaint).await;
    let now = &stage.store.guests().await[&guests[0]];
    assert_eq!(now.placement, before[&guests[0]].placement);
    assert!(stage.hosts[0].runs(guests[0]));
    stage.put_guests([0]).await;
    stage.status(guests[0], "it is valid again", |it| complaint(it).is_none().then_some(())).await;
    let created = stage.hosts[0].history();
    assert_eq!(created.iter().filter(|it| it.guest == Some(guests[0])).count(), 2, "{created:?}");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subnet_whose_range_lies_outside_its_cidr_is_told_and_others_are_used() {
    let stage = Stage::with_hosts(1).await;
    let wrong = SubnetId::new(Uuid::from_u128(0xbad));
    let text = json!({ "network": NETWORK, "cidr": "10.9.0.0/24", "start": "10.8.0.1", "end": "10.9.0.9" });
    stage.store.put(&Key::Subnet(wrong), &text).await;
    stage.store.put(&Key::HypervisorSubnet(stage.hosts[0].id(), wrong), &json!("br1")).await;
    let guests = stage.put_guests(0..3).await;
    let statuses = stage.all_run(&guests).await;
    for status in statuses.values() {
        assert_eq!(status.placement.as_ref().map(|it| it.subnet), Some(SUBNET));
    }
    eventually("the subnet says what is wrong", async || {
        let said = stage.store.conditions(Kind::Subnet, &wrong.to_string()).await;
        let valid = condition(&said, ConditionType::Valid).ok_or("nothing is said")?;
        let told = valid.status == ConditionStatus::False && valid.message.contains("10.8.0.1");
        if told { Ok(()) } else { Err(valid.message.clone()) }
    })
    .await;
    stage.finish().await;
}
