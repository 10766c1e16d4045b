//! Scenarios that are played without a sweep: for the mutants, and what is timed.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::Event;
use lochness_api::{FlavorId, FwGroupId, HypervisorId, Key, NetworkId, SubnetId};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::scenario::{LOST_AND_FOUND, LOST_MILLIS, SHORT_LIFE, with_guests};
use super::stage::{HOSTS, RESCAN, Stage};
use crate::checker::{Checker, runs};
use crate::machine::Machine;
use crate::weather::is_held;
use crate::wishes::{NETWORK, SUBNET, guest_id, host_id};

/// Or after this, when a person has to look at a store first.
const LONG_LOST_MILLIS: u64 = 90_000;
/// The address that is given away first.
const FIRST_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 10));
/// Jobs fail for so long: through several attempts.
const FAILING: Duration = Duration::from_secs(20);
/// Guests from this number on have documents that say nothing.
const POISONED: u64 = 20;
/// Bytes of a document that says too much.
const HUGE: usize = 1_000_000;
/// A poisoned document delays others so much at most (L5).
const MOST_DELAYED: Duration = Duration::from_secs(1);
/// Who is not placed after this will not be.
const PATIENCE: Duration = Duration::from_secs(20);
/// A store that went back is noticed, and that is written down, within this time.
const NOTICED: Duration = Duration::from_secs(20);

/// Somebody deletes all that says where a guest is, while its host's agent is away.
pub(super) async fn place_lost(stage: &Stage) {
    with_guests(stage, 3).await;
    stage.begin();
    for machine in &stage.machines {
        machine.happen(Event::KillAgent { down_ms: LOST_MILLIS });
    }
    sleep(SHORT_LIFE).await;
    let index = (1..=HOSTS).map(|number| Key::Placement(host_id(number), guest_id(1)));
    stage.remove_all(index.chain([Key::GuestStatus(guest_id(1))])).await;
    sleep(Duration::from_millis(LOST_MILLIS) + LOST_AND_FOUND).await;
    stage.settle(&[]).await;
}

/// At the step that the plan names somebody reserves the address that is the next to be given away.
pub(super) async fn address_by_hand(stage: &Stage) {
    let reserve = async {
        let key = Key::Address(SUBNET, FIRST_ADDRESS);
        stage.put_text(&key, &guest_id(9).to_string()).await;
    };
    by_hand(stage, reserve).await;
}

/// At the step that the plan names somebody writes into the index of the host that the guest is pinned to.
pub(super) async fn index_by_hand(stage: &Stage) {
    let name = async {
        let key = Key::Placement(host_id(1), guest_id(2));
        stage.put_text(&key, &guest_id(2).to_string()).await;
    };
    by_hand(stage, name).await;
}

async fn by_hand(stage: &Stage, act: impl Future<Output = ()>) {
    stage.settle(&[]).await;
    stage.begin();
    stage.edit(2, "hypervisor", json!(host_id(1))).await;
    if stage.shop.points.has_act() {
        stage.at_the_named_step(act).await;
    }
    stage.settle(&[]).await;
}

/// Whatever is asked of any agent fails for a while.
pub(super) async fn jobs_fail(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    for machine in &stage.machines {
        machine.fails(|faults| faults.failing_jobs = 1_000, FAILING);
    }
    stage.edit(1, "state", json!("stopped")).await;
    sleep(FAILING).await;
    stage.settle(&[]).await;
}

