//! The checker is worth what it catches: for each rule, a history that breaks it.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lochness_agent::server::{Effect, EffectKind};
use lochness_agent::wire::Order;
use lochness_api::{GuestId, Id, JobId, Key, Prefix};
use lochness_kv::{Event, KeyValue};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::{SUBNET, guest_id, host_id};
use super::record::Record;
use super::{HostHistory, truth};

/// A store's history, written by hand: every put of one step is one revision.
struct Story {
    record: Record,
    revision: i64,
}

impl Story {
    /// A store with a leader.
    fn new() -> Self {
        let mut story = Self { record: Record::new(Prefix::default()), revision: 1 };
        story.step(&[(Key::Leader, Some(json!("one")))]);
        story.step(&[(Key::Incarnation, Some(json!(7)))]);
        story
    }

    /// Puts, and deletes what has no value.
    fn step(&mut self, changes: &[(Key, Option<Value>)]) -> i64 {
        self.revision += 1;
        let events: Vec<_> =
            changes.iter().map(|(key, value)| event(key, value.as_ref(), self.revision)).collect();
        self.record.take(&events, Timestamp::UNIX_EPOCH);
        self.revision
    }

    /// Everything that a placement needs, in one revision.
    fn place(&mut self, guest: u32, host: &str, ip: &str) -> i64 {
        self.step(&placed(guest, host, ip, "Running", None))
    }

    fn told(&self) -> String {
        let found = self.record.violations(|_| false);
        found.iter().map(|it| it.what.clone()).collect::<Vec<_>>().join("\n")
    }
}

fn event(key: &Key, value: Option<&Value>, revision: i64) -> Event {
    let key = Prefix::default().key(key).into();
    match value {
        None => Event::Delete { key, mod_revision: revision },
        Some(value) => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Event::Put(KeyValue {
                key,
                value: text.into(),
                create_revision: revision,
                mod_revision: revision,
                version: 1,
                lease: None,
            })
        }
    }
}

fn status(host: &str, ip: &str, phase: &str, job: Option<JobId>) -> Value {
    json!({
        "phase": phase,
        "job": job,
        "placement": {
            "hypervisor": host_id(host), "subnet": SUBNET, "ip": ip, "cidr": "10.1.0.0/24",
            "mac": "02:00:00:00:00:01", "resources": { "memory": 600, "disk": 1, "cpu": 1 },
        },
    })
}

fn placed(
    guest: u32,
    host: &str,
    ip: &str,
    phase: &str,
    job: Option<JobId>,
) -> Vec<(Key, Option<Value>)> {
    let id = guest_id(guest);
    let address = Key::Address(SUBNET, ip.parse().expect("it is an address"));
    vec![
        (Key::GuestStatus(id), Some(status(host, ip, phase, job))),
        (address, Some(json!(id.to_string()))),
        (Key::Placement(host_id(host), id), Some(json!(id.to_string()))),
    ]
}

fn job(guest: u32, host: &str, status: &str) -> (JobId, (Key, Option<Value>)) {
    let id: JobId = Id::new(Uuid::new_v4());
    let document = json!({
        "id": id, "action": "create", "guest": guest_id(guest), "hypervisor": host_id(host),
        "status": status,
    });
    (id, (Key::Job(id), Some(document)))
}

fn effect(second: i64, kind: EffectKind, guest: u32, job: Option<(JobId, i64)>) -> Effect {
    Effect {
        sequence: second.unsigned_abs(),
        at: Timestamp::from_second(second).expect("it is a time"),
        kind,
        guest: Some(guest_id(guest)),
        job: job.map(|(id, _)| id),
        remote: None,
        order: job.map(|(_, revision)| Order::new(7, revision.unsigned_abs())),
        firewall: Some(Order::new(7, 1_000)),
        addresses: vec![format!("10.1.0.{guest}")],
        detail: None,
    }
}

fn history(host: &str, effects: Vec<Effect>) -> HostHistory {
    HostHistory { host: host_id(host), ordered: true, effects, wiped: Vec::new() }
}

