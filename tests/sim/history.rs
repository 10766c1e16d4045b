//! One history, from its seed to its verdict.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use lochness_agent::RouterTransport;
use lochness_agent::server::{
    Delays, Faults, Host, HostConfig, MemoryDisk, Registrar, Storage, register, router,
};
use lochness_api::document::Resources;
use lochness_api::{GuestId, Prefix};
use lochness_controllers::settings::Settings;
use lochness_kv::MemoryKv;
use lochness_runtime::clock::{Clock as _, PausedClock};
use lochness_runtime::tasks::Tasks;
use tokio::runtime::Builder;
use tokio::time::{Instant, sleep, sleep_until};

use crate::client::{Client, Shop, Who};
use crate::course::Course;
use crate::judge::Judge;
use crate::network::{LATEST, Network};
use crate::replica::Replica;
use crate::script::User;
use crate::weather::Weather;
use crate::wishes::host_id;

/// Guests that the user thinks of.
pub(crate) const GUESTS: u64 = 7;
/// Hosts.
const HOSTS: u64 = 3;
/// After the last fault the world is as the documents say within this time: what is late arrives (60 s), a breaker or a
/// job's retries wait (30 s), a guest is asked to shut down before its power is cut (60 s), and a minute more.
pub(crate) const BOUND: Duration = Duration::from_secs(LATEST.as_secs() + 30 + 60 + 60);
/// How long faults happen.
const STORM: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(150));
/// The wall clock at the beginning: some day in 2027.
const BEGINNING_MILLIS: i64 = 1_800_000_000_000;

/// What a history came to.
pub(crate) struct Ended {
    pub(crate) trace: String,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    /// What was wrong, if anything was.
    pub(crate) wrong: Option<String>,
}

/// Runs the history of a seed.
pub(crate) fn simulate(seed: u64) -> Ended {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(run(seed))
}

/// Where a host listens.
pub(crate) fn authority(number: u64) -> String {
    format!("192.0.2.{number}:8080")
}

async fn run(seed: u64) -> Ended {
    let course = Course::new(seed);
    let clock = PausedClock::new(BEGINNING_MILLIS);
    let kv = MemoryKv::new();
    let judge = Judge::new(kv.clone(), Arc::clone(&course), clock);
    let shop = Shop::new(kv, Arc::clone(&course), Arc::clone(&judge));
    let tasks = Tasks::new();
    let network = Arc::new(Network {
        hosts: RouterTransport::new(),
        course: Arc::clone(&course),
        judge: Arc::clone(&judge),
        tasks: tasks.child(),
        dark: Mutex::default(),
    });
    let user = User::new(Arc::clone(&shop), HOSTS);
    user.begin().await;
    let hosts = start_hosts(&shop, &network, clock, &tasks);
    let replicas = start_replicas(&shop, &network, clock, &tasks);
    let weather = Weather { network, replicas, hosts: hosts.clone() };
    tasks.spawn("weather", weather.blow());

    user.wish(course.between(STORM.0, STORM.1)).await;
    course.calm();
    for host in &hosts {
        host.set_faults(Faults::default(), None);
    }
    let unmet = until_silent(&course, &judge).await;
    tasks.abort();
    for host in &hosts {
        host.shutdown().await;
    }
    let wrong = judge.verdict(unmet);
    let (faults, trace) = course.end();
    Ended { trace, faults, wrong }
}

fn start_hosts(
    shop: &Arc<Shop>,
    network: &Network,
    clock: PausedClock,
    tasks: &Tasks,
) -> Vec<Host> {
    let kv = Client { shop: Arc::clone(shop), who: Who::Agents, life: None };
    let registrar = Registrar::new(Arc::new(kv), Prefix::default(), Duration::from_secs(15));
    let registrar = Arc::new(registrar);
    let mut hosts = Vec::new();
    for number in 1..=HOSTS {
        let clock = move || Timestamp::from_millisecond(clock.unix_millis()).expect("it is a time");
        let storage = Storage::memory(&MemoryDisk::default());
        let host = Host::open(config(&shop.course, number), storage, Arc::new(clock))
            .expect("memory does not fail");
        network.hosts.insert(authority(number), router(host.clone()));
        shop.judge.watch(host.clone());
        let (registrar, registered) = (Arc::clone(&registrar), host.clone());
        let address = authority(number).parse().expect("it is an address");
        tasks.spawn("registration", async move {
            register(&registrar, &registered, address).await;
        });
        hosts.push(host);
    }
    hosts
}

fn config(course: &Course, number: u64) -> HostConfig {
    let delays = Delays {
        create: Duration::from_millis(800),
        start: Duration::from_millis(300),
        shutdown: Duration::from_secs(2),
        delete: Duration::from_millis(500),
        image: Duration::from_secs(1),
        firewall: Duration::from_millis(50),
        reply: Duration::from_millis(2),
        jitter: Duration::from_millis(700),
    };
    let faults = Faults { failing_jobs: course.profile.failing_jobs, ..Faults::default() };
    HostConfig {
        total_resources: Resources { memory: 4096, disk: 100_000, cpu: 8 },
        delays,
        faults,
        seed: course.below(u64::MAX),
        ..HostConfig::new(host_id(number), format!("host-{number}"))
    }
}

fn start_replicas(
    shop: &Arc<Shop>,
    network: &Arc<Network>,
    clock: PausedClock,
    tasks: &Tasks,
) -> Vec<Arc<Replica>> {
    let replicas = ["one", "two"].map(|name| {
        let (shop, network) = (Arc::clone(shop), Arc::clone(network));
        Arc::new(Replica { name, shop, network, clock, life: Mutex::default() })
    });
    for replica in &replicas {
        tasks.spawn("replica", Arc::clone(replica).run());
    }
    replicas.to_vec()
}

/// Waits for [`BOUND`], and then for three rescans; what is not as it should be then.
async fn until_silent(course: &Course, judge: &Judge) -> Vec<(Option<GuestId>, String)> {
    let deadline = Instant::now() + BOUND;
    sleep_until(deadline).await;
    judge.catch_up();
    let mut unmet = judge.amiss();
    course.note("BOUND");
    let (_, asked) = judge.stir();
    sleep(Settings::default().rescan * 3).await;
    judge.catch_up();
    let (written, asked_since) = judge.stir();
    if written > deadline {
        let late = written - deadline;
        unmet.push((None, format!("L1: the store was still written {late:?} after the bound")));
    }
    if asked_since > asked {
        unmet.push((
            None,
            format!("L1: agents got {} requests for changes after the bound", asked_since - asked),
        ));
    }
    for later in judge.amiss() {
        if !unmet.contains(&later) {
            unmet.push(later);
        }
    }
    unmet
}
