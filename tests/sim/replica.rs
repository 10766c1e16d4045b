//! One replica of the operator: it starts, crashes at a step that was drawn, and starts again.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use lochness_api::Prefix;
use lochness_controllers::loops::{Health, Operator};
use lochness_controllers::readiness::Readiness;
use lochness_controllers::settings::Settings;
use lochness_controllers::world::Connection;
use lochness_kv::LeaseId;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::tasks::Tasks;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Shop, Who};
use crate::clock::WallClock;
use crate::course::Course;
use crate::faults::Fault;
use crate::judge::Judge;
use crate::load::Load;
use crate::network::{Network, Wire};
use crate::points::{Fate, Points};
use crate::repeated::Repeated;

/// A crashed process is back within this time.
pub(crate) const LONGEST_DOWN: Duration = Duration::from_secs(20);
/// A process that is stopped goes on within this time: often after its lease.
const LONGEST_FREEZE: Duration = Duration::from_secs(40);
/// Then what it had asked for meanwhile is given up and asked for again.
const AFTERMATH: Duration = Duration::from_secs(20);
/// As many hosts as may be taken to be at one address.
const HOSTS: usize = 3;
const SHORTEST_FREEZE: Duration = Duration::from_millis(500);

/// One life of a process.
pub(crate) struct Life {
    pub(crate) name: &'static str,
    course: Arc<Course>,
    points: Arc<Points>,
    judge: Arc<Judge>,
    tasks: Tasks,
    /// What goes on when the process does not.
    outside: Tasks,
    ended: Notify,
    stopped: Notify,
    steps: Mutex<Steps>,
    /// What it has under way.
    pub(crate) load: Arc<Load>,
    /// What it shows of itself.
    health: OnceLock<Health>,
    metrics: Metrics,
}

#[derive(Default)]
struct Steps {
    done: u64,
    /// The step at which it crashes.
    last: Option<u64>,
    store_cut: Option<Instant>,
    store_deaf: Option<Instant>,
    lease: Option<LeaseId>,
    agents_cut: Option<Instant>,
    /// Watches of the whole store that are open.
    watches: usize,
    /// When it last began or ceased to hear of the store.
    turned: Option<Instant>,
    /// When the store last answered it.
    heard: Option<Instant>,
    /// It was told to end in order.
    is_ending: bool,
}

impl Life {
    fn new(replica: &Replica, last: Option<u64>) -> Arc<Self> {
        let (name, shop, outside) = (replica.name, &replica.shop, &replica.network.tasks);
        let hosts = if shop.course.profile.host.edited > 0 { HOSTS } else { 1 };
        let load = Load::new(replica.settings.requests_per_agent, hosts);
        let steps = Mutex::new(Steps { last, ..Steps::default() });
        Arc::new(Self {
            name,
            course: Arc::clone(&shop.course),
            points: Arc::clone(&shop.points),
            judge: Arc::clone(&shop.judge),
            tasks: Tasks::new(),
            outside: outside.clone(),
            ended: Notify::new(),
            stopped: Notify::new(),
            steps,
            load,
            health: OnceLock::new(),
            metrics: Metrics::new(),
        })
    }

    /// Whether it keeps its hands off, since the store is not the one that it knew.
    pub(crate) fn holds(&self) -> bool {
        let connection = self.health.get().map(Health::connection);
        matches!(connection, Some(Connection::Replaced(_)))
    }

    /// What its `/readyz` says now.
    pub(crate) fn readiness(&self) -> Option<Readiness> {
        self.health.get().map(Health::readiness)
    }

    /// How many keys are in its queues, by their names.
    pub(crate) fn queued(&self) -> Vec<(&'static str, usize)> {
        self.health.get().map(Health::queued).unwrap_or_default()
    }

    /// How often its loops tried something again, so far.
    pub(crate) fn retries(&self) -> f64 {
        let families = self.metrics.registry.gather();
        let of_retries = families.iter().filter(|it| it.name() == "workqueue_retries_total");
        let metrics = of_retries.flat_map(prometheus::proto::MetricFamily::get_metric);
        metrics.map(|it| it.get_counter().get_value()).sum()
    }

