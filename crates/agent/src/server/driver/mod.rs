//! The seam below the host: who really makes, starts and stops guests. Firewalls have a seam of their own, since either
//! may be real while the other one is not.
//!
//! A driver is asked under the host's lock to [begin](Driver::begin) a piece of work, which must not block; the work then
//! [runs](Course::run) without any lock, and its [`Outcome`] goes back to the host, which stores it. Whether a job may
//! run at all is decided before, by the fence; a driver only does what it is told. Another driver is another variant.

mod simulated;

pub(crate) use simulated::{Course as SimulatedCourse, Simulated, jittered};

use rand::rngs::StdRng;

use super::faults::Faults;
use super::jobs::Work;

/// Who does the work.
#[derive(Debug)]
pub(crate) enum Driver {
    /// Nobody: guests are records, and work is waiting.
    Simulated(Simulated),
}

/// Work under way.
#[derive(Debug)]
pub(crate) enum Course {
    Simulated(simulated::Course),
}

/// How work ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It is done.
    Done,
    /// The guest was asked and did nothing.
    Ignored,
    /// It failed, and nothing changed.
    Failed(String),
}

impl Driver {
    /// Begins a job's work.
    pub(crate) fn begin(&self, work: &Work, faults: &Faults, rng: &mut StdRng) -> Course {
        match self {
            Self::Simulated(driver) => Course::Simulated(driver.begin(work, faults, rng)),
        }
    }
}

impl Course {
    /// Does the work. Dropping it gives the work up.
    pub(crate) async fn run(self) -> Outcome {
        match self {
            Self::Simulated(course) => course.run().await,
        }
    }
}
