//! The wiring: one process follows the store and campaigns; while it leads, the loops run.
//!
//! The view is kept warm whether this process leads or not. A term begins when the view has reached its own election; it
//! ends with every task of its own, and with everything that it remembered: a new term plans from what is.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lochness_agent::Transport;
use lochness_api::keys::Key;
use lochness_api::{HypervisorId, Prefix};
use lochness_kv::{Compare, Kv, Op};
use lochness_runtime::clock::Clock;
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Controller, ControllerOptions, Reconciler, rescan};
use lochness_runtime::leader::{Elector, ElectorOptions, Keeper, Term};
use lochness_runtime::metrics::Metrics;
use lochness_runtime::queue::Queue;
use lochness_runtime::tasks::Tasks;
use lochness_runtime::watcher::{Watcher, WatcherOptions};
use tracing::{info, warn};

use crate::afterwards::{let_go_in_time, let_go_now};
use crate::agents::{AgentMetrics, Agents, Witness, hosts_to_hear, poll_hosts};
use crate::cluster::ClusterReconciler;
use crate::cluster::budget::Teardowns;
use crate::commits::Commits;
use crate::context::Context;
use crate::firewall::FirewallReconciler;
use crate::guest::GuestReconciler;
use crate::host::HostReconciler;
use crate::job::JobReconciler;
use crate::leases::Leases;
use crate::object::ObjectReconciler;
use crate::observe::Observer;
use crate::outcomes::Outcomes;
use crate::placement::PlacementReconciler;
use crate::queues::Queues;
use crate::readiness::{self, Readiness};
use crate::reports::Reports;
use crate::rollback::{self, Comparison};
use crate::settings::Settings;
use crate::subnet::SubnetReconciler;
use crate::wake::{wake, wake_everything};
use crate::world::{Change, Connection, Server, World, WorldCell, WorldSink};

/// Everything that an operator process needs; nothing is read from anywhere else.
#[derive(Clone)]
pub struct Operator {
    /// The store.
    pub kv: Arc<dyn Kv>,
    /// What keepalives of the leader's key run on, apart from everything else; with the rest without one.
    pub keeper: Option<Keeper>,
    /// The way to the agents.
    pub transport: Arc<dyn Transport>,
    /// The wall clock, for documents.
    pub clock: Arc<dyn Clock>,
    /// Where the keys lie.
    pub prefix: Prefix,
    /// Who this process is, for people.
    pub identity: String,
    /// How long a silent leader keeps its term.
    pub lease: Duration,
    /// Durations and limits of the loops.
    pub settings: Arc<Settings>,
    /// Where everything is counted.
    pub metrics: Metrics,
}

/// What an operator process shows of itself.
#[derive(Clone)]
pub struct Health {
    world: Arc<WorldCell>,
    active: Arc<Active>,
}

/// The queues of the present term, if this process leads.
#[derive(Default)]
struct Active(Mutex<Option<Queues>>);

impl Health {
    /// Whether the view follows the store: a standby that could take over at once.
    pub fn is_ready(&self) -> bool {
        self.world.position().borrow().revision > 0 && self.world.connection() == Connection::Live
    }

    /// How the view stands to the store.
    pub fn connection(&self) -> Connection {
        self.world.connection()
    }

    /// What the store's servers last said of themselves.
    pub fn server(&self) -> Server {
        self.world.server()
    }

    /// Takes down what they say now: whoever can ask them tells it here.
    pub fn set_server(&self, server: Server) {
        self.world.set_server(server);
    }

    /// Whether this process leads, and its loops run.
    pub fn is_leading(&self) -> bool {
        self.active.get().is_some()
    }

    /// What `/readyz` answers.
    pub fn readiness(&self) -> Readiness {
        readiness::of(self.connection(), self.server().trouble, self.is_leading())
    }

    /// How many keys each loop's queue has, waiting or being worked on; nothing when this process does not lead.
    pub fn queued(&self) -> Vec<(&'static str, usize)> {
        self.active.get().map(|queues| queues.lengths().to_vec()).unwrap_or_default()
    }
}

impl Active {
    fn get(&self) -> Option<Queues> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, queues: Option<Queues>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = queues;
    }
}

