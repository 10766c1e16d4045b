//! The loops that keep hosts, subnets, firewalls and statuses, all together against hosts of this process: they bring
//! everything about, and then they are silent.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::{Delays, Host, HostConfig, Stats};
use lochness_agent::wire::FirewallPut;
use lochness_api::keys::Key;
use lochness_api::status::{Condition, ConditionStatus, ConditionType, GuestStatus, Phase, Reason};
use lochness_api::{GuestId, ImageId};
use lochness_kv::{Compare, Op};
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Controller, ControllerOptions, Reconciler};
use lochness_runtime::queue::Queue;
use lochness_runtime::tasks::Tasks;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::agents::bench::Bench;
use crate::agents::target;
use crate::cluster::ClusterReconciler;
use crate::firewall::FirewallReconciler;
use crate::firewall::compile::compile;
use crate::firewall::input::input;
use crate::host::HostReconciler;
use crate::object::ObjectReconciler;
use crate::observe::Observer;
use crate::reports::{FirewallReport, ImageState};
use crate::subnet::SubnetReconciler;
use crate::test_world::{id, placement};

const HOST: usize = 1;
/// Long enough for three rescans.
const LONG: Duration = Duration::from_secs(900);

struct Upkeep {
    bench: Bench,
    tasks: Tasks,
}

impl Upkeep {
    async fn new() -> Self {
        let upkeep = Self { bench: Bench::new().await, tasks: Tasks::new() };
        let (context, metrics) = (upkeep.bench.context.clone(), &upkeep.bench.metrics);
        let queues = &context.queues;
        upkeep.run(HostReconciler::new(context.clone(), metrics), &queues.host);
        upkeep.run(FirewallReconciler::new(context.clone(), metrics), &queues.firewall);
        upkeep.run(SubnetReconciler::new(context.clone(), metrics), &queues.subnet);
        upkeep.run(ObjectReconciler::new(context.clone(), metrics), &queues.object);
        upkeep.run(ClusterReconciler::new(context.clone(), metrics), &queues.cluster);
        upkeep
    }

    fn run<R: Reconciler>(&self, reconciler: R, queue: &Arc<Queue<R::Key>>) {
        let options = ControllerOptions { workers: 4, ..ControllerOptions::default() };
        let metrics = &self.bench.metrics;
        let controller =
            Controller::with_queue(Arc::new(reconciler), Arc::clone(queue), options, metrics);
        self.tasks.spawn("upkeep", controller.run(self.tasks.token().clone()));
    }

    /// A host of ours, a subnet, a group and an image.
    async fn furnish(&self) -> Host {
        self.furnish_with(Delays::default()).await
    }

    async fn furnish_with(&self, delays: Delays) -> Host {
        let config = HostConfig { delays, ..HostConfig::new(id(HOST), "host") };
        let host = self.bench.host_with(HOST, config).await;
        self.bench
            .put(&[
                // The bench turns it off for those who test something else.
                (Key::HypervisorConfig(id(HOST), "firewall".to_owned()), json!("on")),
                (Key::Heartbeat(id(HOST)), json!({"boot_id": "b"})),
                (Key::Network(id(1)), json!({"metadata": {"name": "prod"}})),
                (Key::Subnet(id(2)), json!({"network": id::<u8>(1), "cidr": "10.0.0.0/16"})),
                (Key::FwGroup(id(1)), json!({"rules": [{"group": id::<u8>(1)}]})),
                (Key::Image(id(1)), json!({"source": "http://images.test/1"})),
            ])
            .await;
        host
    }

    /// Places a guest, without its reservation: the loop puts that right.
    async fn place(&self, number: usize) {
        self.place_without(number, |_| false).await;
    }

    async fn place_without(&self, number: usize, leave_out: impl Fn(&Key) -> bool) {
        let guest: GuestId = id(number);
        let mut placement = placement(number, id(HOST), id(2));
        placement.fwgroup = Some(id(1));
        placement.image = Some(id(1));
        let placement = Some(placement);
        let status = GuestStatus { phase: Phase::Scheduled, placement, ..GuestStatus::default() };
        let keys: Vec<(Key, Value)> = [
            (Key::Guest(guest), json!({"flavor": id::<u8>(1), "network": id::<u8>(1)})),
            (Key::GuestStatus(guest), json!(status)),
            (Key::Placement(id(HOST), guest), json!(guest)),
        ]
        .into_iter()
        .filter(|(key, _)| !leave_out(key))
        .collect();
        self.bench.put(&keys).await;
    }

    fn condition(&self, kind: ConditionType) -> Option<Condition> {
        let world = self.bench.context.world.read();
        let status = world.host(id(HOST))?.status.as_ref()?.value.clone()?;
        find(&status.conditions, kind)
    }

    /// Whether the host acknowledged the ruleset that its placements need now.
    fn firewall_covers(&self) -> bool {
        let context = &self.bench.context;
        let (world, reports) = (context.world.read(), context.reports.read());
        let Some(entry) = world.host(id(HOST)) else { return false };
        let newest = context.order(crate::firewall::plan::newest_placement(entry));
        let firewall = reports.host(id(HOST)).and_then(|report| report.firewall.clone());
        firewall.is_some_and(|firewall| {
            firewall.hash == compile(&input(&world, entry)).content.hash
                && firewall.revision >= newest
        })
    }