    /// Whether nothing has kept any process from the store, nor away, for so long.
    pub(crate) fn is_undisturbed_for(&self, time: Duration) -> bool {
        let since = self.course.undisturbed_since();
        Instant::now().checked_duration_since(since).is_some_and(|passed| passed >= time)
    }

    /// Whether it is stopped, so that it answers nobody, or was told to end, and looks at nothing any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.tasks.gate().is_closed() || self.steps().is_ending
    }

    /// It watches the whole store from now on, or not any more.
    pub(crate) fn watches(&self, is_open: bool) {
        let mut steps = self.steps();
        steps.turned = Some(Instant::now());
        steps.watches = if is_open { steps.watches + 1 } else { steps.watches.saturating_sub(1) };
    }

    /// The store has answered it.
    pub(crate) fn hears(&self) {
        self.steps().heard = Some(Instant::now());
    }

    /// Whether it watches the whole store and hears of it, and for how long it has, or has not even got an answer.
    pub(crate) fn follows_store(&self) -> (bool, Duration) {
        let follows = self.store_is_cut_until().is_none() && self.steps().watches > 0;
        let Steps { turned, heard, .. } = *self.steps();
        let since = if follows { turned } else { turned.max(heard) };
        (follows, since.map(|since| since.elapsed()).unwrap_or_default())
    }

    /// What it shows to Prometheus now, as a text.
    pub(crate) fn metrics(&self) -> String {
        format!("{:?}", self.metrics.registry.gather())
    }

    fn steps(&self) -> MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One step: it may be the last one.
    pub(crate) async fn step(&self, place: &'static str) {
        let ends = {
            let mut steps = self.steps();
            steps.done += 1;
            steps.last == Some(steps.done) && self.course.is_stormy()
        };
        match self.points.step() {
            Fate::GoesOn if !ends => {}
            Fate::Waits => self.points.wait().await,
            Fate::IsCut => {
                self.course.disturb(LONGEST_FREEZE + AFTERMATH);
                self.cut_store(LONGEST_FREEZE);
            }
            Fate::IsFrozen => {
                self.course.disturb(LONGEST_FREEZE + AFTERMATH);
                self.freeze(LONGEST_FREEZE, &self.outside);
                tokio::task::yield_now().await;
            }
            Fate::GoesOn | Fate::Dies => {
                self.course.fault(Fault::Crash, || format!("{} {place}", self.name));
                self.die().await;
            }
            Fate::Floods => {
                self.judge.wrong(format!("S16: {} does more than it may in a minute", self.name));
                self.die().await;
            }
        }
    }

    async fn die(&self) {
        self.kill();
        std::future::pending::<()>().await;
    }

    /// The process dies, as by SIGKILL.
    pub(crate) fn kill(&self) {
        self.tasks.abort();
        self.ended.notify_one();
    }

    /// Until when the process has no connection to the store.
    pub(crate) fn store_is_cut_until(&self) -> Option<Instant> {
        self.steps().store_cut.filter(|until| *until > Instant::now())
    }

    /// Until when nothing comes from the process to an agent.
    pub(crate) fn agents_are_cut_until(&self) -> Option<Instant> {
        self.steps().agents_cut.filter(|until| *until > Instant::now())
    }

    /// Until when the store hears the process, and the process does not hear the store.
    pub(crate) fn store_is_deaf_until(&self) -> Option<Instant> {
        self.steps().store_deaf.filter(|until| *until > Instant::now())
    }

    pub(crate) fn deafen_store(&self, lasting: Duration) {
        self.steps().store_deaf = Some(Instant::now() + lasting);
    }

    /// The process got this lease.
    pub(crate) fn granted(&self, lease: LeaseId) {
        self.steps().lease = Some(lease);
    }

    /// The lease that the process got last.
    pub(crate) fn lease(&self) -> Option<LeaseId> {
        self.steps().lease
    }

    /// The process is stopped for so long, as by SIGSTOP: none of its tasks takes a step, and time goes on.
    pub(crate) fn freeze(&self, lasting: Duration, tasks: &Tasks) {
        let gate = self.tasks.gate().clone();
        let (course, name) = (Arc::clone(&self.course), self.name);
        gate.close();
        tasks.spawn("thaw", async move {
            sleep(lasting).await;
            course.note(|| format!("{name} goes on"));
            gate.open();
        });
    }

    /// Right before a request that changes something goes out, the process may be stopped.
    pub(crate) async fn may_freeze(&self, tasks: &Tasks) {
        let permille = self.course.profile.process.frozen_at_agent;
        if self.course.faults(Fault::FrozenAtAgent, permille, || self.name.to_owned()) {
            self.freeze(self.course.between(SHORTEST_FREEZE, LONGEST_FREEZE), tasks);
            tokio::task::yield_now().await;
        }
    }

    pub(crate) fn cut_store(&self, lasting: Duration) {
        let mut steps = self.steps();
        if steps.watches > 0 {
            steps.turned = Some(Instant::now());
        }
        steps.store_cut = Some(Instant::now() + lasting);
    }

    pub(crate) fn cut_agents(&self, lasting: Duration) {
        self.steps().agents_cut = Some(Instant::now() + lasting);
    }

    /// Tells the process to end in order.
    pub(crate) fn stop(&self) {
        self.steps().is_ending = true;
        self.stopped.notify_one();
    }
}

