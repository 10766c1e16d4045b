//! What a host's status says, which images it lacks, and what its index gets wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use lochness_agent::wire::{AgentGuest, Capabilities, GuestState, Order};
use lochness_api::keys::Key;
use lochness_api::status::{ConditionStatus, ConditionType, HypervisorStatus, Reason};
use lochness_api::{GuestId, HypervisorId, ImageId, SubnetId};
use serde_json::json;
use tokio::time::Instant;

use super::images::{
    EAGER, FETCH_DEADLINE, FIRST_LOOK, Fetch, Lack, Missing, Step, missing_images, step,
};
use super::plan::{self, Facts};
use super::repairs::{leaked_keys, missing_keys};
use crate::reports::{
    Contact, FirewallReport, GuestReport, ImageState, Protocol, ReportedGuest, Reports,
};
use crate::settings::Settings;
use crate::test_world::{TestWorld, id};

const WINDOW: Duration = Duration::from_secs(30);

struct Scene {
    world: TestWorld,
    reports: Reports,
    now: Instant,
    host: HypervisorId,
    subnet: SubnetId,
}

impl Scene {
    /// A host that lives and answers, without guests.
    fn new() -> Self {
        let mut world = TestWorld::new();
        let host = world.host(1);
        let subnet = world.subnet(1, "10.0.0.0/16");
        let scene = Self { world, reports: Reports::default(), now: Instant::now(), host, subnet };
        scene.answers(host, &[]);
        scene
    }

    fn answers(&self, host: HypervisorId, guests: &[usize]) {
        let guest = |number: &usize| {
            let id: GuestId = id(*number);
            let record = Arc::new(AgentGuest::new(id));
            (id, ReportedGuest { state: GuestState::Running, addresses: Vec::new(), record })
        };
        let guests = guests.iter().map(guest).collect();
        let list = GuestReport { guests, asked_at: self.now, sequence: 1 };
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
            entry: self.world.view().host(self.host).expect("there are keys of it"),
            now: self.now,
            wall: Timestamp::UNIX_EPOCH,
            reachable_window: WINDOW,
            incarnation: 1,
        })
    }

    fn status(&self) -> HypervisorStatus {
        self.facts(plan::status).expect("something of the host is left")
    }

    /// The answer, the reason and the message of a condition.
    fn condition(&self, kind: ConditionType) -> Option<(ConditionStatus, Reason, String)> {
        let status = self.status();
        let found = status.conditions.into_iter().find(|condition| condition.kind == kind)?;
        Some((found.status, found.reason, found.message))
    }

    fn reason(&self, kind: ConditionType) -> Option<Reason> {
        self.condition(kind).map(|(_, reason, _)| reason)
    }

    fn configure(&mut self, name: &str, value: &str) {
        self.world.put(&Key::HypervisorConfig(self.host, name.to_owned()), value);
    }
}

#[tokio::test(start_paused = true)]
async fn a_host_that_lives_and_answers_takes_guests() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    let status = scene.status();
    assert!(status.alive && status.reachable);
    assert_eq!((status.guests, status.used.memory, status.allocatable.cpu), (1, 1024, 64));
    assert_eq!(status.address.as_deref(), Some("192.0.2.1:8080"));
    assert_eq!(scene.reason(ConditionType::Schedulable), Some(Reason::Schedulable));
    assert_eq!(scene.reason(ConditionType::Capacity), Some(Reason::Available));
    assert_eq!(scene.reason(ConditionType::Valid), Some(Reason::Accepted));
}

#[tokio::test(start_paused = true)]
async fn a_host_counts_as_reachable_until_its_window_is_over() {
    let mut scene = Scene::new();
    scene.now += WINDOW;
    assert!(scene.status().reachable);
    scene.now += Duration::from_millis(1);
    assert!(!scene.status().reachable);
    assert_eq!(scene.reason(ConditionType::Reachable), Some(Reason::NotAnswering));
}