    fn image(&self) -> Option<ImageState> {
        let image: ImageId = id(1);
        let images = self.bench.report(HOST, |report| report.images.clone())??;
        images.get(&image).cloned()
    }

    async fn settled(&self) {
        self.bench.until("the image is there", || self.image() == Some(ImageState::Present)).await;
        self.bench.until("the firewall covers all", || self.firewall_covers()).await;
        let applied = || {
            self.condition(ConditionType::FirewallApplied)
                .is_some_and(|condition| condition.status == ConditionStatus::True)
        };
        self.bench.until("the host says so", applied).await;
        sleep(Duration::from_secs(130)).await;
    }

    /// Lets a long time pass, and requires that nothing is written and no agent is changed in it.
    async fn stays_silent(&self, host: &Host) {
        let world = &self.bench.context.world;
        let (revision, before): (_, Stats) = (world.read().revision(), host.stats());
        sleep(LONG).await;
        assert_eq!(world.read().revision(), revision, "converged means silent");
        assert_eq!(host.stats().mutations, before.mutations, "converged means silent");
    }

    async fn end(self) {
        self.tasks.shutdown().await;
        self.bench.end().await;
    }
}

/// The condition that answers a question.
fn find(conditions: &[Condition], kind: ConditionType) -> Option<Condition> {
    conditions.iter().find(|condition| condition.kind == kind).cloned()
}