/// L5: beside documents of every kind that say nothing sensible, or too much, another guest gets its place as fast as ever.
pub(super) async fn poisoned(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    let huge = format!("{{\"type\": \"{}\"}}", "x".repeat(HUGE));
    for (at, text) in (0_u64..).zip(["{", "[[[[", "null", &huge]) {
        let id = Uuid::from_u128(0xbad + u128::from(at));
        for key in [
            Key::Guest(guest_id(POISONED + at)),
            Key::Flavor(FlavorId::new(id)),
            Key::Network(NetworkId::new(id)),
            Key::Subnet(SubnetId::new(id)),
            Key::FwGroup(FwGroupId::new(id)),
            Key::Hypervisor(HypervisorId::new(id)),
            Key::Config(format!("nonsense-{at}")),
        ] {
            stage.put_text(&key, text).await;
        }
    }
    let contradicts = json!({ "network": NETWORK, "cidr": "10.1.0.0/24", "gateway": "10.9.0.1",
        "start": "10.1.0.200", "end": "10.1.0.2" });
    stage.put(&Key::Subnet(SubnetId::new(Uuid::from_u128(0xbadd))), &contradicts).await;
    let put = Instant::now();
    stage.create(2).await;
    let is_placed = |checker: &Checker| checker.indexed(guest_id(2)) > 0;
    while !stage.judge.look(is_placed) && put.elapsed() < PATIENCE {
        sleep(Duration::from_millis(10)).await;
        stage.judge.catch_up();
    }
    let took = put.elapsed();
    if took > MOST_DELAYED {
        stage
            .judge
            .wrong(format!("L5: beside poisoned documents a guest is placed after {took:?}"));
    }
    stage.settle(&[0, 1, 2, 3].map(|at| POISONED + at)).await;
}

/// L6: guests that die, go off and vanish behind the operator's back run again within one rescan.
pub(super) async fn drifted(stage: &Stage) {
    with_guests(stage, 3).await;
    stage.begin();
    let events = [Event::CrashGuest, Event::StopGuest, Event::LoseGuest];
    for (number, event) in (1..).zip(events) {
        let guest = guest_id(number);
        let runs_on = |machine: &&Arc<Machine>| runs(&machine.host.history(), guest);
        let Some(machine) = stage.machines.iter().find(runs_on) else { continue };
        machine.happen(event(guest));
    }
    sleep(RESCAN).await;
    for guest in (1..=3).map(guest_id) {
        if !stage.machines.iter().any(|machine| runs(&machine.host.history(), guest)) {
            stage.judge.wrong(format!("L6: {guest} does not run again within {RESCAN:?}"));
        }
    }
    stage.settle(&[]).await;
}

/// L6: rules that somebody deletes behind the operator's back are in force again within one rescan.
pub(super) async fn rules_drifted(stage: &Stage) {
    with_guests(stage, 3).await;
    stage.begin();
    for machine in &stage.machines {
        machine.happen(Event::LoseRules);
    }
    sleep(RESCAN).await;
    for (_, wrong) in stage.judge.unruled() {
        stage.judge.wrong(wrong);
    }
    stage.settle(&[]).await;
}

/// The store goes back to before a guest was made: until a person has accepted it nothing is done, and then what is
/// declared again is adopted.
pub(super) async fn store_restored(stage: &Stage) {
    with_guests(stage, 2).await;
    stage.judge.keep();
    let snapshot = stage.shop.kv.snapshot();
    stage.create(3).await;
    stage.settle(&[]).await;
    stage.begin();
    stage.shop.kv.restore(snapshot);
    stage.judge.goes_back();
    sleep(NOTICED).await;
    stage.create(4).await;
    sleep(NOTICED).await;
    if !stage.judge.look(is_held) {
        stage.judge.wrong("HOLD: nobody says that the store went back".to_owned());
    }
    stage.put(&Key::Config("accept_store".to_owned()), &json!("as it is")).await;
    stage.settle(&[]).await;
    stage.create(3).await;
    stage.settle(&[]).await;
}

/// The same, and the host that has the guest is away when it is declared again: nobody makes it elsewhere until that host
/// was asked.
pub(super) async fn restored_without_host(stage: &Stage) {
    with_guests(stage, 2).await;
    stage.judge.keep();
    let snapshot = stage.shop.kv.snapshot();
    stage.create(3).await;
    stage.settle(&[]).await;
    stage.begin();
    let host = stage.judge.look(|checker| {
        let placement = checker.status(guest_id(3)).and_then(|status| status.placement.as_ref());
        placement.map(|placement| placement.hypervisor)
    });
    for machine in stage.machines.iter().filter(|it| Some(it.host.id()) == host) {
        machine.happen(Event::KillAgent { down_ms: LONG_LOST_MILLIS });
    }
    stage.shop.kv.restore(snapshot);
    stage.judge.goes_back();
    sleep(NOTICED).await;
    stage.put(&Key::Config("accept_store".to_owned()), &json!("as it is")).await;
    stage.create(3).await;
    sleep(Duration::from_millis(LONG_LOST_MILLIS)).await;
    stage.settle(&[]).await;
}