impl Operator {
    /// Starts the process's tasks in `tasks`. They end when that is told to; the term is then given back at once.
    pub fn start(self, tasks: &Tasks) -> Health {
        let world = WorldCell::new(World::new(self.prefix.clone()));
        let active = Arc::new(Active::default());
        let observer = Observer::new(Arc::clone(&world));
        if let Err(error) = self.metrics.registry.register(Box::new(observer.clone())) {
            warn!(%error, "the metrics of the world are not shown");
        }
        let agents = AgentMetrics::new(&self.metrics);
        self.follow(&world, &active, tasks);
        let health = Health { world: Arc::clone(&world), active: Arc::clone(&active) };
        let (kv, options) = (Arc::clone(&self.kv), self.elector_options());
        let elector = Elector::new(kv, options, &self.metrics).with_keeper(self.keeper.clone());
        let token = tasks.token().clone();
        let (witness, around) = (Witness::default(), tasks.clone());
        let process = Process {
            operator: self,
            world,
            active,
            observer,
            agents,
            witness,
            terms: AtomicU64::new(0),
            tasks: around,
        };
        let process = Arc::new(process);
        tasks.spawn("elector", async move {
            elector.run(token, move |term| Arc::clone(&process).lead(term)).await;
        });
        health
    }

    fn follow(&self, world: &Arc<WorldCell>, active: &Arc<Active>, tasks: &Tasks) {
        let prefix = Bytes::from(self.prefix.as_str().to_owned());
        let kv = Arc::clone(&self.kv);
        let watcher = Watcher::new(kv, prefix, WatcherOptions::default(), &self.metrics);
        let active = Arc::clone(active);
        let sink = WorldSink::new(Arc::clone(world), move |world: &World, changes: &[Change]| {
            if let Some(queues) = active.get() {
                wake(world, changes, &queues);
            }
        });
        let token = tasks.token().clone();
        tasks.spawn("watcher", watcher.run(sink, token));
    }

    fn elector_options(&self) -> ElectorOptions {
        let key = self.prefix.key(&Key::Leader);
        ElectorOptions { lease: self.lease, ..ElectorOptions::new(key, self.identity.clone()) }
    }
}

/// What lives as long as the process, for the terms that it leads.
struct Process {
    operator: Operator,
    world: Arc<WorldCell>,
    active: Arc<Active>,
    observer: Observer,
    agents: AgentMetrics,
    witness: Witness,
    /// How many terms of this process there were.
    terms: AtomicU64,
    /// Around the tasks of every term, so that none outlives the process's own.
    tasks: Tasks,
}

/// Drops what is left of a term when its work is dropped before all of it has ended: nothing of it outlives the term.
struct Ending(Tasks);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Process {
    /// One term of leadership, from the election to its loss.
    async fn lead(self: Arc<Self>, term: Term) {
        let tasks = self.tasks.child();
        let _term_ends_with_this = Ending(tasks.clone());
        tokio::select! {
            biased;
            () = term.lost().cancelled() => {}
            () = tasks.cancelled() => warn!("a task of the term has failed: giving the term up"),
            () = self.run_term(&term, &tasks) => {}
        }
        self.active.set(None);
        self.observer.set_reports(None);
        tasks.shutdown().await;
    }

    /// Starts the loops, and then waits until the term should end by itself.
    async fn run_term(&self, term: &Term, tasks: &Tasks) {
        self.world.wait_for(term.revision()).await;
        let (commits, commit_loop) = Commits::new(
            Arc::clone(&self.operator.kv),
            Arc::clone(&self.world),
            term.clone(),
            &self.operator.metrics,
        );
        tasks.spawn("committer", commit_loop.run(tasks.token().clone()));
        let incarnation = self.incarnation(&commits).await;
        let context = self.context(term, commits, incarnation);
        let comparison = rollback::begin(&context, &self.witness);
        self.active.set(Some(context.queues.clone()));
        self.observer.set_reports(Some(Arc::clone(&context.reports)));
        let (kv, witness) = (Arc::clone(&self.operator.kv), self.witness.clone());
        Self::watch("witness", rollback::hear_agents(context.clone(), kv, witness), tasks);
        if comparison == Comparison::Undecided {
            Self::watch("hosts against store", rollback::watch_hosts(context.clone()), tasks);
        }
        tasks.spawn("agents", poll_hosts(context.clone(), tasks.child()));
        // Before the loops run, which write down who is alive.
        let awaited = hosts_to_hear(&self.world.read());
        self.start_loops(&context, tasks);
        wake_everything(&self.world.read(), &context.queues);
        info!(epoch = %context.epoch(), "the loops run");
        // Looking comes before acting: what the hosts list is known before anything is placed.
        wait_for_lists(&context, &awaited).await;
        if comparison == Comparison::Undecided {
            rollback::compare_with_hosts(&context);
        }
        let placement = Arc::new(PlacementReconciler::new(context.clone()));
        Self::spawn(self.controller(placement, &context.queues.placement, 1024), tasks);
        info!("placement begins");
        rollback::accepted(&self.world, incarnation).await;
    }

