//! A bench for tests: the model of etcd, simulated hosts in this process, the polls and the job loop, on paused time.
//! The test plays the other loops.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use lochness_agent::RouterTransport;
use lochness_agent::server::{self, Compat, Host, HostConfig, MemoryDisk, Storage};
use lochness_agent::wire::Order;
use lochness_api::job::JobAction;
use lochness_api::keys::Key;
use lochness_api::status::{GuestStatus, Phase};
use lochness_api::{GuestId, HypervisorId, JobId, Prefix};
use lochness_kv::{Kv, MemoryKv, Op, Txn};
use lochness_runtime::clock::{Clock, PausedClock};
use lochness_runtime::controller::{Controller, ControllerOptions};
use lochness_runtime::leader::{Elector, ElectorOptions, Term};
use lochness_runtime::metrics::Metrics;
use lochness_runtime::tasks::Tasks;
use lochness_runtime::watcher::{Watcher, WatcherOptions};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::{AgentMetrics, Agents, poll_hosts};
use crate::commits::Commits;
use crate::context::Context;
use crate::job::JobReconciler;
use crate::leases::Leases;
use crate::outcomes::Outcomes;
use crate::queues::Queues;
use crate::reports::{HostReport, Reports};
use crate::settings::Settings;
use crate::test_world::{id, placement};
use crate::wake::wake;
use crate::world::{World, WorldCell, WorldSink};

/// The life of the store.
pub(crate) const INCARNATION: u64 = 7;
/// A condition that is not met for so long never will be.
const PATIENCE: Duration = Duration::from_secs(1_000);

/// Conditions are looked at this often once they take their time.
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

pub(crate) struct Bench {
    pub(crate) context: Context,
    pub(crate) network: RouterTransport,
    pub(crate) metrics: Metrics,
    pub(crate) kv: Arc<MemoryKv>,
    clock: PausedClock,
    tasks: Tasks,
}

impl Bench {
    /// A leader whose polls and job loop run.
    pub(crate) async fn new() -> Self {
        let (kv, tasks, metrics) = (Arc::new(MemoryKv::new()), Tasks::new(), Metrics::new());
        let settings = Arc::new(Settings::default());
        let queues = Queues::new(&settings, &metrics);
        let world = follow(&kv, &queues, &tasks, &metrics);
        let term = elected(&kv, &tasks, &metrics).await;
        world.wait_for(term.revision()).await;
        let store: Arc<dyn Kv> = Arc::clone(&kv) as _;
        let (commits, run) =
            Commits::new(Arc::clone(&store), Arc::clone(&world), term.clone(), &metrics);
        tasks.spawn("commits", run.run(tasks.token().clone()));
        let (network, reports) = (RouterTransport::new(), Arc::new(Reports::default()));
        let epoch = Order::new(INCARNATION, u64::try_from(term.revision()).unwrap());
        let agents = Agents::new(
            Arc::new(network.clone()),
            epoch,
            term.clone(),
            Arc::clone(&reports),
            Arc::clone(&settings),
            AgentMetrics::new(&metrics),
        );
        let clock = PausedClock::new(1_800_000_000_000);
        let context = Context {
            world,
            reports,
            outcomes: Arc::new(Outcomes::default()),
            commits,
            leases: Arc::new(Leases::new(store)),
            agents: Arc::new(agents),
            deletions: Arc::default(),
            queues,
            term,
            incarnation: INCARNATION,
            clock: Arc::new(clock),
            settings,
            prefix: Prefix::default(),
            identity: "bench".to_owned(),
        };
        let bench = Self { context, network, metrics, kv, clock, tasks };
        bench.put(&[(Key::Incarnation, json!(INCARNATION))]).await;
        bench.run();
        bench
    }

    fn run(&self) {
        let context = &self.context;
        self.tasks.spawn("polls", poll_hosts(context.clone(), self.tasks.child()));
        let jobs = Controller::with_queue(
            Arc::new(JobReconciler::new(context.clone())),
            Arc::clone(&context.queues.job),
            ControllerOptions { workers: 16, ..ControllerOptions::default() },
            &self.metrics,
        );
        self.tasks.spawn("jobs", jobs.run(self.tasks.token().clone()));
    }

    /// A host on the network and in the store. Its firewall is somebody else's.
    pub(crate) async fn host(&self, number: usize, compat: Compat) -> Host {
        let config = HostConfig { compat, ..HostConfig::new(id(number), format!("host-{number}")) };
        self.host_with(number, config).await
    }

    pub(crate) async fn host_with(&self, number: usize, config: HostConfig) -> Host {
        let clock = self.clock;
        let clock = move || Timestamp::from_millisecond(clock.unix_millis()).unwrap();
        let storage = Storage::memory(&MemoryDisk::default());
        let host = Host::open(config, storage, Arc::new(clock)).unwrap();
        self.network.insert(format!("192.0.2.{number}:8080"), server::router(host.clone()));
        let document = json!({"ip": format!("192.0.2.{number}")});
        let firewall = Key::HypervisorConfig(id(number), "firewall".to_owned());
        self.put(&[(Key::Hypervisor(id(number)), document), (firewall, json!("off"))]).await;
        host
    }

