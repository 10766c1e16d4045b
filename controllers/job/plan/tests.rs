use lochness_agent::wire::Capabilities;
use serde_json::json;
use tokio::time::Instant;

use lochness_api::keys::Key;

use super::*;
use crate::reports::{FirewallReport, Protocol, Reports};
use crate::test_world::{TestWorld, id};

const JOB: usize = 50;
const IMAGE: usize = 60;

/// A host that answers, with a placed guest whose status names a job.
struct Scene {
    world: TestWorld,
    reports: Reports,
    host: HypervisorId,
    guest: GuestId,
}

impl Scene {
    fn new(action: JobAction) -> Self {
        let mut world = TestWorld::new();
        world.put(&Key::Incarnation, "7");
        let host = world.host(1);
        let subnet = world.subnet(2, "10.0.0.0/16");
        let guest = world.placed(10, host, subnet);
        let scene = Self { world, reports: Reports::default(), host, guest };
        let mut scene = scene.named_by_the_status(JOB);
        scene.put_job(&json!({"action": action, "status": "new"}));
        scene.answers(&["order", "blocking-list"]);
        scene
    }

    fn named_by_the_status(mut self, job: usize) -> Self {
        let entry = self.world.guest(self.guest).unwrap();
        let mut status = entry.status().unwrap().clone();
        status.job = Some(id(job));
        self.world.put_json(&Key::GuestStatus(self.guest), &json!(status));
        self
    }

    fn with_image(mut self) -> Self {
        let entry = self.world.guest(self.guest).unwrap();
        let mut status = entry.status().unwrap().clone();
        status.placement.as_mut().unwrap().image = Some(id(IMAGE));
        self.world.put_json(&Key::GuestStatus(self.guest), &json!(status));
        self
    }

    fn put_job(&mut self, fields: &serde_json::Value) {
        let mut job = json!({"id": id::<u8>(JOB), "guest": self.guest, "hypervisor": self.host});
        let all = job.as_object_mut().unwrap();
        all.extend(fields.as_object().unwrap().clone());
        self.world.put_json(&Key::Job(id(JOB)), &job);
    }

    fn answers(&self, capabilities: &[&str]) {
        let capabilities = Capabilities {
            id: self.host,
            boot_id: "b".to_owned(),
            version: String::new(),
            capabilities: capabilities.iter().map(ToString::to_string).collect(),
            self_fence_seconds: None,
            epoch: None,
        };
        self.reports.change(self.host, |report| {
            report.contact = Contact::Answered(Instant::now());
            report.target = Some("192.0.2.1:8080".to_owned());
            report.protocol = Some(Protocol::Lochness(capabilities));
        });
    }

    fn firewall_in_force(&self, revision: i64, error: Option<&str>) {
        let revision = Order::new(7, u64::try_from(revision).unwrap());
        let error = error.map(ToOwned::to_owned);
        let report = FirewallReport { hash: String::new(), revision, error };
        self.reports.change(self.host, |host| host.firewall = Some(report));
    }

    fn placement_revision(&self) -> i64 {
        self.world.guest(self.guest).unwrap().placement_revision()
    }

    fn plan(&self) -> Step {
        plan(&self.world, &self.reports.read(), id(JOB), false)
    }

    fn gate(&self, action: JobAction) -> Result<(), Waiting> {
        let entry = self.world.guest(self.guest).unwrap();
        gate(&self.world, &self.reports.read(), entry.status().unwrap(), action)
    }
}

fn submitted(step: Step) -> Box<Task> {
    let Step::Submit(task) = step else { panic!("{step:?}") };
    task
}

#[test]
fn whoever_begins_to_run_is_sent_with_the_ruleset_that_it_needs() {
    for (action, begins) in [(JobAction::Start, true), (JobAction::Shutdown, false)] {
        let scene = Scene::new(action);
        assert_eq!(submitted(scene.plan()).ruleset, None, "nobody sends rulesets to this agent");
        scene.answers(&["order", "blocking-list", "firewall"]);
        let placed = scene.placement_revision();
        scene.firewall_in_force(placed + 5, None);
        let needed = Order::new(7, u64::try_from(placed).unwrap());
        assert_eq!(submitted(scene.plan()).ruleset, begins.then_some(needed));
    }
}