fn judged(story: &Story, histories: &[HostHistory]) -> String {
    let found = truth::check(&story.record, histories, &BTreeSet::<GuestId>::new());
    found.into_iter().map(|it| it.what).collect::<Vec<_>>().join("\n")
}

/// A guest that was placed and created as it should be; the create's job with its revision.
fn created(story: &mut Story, guest: u32, host: &str) -> (JobId, i64) {
    let (id, entry) = job(guest, host, "done");
    let mut step = placed(guest, host, &format!("10.1.0.{guest}"), "Running", Some(id));
    step.push(entry);
    (id, story.step(&step))
}

#[test]
fn a_history_without_fault_is_not_complained_of() {
    let mut story = Story::new();
    let (id, revision) = created(&mut story, 20, "a");
    let job = Some((id, revision));
    let effects = vec![
        effect(1, EffectKind::Created, 20, job),
        effect(2, EffectKind::Started, 20, job),
        effect(3, EffectKind::Crashed, 20, None),
    ];
    assert_eq!((story.told(), judged(&story, &[history("a", effects)])), Default::default());
}

#[test]
fn two_placements_with_one_address_are_caught() {
    let mut story = Story::new();
    story.place(1, "a", "10.1.0.20");
    story.place(2, "b", "10.1.0.20");
    assert!(story.told().contains("S2:"), "{}", story.told());
}

#[test]
fn a_placement_without_its_reservation_or_its_index_is_caught() {
    for missing in [1, 2] {
        let mut story = Story::new();
        let mut step = placed(1, "a", "10.1.0.20", "Running", None);
        step.remove(missing);
        story.step(&step);
        assert!(story.told().contains("S3:"), "{missing}: {}", story.told());
    }
}

#[test]
fn a_guest_in_two_indexes_is_caught() {
    let mut story = Story::new();
    story.place(1, "a", "10.1.0.20");
    story.step(&[(Key::Placement(host_id("b"), guest_id(1)), Some(json!("x")))]);
    assert!(story.told().contains("S1:"), "{}", story.told());
}

#[test]
fn a_host_that_is_given_more_than_it_has_is_caught() {
    let mut story = Story::new();
    let document = json!({ "total_resources": { "memory": 1000, "disk": 1000, "cpu": 8 } });
    story.step(&[(Key::Hypervisor(host_id("a")), Some(document))]);
    story.place(1, "a", "10.1.0.20");
    assert_eq!(story.told(), "");
    story.place(2, "a", "10.1.0.21");
    assert!(story.told().contains("S6:"), "{}", story.told());
}

#[test]
fn a_write_of_the_operator_while_nobody_leads_is_caught() {
    let mut story = Story::new();
    story.step(&[(Key::Leader, None)]);
    story.step(&[(Key::ClusterStatus, Some(json!({})))]);
    assert!(story.told().contains("S7:"), "{}", story.told());
}

#[test]
fn a_users_key_and_a_key_of_nobody_that_change_are_caught() {
    let mut story = Story::new();
    story.step(&[(Key::Guest(guest_id(1)), Some(json!({})))]);
    assert!(story.told().contains("S12:"), "{}", story.told());
}

#[test]
fn a_place_that_changes_or_is_dropped_without_a_teardown_is_caught() {
    let mut moved = Story::new();
    moved.place(1, "a", "10.1.0.20");
    moved.place(1, "a", "10.1.0.21");
    assert!(moved.told().contains("S3: the place"), "{}", moved.told());
    let mut dropped = Story::new();
    dropped.step(&[(Key::Heartbeat(host_id("a")), Some(json!({})))]);
    dropped.place(1, "a", "10.1.0.20");
    dropped.step(&[(Key::GuestStatus(guest_id(1)), None)]);
    assert!(dropped.told().contains("S9:"), "{}", dropped.told());
}

#[test]
fn a_place_that_is_given_up_while_its_host_is_silent_is_caught() {
    let mut story = Story::new();
    story.place(1, "a", "10.1.0.20");
    story.step(&[(Key::GuestStatus(guest_id(1)), None)]);
    assert!(story.told().contains("S14:"), "{}", story.told());
}