#[tokio::test(start_paused = true)]
async fn another_host_at_its_address_is_named_and_is_no_contact() {
    let scene = Scene::new();
    scene
        .reports
        .change(scene.host, |report| report.contact = Contact::WrongHost { found: id(77) });
    assert!(!scene.status().reachable);
    let (_, reason, message) = scene.condition(ConditionType::Reachable).unwrap();
    assert_eq!(reason, Reason::WrongHost);
    assert!(message.contains(&id::<u8>(77).to_string()), "{message}");
}

#[tokio::test(start_paused = true)]
async fn the_words_of_people_keep_new_guests_away() {
    for (name, reason) in [
        ("cordon", Reason::Cordoned),
        ("drain", Reason::Drained),
        ("pause", Reason::Paused),
        ("fenced", Reason::FencedByPerson),
    ] {
        let mut scene = Scene::new();
        scene.configure(name, "yes");
        assert_eq!(scene.reason(ConditionType::Schedulable), Some(reason), "{name}");
    }
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    scene.configure("drain", "yes");
    assert_eq!(scene.reason(ConditionType::Schedulable), Some(Reason::Draining));
}

#[tokio::test(start_paused = true)]
async fn a_configuration_that_does_not_parse_is_told_and_the_former_one_stays() {
    let mut scene = Scene::new();
    scene.configure("cordon", "yes");
    scene.configure("cordon", "perhaps");
    assert_eq!(scene.reason(ConditionType::Schedulable), Some(Reason::Cordoned));
    let (_, reason, message) = scene.condition(ConditionType::ConfigValid).unwrap();
    assert_eq!(reason, Reason::ConfigRejected);
    assert!(message.contains("config/cordon"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_document_goes_under_its_guests_is_orphaned_and_keeps_its_address() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    let known = scene.status();
    scene.world.put_json(&Key::HypervisorStatus(scene.host), &json!(known));
    scene.world.delete(&Key::Hypervisor(scene.host));
    let status = scene.status();
    assert_eq!(status.address, known.address);
    assert_eq!(scene.reason(ConditionType::Orphaned), Some(Reason::HostMissing));
    assert_eq!(scene.reason(ConditionType::Schedulable), Some(Reason::HostMissing));
}

#[tokio::test(start_paused = true)]
async fn a_host_of_which_nothing_is_left_has_no_status() {
    let mut scene = Scene::new();
    let known = scene.status();
    scene.world.put_json(&Key::HypervisorStatus(scene.host), &json!(known));
    scene.world.delete(&Key::Hypervisor(scene.host));
    scene.world.delete(&Key::Heartbeat(scene.host));
    assert_eq!(scene.facts(plan::status), None);
}

#[tokio::test(start_paused = true)]
async fn two_hosts_with_one_address_or_one_name_name_each_other() {
    let mut scene = Scene::new();
    let other = scene.world.host(2);
    let document = json!({"ip": "192.0.2.1", "metadata": {"name": "h"}});
    scene.world.put_json(&Key::Hypervisor(other), &document);
    let (_, reason, message) = scene.condition(ConditionType::Valid).unwrap();
    assert_eq!(reason, Reason::AddressShared);
    assert!(message.contains(&other.to_string()), "{message}");
    scene.world.put(&Key::HypervisorConfig(other, "agent_port".to_owned()), "9000");
    assert_eq!(
        scene.reason(ConditionType::Valid),
        Some(Reason::Accepted),
        "two agents of one address"
    );
    scene.world.put_json(&Key::Hypervisor(scene.host), &json!({"metadata": {"name": "h"}}));
    assert_eq!(scene.reason(ConditionType::Valid), Some(Reason::Accepted), "it was created first");
    scene.host = other;
    assert_eq!(scene.reason(ConditionType::Valid), Some(Reason::NameTaken));
}

#[tokio::test(start_paused = true)]
async fn only_what_nobody_declared_counts_as_undeclared() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    scene.world.put_json(&Key::Guest(id(2)), &json!({}));
    scene.world.put(&Key::Placement(scene.host, id(3)), "x");
    scene.answers(scene.host, &[1, 2, 3, 4]);
    assert_eq!(scene.status().undeclared, 1);
    let (_, _, message) = scene.condition(ConditionType::Undeclared).unwrap();
    assert!(message.contains(&id::<u8>(4).to_string()), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_is_placed_elsewhere_is_undeclared_here() {
    let mut scene = Scene::new();
    let elsewhere = scene.world.host(2);
    scene.world.placed(1, elsewhere, scene.subnet);
    scene.answers(scene.host, &[1]);
    assert_eq!(scene.status().undeclared, 1);
}

#[tokio::test(start_paused = true)]
async fn more_than_may_be_allocated_is_told_with_numbers() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    scene.configure("reserve_memory", "65000");
    let (status, reason, message) = scene.condition(ConditionType::Capacity).unwrap();
    assert_eq!((status, reason), (ConditionStatus::False, Reason::Overcommitted));
    assert!(message.contains("1024 of 536 MB memory"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn the_firewall_is_told_by_what_the_agent_acknowledged() {
    let mut scene = Scene::new();
    scene.world.placed(1, scene.host, scene.subnet);
    let newest = u64::try_from(scene.world.revision()).unwrap();
    let capabilities = Capabilities {
        id: scene.host,
        boot_id: "b".to_owned(),
        version: "v".to_owned(),
        capabilities: vec!["firewall".to_owned()],
        self_fence_seconds: None,
        epoch: None,
    };
    let acknowledged = |revision, error: Option<&str>| {
        let error = error.map(str::to_owned);
        let revision = Order::new(1, revision);
        let firewall = FirewallReport { hash: "h".to_owned(), revision, error };
        scene.reports.change(scene.host, |report| {
            report.protocol = Some(Protocol::Lochness(capabilities.clone()));
            report.firewall = Some(firewall);
        });
        scene.reason(ConditionType::FirewallApplied)
    };
    assert_eq!(acknowledged(newest, None), Some(Reason::FirewallApplied));
    assert_eq!(acknowledged(newest - 1, None), Some(Reason::FirewallApplying));
    assert_eq!(acknowledged(newest, Some("line 3")), Some(Reason::FirewallFailed));
    assert_eq!(scene.condition(ConditionType::FirewallApplied).unwrap().2, "line 3");
    assert_eq!(acknowledged(newest, None), Some(Reason::FirewallApplied));
    scene.configure("pause", "true");
    let told = scene.condition(ConditionType::FirewallApplied).unwrap().2;
    assert!(told.contains("wait"), "nothing is sent to it, whatever its groups' rules say: {told}");
    scene.configure("firewall", "off");
    assert_eq!(scene.reason(ConditionType::FirewallApplied), Some(Reason::FirewallOff));
}

#[tokio::test(start_paused = true)]
async fn an_image_that_a_guest_needs_is_fetched_once_and_again_after_a_failure() {
    let mut scene = Scene::new();
    let (image, unknown): (ImageId, ImageId) = (id(1), id(2));
    scene.world.put_json(&Key::Image(image), &json!({"source": "http://i/1"}));
    for (guest, needed) in [(1, image), (2, image), (3, unknown)] {
        scene.world.placed_with(guest, scene.host, scene.subnet, |it| it.image = Some(needed));
    }
    let missing = |images: &[(ImageId, ImageState)]| {
        let images = images.iter().cloned().collect::<BTreeMap<_, _>>();
        missing_images(&scene.world, scene.world.view().host(scene.host).unwrap(), &images)
    };
    let settings = Settings::default();
    let step = |missing: &Missing, last: Option<&Fetch>| {
        step(&scene.world, missing, last, scene.now + FETCH_DEADLINE, &settings)
    };
    let found = missing(&[]);
    assert_eq!(found.iter().map(|it| it.image).collect::<Vec<_>>(), [image, unknown]);
    assert!(matches!(step(&found[0], None), Step::Fetch(fetch) if fetch.source == "http://i/1"));
    assert!(matches!(step(&found[1], None), Step::Say(_)));
    assert_eq!(missing(&[(image, ImageState::Present), (unknown, ImageState::Present)]), []);

    let fetching = missing(&[(image, ImageState::Fetching(scene.now))]).remove(0);
    assert_eq!(fetching.lack, Lack::Fetching);
    let since = |since| Fetch { failures: 1, since, looked_at: since, remote: None };
    let now = scene.now + FETCH_DEADLINE;
    let asked = |since| Fetch { failures: 1, since, looked_at: now, remote: None };
    let wait = |age| {
        let Step::Wait(wait) = step(&fetching, Some(&asked(now - age))) else {
            panic!("the agent is asked again, whatever wakes the host");
        };
        wait
    };
    assert_eq!(wait(Duration::ZERO), FIRST_LOOK, "a small image is there at once");
    assert_eq!(wait(Duration::from_millis(70)), Duration::from_millis(70));
    assert_eq!(wait(Duration::from_secs(3)), Duration::from_millis(1_500));
    assert_eq!(wait(EAGER), settings.list_interval);
    assert_eq!(wait(2 * EAGER), settings.list_interval);
    assert_eq!(step(&fetching, Some(&since(scene.now + WINDOW))), Step::Look);
    assert_eq!(step(&fetching, Some(&since(scene.now))), Step::GiveUp);
    assert!(matches!(step(&fetching, None), Step::Fetch(_)), "the fetch was forgotten");

    let failed = missing(&[(image, ImageState::Failed("no".to_owned()))]).remove(0);
    let lately = since(scene.now + FETCH_DEADLINE);
    assert_eq!(step(&failed, Some(&lately)), Step::Wait(settings.retry_delay(1)));
    assert!(matches!(step(&failed, Some(&since(scene.now))), Step::Fetch(_)));
}

#[tokio::test(start_paused = true)]
async fn an_index_key_that_a_placement_lacks_is_found() {
    let mut scene = Scene::new();
    let guest = scene.world.placed(1, scene.host, scene.subnet);
    assert_eq!(scene.facts(missing_keys), []);
    scene.world.delete(&Key::Placement(scene.host, guest));
    let revision = scene.world.guest(guest).unwrap().status_revision();
    assert_eq!(scene.facts(missing_keys), [(guest, revision)]);
}

#[tokio::test(start_paused = true)]
async fn an_index_key_of_nobody_is_a_leak_only_when_every_host_has_said_so() {
    let mut scene = Scene::new();
    let other = scene.world.host(2);
    let nobody: GuestId = id(9);
    scene.world.put(&Key::Placement(scene.host, nobody), "x");
    assert_eq!(scene.facts(leaked_keys), BTreeSet::new(), "the other host is silent");
    assert!(scene.facts(plan::has_strangers), "that it answers wakes nobody here: look again");
    scene.answers(other, &[9]);
    assert_eq!(scene.facts(leaked_keys), BTreeSet::new(), "the other host has it");
    scene.answers(other, &[]);
    assert_eq!(scene.facts(leaked_keys), BTreeSet::from([nobody]));
    scene.answers(scene.host, &[9]);
    assert_eq!(scene.facts(leaked_keys), BTreeSet::new(), "the host itself has it");
    scene.answers(scene.host, &[]);
    scene.world.put_json(&Key::Guest(nobody), &json!({}));
    assert_eq!(scene.facts(leaked_keys), BTreeSet::new(), "it is declared: the key is its place");
}

#[tokio::test(start_paused = true)]
async fn an_index_key_of_a_guest_that_is_placed_elsewhere_is_a_leak() {
    let mut scene = Scene::new();
    let other = scene.world.host(2);
    let guest = scene.world.placed(1, other, scene.subnet);
    scene.world.put(&Key::Placement(scene.host, guest), "x");
    assert_eq!(scene.facts(leaked_keys), BTreeSet::from([guest]));
    scene.answers(scene.host, &[1]);
    assert_eq!(scene.facts(leaked_keys), BTreeSet::new(), "it still has it");
}