#[test]
fn a_new_job_is_submitted_with_the_number_of_its_key() {
    let scene = Scene::new(JobAction::Create);
    let created = scene.world.job(id(JOB)).unwrap().create_revision;
    let task = submitted(scene.plan());
    assert_eq!(task.order, Some(Order::new(7, u64::try_from(created).unwrap())));
    assert_eq!(task.target.as_deref(), Some("192.0.2.1:8080"));
    assert_eq!(task.guest.map(|guest| guest.id), Some(scene.guest));
}

#[test]
fn a_job_for_the_original_has_no_number() {
    let scene = Scene::new(JobAction::Delete);
    scene.reports.change(scene.host, |report| report.protocol = Some(Protocol::Original));
    let task = submitted(scene.plan());
    assert_eq!((task.order, task.guest), (None, None));
}

#[test]
fn a_job_that_no_status_names_is_superseded() {
    let scene = Scene::new(JobAction::Create).named_by_the_status(51);
    let revision = scene.world.job(id(JOB)).unwrap().mod_revision;
    assert!(
        matches!(scene.plan(), Step::Supersede(job, at) if job.id == id(JOB) && at == revision)
    );
}

#[test]
fn a_job_that_ended_or_is_gone_is_left_alone() {
    let mut scene = Scene::new(JobAction::Create);
    scene.put_job(&json!({"action": "create", "status": "error"}));
    assert_eq!(scene.plan(), Step::Settled);
    scene.world.delete(&Key::Job(id(JOB)));
    assert_eq!(scene.plan(), Step::Settled);
}

#[test]
fn a_job_whose_end_waits_to_be_written_is_not_asked_for_again() {
    let scene = Scene::new(JobAction::Create);
    let step = plan(&scene.world, &scene.reports.read(), id(JOB), true);
    assert_eq!(step, Step::Ended(scene.guest));
}

#[test]
fn a_job_from_before_the_store_was_accepted_is_not_sent_again_and_a_working_one_is_followed() {
    let mut scene = Scene::new(JobAction::Reboot);
    scene.world.put(&Key::Incarnation, "8");
    let step = scene.plan();
    assert!(matches!(&step, Step::Fail(_, why) if why.contains("accepted")), "{step:?}");
    let mut scene = Scene::new(JobAction::Reboot);
    scene.put_job(&json!({"action": "reboot", "status": "working", "remote": "r"}));
    scene.world.put(&Key::Incarnation, "8");
    let step = scene.plan();
    assert!(matches!(&step, Step::Follow(_, remote) if remote == "r"), "{step:?}");
}

#[test]
fn a_working_job_is_followed_whatever_is_paused() {
    let mut scene = Scene::new(JobAction::Create);
    scene.put_job(&json!({"action": "create", "status": "working", "remote": "r"}));
    scene.world.config("pause", "true");
    assert!(matches!(scene.plan(), Step::Follow(_, remote) if remote == "r"));
}

#[test]
fn a_working_job_of_a_silent_host_waits_for_the_host() {
    let mut scene = Scene::new(JobAction::Create);
    scene.put_job(&json!({"action": "create", "status": "working", "remote": "r"}));
    let error = "no route".to_owned();
    scene.reports.change(scene.host, |report| {
        report.contact = Contact::Silent { last_answer: None, error: error.clone() };
    });
    assert_eq!(scene.plan(), Step::Wait(Waiting::HostUnreachable(scene.host, error.clone())));
}

#[test]
fn nothing_is_sent_while_cluster_host_or_guest_is_paused() {
    let mut scene = Scene::new(JobAction::Shutdown);
    assert_eq!(scene.gate(JobAction::Shutdown), Ok(()));
    let document =
        json!({"flavor": id::<u8>(1), "network": id::<u8>(1), "metadata": {"pause": "on"}});
    scene.world.put_json(&Key::Guest(scene.guest), &document);
    assert_eq!(scene.gate(JobAction::Shutdown), Err(Waiting::GuestPaused));
    scene.world.put(&Key::HypervisorConfig(scene.host, "pause".to_owned()), "true");
    assert_eq!(scene.gate(JobAction::Shutdown), Err(Waiting::HostPaused(scene.host)));
    scene.world.config("pause", "true");
    assert_eq!(scene.gate(JobAction::Shutdown), Err(Waiting::ClusterPaused));
}