#[test]
fn a_valid_document_that_is_called_invalid_is_caught() {
    let document = json!({ "flavor": SUBNET, "network": SUBNET, "type": "kvm" });
    let condition = json!({ "type": "Valid", "status": "False", "reason": "Invalid",
        "message": "", "last_transition": "2027-01-01T00:00:00Z" });
    let mut story = Story::new();
    story.step(&[(Key::Guest(guest_id(1)), Some(document))]);
    let status = json!({ "phase": "Pending", "conditions": [condition] });
    story.step(&[(Key::GuestStatus(guest_id(1)), Some(status))]);
    assert!(story.told().contains("S11:"), "{}", story.told());
}

#[test]
fn a_users_key_that_the_user_wrote_before_is_caught_when_another_changes_it() {
    let mut story = Story::new();
    let own = story.step(&[(Key::Guest(guest_id(1)), Some(json!({})))]);
    story.step(&[(Key::Guest(guest_id(1)), Some(json!({ "type": "kvm" })))]);
    let found = story.record.violations(|revision| revision == own);
    assert!(found.iter().any(|it| it.what.starts_with("S12:")), "{found:?}");
}

#[test]
fn a_teardown_of_a_guest_that_has_a_document_is_caught() {
    let mut story = Story::new();
    story.step(&[(Key::Guest(guest_id(1)), Some(json!({})))]);
    story.place(1, "a", "10.1.0.20");
    story.step(&placed(1, "a", "10.1.0.20", "Deleting", None));
    assert!(story.told().contains("S9: the teardown"), "{}", story.told());
}

#[test]
fn a_job_that_its_guest_does_not_name_and_a_second_one_are_caught() {
    let mut story = Story::new();
    story.place(1, "a", "10.1.0.20");
    let (_, first) = job(1, "a", "new");
    story.step(&[first]);
    assert!(story.told().contains("S4:"), "{}", story.told());
    let (_, second) = job(1, "a", "working");
    story.step(&[second]);
    assert!(story.told().contains("S5:"), "{}", story.told());
}

#[test]
fn a_guest_that_runs_twice_is_caught() {
    let mut story = Story::new();
    let job = Some(created(&mut story, 20, "a"));
    let life = |at| {
        vec![effect(at, EffectKind::Created, 20, job), effect(at + 1, EffectKind::Started, 20, job)]
    };
    let told = judged(&story, &[history("a", life(1)), history("b", life(5))]);
    assert!(told.contains("runs on") && told.contains("S5:"), "{told}");
}

#[test]
fn a_guest_that_is_made_anew_over_itself_is_caught() {
    let mut story = Story::new();
    let job = Some(created(&mut story, 20, "a"));
    let effects = vec![
        effect(1, EffectKind::Created, 20, job),
        effect(2, EffectKind::Started, 20, job),
        effect(3, EffectKind::Redefined, 20, job),
    ];
    let told = judged(&story, &[history("a", effects)]);
    assert!(told.contains("a second time"), "{told}");
}

#[test]
fn an_effect_without_a_job_or_with_another_order_is_caught() {
    let mut story = Story::new();
    let (id, revision) = created(&mut story, 20, "a");
    for job in [None, Some((id, revision - 1)), Some((Id::new(Uuid::nil()), revision))] {
        let told = judged(&story, &[history("a", vec![effect(1, EffectKind::Created, 20, job)])]);
        assert!(told.contains("S4:"), "{job:?}: {told}");
    }
}

#[test]
fn a_start_under_an_older_ruleset_is_caught() {
    let mut story = Story::new();
    let job = Some(created(&mut story, 20, "a"));
    let firewall = Some(Order::new(7, 1));
    let started = Effect { firewall, ..effect(2, EffectKind::Started, 20, job) };
    let told = judged(&story, &[history("a", vec![started])]);
    assert!(told.contains("S13:"), "{told}");
}

#[test]
fn two_running_guests_with_one_address_are_caught() {
    let mut story = Story::new();
    let one = Some(created(&mut story, 20, "a"));
    let other = Some(created(&mut story, 21, "b"));
    let address = vec!["10.1.0.20".to_owned()];
    let second = Effect { addresses: address, ..effect(2, EffectKind::Started, 21, other) };
    let first = effect(1, EffectKind::Started, 20, one);
    let told = judged(&story, &[history("a", vec![first]), history("b", vec![second])]);
    assert!(told.contains("S2:"), "{told}");
}

