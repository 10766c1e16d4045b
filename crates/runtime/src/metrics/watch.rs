//! What the watcher counts.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, Opts, Registry, proto};
use tokio::time::Instant;

use super::register;

/// The watcher's share of the metrics.
#[derive(Clone)]
pub struct WatchMetrics {
    revision: IntGauge,
    relists: IntCounterVec,
    events: IntCounter,
    silence: Silence,
}

impl WatchMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            revision: register(
                registry,
                IntGauge::new(
                    "lochness_watch_revision",
                    "Last complete revision of the store that the view has reached",
                ),
            ),
            relists: register(
                registry,
                IntCounterVec::new(
                    Opts::new(
                        "lochness_watch_relists_total",
                        "Total number of times that the whole prefix was listed, by reason",
                    ),
                    &["reason"],
                ),
            ),
            events: register(
                registry,
                IntCounter::new(
                    "lochness_watch_events_total",
                    "Total number of changes that the watch has brought",
                ),
            ),
            silence: register(registry, Silence::new()),
        }
    }

    /// The watch gave a sign of life: a message, with events or without.
    pub fn message_received(&self) {
        self.silence.end();
    }

    /// The view has taken `events` changes and stands at the complete revision `revision`.
    pub fn advanced(&self, events: usize, revision: i64) {
        self.events.inc_by(events as u64);
        self.revision.set(revision);
    }

    /// The whole prefix was listed, for a reason out of a closed set.
    pub fn relisted(&self, reason: &'static str) {
        self.relists.with_label_values(&[reason]).inc();
    }
}

/// Seconds since the last message; no sample before the first one.
#[derive(Clone)]
struct Silence {
    gauge: Gauge,
    last_message: Arc<Mutex<Option<Instant>>>,
}

impl Silence {
    fn new() -> prometheus::Result<Self> {
        let gauge = Gauge::new(
            "lochness_watch_last_message_age_seconds",
            "Seconds since the watch last gave a sign of life, with events or without",
        )?;
        Ok(Self { gauge, last_message: Arc::default() })
    }

    fn end(&self) {
        *self.last_message.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }
}

impl Collector for Silence {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        let last = *self.last_message.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(last) = last else { return Vec::new() };
        self.gauge.set(last.elapsed().as_secs_f64());
        self.gauge.collect()
    }
}
