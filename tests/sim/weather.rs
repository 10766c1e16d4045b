//! What fails by time and not by operation: watches, connections, hosts, processes.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::{Event, Host};
use tokio::time::sleep;

use crate::history::{GUESTS, authority};
use crate::network::Network;
use crate::replica::Replica;
use crate::wishes::guest_id;

/// The time from one look at the sky to the next.
const MOMENT: (Duration, Duration) = (Duration::from_millis(300), Duration::from_secs(3));
/// Nothing is cut off for longer.
const LONGEST_CUT: Duration = Duration::from_secs(40);
const SHORTEST_CUT: Duration = Duration::from_secs(1);

/// What the weather strikes.
pub(crate) struct Weather {
    pub(crate) network: Arc<Network>,
    pub(crate) replicas: Vec<Arc<Replica>>,
    pub(crate) hosts: Vec<Host>,
}

impl Weather {
    /// Blows until it is calm.
    pub(crate) async fn blow(self) {
        let course = Arc::clone(&self.network.course);
        while course.is_stormy() {
            sleep(course.between(MOMENT.0, MOMENT.1)).await;
            self.strike_store();
            self.strike_replicas();
            self.strike_hosts();
        }
    }

    fn strike_store(&self) {
        let course = &self.network.course;
        let shop = &self.replicas[0].shop;
        if course.strikes(course.profile.cut_watches) {
            course.fault("watches cut", "all");
            shop.kv.cut_watches();
        }
        if course.strikes(course.profile.compact) {
            shop.judge.catch_up();
            let back = i64::try_from(course.below(60)).unwrap_or(0);
            let revision = shop.kv.revision() - back;
            // One that is compacted already stays so.
            if shop.kv.compact(revision).is_ok() {
                course.fault("compaction", &format!("to {revision}"));
            }
        }
    }

    fn strike_replicas(&self) {
        let course = &self.network.course;
        for replica in &self.replicas {
            let Some(life) = replica.life() else { continue };
            if course.strikes(course.profile.store_cut) {
                course.fault("store cut off", replica.name);
                life.cut_store(course.between(SHORTEST_CUT, LONGEST_CUT));
            }
            if course.strikes(course.profile.leader_paused) {
                course.fault("agents cut off", replica.name);
                life.cut_agents(course.between(SHORTEST_CUT, LONGEST_CUT));
            }
            if course.strikes(course.profile.resigned) {
                course.fault("told to stop", replica.name);
                life.stop();
            }
        }
    }

    fn strike_hosts(&self) {
        let course = &self.network.course;
        for (number, host) in (1..).zip(&self.hosts) {
            if course.strikes(course.profile.host_dark) {
                course.fault("host unreachable", host.name());
                let lasting = course.between(SHORTEST_CUT, LONGEST_CUT);
                self.network.darken(authority(number), lasting);
            }
            if course.strikes(course.profile.agent_killed) {
                course.fault("agent killed", host.name());
                let down_ms = course.below(20_000);
                host.happen(Event::KillAgent { down_ms }).expect("memory does not fail");
            }
            if course.strikes(course.profile.host_reboot) {
                course.fault("host reboots", host.name());
                host.happen(Event::Reboot).expect("memory does not fail");
            }
            if course.strikes(course.profile.guest_crash) {
                let guest = guest_id(course.below(GUESTS));
                course.fault("guest dies", &format!("{guest} on {}", host.name()));
                host.happen(Event::CrashGuest(guest)).expect("memory does not fail");
            }
        }
    }
}
