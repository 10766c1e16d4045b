//! What is counted about agents and jobs. Labels are closed sets; no host, no guest, no message.

use lochness_api::job::JobAction;
use lochness_runtime::metrics::Metrics;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts};
use tokio::time::Instant;

use super::agent::CallError;

/// From a request in the same rack to one that used up its budget, in seconds.
const BUCKETS: [f64; 12] = [0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0];

/// What is counted about agents and jobs. One a process: terms share it.
#[derive(Clone)]
pub struct AgentMetrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    jobs: IntCounterVec,
    breakers: IntGauge,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `GET /capabilities`.
    Capabilities,
    /// `GET /guests`.
    ListGuests,
    /// `GET /guests/{id}`.
    Guest,
    /// `GET /guests/{id}/jobs`.
    JobsOf,
    /// `GET /jobs`.
    Jobs,
    /// `GET /jobs/{id}`.
    Job,
    /// A mutating request on a guest.
    Act(JobAction),
    /// `GET /images`.
    Images,
    /// `POST /images`.
    FetchImage,
    /// `GET /firewall`.
    Firewall,
    /// `PUT /firewall`.
    PutFirewall,
    /// `PATCH /firewall`.
    PatchFirewall,
}

/// Counts as one open breaker for as long as it lives.
pub(super) struct OpenBreaker(IntGauge);

impl AgentMetrics {
    /// Registers them. Once a process.
    pub fn new(metrics: &Metrics) -> Self {
        let requests = IntCounterVec::new(
            Opts::new("lochness_agent_requests_total", "Requests to agents, by how they ended."),
            &["operation", "result"],
        );
        let seconds = HistogramVec::new(
            HistogramOpts::new(
                "lochness_agent_request_seconds",
                "How long agents took to answer; blocking lists are not in it.",
            )
            .buckets(BUCKETS.to_vec()),
            &["operation"],
        );
        let jobs = IntCounterVec::new(
            Opts::new("lochness_jobs_finished_total", "Jobs that this operator saw end."),
            &["action", "result"],
        );
        let breakers = IntGauge::new(
            "lochness_agent_breaker_open",
            "Agents that are left alone for a while after repeated failures.",
        );
        let constant = "names and labels are valid constants";
        let all = Self {
            requests: requests.expect(constant),
            seconds: seconds.expect(constant),
            jobs: jobs.expect(constant),
            breakers: breakers.expect(constant),
        };
        let collectors: [Box<dyn prometheus::core::Collector>; 4] = [
            Box::new(all.requests.clone()),
            Box::new(all.seconds.clone()),
            Box::new(all.jobs.clone()),
            Box::new(all.breakers.clone()),
        ];
        for collector in collectors {
            metrics.registry.register(collector).expect("registered once a process");
        }
        all
    }

    /// A request ended. Without `started` it is counted and not timed: a blocking list.
    pub(super) fn requested<T>(
        &self,
        operation: Operation,
        started: Option<Instant>,
        result: &Result<T, CallError>,
    ) {
        let word = match result {
            Ok(_) => "ok",
            Err(error) => error.reason(),
        };
        self.requests.with_label_values(&[operation.as_str(), word]).inc();
        if let Some(started) = started {
            let seconds = self.seconds.with_label_values(&[operation.as_str()]);
            seconds.observe(started.elapsed().as_secs_f64());
        }
    }

    /// A job ended.
    pub fn job_finished(&self, action: JobAction, result: &Result<(), String>) {
        let word = if result.is_ok() { "done" } else { "error" };
        self.jobs.with_label_values(&[action.as_str(), word]).inc();
    }

    pub(super) fn breaker_opened(&self) -> OpenBreaker {
        self.breakers.inc();
        OpenBreaker(self.breakers.clone())
    }
}

impl Operation {
    /// The word in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Capabilities => "capabilities",
            Self::ListGuests => "list_guests",
            Self::Guest => "guest",
            Self::JobsOf => "jobs_of",
            Self::Jobs => "jobs",
            Self::Job => "job",
            Self::Act(action) => action.as_str(),
            Self::Images => "images",
            Self::FetchImage => "fetch_image",
            Self::Firewall => "firewall",
            Self::PutFirewall => "put_firewall",
            Self::PatchFirewall => "patch_firewall",
        }
    }
}

impl Drop for OpenBreaker {
    fn drop(&mut self) {
        self.0.dec();
    }
}
