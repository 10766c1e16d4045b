//! One replica of the operator: it starts, crashes at a step that was drawn, and starts again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lochness_api::Prefix;
use lochness_controllers::loops::Operator;
use lochness_controllers::settings::Settings;
use lochness_runtime::clock::PausedClock;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::tasks::Tasks;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Shop, Who};
use crate::course::Course;
use crate::network::{Network, Wire};

/// A crashed process is back within this time.
const LONGEST_DOWN: Duration = Duration::from_secs(20);

/// One life of a process.
pub(crate) struct Life {
    pub(crate) name: &'static str,
    course: Arc<Course>,
    tasks: Tasks,
    ended: Notify,
    stopped: Notify,
    steps: Mutex<Steps>,
}

#[derive(Default)]
struct Steps {
    done: u64,
    /// The step at which it crashes.
    last: Option<u64>,
    store_cut: Option<Instant>,
    agents_cut: Option<Instant>,
}

impl Life {
    fn new(name: &'static str, course: Arc<Course>, last: Option<u64>) -> Arc<Self> {
        let steps = Mutex::new(Steps { last, ..Steps::default() });
        let tasks = Tasks::new();
        Arc::new(Self { name, course, tasks, ended: Notify::new(), stopped: Notify::new(), steps })
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
        if ends {
            self.course.fault("crash", &format!("{} {place}", self.name));
            self.tasks.abort();
            self.ended.notify_one();
            std::future::pending::<()>().await;
        }
    }

    /// Until when the process has no connection to the store.
    pub(crate) fn store_is_cut_until(&self) -> Option<Instant> {
        self.steps().store_cut.filter(|until| *until > Instant::now())
    }

    /// Until when nothing comes from the process to an agent.
    pub(crate) fn agents_are_cut_until(&self) -> Option<Instant> {
        self.steps().agents_cut.filter(|until| *until > Instant::now())
    }

    pub(crate) fn cut_store(&self, lasting: Duration) {
        self.steps().store_cut = Some(Instant::now() + lasting);
    }

    pub(crate) fn cut_agents(&self, lasting: Duration) {
        self.steps().agents_cut = Some(Instant::now() + lasting);
    }

    /// Tells the process to end in order.
    pub(crate) fn stop(&self) {
        self.stopped.notify_one();
    }
}

/// A replica over all its lives.
pub(crate) struct Replica {
    pub(crate) name: &'static str,
    pub(crate) shop: Arc<Shop>,
    pub(crate) network: Arc<Network>,
    pub(crate) clock: PausedClock,
    pub(crate) life: Mutex<Option<Arc<Life>>>,
}

impl Replica {
    /// The life that it has now.
    pub(crate) fn life(&self) -> Option<Arc<Life>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Lives, one life after the other.
    pub(crate) async fn run(self: Arc<Self>) {
        let course = &self.shop.course;
        loop {
            let within = course.profile.crash_within;
            let last = (within > 0).then(|| course.below(within) + 1);
            let life = Life::new(self.name, Arc::clone(course), last);
            course.note(&format!("{} starts", self.name));
            self.set_life(Some(Arc::clone(&life)));
            self.operator(&life).start(&life.tasks);
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
            kv: Arc::new(Client { shop, who, life: Some(Arc::clone(life)) }),
            transport: Arc::new(wire),
            clock: Arc::new(self.clock),
            prefix: Prefix::default(),
            identity: self.name.to_owned(),
            lease: Duration::from_secs(15),
            settings: Arc::new(Settings {
                seed: self.shop.course.below(1 << 32),
                ..Settings::default()
            }),
            metrics: Metrics::new(),
        }
    }
}