    /// Puts all in one transaction, and waits until the view shows it.
    pub(crate) async fn put(&self, keys: &[(Key, Value)]) {
        let put = |(key, value): &(Key, Value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            Op::put(Prefix::default().key(key), text)
        };
        let success = keys.iter().map(put).collect();
        let txn = Txn { success, ..Txn::default() };
        let revision = self.kv.txn(txn).await.unwrap().header.revision;
        self.context.world.wait_for(revision).await;
    }

    /// Declares and places guest `number` on host `host`, with a first job.
    pub(crate) async fn place(&self, number: usize, host: usize, action: JobAction) -> JobId {
        let (guest, host): (GuestId, HypervisorId) = (id(number), id(host));
        let document = json!({"flavor": id::<u8>(1), "network": id::<u8>(1)});
        let mut keys =
            vec![(Key::Guest(guest), document), (Key::Placement(host, guest), json!(guest))];
        let job = self.job(number, host, action, &mut keys);
        self.put(&keys).await;
        job
    }

    /// Deletes all that says that the guest is placed there.
    pub(crate) async fn unplace(&self, number: usize, host: usize) {
        let (guest, host): (GuestId, HypervisorId) = (id(number), id(host));
        let keys = [Key::Guest(guest), Key::Placement(host, guest), Key::GuestStatus(guest)];
        let success = keys.iter().map(|key| Op::delete(Prefix::default().key(key))).collect();
        let revision =
            self.kv.txn(Txn { success, ..Txn::default() }).await.unwrap().header.revision;
        self.context.world.wait_for(revision).await;
    }

    /// Lets the status of a placed guest name a new job.
    pub(crate) async fn next(&self, number: usize, host: usize, action: JobAction) -> JobId {
        let mut keys = Vec::new();
        let job = self.job(number, id(host), action, &mut keys);
        self.put(&keys).await;
        job
    }

    fn job(
        &self,
        number: usize,
        host: HypervisorId,
        action: JobAction,
        keys: &mut Vec<(Key, Value)>,
    ) -> JobId {
        let guest: GuestId = id(number);
        let job = id(1_000 + usize::try_from(self.kv.revision()).unwrap());
        let status = GuestStatus {
            phase: Phase::Scheduled,
            placement: Some(placement(number, host, id(2))),
            job: Some(job),
            ..GuestStatus::default()
        };
        keys.push((Key::GuestStatus(guest), json!(status)));
        let document = json!({"id": job, "guest": guest, "hypervisor": host, "action": action,
            "status": "new"});
        keys.push((Key::Job(job), document));
        job
    }

    /// How a job ended, once it has.
    pub(crate) async fn end_of(&self, job: JobId) -> Result<(), String> {
        self.until("the job ends", || self.context.outcomes.get(job).is_some()).await;
        self.context.outcomes.get(job).unwrap().result
    }

    /// Hands a job to the loop and waits until it has ended well.
    pub(crate) async fn done(&self, job: JobId) {
        assert_eq!(self.end_of(job).await, Ok(()));
    }

    /// Waits for a condition, in virtual time.
    pub(crate) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let give_up = Instant::now() + PATIENCE;
        let mut pause = Duration::from_millis(1);
        while !condition() {
            assert!(Instant::now() < give_up, "waited in vain: {what}");
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Something of what a host reported, as it is now.
    pub(crate) fn report<T>(&self, host: usize, read: impl Fn(&HostReport) -> T) -> Option<T> {
        self.context.reports.read().host(id(host)).map(read)
    }

    /// How many guests the report of a host has.
    pub(crate) fn listed(&self, host: usize) -> Option<usize> {
        self.report(host, |report| report.guests.as_ref().map(|list| list.guests.len())).flatten()
    }

    pub(crate) async fn end(self) {
        self.tasks.shutdown().await;
    }
}

fn follow(kv: &Arc<MemoryKv>, queues: &Queues, tasks: &Tasks, metrics: &Metrics) -> Arc<WorldCell> {
    let world = WorldCell::new(World::new(Prefix::default()));
    let queues = queues.clone();
    let sink = WorldSink::new(Arc::clone(&world), move |world: &World, changes: &[_]| {
        wake(world, changes, &queues);
    });
    let prefix = Bytes::from(Prefix::default().as_str().to_owned());
    let watcher = Watcher::new(Arc::clone(kv) as _, prefix, WatcherOptions::default(), metrics);
    tasks.spawn("watcher", watcher.run(sink, tasks.token().clone()));
    world
}

async fn elected(kv: &Arc<MemoryKv>, tasks: &Tasks, metrics: &Metrics) -> Term {
    let options = ElectorOptions::new(Prefix::default().key(&Key::Leader), "bench");
    let elector = Elector::new(Arc::clone(kv) as _, options, metrics);
    let (won, mut terms) = mpsc::unbounded_channel();
    let token = tasks.token().clone();
    tasks.spawn("elector", async move {
        let lead = move |term: Term| {
            won.send(term.clone()).unwrap();
            async move { term.lost().cancelled().await }
        };
        elector.run(token, lead).await;
    });
    terms.recv().await.unwrap()
}
