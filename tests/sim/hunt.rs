//! Many histories on all cores, each on one thread: which seeds, how long, and what is said of them.

use std::fmt::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_runtime::clock::{Clock as _, SystemClock};
use tokio::time::Instant;

use crate::faults::Tally;
use crate::history::{Ended, Plan, simulate};
use crate::report::{first_line, report};

/// A test run has exactly these many histories, the same ones on every machine, however long it takes.
const TEST_SEEDS: u64 = 200;
/// Seeds among them that are known to fail. They run and are told like the others, and a test run fails only for others:
/// what each of them has found stands here, with what is known of it, until it is repaired.
const KNOWN: [u64; 0] = [];
/// As many failures are looked into; the others are told as they are.
const EXPLAINED: usize = 5;
/// Histories may find a fault class by bad luck only with so many of them.
const REPRESENTATIVE: u64 = 1_000;

/// A number from the environment.
pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

/// Which histories are run.
pub(crate) struct Hunt {
    first: u64,
    /// At least so many.
    least: u64,
    /// More of them until so much time has passed.
    time: Duration,
    cut: Option<u64>,
    traced: bool,
    /// Seeds whose failure is told and fails nothing.
    known: &'static [u64],
}

#[derive(Default)]
struct Results {
    faults: Tally,
    failures: Vec<(u64, String)>,
}

impl Hunt {
    pub(crate) fn from_environment() -> Self {
        let fresh = || u64::try_from(SystemClock.unix_millis()).unwrap_or(0) * 1_000;
        let seconds = number("SIM_SECONDS").or_else(|| Some(number("SIM_MINUTES")? * 60));
        let first = || number("SIM_FROM").unwrap_or_else(fresh);
        let (first, least, time, known): (_, _, _, &[u64]) = if let Some(seed) = number("SIM_SEED")
        {
            (seed, 1, Duration::ZERO, &[])
        } else if let Some(seeds) = number("SIM_SEEDS") {
            (first(), seeds, Duration::ZERO, &[])
        } else if let Some(seconds) = seconds {
            (first(), 1, Duration::from_secs(seconds), &[])
        } else {
            // The same ones every time: a test says what the change did, a hunt finds what is new.
            (0, TEST_SEEDS, Duration::ZERO, &KNOWN)
        };
        let traced = std::env::var_os("SIM_TRACE").is_some();
        Self { first, least, time, cut: number("SIM_CUT"), traced, known }
    }

    /// Runs them, says what was met, and fails if a history was wrong.
    pub(crate) fn run(&self) {
        let began = Instant::now();
        let (next, results) = (AtomicU64::new(0), Mutex::new(Results::default()));
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| self.work(began, &next, &results));
            }
        });
        let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
        let histories = next.into_inner().saturating_sub(threads as u64).max(self.least);
        let (took, faults) = (began.elapsed().as_secs_f64(), &results.faults);
        #[expect(clippy::cast_precision_loss, reason = "it is for people")]
        let rate = histories as f64 / took;
        let last = self.first + histories - 1;
        let mut text = format!(
            "{histories} histories (seeds {} to {last}) in {took:.1} s, {rate:.1} a second, {} faults, {} failed\n{faults}",
            self.first,
            faults.total(),
            results.failures.len(),
        );
        let mut failures = results.failures;
        failures.sort();
        let (known, failures): (Vec<_>, Vec<_>) =
            failures.into_iter().partition(|(seed, _)| self.known.contains(seed));
        for (seed, wrong) in &known {
            let _ = writeln!(text, "KNOWN TO FAIL AND NOT REPAIRED: seed {seed}: {wrong}");
        }
        for (seed, wrong) in &failures {
            let _ = writeln!(text, "  seed {seed} failed: {wrong}");
        }
        let missing = if histories >= REPRESENTATIVE { faults.missing() } else { Vec::new() };
        for fault in &missing {
            let _ = writeln!(text, "  no history had a {fault:?}");
        }
        report(&text);
        assert!(failures.is_empty(), "{} of {histories} histories failed", failures.len());
        assert!(missing.is_empty(), "no history had one of {missing:?}");
    }

    fn work(&self, began: Instant, next: &AtomicU64, results: &Mutex<Results>) {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.least && began.elapsed() >= self.time {
                return;
            }
            let seed = self.first + number;
            let plan = Plan { cut: self.cut, traced: self.traced, ..Plan::of(seed) };
            let ended = run(&plan);
            if self.traced {
                println!("{}", ended.trace);
            }
            let explain = {
                let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
                results.faults.add(&ended.faults);
                if let Some(wrong) = &ended.wrong {
                    results.failures.push((seed, first_line(wrong).to_owned()));
                }
                results.failures.len() <= EXPLAINED
            };
            if ended.wrong.is_some() {
                let is_whole = self.cut.is_none();
                println!(
                    "{}",
                    if explain && is_whole { explained(&plan, ended) } else { told(&plan, &ended) }
                );
            }
        }
    }
}

/// Runs a history; a panic is a failure like any other.
fn run(plan: &Plan) -> Ended {
    catch_unwind(AssertUnwindSafe(|| simulate(plan))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no words");
        let wrong = Some(format!("panicked: {said}"));
        Ended { trace: String::new(), faults: Tally::default(), events: 1 << 16, wrong }
    })
}

/// A failure, by the shortest history that a bisection finds.
fn explained(plan: &Plan, whole: Ended) -> String {
    let (mut passes, mut fails) = (0, whole.events);
    let mut shortest = (*plan, whole);
    while passes + 1 < fails {
        let middle = passes.midpoint(fails);
        let shorter = Plan { cut: Some(middle), ..*plan };
        let ended = run(&shorter);
        if ended.wrong.is_some() {
            fails = middle;
            shortest = (shorter, ended);
        } else {
            passes = middle;
        }
    }
    told(&shortest.0, &shortest.1)
}

fn told(plan: &Plan, ended: &Ended) -> String {
    let seed = plan.seed;
    let wrong = ended.wrong.as_deref().unwrap_or_default();
    let cut = plan.cut.map(|cut| format!("SIM_CUT={cut} ")).unwrap_or_default();
    let of = ended.events;
    format!(
        "seed {seed} failed ({of} faults and wishes): {wrong}\nagain: {cut}SIM_TRACE=1 SIM_SEED={seed} cargo test --test sim -- --nocapture every_history\n"
    )
}
