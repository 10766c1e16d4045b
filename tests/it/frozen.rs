//! Pairs of operators that are stopped past their lease and continued, again and again, while everything else fails too.
//!
//! One round is a store's prefix with two operators (one of them behind a bad way), three hosts and guests that come and
//! go. In every cycle the leader is frozen at some moment of its work, the other one takes over, and the first is thawed
//! with all that it was about to do. At the end there is peace, the world must become what the documents say, and the
//! checker judges every revision and every host's true history: nothing unfenced may have landed.

use std::collections::BTreeMap;
use std::time::Duration;

use lochness_agent::server::{Delays, Event, Faults, ReplyFault};
use lochness_api::{Key, Prefix};
use lochness_kv::test_support::EtcdProcess;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::chaos::converges;
use crate::harness::{
    HostOptions, Members, OperatorOptions, Proxy, Stage, Weather, eventually, guest_id,
};

/// Guests that may be there.
const GUESTS: u32 = 16;
/// How long a silent leader keeps its term.
const LEASE: Duration = Duration::from_secs(2);

/// What one round was about.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) cycles: u32,
    /// How often each kind of fault was made.
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// Revisions that operators and agents made.
    pub(crate) revisions: usize,
    /// What truly happened on the hosts.
    pub(crate) effects: usize,
}

/// One pair under its prefix.
struct Pair {
    stage: Stage,
    rng: StdRng,
    proxy: Proxy,
    told: Told,
}

/// Freezes the leaders of a pair so many times, under this prefix of the etcd at `endpoint`.
pub(crate) async fn round(endpoint: &str, prefix: &str, seed: u64, cycles: u32) -> Told {
    let mut pair = Pair::start(endpoint, prefix, seed).await;
    for _ in 0..cycles {
        pair.cycle().await;
    }
    pair.end().await
}

impl Pair {
    async fn start(endpoint: &str, prefix: &str, seed: u64) -> Self {
        let mut stage = Stage::on(Members::shared(endpoint), Prefix::new(prefix)).await;
        stage.put_network().await;
        stage.store.put(&Key::Config("quarantine_seconds".to_owned()), &json!("2")).await;
        stage.store.put(&Key::Config("deletion_budget_min".to_owned()), &json!("1000")).await;
        for name in ["host-1", "host-2"] {
            let create = Duration::from_millis(30);
            let delays = Delays { create, jitter: 5 * create, ..Delays::default() };
            stage.host(&HostOptions { delays, ..HostOptions::new(name) }).await;
        }
        stage.agent("host-3", Duration::from_millis(60)).await;
        let proxy = Proxy::start(endpoint.trim_start_matches("http://")).await;
        let options = OperatorOptions { lease: LEASE, ..OperatorOptions::default() };
        stage.operator_with("straight", &options).await;
        stage.operator_at("behind a bad way", &proxy.endpoint(), &options).await;
        Self { stage, rng: StdRng::seed_from_u64(seed), proxy, told: Told::default() }
    }

    /// Wishes, a fault, and a leader that is frozen past its lease and thawed.
    async fn cycle(&mut self) {
        for _ in 0..4 {
            self.wish().await;
        }
        self.fault().await;
        let leader = self.stage.leader().await;
        for _ in 0..3 {
            self.wish().await;
        }
        // Some moment of the work that this makes.
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..120))).await;
        self.stage.operators[leader].freeze();
        self.proxy.set(Weather::Fair);
        self.wish().await;
        let other = &self.stage.operators[1 - leader];
        eventually("the other one leads", async || other.leads().await).await;
        for _ in 0..2 {
            self.wish().await;
        }
        self.stage.operators[leader].thaw();
        self.told.cycles += 1;
    }

    async fn wish(&mut self) {
        let number = self.rng.random_range(0..GUESTS);
        if self.rng.random_range(0..100) < 35 {
            self.stage.store.delete(&Key::Guest(guest_id(number))).await;
            return;
        }
        let wishes = ["running", "running", "running", "stopped", "suspended"];
        let wish = wishes[self.rng.random_range(0..wishes.len())];
        let reboot = self.rng.random_range(0..3).to_string();
        self.stage.put_guest(number, json!({ "state": wish, "reboot": reboot })).await;
    }

    async fn fault(&mut self) {
        let host = self.rng.random_range(0..self.stage.hosts.len());
        let host = &self.stage.hosts[host];
        let name = match self.rng.random_range(0..10) {
            0 => {
                self.stage.agents[0].kill();
                self.stage.agents[0].restart().await;
                "agent killed"
            }
            1 => {
                host.happen(Event::KillAgent { down_ms: 400 });
                "agent away"
            }
            2 => {
                host.happen(Event::Reboot);
                "host booted"
            }
            3 => {
                host.happen(Event::CrashGuest(guest_id(self.rng.random_range(0..GUESTS))));
                "guest crashed"
            }
            4 => {
                let lost = Faults { lost_answers: 300, failing_jobs: 200, ..Faults::default() };
                host.set_faults(lost);
                "answers of an agent lost, jobs failed"
            }
            5 => {
                let reply = Some(ReplyFault::Status(500));
                host.set_faults(Faults { reply, ..Faults::default() });
                "agent failed"
            }
            6 => {
                self.proxy.set(Weather::Slow(Duration::from_millis(100)));
                "way to etcd slow"
            }
            7 => {
                self.proxy.set(Weather::AnswersLost);
                tokio::time::sleep(Duration::from_millis(200)).await;
                self.proxy.set(Weather::Fair);
                "answers of etcd lost"
            }
            8 => {
                self.proxy.set(Weather::Cut);
                tokio::time::sleep(Duration::from_millis(50)).await;
                self.proxy.set(Weather::Fair);
                "connection to etcd cut"
            }
            _ => {
                for host in &self.stage.hosts {
                    host.set_faults(Faults::default());
                }
                "agents well again"
            }
        };
        *self.told.faults.entry(name).or_default() += 1;
    }

    /// Peace, and judgement.
    async fn end(mut self) -> Told {
        self.proxy.set(Weather::Fair);
        for host in &self.stage.hosts {
            host.set_faults(Faults::default());
        }
        converges(&self.stage, GUESTS).await;
        self.told.revisions = self.stage.checker.revisions();
        let histories = self.stage.histories().await;
        self.told.effects = histories.iter().map(|history| history.effects.len()).sum();
        self.stage.finish().await;
        self.told
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leaders_stopped_past_their_lease_and_continued_ten_times_land_nothing() {
    let etcd = EtcdProcess::start();
    let (one, two) =
        tokio::join!(round(etcd.endpoint(), "one/", 11, 5), round(etcd.endpoint(), "two/", 12, 5));
    assert_eq!(one.cycles + two.cycles, 10, "{one:?} {two:?}");
}
