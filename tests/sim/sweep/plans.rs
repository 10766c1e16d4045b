//! Which plans a sweep runs.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::Scenario;
use crate::points::{Counts, Occasion, Strike};

/// So many revisions a read is late; the last is all of them.
pub(crate) const BACK: [i64; 4] = [1, 3, 10, 1 << 40];
/// A process that has just started reads so often at least before it leads.
const READS_OF_A_START: u64 = 8;
/// After a crash there are steps that the run without one does not have: those of the next leader's first look.
const STEPS_OF_A_START: u64 = 60;

/// A kind of sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Sweep {
    Crash,
    CrashPairs,
    Cuts,
    Freezes,
    StaleReads,
    Messages,
    Late,
    Acts,
}

pub(crate) const SWEEPS: [Sweep; 8] = [
    Sweep::Crash,
    Sweep::CrashPairs,
    Sweep::Cuts,
    Sweep::Freezes,
    Sweep::StaleReads,
    Sweep::Messages,
    Sweep::Late,
    Sweep::Acts,
];

impl Sweep {
    /// Every plan of the sweep, in order; `counts` are the occasions of the run in which nothing goes wrong.
    pub(crate) fn plans(self, scenario: Scenario, counts: Counts) -> Vec<Vec<Strike>> {
        let of = |occasion| 1..=counts.of(occasion);
        let steps = of(Occasion::Step);
        match self {
            Self::Crash => steps.map(|step| vec![Strike::Crash(step)]).collect(),
            Self::CrashPairs => pairs(counts)
                .map(|(one, other)| vec![Strike::Crash(one), Strike::Crash(other)])
                .collect(),
            Self::Cuts => steps.map(|step| vec![Strike::Cut(step)]).collect(),
            Self::Freezes => steps.map(|step| vec![Strike::Freeze(step)]).collect(),
            // Whoever takes over reads; so does the one that starts again.
            Self::StaleReads => {
                let reads = 1..=counts.of(Occasion::Read) + READS_OF_A_START;
                let late = reads.flat_map(|read| BACK.map(|back| Strike::Stale(read, back)));
                let late: Vec<_> = late.collect();
                let alone = late.iter().map(|late| vec![*late]);
                let crashes = steps.step_by(5).map(Strike::Crash);
                let both =
                    crashes.flat_map(|crash| late.iter().map(move |late| vec![crash, *late]));
                alone.chain(both).collect()
            }
            Self::Messages => of(Occasion::Message)
                .flat_map(|message| [vec![Strike::Drop(message)], vec![Strike::Double(message)]])
                .collect(),
            Self::Late => {
                let twice = of(Occasion::Request).map(|request| vec![Strike::Twice(request)]);
                let late = of(Occasion::Write).flat_map(|write| {
                    // Alone, and with the death of its sender while it is on its way.
                    let death = steps.clone().filter(move |step| step % 3 == write % 3);
                    let death =
                        death.map(move |step| vec![Strike::LandLate(write), Strike::Crash(step)]);
                    std::iter::once(vec![Strike::LandLate(write)]).chain(death)
                });
                twice.chain(late).collect()
            }
            Self::Acts if scenario.has_act() => {
                let acts = steps.clone().map(|step| vec![Strike::Act(step)]);
                let both =
                    pairs(counts).map(|(act, crash)| vec![Strike::Act(act), Strike::Crash(crash)]);
                acts.chain(both).collect()
            }
            Self::Acts => Vec::new(),
        }
    }
}

fn pairs(counts: Counts) -> impl Iterator<Item = (u64, u64)> {
    let steps = counts.of(Occasion::Step);
    (1..=steps)
        .flat_map(move |one| (one + 1..=steps + STEPS_OF_A_START).map(move |other| (one, other)))
}

/// At most so many of the plans, spread at random, in order, always the same ones.
pub(crate) fn some(mut plans: Vec<Vec<Strike>>, most: usize, seed: u64) -> Vec<Vec<Strike>> {
    let mut chance = SmallRng::seed_from_u64(seed);
    while plans.len() > most {
        let at = chance.random_range(0..plans.len());
        plans.swap_remove(at);
    }
    plans.sort();
    plans
}
