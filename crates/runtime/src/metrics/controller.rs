//! What the engine counts for each controller, under controller-runtime's names.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

use super::register;

/// Upper bounds in seconds; controller-runtime's.
const RECONCILE_SECONDS: [f64; 40] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7, 0.8, 0.9,
    1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0,
    25.0, 30.0, 40.0, 50.0, 60.0,
];

/// How a reconcile ended, in controller-runtime's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReconcileResult {
    /// Nothing more to do.
    Success,
    /// Failed, panicked or took too long; retried with backoff.
    Error,
    /// Its view had moved on; planned again at once.
    Requeue,
    /// Asked to be called again after some time.
    RequeueAfter,
}

#[derive(Clone)]
pub(super) struct ControllerFamilies {
    total: IntCounterVec,
    errors: IntCounterVec,
    panics: IntCounterVec,
    seconds: HistogramVec,
    max_workers: IntGaugeVec,
    rescan_found_work: IntCounterVec,
}

impl ControllerFamilies {
    pub(super) fn new(registry: &Registry) -> Self {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            register(registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        Self {
            total: counter(
                "controller_runtime_reconcile_total",
                "Total number of reconciliations per controller",
                &["controller", "result"],
            ),
            errors: counter(
                "controller_runtime_reconcile_errors_total",
                "Total number of reconciliation errors per controller, panics and timeouts included",
                &["controller"],
            ),
            panics: counter(
                "controller_runtime_reconcile_panics_total",
                "Total number of reconciliation panics per controller",
                &["controller"],
            ),
            seconds: register(
                registry,
                HistogramVec::new(
                    HistogramOpts::new(
                        "controller_runtime_reconcile_time_seconds",
                        "Length of time per reconciliation per controller",
                    )
                    .buckets(RECONCILE_SECONDS.to_vec()),
                    &["controller"],
                ),
            ),
            max_workers: register(
                registry,
                IntGaugeVec::new(
                    Opts::new(
                        "controller_runtime_max_concurrent_reconciles",
                        "Maximum number of concurrent reconciles per controller",
                    ),
                    &["controller"],
                ),
            ),
            rescan_found_work: counter(
                "lochness_rescan_found_work_total",
                "Reconciles that nothing but a rescan had woken and that changed something: a missed event",
                &["controller"],
            ),
        }
    }

    pub(super) fn controller(&self, name: &'static str) -> ControllerMetrics {
        let result = |result: &str| self.total.with_label_values(&[name, result]);
        ControllerMetrics {
            success: result("success"),
            error: result("error"),
            requeue: result("requeue"),
            requeue_after: result("requeue_after"),
            errors: self.errors.with_label_values(&[name]),
            panics: self.panics.with_label_values(&[name]),
            seconds: self.seconds.with_label_values(&[name]),
            max_workers: self.max_workers.with_label_values(&[name]),
            rescan_found_work: self.rescan_found_work.with_label_values(&[name]),
        }
    }
}

/// One controller's share: every series exists from the start, at 0.
pub(crate) struct ControllerMetrics {
    success: IntCounter,
    error: IntCounter,
    requeue: IntCounter,
    requeue_after: IntCounter,
    errors: IntCounter,
    panics: IntCounter,
    seconds: Histogram,
    max_workers: IntGauge,
    rescan_found_work: IntCounter,
}

impl ControllerMetrics {
    pub(crate) fn reconciled(&self, result: ReconcileResult, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
        match result {
            ReconcileResult::Success => self.success.inc(),
            ReconcileResult::Requeue => self.requeue.inc(),
            ReconcileResult::RequeueAfter => self.requeue_after.inc(),
            ReconcileResult::Error => {
                self.error.inc();
                self.errors.inc();
            }
        }
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    pub(crate) fn rescan_found_work(&self) {
        self.rescan_found_work.inc();
    }

    pub(crate) fn may_use(&self, workers: usize) {
        self.max_workers.set(i64::try_from(workers).unwrap_or(i64::MAX));
    }
}
