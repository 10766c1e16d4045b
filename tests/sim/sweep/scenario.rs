//! What the user does in a sweep: small scenarios, each of which ends as the documents say.

use std::time::Duration;

use lochness_agent::server::Event;
use lochness_api::Key;
use serde_json::json;
use tokio::time::sleep;

use super::stage::{HOSTS, Stage};
use super::unswept;
use crate::wishes::{FLAVOR, IMAGE, guest_id};

/// One scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scenario {
    Create,
    ManyCreates,
    StopAndStart,
    Reboot,
    FlavorGone,
    Delete,
    DeleteAndCreateAgain,
    HostLost,
    HostReboots,
    AddressesExhausted,
    NoRoom,
    CreateAndDelete,
    FirewallRefused,
    LeaderChange,
    MassDeletion,
    StatusLost,
    Malformed,
    /// For the mutants alone: with the leader's memory nobody would know where the guest is.
    PlaceLost,
    /// The same for keys that a person writes at the very moment of a placement.
    AddressByHand,
    IndexByHand,
    JobsFail,
    Poisoned,
    Drifted,
    RulesDrifted,
    StoreRestored,
    RestoredWithoutHost,
}

pub(crate) const ALL: [Scenario; 17] = [
    Scenario::Create,
    Scenario::ManyCreates,
    Scenario::StopAndStart,
    Scenario::Reboot,
    Scenario::FlavorGone,
    Scenario::Delete,
    Scenario::DeleteAndCreateAgain,
    Scenario::HostLost,
    Scenario::HostReboots,
    Scenario::AddressesExhausted,
    Scenario::NoRoom,
    Scenario::CreateAndDelete,
    Scenario::FirewallRefused,
    Scenario::LeaderChange,
    Scenario::MassDeletion,
    Scenario::StatusLost,
    Scenario::Malformed,
];

/// What is played without a sweep: for the mutants, and what is timed.
pub(crate) const UNSWEPT: [Scenario; 9] = [
    Scenario::PlaceLost,
    Scenario::AddressByHand,
    Scenario::IndexByHand,
    Scenario::JobsFail,
    Scenario::Poisoned,
    Scenario::Drifted,
    Scenario::RulesDrifted,
    Scenario::StoreRestored,
    Scenario::RestoredWithoutHost,
];

/// A host that is lost is back after this.
pub(super) const LOST_MILLIS: u64 = 45_000;
/// And heard of again after this.
pub(super) const LOST_AND_FOUND: Duration = Duration::from_secs(15);
/// A guest that was created is deleted after this: mostly it runs by then.
pub(super) const SHORT_LIFE: Duration = Duration::from_secs(4);
/// Rulesets are refused for so long: longer than a lease.
const REFUSED: Duration = Duration::from_secs(50);

/// A person confirms a deletion, and again for each of two processes that died.
const CONFIRMATIONS: u64 = 3;

impl Scenario {
    /// Whether there is a moment at which the user acts that a plan can choose.
    pub(crate) fn has_act(self) -> bool {
        matches!(
            self,
            Self::DeleteAndCreateAgain
                | Self::StopAndStart
                | Self::FlavorGone
                | Self::AddressByHand
                | Self::IndexByHand
        )
    }

    /// Plays it to its end.
    pub(crate) async fn play(self, stage: &Stage) {
        match self {
            Self::Create => create(stage).await,
            Self::ManyCreates => many_creates(stage).await,
            Self::StopAndStart => stop_and_start(stage).await,
            Self::Reboot => reboot(stage).await,
            Self::FlavorGone => flavor_gone(stage).await,
            Self::Delete => delete(stage).await,
            Self::DeleteAndCreateAgain => delete_and_create_again(stage).await,
            Self::HostLost => host_lost(stage).await,
            Self::HostReboots => host_reboots(stage).await,
            Self::AddressesExhausted => addresses_exhausted(stage).await,
            Self::NoRoom => no_room(stage).await,
            Self::CreateAndDelete => create_and_delete(stage).await,
            Self::FirewallRefused => firewall_refused(stage).await,
            Self::LeaderChange => leader_change(stage).await,
            Self::MassDeletion => mass_deletion(stage).await,
            Self::StatusLost => status_lost(stage).await,
            Self::Malformed => malformed(stage).await,
            Self::PlaceLost => unswept::place_lost(stage).await,
            Self::AddressByHand => unswept::address_by_hand(stage).await,
            Self::IndexByHand => unswept::index_by_hand(stage).await,
            Self::JobsFail => unswept::jobs_fail(stage).await,
            Self::Poisoned => unswept::poisoned(stage).await,
            Self::Drifted => unswept::drifted(stage).await,
            Self::RulesDrifted => unswept::rules_drifted(stage).await,
            Self::StoreRestored => unswept::store_restored(stage).await,
            Self::RestoredWithoutHost => unswept::restored_without_host(stage).await,
        }
    }
}

/// One guest with a firewall group: everything from the first election on is counted.
async fn create(stage: &Stage) {
    stage.begin();
    stage.create(2).await;
    stage.settle(&[]).await;
}

/// As many guests at once as fit.
async fn many_creates(stage: &Stage) {
    stage.settle(&[]).await;
    stage.begin();
    for number in 0..HOSTS * 2 {
        stage.create(number).await;
    }
    stage.settle(&[]).await;
}

