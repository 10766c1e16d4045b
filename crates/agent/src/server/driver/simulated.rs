//! The driver that only waits: how long, and how it ends, is drawn when the work begins.

use std::time::Duration;

use lochness_api::job::JobAction;
use rand::RngExt;
use rand::rngs::StdRng;

use super::super::config::Delays;
use super::super::faults::{Faults, PERMILLE};
use super::super::jobs::Work;
use super::Outcome;

/// Guests that are nothing but records.
#[derive(Debug)]
pub(crate) struct Simulated {
    delays: Delays,
}

/// How a piece of simulated work will go.
#[derive(Debug)]
pub(crate) enum Course {
    Ends { after: Duration, outcome: Outcome },
    Hangs,
}

impl Simulated {
    pub(crate) fn new(delays: Delays) -> Self {
        Self { delays }
    }

    pub(super) fn begin(&self, work: &Work, faults: &Faults, rng: &mut StdRng) -> Course {
        let after = jittered(self.delay(work), self.delays.jitter, rng);
        let unlucky = rng.random_range(0..PERMILLE) < faults.failing_jobs;
        match work {
            _ if faults.hang_jobs => Course::Hangs,
            Work::Guest(guest, _) if faults.hanging.contains(guest) => Course::Hangs,
            Work::Guest(guest, _) if faults.poisoned.contains(guest) => fails(after, "poisoned"),
            Work::FetchImage(_) if faults.broken_images => fails(after, "storage is broken"),
            _ if unlucky => fails(after, "failed at random"),
            Work::Guest(_, JobAction::Shutdown) if faults.ignore_shutdown => {
                Course::Ends { after, outcome: Outcome::Ignored }
            }
            Work::Guest(..) | Work::FetchImage(_) => Course::Ends { after, outcome: Outcome::Done },
        }
    }

    pub(crate) fn begin_firewall(&self, faults: &Faults, rng: &mut StdRng) -> Course {
        let after = jittered(self.delays.firewall, self.delays.jitter, rng);
        match &faults.broken_firewall {
            Some(why) => fails(after, why),
            None => Course::Ends { after, outcome: Outcome::Done },
        }
    }

    fn delay(&self, work: &Work) -> Duration {
        match work {
            Work::FetchImage(_) => self.delays.image,
            Work::Guest(_, action) => match action {
                JobAction::Create => self.delays.create,
                JobAction::Start | JobAction::Suspend | JobAction::Resume => self.delays.start,
                JobAction::Shutdown
                | JobAction::Poweroff
                | JobAction::Reboot
                | JobAction::Restart => self.delays.shutdown,
                JobAction::Delete => self.delays.delete,
            },
        }
    }
}

impl Course {
    pub(crate) async fn run(self) -> Outcome {
        match self {
            Self::Ends { after, outcome } => {
                if !after.is_zero() {
                    tokio::time::sleep(after).await;
                }
                outcome
            }
            Self::Hangs => std::future::pending().await,
        }
    }
}

fn fails(after: Duration, why: &str) -> Course {
    Course::Ends { after, outcome: Outcome::Failed(why.to_owned()) }
}

/// `delay` and up to `jitter` more.
pub(crate) fn jittered(delay: Duration, jitter: Duration, rng: &mut StdRng) -> Duration {
    if jitter.is_zero() { delay } else { delay + jitter.mul_f64(rng.random::<f64>()) }
}