#[tokio::test(start_paused = true)]
async fn what_guests_need_of_their_host_is_brought_once_and_then_all_is_silent() {
    let upkeep = Upkeep::new().await;
    let host = upkeep.furnish().await;
    upkeep.place(1).await;
    upkeep.place(2).await;
    upkeep.settled().await;
    assert_eq!(upkeep.condition(ConditionType::ImagesReady).unwrap().reason, Reason::Converged);
    upkeep.stays_silent(&host).await;
    assert!(
        host.stats().mutations <= 3,
        "one image and at most a ruleset a guest: {:?}",
        host.stats()
    );
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_member_that_comes_reaches_the_rulesets_that_name_its_group() {
    let upkeep = Upkeep::new().await;
    let _host = upkeep.furnish().await;
    upkeep.place(1).await;
    upkeep.settled().await;
    upkeep.place(2).await;
    upkeep.bench.until("the newcomer is covered", || upkeep.firewall_covers()).await;
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_ruleset_that_takes_longer_than_its_answer_is_waited_for_covers_all_the_same() {
    let upkeep = Upkeep::new().await;
    let delays = Delays { firewall: Duration::from_secs(12), ..Delays::default() };
    let host = upkeep.furnish_with(delays).await;
    upkeep.place(1).await;
    upkeep.settled().await;
    upkeep.stays_silent(&host).await;
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_placement_that_somebody_deleted_are_put_right() {
    let upkeep = Upkeep::new().await;
    let host = upkeep.furnish().await;
    upkeep.place_without(1, |key| matches!(key, Key::Placement(..))).await;
    let whole = || {
        let world = upkeep.bench.context.world.read();
        let guest = world.guest(id(1)).unwrap();
        guest.index.len() == 1 && guest.addresses.len() == 1
    };
    upkeep.bench.until("index and reservation are there", whole).await;
    upkeep.settled().await;
    upkeep.stays_silent(&host).await;
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_reserved_for_nobody_is_freed_after_a_while_and_not_before() {
    let upkeep = Upkeep::new().await;
    let host = upkeep.furnish().await;
    upkeep.place(1).await;
    upkeep.settled().await;
    let nobody: GuestId = id(9);
    let keys = [Key::Address(id(2), [10, 0, 9, 9].into()), Key::Placement(id(HOST), nobody)];
    for key in keys.map(|key| upkeep.bench.context.key(&key)) {
        let compares = vec![Compare::absent(key.clone())];
        let commit = Commit { compares, writes: vec![Op::put(key, nobody.to_string())] };
        upkeep.bench.context.commits.commit(commit).await.unwrap();
    }
    let is_left = || upkeep.bench.context.world.read().guest(nobody).is_some();
    sleep(Duration::from_secs(50)).await;
    assert!(is_left());
    upkeep.bench.until("it is freed", || !is_left()).await;
    sleep(Duration::from_secs(130)).await;
    upkeep.stays_silent(&host).await;
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn contradictions_are_told_and_taken_back_on_both_sides() {
    let upkeep = Upkeep::new().await;
    let network =
        |number: usize, name: &str| (Key::Network(id(number)), json!({"metadata": {"name": name}}));
    let subnet = |number: usize, cidr: &str| {
        (Key::Subnet(id(number)), json!({"network": id::<u8>(1), "cidr": cidr}))
    };
    upkeep.bench.put(&[network(1, "prod")]).await;
    upkeep.bench.put(&[network(2, "prod")]).await;
    upkeep.bench.put(&[subnet(1, "10.0.0.0/24"), subnet(2, "10.1.0.0/24")]).await;
    let of_network = |number: usize| {
        let world = upkeep.bench.context.world.read();
        let number = id::<u8>(number).to_string();
        let status = world.object_status(lochness_api::Kind::Network, &number)?.value.clone()?;
        find(&status.conditions, ConditionType::Valid).map(|condition| condition.reason)
    };
    let of_subnet = |number: usize| {
        let world = upkeep.bench.context.world.read();
        let status = world.subnet(id(number))?.status.as_ref()?.value.clone()?;
        let valid = find(&status.conditions, ConditionType::Valid)?;
        Some((valid.reason, valid.message.contains("overlaps")))
    };
    let (fine, taken) = (Some(Reason::Accepted), Some(Reason::NameTaken));
    upkeep
        .bench
        .until("the name is taken", || (of_network(1), of_network(2)) == (fine, taken))
        .await;
    let alone = Some((Reason::Accepted, false));
    upkeep.bench.until("both are fine", || (of_subnet(1), of_subnet(2)) == (alone, alone)).await;

    upkeep.bench.put(&[network(1, "test"), subnet(2, "10.0.0.0/25")]).await;
    // The elder goes on, and says what waits for it.
    let overlap = (Some((Reason::Accepted, true)), Some((Reason::SubnetsOverlap, true)));
    upkeep.bench.until("the name is free", || of_network(2) == fine).await;
    upkeep.bench.until("both are told", || (of_subnet(1), of_subnet(2)) == overlap).await;

    upkeep.bench.put(&[subnet(2, "10.1.0.0/24")]).await;
    upkeep
        .bench
        .until("both are fine again", || (of_subnet(1), of_subnet(2)) == (alone, alone))
        .await;
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_world_is_shown_in_numbers() {
    let upkeep = Upkeep::new().await;
    let _host = upkeep.furnish().await;
    upkeep.place(1).await;
    upkeep.settled().await;
    let (context, metrics) = (&upkeep.bench.context, &upkeep.bench.metrics);
    let observer = Observer::new(Arc::clone(&context.world));
    observer.set_reports(Some(Arc::clone(&context.reports)));
    metrics.registry.register(Box::new(observer)).unwrap();
    let text = metrics.gather_text();
    for line in [
        "lochness_guests{phase=\"Scheduled\"} 1",
        "lochness_hypervisors{state=\"ready\"} 1",
        "lochness_objects{kind=\"Subnet\"} 1",
        "lochness_invalid_documents{kind=\"Guest\"} 0",
        "lochness_addresses{state=\"used\"} 1",
        "lochness_subnets{state=\"free\"} 1",
        "lochness_subnets{state=\"nearly_exhausted\"} 0",
        "lochness_subnets{state=\"exhausted\"} 0",
        "lochness_deletion_held 0",
        "lochness_hold{reason=\"paused\"} 0",
        "lochness_undeclared_guests 0",
    ] {
        assert!(text.contains(line), "{line} is missing in:\n{text}");
    }
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_was_said_of_a_host_stands_until_it_was_asked() {
    let upkeep = Upkeep::new().await;
    let said = json!({"alive": true, "reachable": true, "address": "192.0.2.1:8080"});
    upkeep
        .bench
        .put(&[
            (Key::Hypervisor(id(HOST)), json!({"ip": "192.0.2.1"})),
            (Key::Heartbeat(id(HOST)), json!("alive")),
            (Key::HypervisorStatus(id(HOST)), said),
        ])
        .await;
    let is_reachable = || {
        let world = upkeep.bench.context.world.read();
        let status = world.host(id(HOST)).and_then(|host| host.status.as_ref()?.value.clone());
        status.is_some_and(|status| status.reachable)
    };
    // The polls look for new hosts a little later.
    sleep(Duration::from_millis(50)).await;
    assert!(is_reachable(), "nobody has asked yet");
    upkeep.bench.until("nobody answers", || !is_reachable()).await;
    upkeep.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_whose_ruleset_is_another_than_reported_gets_the_whole_and_no_patch_for_ever() {
    let upkeep = Upkeep::new().await;
    let host = upkeep.furnish().await;
    upkeep.place(1).await;
    upkeep.settled().await;
    let context = &upkeep.bench.context;
    let wanted = upkeep.bench.report(HOST, |report| report.firewall.clone()).flatten().unwrap();
    // A request that was sent before the report was read, and that is carried out after it.
    let late = FirewallPut {
        hash: "late".to_owned(),
        revision: wanted.revision,
        ruleset: "table inet lochness {}".to_owned(),
    };
    let target = target(context.world.read().host(id(HOST)).unwrap()).unwrap();
    let agent = context.agents.agent_at(id(HOST), target);
    assert_eq!(agent.put_firewall(&late).await.unwrap().hash.as_deref(), Some("late"));
    context.reports.change(id(HOST), |report| {
        report.firewall = Some(FirewallReport { error: Some("no".to_owned()), ..wanted.clone() });
    });
    context.queues.firewall.add(id(HOST));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(agent.firewall().await.unwrap().hash, Some(wanted.hash));
    upkeep.stays_silent(&host).await;
    upkeep.end().await;
}
