//! What the committer counts.

use prometheus::{
    Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, exponential_buckets,
};
use tokio::time::Instant;

use super::register;

/// The committer's share of the metrics.
#[derive(Clone)]
pub struct CommitMetrics {
    verdicts: IntCounterVec,
    group_size: Histogram,
    seconds: Histogram,
    in_flight: IntGauge,
}

impl CommitMetrics {
    pub(super) fn new(registry: &Registry) -> Self {
        Self {
            verdicts: register(
                registry,
                IntCounterVec::new(
                    Opts::new("lochness_commit_total", "Total number of commits, by verdict"),
                    &["verdict"],
                ),
            ),
            group_size: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "lochness_commit_group_size",
                        "How many commits went to etcd in one transaction",
                    )
                    .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0]),
                ),
            ),
            seconds: register(
                registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "lochness_commit_seconds",
                        "How long etcd took to answer a transaction of commits",
                    )
                    .buckets(exponential_buckets(0.000_5, 2.0, 16).expect("valid constants")),
                ),
            ),
            in_flight: register(
                registry,
                IntGauge::new(
                    "lochness_commits_in_flight",
                    "Commits that were sent to etcd and have no verdict yet",
                ),
            ),
        }
    }

    /// A commit got its verdict, out of a closed set of names.
    pub fn decided(&self, verdict: &'static str) {
        self.verdicts.with_label_values(&[verdict]).inc();
    }

    /// A group of commits is sent now. Keep the answer until etcd's has come, or until nobody waits for it any more.
    pub fn sent(&self, commits: usize) -> SentGroup {
        let commits = u32::try_from(commits).unwrap_or(u32::MAX);
        self.group_size.observe(f64::from(commits));
        self.in_flight.add(i64::from(commits));
        let (seconds, in_flight) = (self.seconds.clone(), self.in_flight.clone());
        SentGroup { commits, started: Instant::now(), seconds, in_flight }
    }
}

/// A group of commits in flight. When it is dropped the group has been answered or given up.
pub struct SentGroup {
    commits: u32,
    started: Instant,
    seconds: Histogram,
    in_flight: IntGauge,
}

impl Drop for SentGroup {
    fn drop(&mut self) {
        self.in_flight.sub(i64::from(self.commits));
        self.seconds.observe(self.started.elapsed().as_secs_f64());
    }
}