    /// Runs a task that has no end of its own for as long as the term lasts.
    fn watch(name: &'static str, task: impl Future<Output = ()> + Send + 'static, tasks: &Tasks) {
        let token = tasks.token().clone();
        tasks.spawn(name, async move {
            token.run_until_cancelled(task).await;
        });
    }

    /// The number that leads every epoch and order; the first leader of a store writes it, and the first one after a person
    /// has accepted the store writes a higher one.
    async fn incarnation(&self, commits: &Commits) -> u64 {
        loop {
            let (former, at) = {
                let world = self.world.read();
                match world.incarnation() {
                    Some(incarnation) if !world.wants_new_incarnation() => return incarnation,
                    former => (former, world.incarnation_at()),
                }
            };
            let now = self.operator.clock.unix_millis();
            let next = rollback::next_incarnation(former, self.witness.highest(), now);
            let key = self.operator.prefix.key(&Key::Incarnation);
            let commit = Commit {
                compares: vec![Compare::ModRevision(key.clone().into(), at)],
                writes: vec![Op::put(key, next.to_string())],
            };
            if let Err(error) = commits.commit(commit).await {
                warn!(%error, "cannot write the store's incarnation yet");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }

    fn context(&self, term: &Term, commits: Commits, incarnation: u64) -> Context {
        let operator = &self.operator;
        let reports = Arc::new(Reports::default());
        // What was drawn in a former term of this process, ids of jobs above all, is not drawn again: not when the store
        // went back either, and this term's revision is a former one's.
        let terms = self.terms.fetch_add(1, Ordering::Relaxed);
        let revision = term.revision().unsigned_abs();
        let seed = operator.settings.seed ^ revision.rotate_left(32) ^ terms.rotate_right(8);
        let settings = Arc::new(Settings { seed, ..(*operator.settings).clone() });
        let epoch = lochness_agent::wire::Order::new(
            incarnation,
            u64::try_from(term.revision()).unwrap_or(0),
        );
        let agents = Agents::new(
            Arc::clone(&operator.transport),
            epoch,
            term.clone(),
            Arc::clone(&reports),
            Arc::clone(&settings),
            self.agents.clone(),
        )
        .with_witness(self.witness.clone())
        .with_world(Arc::clone(&self.world));
        Context {
            world: Arc::clone(&self.world),
            reports,
            outcomes: Arc::new(Outcomes::default()),
            commits,
            leases: Arc::new(Leases::new(Arc::clone(&operator.kv))),
            agents: Arc::new(agents),
            deletions: Arc::new(Teardowns::default()),
            queues: Queues::new(&settings, &operator.metrics),
            term: term.clone(),
            incarnation,
            clock: Arc::clone(&operator.clock),
            settings,
            prefix: operator.prefix.clone(),
            identity: operator.identity.clone(),
        }
    }

    /// Every loop but placement. Loops that talk to agents have so many workers that some hundred hosts that hang leave
    /// enough for the others; a worker that waits costs a little memory and nothing else.
    /// To add a loop: its folder, its queue in `queues.rs`, its line in `wake.rs`, its line here.
    fn start_loops(&self, context: &Context, tasks: &Tasks) {
        let queues = &context.queues;
        let metrics = &self.operator.metrics;
        let guest = Arc::new(GuestReconciler::new(context.clone()));
        Self::spawn(self.controller(guest, &queues.guest, 256), tasks);
        let job = Arc::new(JobReconciler::new(context.clone()));
        Self::spawn(self.controller(job, &queues.job, 2048), tasks);
        let host = Arc::new(HostReconciler::new(context.clone(), metrics));
        Self::spawn(self.controller(host, &queues.host, 1024), tasks);
        let firewall = Arc::new(FirewallReconciler::new(context.clone(), metrics));
        Self::spawn(self.controller(firewall, &queues.firewall, 1024), tasks);
        let subnet = Arc::new(SubnetReconciler::new(context.clone(), metrics));
        Self::spawn(self.controller(subnet, &queues.subnet, 16), tasks);
        let object = Arc::new(ObjectReconciler::new(context.clone(), metrics));
        Self::spawn(self.controller(object, &queues.object, 16), tasks);
        let cluster = Arc::new(ClusterReconciler::new(context.clone(), metrics));
        Self::spawn(self.controller(cluster, &queues.cluster, 1), tasks);
        let (world, own) = (Arc::clone(&self.world), queues.clone());
        let afterwards = async move { let_go_in_time(&world, &own).await };
        Self::watch("after placements", afterwards, tasks);
        self.spawn_rescans(context, tasks);
    }

    fn spawn<R: Reconciler>(controller: Controller<R>, tasks: &Tasks) {
        tasks.spawn(controller.name(), controller.run(tasks.token().clone()));
    }

    fn controller<R: Reconciler>(
        &self,
        reconciler: Arc<R>,
        queue: &Arc<Queue<R::Key>>,
        workers: usize,
    ) -> Controller<R> {
        let options = ControllerOptions { workers, ..ControllerOptions::default() };
        Controller::with_queue(reconciler, Arc::clone(queue), options, &self.operator.metrics)
    }

    /// A second way to find work, which should never find any.
    fn spawn_rescans(&self, context: &Context, tasks: &Tasks) {
        let period = context.settings.rescan;
        let queues = &context.queues;
        let token = || tasks.token().clone();
        let placed = self.all(queues, |world| world.outlines().map(|(id, _)| id).collect());
        tasks.spawn("rescan guests", rescan(Arc::clone(&queues.guest), period, placed, token()));
        let pending = self.all(queues, World::pending);
        let placement = Arc::clone(&queues.placement);
        tasks.spawn("rescan placement", rescan(placement, period, pending, token()));
        let all_hosts = |world: &World| world.hosts().iter().map(|host| host.id).collect();
        let hosts = self.all(queues, all_hosts);
        tasks.spawn("rescan hosts", rescan(Arc::clone(&queues.host), period, hosts, token()));
        let hosts = self.all(queues, all_hosts);
        let firewall = Arc::clone(&queues.firewall);
        tasks.spawn("rescan firewalls", rescan(firewall, period, hosts, token()));
        let jobs = self.all(queues, |world| world.job_ids().collect());
        tasks.spawn("rescan jobs", rescan(Arc::clone(&queues.job), period, jobs, token()));
        let subnets = self.all(queues, |world| world.subnets().map(|(id, _)| id).collect());
        tasks.spawn("rescan subnets", rescan(Arc::clone(&queues.subnet), period, subnets, token()));
        let objects = self.all(queues, |world| world.objects().into_iter().collect());
        tasks.spawn("rescan objects", rescan(Arc::clone(&queues.object), period, objects, token()));
    }

    /// Lists keys of the world. What waits to be announced is announced first: a rescan that finds it has found no bug.
    fn all<K>(&self, queues: &Queues, list: fn(&World) -> Vec<K>) -> impl Fn() -> Vec<K> + use<K> {
        let (world, queues) = (Arc::clone(&self.world), queues.clone());
        move || {
            let world = world.read();
            let_go_now(&world, &queues);
            list(&world)
        }
    }
}

/// How often the reports are looked at while the first lists are awaited.
const FIRST_LISTS_POLL: Duration = Duration::from_millis(10);

/// Waits until every host that has or lately had a heartbeat has given one complete list, or for the time of grace.
async fn wait_for_lists(context: &Context, awaited: &BTreeSet<HypervisorId>) {
    let all_listed = async {
        while !context.agents.every_host_listed(&context.world.read(), awaited) {
            tokio::time::sleep(FIRST_LISTS_POLL).await;
        }
    };
    let grace = context.settings.startup_grace;
    if tokio::time::timeout(grace, all_listed).await.is_err() {
        warn!(
            ?grace,
            "not every host that has or had a heartbeat has listed its guests; placing on those that have"
        );
    }
}