async fn stop_and_start(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    stage.edit(1, "state", json!("stopped")).await;
    stage.at_the_named_step(stage.edit(1, "state", json!("running"))).await;
    stage.settle(&[]).await;
}

async fn reboot(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    stage.edit(1, "reboot", json!("again")).await;
    stage.settle(&[]).await;
}

/// What runs runs on, and a new one waits for the flavor.
async fn flavor_gone(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    stage.remove(&Key::Flavor(FLAVOR)).await;
    stage.create(2).await;
    let flavor = json!({ "image": IMAGE, "memory": 512, "disk": 1024, "cpu": 1 });
    let put_back = async { stage.put(&Key::Flavor(FLAVOR), &flavor).await };
    if stage.shop.points.has_act() {
        stage.at_the_named_step(put_back).await;
    } else {
        stage.settle(&[2]).await;
        put_back.await;
    }
    stage.settle(&[]).await;
}

async fn delete(stage: &Stage) {
    with_guests(stage, 2).await;
    stage.begin();
    stage.delete(1).await;
    stage.settle(&[]).await;
}

/// The document comes back at any step of its teardown, or after it.
async fn delete_and_create_again(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    stage.delete(1).await;
    stage.at_the_named_step(stage.create(1)).await;
    stage.settle(&[]).await;
}

/// The agents go away while their guests run on, and come back; meanwhile a guest is deleted and another wished.
async fn host_lost(stage: &Stage) {
    with_guests(stage, 3).await;
    stage.begin();
    stage.machines[0].happen(Event::KillAgent { down_ms: LOST_MILLIS });
    stage.delete(1).await;
    stage.create(4).await;
    sleep(Duration::from_millis(LOST_MILLIS) + LOST_AND_FOUND).await;
    stage.settle(&[]).await;
}

/// The guests of a host that boots are started again.
async fn host_reboots(stage: &Stage) {
    with_guests(stage, 3).await;
    stage.begin();
    for machine in &stage.machines {
        machine.happen(Event::Reboot);
    }
    stage.settle(&[]).await;
}

/// The third of two addresses is free when one guest has gone and its quarantine is over.
async fn addresses_exhausted(stage: &Stage) {
    stage.addresses(2).await;
    with_guests(stage, 2).await;
    stage.begin();
    stage.create(3).await;
    stage.settle(&[3]).await;
    stage.delete(1).await;
    stage.settle(&[]).await;
}

/// One guest more than fit waits until another one has gone.
async fn no_room(stage: &Stage) {
    with_guests(stage, HOSTS * 2).await;
    stage.begin();
    stage.create(HOSTS * 2 + 1).await;
    stage.settle(&[HOSTS * 2 + 1]).await;
    stage.delete(1).await;
    stage.settle(&[]).await;
}

/// A guest does not live long, and what was sent for it may come after its end.
async fn create_and_delete(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    stage.create(2).await;
    sleep(SHORT_LIFE).await;
    stage.delete(2).await;
    stage.settle(&[]).await;
}

/// No host can put a ruleset in force for a while: no guest starts without one.
async fn firewall_refused(stage: &Stage) {
    stage.settle(&[]).await;
    stage.begin();
    for machine in &stage.machines {
        machine.fails(|faults| faults.broken_firewall = Some("no room".to_owned()), REFUSED);
    }
    stage.create(2).await;
    sleep(REFUSED).await;
    stage.settle(&[]).await;
}

/// The leader is told to end while a guest is being made.
async fn leader_change(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    stage.create(2).await;
    if let Some(leader) = stage.leader() {
        leader.stop();
    }
    stage.edit(1, "state", json!("stopped")).await;
    stage.settle(&[]).await;
}

/// More documents go at once than the budget allows: nothing happens until a person has confirmed it.
async fn mass_deletion(stage: &Stage) {
    for name in ["deletion_budget_min", "deletion_budget_percent"] {
        stage.put(&Key::Config(name.to_owned()), &json!("1")).await;
    }
    with_guests(stage, 3).await;
    stage.judge.budget(1);
    stage.begin();
    stage.remove_all((1..=3).map(|number| Key::Guest(guest_id(number)))).await;
    stage.settle(&[1, 2, 3]).await;
    // Whoever reads the store only after the confirmation cannot know when the documents went, and asks again.
    for _ in 0..CONFIRMATIONS {
        if !stage.asks_to_confirm() {
            break;
        }
        let revision = stage.shop.kv.revision();
        stage.judge.confirmed(revision);
        let key = Key::Config("confirm_deletion".to_owned());
        stage.put(&key, &json!(revision.to_string())).await;
        stage.settle(&[1, 2, 3]).await;
    }
    stage.settle(&[]).await;
}

/// Somebody deletes the status of a guest that runs: it is adopted.
async fn status_lost(stage: &Stage) {
    with_guests(stage, 2).await;
    stage.begin();
    stage.remove(&Key::GuestStatus(guest_id(1))).await;
    stage.settle(&[]).await;
}

/// Nonsense instead of a document: what runs runs on, and others are made.
async fn malformed(stage: &Stage) {
    with_guests(stage, 1).await;
    stage.begin();
    stage.put_text(&Key::Guest(guest_id(1)), "{").await;
    stage.create(2).await;
    stage.settle(&[1]).await;
}

/// So many guests run before the scenario begins.
pub(super) async fn with_guests(stage: &Stage, count: u64) {
    for number in 1..=count {
        stage.create(number).await;
    }
    stage.settle(&[]).await;
}
