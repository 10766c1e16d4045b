//! What fails by time and not by operation: the store, connections, processes. Hosts have a [climate](crate::climate) of
//! their own.

use std::sync::Arc;
use std::time::Duration;

use lochness_api::Key;
use lochness_api::status::{ClusterStatus, Condition, ConditionStatus, ConditionType};
use lochness_runtime::tasks::Tasks;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::checker::Checker;
use crate::clock::WallClock;
use crate::faults::Fault;
use crate::machine::Machine;
use crate::network::Network;
use crate::replica::Replica;
use crate::script::put;

/// The time from one look at the sky to the next.
pub(crate) const MOMENT: (Duration, Duration) =
    (Duration::from_millis(300), Duration::from_secs(3));
/// Nothing is cut off for longer.
pub(crate) const LONGEST_CUT: Duration = Duration::from_secs(40);
pub(crate) const SHORTEST_CUT: Duration = Duration::from_secs(1);
/// Clocks jump so far, either way.
const DAY_MILLIS: i64 = 24 * 3600 * 1000;
/// A person needs at least so long to look at a store that was replaced, and at most
const REFLECTION: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(40));
/// It is replaced no earlier than this.
const REPLACEMENT: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(60));
/// Another cluster's id.
const OTHER_CLUSTER: u64 = 0xdead;

/// What the weather strikes.
pub(crate) struct Weather {
    pub(crate) network: Arc<Network>,
    pub(crate) replicas: Vec<Arc<Replica>>,
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) tasks: Tasks,
}

impl Weather {
    /// Blows until it is calm.
    pub(crate) async fn blow(self) {
        let course = Arc::clone(&self.network.course);
        let mut no_space_until = None;
        while course.is_stormy() {
            sleep(course.between(MOMENT.0, MOMENT.1)).await;
            self.strike_store(&mut no_space_until);
            self.strike_replicas().await;
            for machine in &self.machines {
                self.strike_host(machine);
            }
        }
        self.replicas[0].shop.kv.disarm();
    }

    fn strike_store(&self, no_space_until: &mut Option<Instant>) {
        let course = &self.network.course;
        let profile = &course.profile.store;
        let shop = &self.replicas[0].shop;
        if course.faults(Fault::WatchesCut, profile.cut_watches, || "all".to_owned()) {
            shop.kv.cut_watches();
        }
        if course.strikes(profile.compact) {
            shop.judge.catch_up();
            let back = i64::try_from(course.below(60)).unwrap_or(0);
            let revision = shop.kv.revision() - back;
            // One that is compacted already stays so.
            if shop.kv.compact(revision).is_ok() {
                course.fault(Fault::Compaction, || format!("to {revision}"));
            }
        }
        if course.faults(Fault::StoreDown, profile.down, || "for everybody".to_owned()) {
            shop.falls(course.between(SHORTEST_CUT, LONGEST_CUT));
            shop.kv.cut_watches();
        }
        if no_space_until.is_some_and(|until| until <= Instant::now()) {
            shop.kv.disarm();
            *no_space_until = None;
        }
        if course.faults(Fault::NoSpace, profile.no_space, || "alarm".to_owned()) {
            shop.kv.raise_no_space();
            *no_space_until = Some(Instant::now() + course.between(SHORTEST_CUT, LONGEST_CUT));
        }
    }

    async fn strike_replicas(&self) {
        let course = &self.network.course;
        let profile = &course.profile.process;
        for replica in &self.replicas {
            let Some(life) = replica.life() else { continue };
            let name = || replica.name.to_owned();
            let lasting = || course.between(SHORTEST_CUT, LONGEST_CUT);
            if course.faults(Fault::StoreCut, profile.store_cut, name) {
                life.cut_store(lasting());
            }
            if course.faults(Fault::StoreDeaf, profile.store_deaf, name) {
                life.deafen_store(lasting());
            }
            if course.faults(Fault::AgentsCut, profile.agents_cut, name) {
                life.cut_agents(lasting());
            }
            if course.faults(Fault::Frozen, profile.frozen, name) {
                life.freeze(lasting(), &self.tasks);
            }
            if let Some(lease) = life.lease()
                && course.faults(Fault::LeaseRevoked, profile.lease_revoked, name)
            {
                // Somebody else may have revoked it before.
                let _gone = replica.shop.revoke(lease).await;
            }
            if course.faults(Fault::ToldToStop, profile.resigned, name) {
                life.stop();
            }
            if course.strikes(profile.clock_jump) {
                jump(&self.network, &replica.clock, replica.name);
            }
        }
    }

    /// Lets another cluster answer, once, and a person accept it.
    pub(crate) async fn replace_store(self) {
        let course = &self.network.course;
        let shop = &self.replicas[0].shop;
        sleep(course.between(REPLACEMENT.0, REPLACEMENT.1)).await;
        if !course.is_stormy() {
            return;
        }
        course.fault(Fault::OtherCluster, || "the same contents".to_owned());
        shop.kv.set_cluster_id(OTHER_CLUSTER);
        shop.kv.cut_watches();
        sleep(course.between(REFLECTION.0, REFLECTION.1)).await;
        // A process that reads the store only after that cannot know from when the word is, and holds when it leads. Nobody
        // may have asked for the first word.
        for time in 0..=self.replicas.len() {
            let word = format!("as it is, for the {}. time", time + 1);
            put(shop, &Key::Config("accept_store".to_owned()), &json!(word)).await;
            loop {
                sleep(REFLECTION.1).await;
                shop.judge.catch_up();
                if shop.judge.look(is_held) {
                    break;
                }
            }
        }
    }
}

/// Whether the cluster's status asks a person to look at the store.
pub(crate) fn is_held(checker: &Checker) -> bool {
    let status = checker.value(&Key::ClusterStatus);
    let status = status.and_then(|it| serde_json::from_slice::<ClusterStatus>(it).ok());
    status.is_some_and(|status| {
        let is_held = |it: &Condition| {
            it.kind == ConditionType::StoreRestored && it.status == ConditionStatus::True
        };
        status.conditions.iter().any(is_held)
    })
}

/// The clock of a process or host jumps a day.
pub(crate) fn jump(network: &Network, clock: &WallClock, whose: &str) {
    let course = &network.course;
    let forward = course.below(2) == 0;
    let class = if forward { Fault::ClockForward } else { Fault::ClockBack };
    course.fault(class, || whose.to_owned());
    network.judge.catch_up();
    clock.jump(if forward { DAY_MILLIS } else { -DAY_MILLIS });
}