#[test]
fn an_address_that_is_freed_under_a_running_guest_is_caught() {
    let mut story = Story::new();
    let job = Some(created(&mut story, 20, "a"));
    // Everything in a story is seen at the beginning of time.
    let started = Effect { at: Timestamp::UNIX_EPOCH, ..effect(1, EffectKind::Started, 20, job) };
    let address = Key::Address(SUBNET, "10.1.0.20".parse().expect("it is an address"));
    story.step(&[(address, Some(json!(format!("quarantine:{}", guest_id(20)))))]);
    let told = judged(&story, &[history("a", vec![started])]);
    assert!(told.contains("S3: 10.1.0.20 was freed"), "{told}");
}

#[test]
fn a_guest_that_was_deleted_leaves_its_address_to_others() {
    let mut story = Story::new();
    let one = created(&mut story, 20, "a");
    let (id, (key, mut document)) = job(20, "a", "working");
    document.as_mut().expect("it is put")["action"] = json!("delete");
    let other = (id, story.step(&[(key, document)]));
    let effects = vec![
        effect(1, EffectKind::Started, 20, Some(one)),
        effect(2, EffectKind::Deleted, 20, Some(other)),
    ];
    let told = judged(&story, &[history("a", effects)]);
    assert_eq!(told, "");
}

#[test]
fn a_second_create_by_an_agent_with_order_is_caught_also_when_the_guest_does_not_run() {
    let mut story = Story::new();
    let job = Some(created(&mut story, 20, "a"));
    let effects =
        vec![effect(1, EffectKind::Created, 20, job), effect(3, EffectKind::Redefined, 20, job)];
    let told = judged(&story, &[history("a", effects.clone())]);
    assert!(told.contains("a second time"), "{told}");
    let original = HostHistory { ordered: false, ..history("a", effects) };
    assert!(!judged(&story, &[original]).contains("a second time"));
}

#[test]
fn only_what_needs_an_original_is_said_to_be_of_one() {
    let mut story = Story::new();
    let job = Some(created(&mut story, 20, "a"));
    let life = |host, at| history(host, vec![effect(at, EffectKind::Started, 20, job)]);
    let original = |host, at| HostHistory { ordered: false, ..life(host, at) };
    let of_originals = |histories: &[HostHistory]| {
        let found = truth::check(&story.record, histories, &BTreeSet::new());
        let mut twice = found.into_iter().filter(|it| it.what.contains("on another host"));
        twice.next_back().expect("it is found").of_originals
    };
    assert!(of_originals(&[life("a", 1), original("b", 2)]));
    assert!(of_originals(&[original("a", 1), life("b", 2)]));
    assert!(!of_originals(&[original("a", 1), life("b", 2), life("c", 3)]));
}

#[test]
fn a_job_may_be_done_again_only_if_it_was_under_way_when_its_host_forgot() {
    let mut story = Story::new();
    let (id, entry) = job(20, "a", "working");
    let mut step = placed(20, "a", "10.1.0.20", "Creating", Some(id));
    step.push(entry);
    let under_way = Some((id, story.step(&step)));
    let ended = Some(created(&mut story, 21, "a"));
    let twice = |guest, job, wiped: Vec<Timestamp>| {
        let kind = EffectKind::Created;
        let effects = vec![effect(1, kind, guest, job), effect(9, kind, guest, job)];
        judged(&story, &[HostHistory { wiped, ..history("a", effects) }])
    };
    let at = |nth| effect(nth, EffectKind::Lost, 20, None).at;
    assert!(twice(20, under_way, Vec::new()).contains("S5:"));
    assert!(!twice(20, under_way, vec![at(5)]).contains("S5:"));
    assert!(twice(20, under_way, vec![at(10)]).contains("S5:"), "it forgot only later");
    assert!(twice(21, ended, vec![at(5)]).contains("S5:"), "nobody asked for it any more");
}
