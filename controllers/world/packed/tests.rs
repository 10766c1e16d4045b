//! What is unpacked equals what was packed, and what nobody has any more is gone.

use std::sync::Arc;

use lochness_api::document::Document;
use lochness_api::job::Job;
use lochness_api::{FieldError, Invalid};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::testing::id;

fn guest(more: &Value) -> Arc<Guest> {
    let mut document = json!({"flavor": id::<()>(4), "network": id::<()>(2)});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let text = document.to_string();
    Arc::new(Guest::parse(&id::<Guest>(1).to_string(), text.as_bytes()).unwrap())
}

fn declared(guest: Arc<Guest>) -> Declared<Guest> {
    Declared { create_revision: 3, mod_revision: 900, understood: Some(guest), invalid: None }
}

fn same_document(one: &Declared<Guest>, other: &Declared<Guest>) -> bool {
    (one.create_revision, one.mod_revision, &one.understood, &one.invalid)
        == (other.create_revision, other.mod_revision, &other.understood, &other.invalid)
}

fn same<T: PartialEq>(one: &Stored<T>, other: &Stored<T>) -> bool {
    (one.create_revision, one.mod_revision, &one.value)
        == (other.create_revision, other.mod_revision, &other.value)
}

fn check_document(declared: &Declared<Guest>) {
    let mut pool = Pool::default();
    let part = document::write(&mut pool, declared);
    let read = document::read(&pool, &part, id(1));
    assert!(same_document(&read, declared), "{read:?}\n{declared:?}");
    wire::release(&mut pool, &part);
    assert_eq!(pool.len(), 0);
}

fn check_status(stored: &Stored<GuestStatus>) {
    let (mut pool, mut shapes) = (Pool::default(), Shapes::default());
    let part = status::write(&mut pool, &mut shapes, stored);
    let read = status::read(&pool, &shapes, &part);
    assert!(same(&read, stored), "{read:?}\n{stored:?}");
    let whole = read.value.as_deref();
    assert_eq!(status::read_job(&pool, &part), whole.and_then(|status| status.job));
    let place = whole.and_then(|status| status.placement.clone());
    assert_eq!(status::read_place(&pool, &part), place);
    wire::release(&mut pool, &part);
    assert_eq!(pool.len(), 0);
}

fn check_job(stored: &Stored<Job>) {
    let mut pool = Pool::default();
    let part = job::write(&mut pool, stored, id(9));
    let read = job::read(&pool, &part, id(9));
    assert!(same(&read, stored), "{read:?}\n{stored:?}");
    wire::release(&mut pool, &part);
    assert_eq!(pool.len(), 0);
}

fn stored<T: serde::de::DeserializeOwned>(value: &Value) -> Stored<T> {
    let value = serde_json::from_value(value.clone()).unwrap();
    Stored { create_revision: 7, mod_revision: 7, value: Some(Arc::new(value)) }
}

fn full_status() -> Value {
    json!({
        "phase": "Stopping", "observed": "0123456789abcdef", "order": "1763789000123.77",
        "placement": {
            "hypervisor": id::<()>(1), "subnet": id::<()>(2), "network": id::<()>(3),
            "ip": "10.0.0.9", "cidr": "10.0.0.7/24", "gateway": "10.0.0.1",
            "mac": "02:00:00:00:00:01", "bridge": "br0", "vlans": [1, 4094],
            "fwgroup": id::<()>(4), "image": id::<()>(5),
            "resources": {"memory": 128, "disk": u64::MAX, "cpu": u32::MAX},
        },
        "job": id::<()>(6), "reboot": "again", "agent_state": "running",
        "conditions": [
            {"type": "Valid", "status": "True", "reason": "Accepted", "message": "",
                "last_transition": "2026-11-22T05:00:00Z"},
            {"type": "Ready", "status": "Unknown", "reason": "HostSilent", "message": "x".repeat(70),
                "last_transition": "2026-11-22T04:59:59.000000123Z"},
            {"type": "Other", "status": "False", "reason": "Other", "message": "é",
                "last_transition": "1960-01-01T00:00:00.5Z"},
        ],
    })
}

#[test]
fn a_document_is_read_as_it_was_written() {
    check_document(&declared(guest(&json!({}))));
    check_document(&declared(guest(&json!({
        "type": "kvm", "hypervisor": id::<()>(5), "subnet": id::<()>(6), "fwgroup": id::<()>(7),
        "vlangroup": id::<()>(8), "mac": "02:00:00:00:00:07", "ip": "fd00::1", "bridge": "br7",
        "state": "suspended", "reboot": "x", "restart": "never",
        "metadata": {"name": "web-1", "label/app": "", "user_data": "#!".repeat(99)},
        "tags": [null, true, false, -1, u64::MAX, 0.1, 1e300, "text", {"deep": [{}]}],
    }))));
    let state = json!({"state": "stopped", "restart": "on-failure"});
    check_document(&declared(guest(&state)));
}

#[test]
fn a_document_that_is_not_understood_keeps_its_faults_and_what_was_understood_before() {
    let fault = FieldError { field: "flavor".to_owned(), reason: "is no UUID".to_owned() };
    let invalid = Some(Arc::new(Invalid(vec![fault])));
    check_document(&Declared { invalid: invalid.clone(), ..declared(guest(&json!({}))) });
    check_document(&Declared { understood: None, invalid, ..declared(guest(&json!({}))) });
}

