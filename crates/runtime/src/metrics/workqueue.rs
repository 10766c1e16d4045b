//! What queues count, under controller-runtime's names, and what is read from them when they are scraped.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::{
    GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts,
    Registry, exponential_buckets, proto,
};

use super::register;

/// controller-runtime repeats the name in both.
const LABELS: [&str; 2] = ["name", "controller"];

/// What a queue holds at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct QueueLoad {
    /// Keys that are due and wait for a worker.
    pub(crate) due: usize,
    /// Keys that are being worked on.
    pub(crate) working: usize,
    /// Time that those have taken so far, together.
    pub(crate) unfinished: Duration,
    /// Time that the longest of them has taken so far.
    pub(crate) longest: Duration,
}

/// A queue, as a scrape sees it.
pub(crate) trait QueueProbe: Send + Sync {
    fn load(&self) -> QueueLoad;
}

/// One queue's share: every series exists from the start, at 0.
pub(crate) struct QueueMetrics {
    pub(crate) adds: IntCounter,
    pub(crate) retries: IntCounter,
    pub(crate) queue_duration: Histogram,
    pub(crate) work_duration: Histogram,
}

#[derive(Clone)]
pub(crate) struct QueueFamilies {
    adds: IntCounterVec,
    retries: IntCounterVec,
    queue_duration: HistogramVec,
    work_duration: HistogramVec,
    loads: LoadCollector,
}

impl QueueFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        let histogram = |name: &str, help: &str| {
            let buckets = exponential_buckets(10e-9, 10.0, 12).expect("valid constants");
            let opts = HistogramOpts::new(name, help).buckets(buckets);
            register(registry, HistogramVec::new(opts, &LABELS))
        };
        let counter = |name: &str, help: &str| {
            register(registry, IntCounterVec::new(Opts::new(name, help), &LABELS))
        };
        Self {
            adds: counter("workqueue_adds_total", "Total number of adds handled by workqueue"),
            retries: counter(
                "workqueue_retries_total",
                "Total number of retries handled by workqueue",
            ),
            queue_duration: histogram(
                "workqueue_queue_duration_seconds",
                "How long in seconds an item stays in workqueue before being requested",
            ),
            work_duration: histogram(
                "workqueue_work_duration_seconds",
                "How long in seconds processing an item from workqueue takes",
            ),
            loads: register(registry, LoadCollector::new()),
        }
    }

    pub(crate) fn queue(&self, name: &'static str) -> QueueMetrics {
        let labels = [name, name];
        QueueMetrics {
            adds: self.adds.with_label_values(&labels),
            retries: self.retries.with_label_values(&labels),
            queue_duration: self.queue_duration.with_label_values(&labels),
            work_duration: self.work_duration.with_label_values(&labels),
        }
    }

    /// Shows the load of a queue for as long as it lives. A later queue of the same name takes its place.
    pub(crate) fn show(&self, name: &'static str, probe: Weak<dyn QueueProbe>) {
        let mut probes = self.loads.probes.lock().unwrap_or_else(PoisonError::into_inner);
        probes.insert(name, probe);
    }
}

/// Reads the load of every living queue when it is scraped.
#[derive(Clone)]
struct LoadCollector {
    probes: Arc<Mutex<BTreeMap<&'static str, Weak<dyn QueueProbe>>>>,
    depth: IntGaugeVec,
    unfinished: GaugeVec,
    longest: GaugeVec,
    active_workers: IntGaugeVec,
}

impl LoadCollector {
    fn new() -> prometheus::Result<Self> {
        Ok(Self {
            probes: Arc::default(),
            depth: IntGaugeVec::new(
                Opts::new("workqueue_depth", "Keys that are due and wait for a worker"),
                &LABELS,
            )?,
            unfinished: GaugeVec::new(
                Opts::new(
                    "workqueue_unfinished_work_seconds",
                    "How many seconds of work is in progress and not yet in work_duration; large values show stuck workers",
                ),
                &LABELS,
            )?,
            longest: GaugeVec::new(
                Opts::new(
                    "workqueue_longest_running_processor_seconds",
                    "How many seconds the longest running processor of the workqueue has been running",
                ),
                &LABELS,
            )?,
            active_workers: IntGaugeVec::new(
                Opts::new(
                    "controller_runtime_active_workers",
                    "Number of currently used workers per controller",
                ),
                &["controller"],
            )?,
        })
    }

    fn show(&self, name: &'static str, load: QueueLoad) {
        let labels = [name, name];
        let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.depth.with_label_values(&labels).set(count(load.due));
        self.unfinished.with_label_values(&labels).set(load.unfinished.as_secs_f64());
        self.longest.with_label_values(&labels).set(load.longest.as_secs_f64());
        self.active_workers.with_label_values(&[name]).set(count(load.working));
    }
}

impl Collector for LoadCollector {
    fn desc(&self) -> Vec<&Desc> {
        let gauges: [&dyn Collector; 4] =
            [&self.depth, &self.unfinished, &self.longest, &self.active_workers];
        gauges.into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        // The lock is held to the end, so that two scrapes at once do not read each other's half.
        let mut probes = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        self.depth.reset();
        self.unfinished.reset();
        self.longest.reset();
        self.active_workers.reset();
        probes.retain(|name, probe| {
            let probe = probe.upgrade();
            if let Some(probe) = &probe {
                self.show(name, probe.load());
            }
            probe.is_some()
        });
        let gauges: [&dyn Collector; 4] =
            [&self.depth, &self.unfinished, &self.longest, &self.active_workers];
        gauges.into_iter().flat_map(Collector::collect).collect()
    }
}