#[test]
fn nothing_is_sent_to_an_agent_that_is_another_hosts_or_never_answered() {
    let scene = Scene::new(JobAction::Delete);
    let found = id(99);
    scene.reports.change(scene.host, |report| report.contact = Contact::WrongHost { found });
    assert_eq!(scene.gate(JobAction::Delete), Err(Waiting::WrongHost(scene.host, found)));
    scene.reports.forget(scene.host);
    assert!(matches!(scene.gate(JobAction::Delete), Err(Waiting::HostUnreachable(..))));
}

#[test]
fn a_create_without_a_document_waits_and_a_delete_does_not() {
    let mut scene = Scene::new(JobAction::Create);
    scene.world.delete_guest(10);
    assert_eq!(scene.gate(JobAction::Create), Err(Waiting::DocumentMissing));
    assert_eq!(scene.gate(JobAction::Delete), Ok(()));
}

#[test]
fn a_create_waits_for_an_image_that_is_declared() {
    let mut scene = Scene::new(JobAction::Create).with_image();
    assert_eq!(scene.gate(JobAction::Create), Ok(()), "an image without a document is not fetched");
    scene.world.put_json(&Key::Image(id(IMAGE)), &json!({"source": "http://192.0.2.9/i"}));
    assert_eq!(scene.gate(JobAction::Create), Err(Waiting::ImagesUnread(scene.host)));
    let images = |states: &[(ImageId, ImageState)]| {
        let images = Some(states.iter().cloned().collect());
        scene.reports.change(scene.host, |report| report.images = images);
    };
    images(&[]);
    assert_eq!(scene.gate(JobAction::Create), Err(Waiting::ImageFetching(id(IMAGE))));
    images(&[(id(IMAGE), ImageState::Failed("404".to_owned()))]);
    let failed = Waiting::ImageFailed(id(IMAGE), "404".to_owned());
    assert_eq!(scene.gate(JobAction::Create), Err(failed));
    images(&[(id(IMAGE), ImageState::Present)]);
    assert_eq!(scene.gate(JobAction::Create), Ok(()));
    assert_eq!(scene.gate(JobAction::Start), Ok(()), "a start needs no image");
}

#[test]
fn nothing_is_brought_up_before_a_ruleset_of_its_placement_is_in_force() {
    let scene = Scene::new(JobAction::Create);
    scene.answers(&["order", "firewall"]);
    let pending = Err(Waiting::FirewallPending(scene.host));
    let ups = [
        JobAction::Create,
        JobAction::Start,
        JobAction::Resume,
        JobAction::Reboot,
        JobAction::Restart,
    ];
    for action in ups {
        assert_eq!(scene.gate(action), pending, "{action}");
    }
    for action in [JobAction::Shutdown, JobAction::Poweroff, JobAction::Delete] {
        assert_eq!(scene.gate(action), Ok(()), "{action}");
    }
    let placed = scene.placement_revision();
    scene.firewall_in_force(placed - 1, None);
    assert_eq!(scene.gate(JobAction::Create), pending);
    scene.firewall_in_force(placed - 1, Some("bad rule"));
    let failed = Waiting::FirewallFailed(scene.host, "bad rule".to_owned());
    assert_eq!(scene.gate(JobAction::Create), Err(failed));
    scene.firewall_in_force(placed, None);
    assert_eq!(scene.gate(JobAction::Create), Ok(()));
}

#[test]
fn a_firewall_that_is_somebody_elses_is_not_waited_for() {
    let mut scene = Scene::new(JobAction::Create);
    scene.answers(&["firewall"]);
    scene.world.put(&Key::HypervisorConfig(scene.host, "firewall".to_owned()), "off");
    assert_eq!(scene.gate(JobAction::Create), Ok(()));
}

#[test]
fn a_placement_that_lost_its_index_key_is_not_brought_up() {
    let mut scene = Scene::new(JobAction::Start);
    scene.answers(&["firewall"]);
    scene.firewall_in_force(1_000, None);
    scene.world.delete(&Key::Placement(scene.host, scene.guest));
    assert_eq!(scene.gate(JobAction::Start), Err(Waiting::NotIndexed(scene.host)));
}

#[test]
fn a_job_for_another_host_than_the_placements_can_never_be_done() {
    let mut scene = Scene::new(JobAction::Create);
    let other = scene.world.host(3);
    scene.put_job(&json!({"action": "create", "status": "new", "hypervisor": other}));
    assert!(matches!(scene.plan(), Step::Fail(..)));
}