/// A replica over all its lives.
pub(crate) struct Replica {
    pub(crate) name: &'static str,
    pub(crate) shop: Arc<Shop>,
    pub(crate) network: Arc<Network>,
    pub(crate) clock: WallClock,
    /// But for the seed, which is drawn for every life.
    pub(crate) settings: Settings,
    pub(crate) life: Mutex<Option<Arc<Life>>>,
}

impl Replica {
    /// One that has not started yet.
    pub(crate) fn new(
        name: &'static str,
        shop: Arc<Shop>,
        network: Arc<Network>,
        clock: WallClock,
        settings: Settings,
    ) -> Arc<Self> {
        Arc::new(Self { name, shop, network, clock, settings, life: Mutex::default() })
    }

    /// The life that it has now.
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lives, one life after the other.
    pub(crate) async fn run(self: Arc<Self>) {
        let course = &self.shop.course;
        loop {
            let within = course.profile.process.crash_within;
            let last = (within > 0).then(|| course.below(within) + 1);
            let life = Life::new(&self, last);
            course.note(|| format!("{} starts", self.name));
            self.set_life(Some(Arc::clone(&life)));
            let health = self.operator(&life).start(&life.tasks);
            // A life begins once.
            let _first = life.health.set(health);
            tokio::select! {
                biased;
                () = life.ended.notified() => {}
                () = life.tasks.cancelled() => {
                    let panicked = life.tasks.panicked();
                    self.shop.judge.wrong(format!("a task of {} panicked: {panicked:?}", self.name));
                }
                () = life.stopped.notified() => life.tasks.shutdown().await,
            }
            self.set_life(None);
            sleep(course.between(Duration::ZERO, LONGEST_DOWN)).await;
        }
    }

    fn set_life(&self, life: Option<Arc<Life>>) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = life;
    }

    fn operator(&self, life: &Arc<Life>) -> Operator {
        let shop = Arc::clone(&self.shop);
        let who = Who::Replica(self.name);
        let wire = Wire { network: Arc::clone(&self.network), life: Arc::clone(life) };
        Operator {
            kv: Arc::new(Client { shop, who, life: Some(Arc::clone(life)), machine: None }),
            keeper: None,
            transport: Arc::new(Repeated { wire, points: Arc::clone(&self.shop.points) }),
            clock: Arc::new(self.clock.clone()),
            prefix: Prefix::default(),
            identity: self.name.to_owned(),
            lease: Duration::from_secs(15),
            settings: Arc::new(Settings {
                seed: self.shop.course.below(1 << 32),
                ..self.settings.clone()
            }),
            metrics: life.metrics.clone(),
        }
    }
}