#[test]
fn a_status_is_read_as_it_was_written() {
    check_status(&stored(&full_status()));
    check_status(&stored(&json!({})));
    check_status(&stored(&json!({"order": "01.7"})));
    check_status(&Stored { create_revision: 1, mod_revision: 5, value: None });
}

#[test]
fn a_job_is_read_as_it_was_written() {
    let plain = json!({"id": id::<()>(9), "action": "delete", "guest": id::<()>(1),
        "hypervisor": id::<()>(2), "status": "new"});
    check_job(&stored(&plain));
    for remote in [id::<()>(9).to_string(), id::<()>(8).to_string(), "7".to_owned(), "A".repeat(80)]
    {
        let mut full = plain.clone();
        full.as_object_mut().unwrap().extend(
            json!({"remote": remote, "order": "17.42", "attempt": 3, "error": "no",
                "status": "error", "deadline": "2026-01-02T03:04:05Z",
                "started_at": "2026-01-02T03:04:05.678Z", "finished_at": "2026-01-02T03:04:06Z"})
            .as_object()
            .unwrap()
            .clone(),
        );
        check_job(&stored(&full));
    }
    let mut misnamed = plain;
    misnamed["id"] = json!(id::<()>(77));
    check_job(&stored(&misnamed));
    check_job(&Stored { create_revision: 1, mod_revision: 5, value: None });
}

#[test]
fn guests_that_rest_share_what_they_have_in_common_and_leave_nothing_behind() {
    let mut guests = Guests::default();
    for number in 0..100 {
        guests.stage_document(id(number), declared(guest(&json!({"metadata": {"label/a": "b"}}))));
        guests.stage_status(id(number), stored(&full_status()));
        guests.stage_index(id(number), id(1), 4);
        guests.stage_address(id(number), (id(2), "10.0.0.9".parse().unwrap()));
    }
    let shared = guests.pool.len();
    assert!(shared < 20, "{shared}");
    let weight = guests.records.iter().map(|(_, record)| record.weight()).sum::<usize>() / 100;
    assert!(weight < 220, "a guest's record has {weight} bytes");
    let outline = guests.outline(id(7)).unwrap();
    assert!(outline.is_declared() && outline.is_placed() && outline.has_status());
    assert!(!outline.is_invalid());
    assert_eq!(outline.phase(), Some(lochness_api::status::Phase::Stopping));
    for number in 0..100 {
        let (_, entry) = guests.take(id(number));
        guests.give_up(id(number));
        assert_eq!((entry.index.len(), entry.addresses.len()), (1, 1));
        assert!(entry.document.is_some() && entry.placement().is_some());
    }
    assert_eq!((guests.pool.len(), guests.sorted().len()), (0, 0));
}

#[test]
fn what_was_unpacked_is_let_go_when_it_is_much_and_reads_the_same_again() {
    let mut guests = Guests::default();
    for number in (0..).take(3 * unpacked::MOST) {
        guests.stage_status(id(number), stored(&full_status()));
    }
    let before = format!("{:?}", guests.get(id(0)));
    let (mut times, mut most) = (0, 0);
    for number in (1..).take(3 * unpacked::MOST - 1) {
        assert!(guests.get(id(number)).is_some());
        most = most.max(guests.unpacked.len());
        if guests.is_swollen() {
            guests.shrink();
            times += 1;
            assert!(!guests.is_swollen());
            assert!(guests.unpacked.take(id(number)).is_some(), "what came last stays");
        }
    }
    assert!(times > 1 && most <= unpacked::MOST + 2, "{times} times, {most} at once");
    assert!(guests.unpacked.take(id(0)).is_none(), "what came first is gone");
    assert_eq!(format!("{:?}", guests.get(id(0))), before);
}

proptest! {
    #[test]
    fn any_times_and_texts_are_read_as_they_were_written(
        times in prop::collection::vec((-62_135_596_800_i64..253_402_300_799, 0_i32..1_000_000_000), 0..6),
        texts in prop::collection::vec(".{0,80}", 0..6),
        numbers in prop::collection::vec(any::<i64>(), 0..6),
    ) {
        let mut pool = Pool::default();
        let mut writer = wire::Writer::new(&mut pool);
        let times: Vec<_> = times
            .into_iter()
            .map(|(second, nanosecond)| jiff::Timestamp::new(second, nanosecond).unwrap())
            .collect();
        for time in &times {
            writer.time(*time);
        }
        for text in &texts {
            writer.text(text);
        }
        for text in &texts {
            writer.order(text);
        }
        for number in &numbers {
            writer.body.signed(*number);
        }
        let part = writer.finish();
        let mut reader = wire::Reader::new(&pool, &part);
        for time in &times {
            assert_eq!(reader.time(), *time);
        }
        for text in &texts {
            assert_eq!(&reader.text(), text);
        }
        for text in &texts {
            assert_eq!(&reader.order(), text);
        }
        for number in &numbers {
            assert_eq!(reader.body.signed(), *number);
        }
        prop_assert!(reader.body.0.is_empty());
    }
}
