//! Sweeps: one small scenario again and again, with something going wrong at the first occasion, the second, the third.
//!
//! * **Crash sweep**: the process that takes the step dies there, before or after any operation of the store and any
//!   request to an agent; another takes over. Also at pairs of steps. Or it loses the store there, or is stopped, for
//!   longer than its lease, and goes on.
//! * **Stale sweep**: any read comes from 1, 3, 10 or all revisions back; any message of a watch is lost with its stream,
//!   or comes twice.
//! * **Late sweep**: any transaction gets no answer and lands when another operator may lead; any request for a change
//!   reaches its agent a second time; the user's next wish comes at any step.
//!
//! Whatever strikes, the end is the same as without it, word for word, three rescans long nothing happens then, and the
//! checker's rules hold throughout. `SIM_SWEEP=full` runs every occasion, and pairs of them; otherwise a slice.
//! `SIM_SWEEP_SECONDS` ends it after so long, with some of every kind.

mod ending;
pub(crate) mod plans;
mod scenario;
mod stage;
mod unswept;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, PoisonError};

use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::runtime::Builder;
use tokio::time::Instant;

use plans::{SWEEPS, Sweep, some};
pub(crate) use scenario::Scenario;
use scenario::{ALL, UNSWEPT};
pub(crate) use stage::SECRET;
use stage::Stage;

use crate::cores::on_all_cores;
use crate::points::{Counts, Strike};
use crate::report::{deadline, first_line, report};

/// Runs are done in the order of this seed.
const ORDER: u64 = 7;

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) counts: Counts,
    pub(crate) ending: String,
    pub(crate) wrong: Option<String>,
    pub(crate) trace: String,
}

/// Plays a scenario with what the plan lets go wrong.
pub(crate) fn play(scenario: Scenario, plan: &[Strike]) -> Outcome {
    play_as(scenario, plan, false)
}

fn play_as(scenario: Scenario, plan: &[Strike], traced: bool) -> Outcome {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime of one thread");
    runtime.block_on(async {
        let stage = Stage::set(plan, traced).await;
        scenario.play(&stage).await;
        let counts = stage.shop.points.end();
        stage.is_silent().await;
        let ending = ending::ending(&stage);
        stage.check_secrets();
        stage.strike_down().await;
        let wrong = stage.judge.verdict(Vec::new());
        let (_, trace) = stage.shop.course.end();
        Outcome { counts, ending, wrong, trace }
    })
}

/// What is wrong with a run, if anything is, when it should end like this.
pub(crate) fn fault(scenario: Scenario, plan: &[Strike], ending: &str) -> Option<String> {
    let outcome = catch_unwind(|| play(scenario, plan));
    let Ok(outcome) = outcome else { return Some("it panicked".to_owned()) };
    if outcome.wrong.is_some() {
        return outcome.wrong;
    }
    let differs = |(one, other): (&str, &str)| {
        (one != other).then(|| format!("{other}\n    instead of {one}"))
    };
    let difference = ending.lines().zip(outcome.ending.lines()).find_map(differs);
    match difference {
        None if ending.len() == outcome.ending.len() => None,
        difference => Some(format!("it ends otherwise: {}", difference.unwrap_or_default())),
    }
}

/// So many plans of each sweep and scenario a run takes.
fn most(sweep: Sweep) -> usize {
    let all = matches!(sweep, Sweep::Crash | Sweep::Cuts | Sweep::Freezes | Sweep::Messages);
    match (std::env::var("SIM_SWEEP").as_deref(), sweep) {
        (Ok("full"), Sweep::CrashPairs) => 1_500,
        (Ok("full"), _) if all => usize::MAX,
        (Ok("full"), _) => 500,
        (Ok(number), _) => number.parse().expect("SIM_SWEEP is `full` or a number of plans"),
        (Err(_), Sweep::Crash) => 2,
        (Err(_), _) => 1,
    }
}

/// One run to do, and how it is to end.
struct Run {
    scenario: Scenario,
    sweep: Sweep,
    plan: Vec<Strike>,
    ending: Arc<str>,
}

/// Every run that is to be done, and which scenarios fail even when nothing goes wrong.
fn runs() -> (Vec<Run>, Vec<String>) {
    let only = std::env::var("SIM_SCENARIO").ok();
    let (mut runs, mut failed) = (Vec::new(), Vec::new());
    for (seed, scenario) in (0..).zip(ALL) {
        if only.as_ref().is_some_and(|only| *only != format!("{scenario:?}")) {
            continue;
        }
        let outcome = catch_unwind(|| play(scenario, &[]));
        let alone = outcome.as_ref().map_or(Some("it panicked"), |it| it.wrong.as_deref());
        let (Ok(Outcome { counts, ending, .. }), None) = (&outcome, alone) else {
            failed.push(format!("{scenario:?} alone: {}", alone.unwrap_or_default()));
            continue;
        };
        let (counts, ending) = (*counts, Arc::from(ending.as_str()));
        for sweep in SWEEPS {
            let plans = some(sweep.plans(scenario, counts), most(sweep), seed);
            let run = |plan| Run { scenario, sweep, plan, ending: Arc::clone(&ending) };
            runs.extend(plans.into_iter().map(run));
        }
    }
    // If the time is too short for all of them, some of each are done.
    runs.shuffle(&mut SmallRng::seed_from_u64(ORDER));
    (runs, failed)
}

/// What the runs came to.
#[derive(Default)]
struct Results {
    ran: BTreeMap<Sweep, u64>,
    /// Runs in which a process died.
    crashes: usize,
    failed: Vec<String>,
}

#[test]
fn whatever_goes_wrong_at_whichever_step_the_end_is_the_same() {
    let began = Instant::now();
    let until = deadline("SIM_SWEEP_SECONDS");
    let (runs, failed) = runs();
    let results = Mutex::new(Results { failed, ..Results::default() });
    let done = on_all_cores(&runs, until, |run| {
        let wrong = fault(run.scenario, &run.plan, &run.ending);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.crashes += usize::from(run.plan.iter().any(|it| matches!(it, Strike::Crash(_))));
        *results.ran.entry(run.sweep).or_default() += 1;
        if let Some(wrong) = wrong {
            println!("{}: {wrong}\n", again(run));
            let plan = told(&run.plan);
            let line =
                format!("{:?}, {plan}: {}\n    {}", run.scenario, first_line(&wrong), again(run));
            results.failed.push(line);
        }
    });
    let Results { ran, crashes, failed } =
        results.into_inner().unwrap_or_else(PoisonError::into_inner);
    let ran: Vec<_> = ran.iter().map(|(sweep, runs)| format!("{sweep:?} {runs}")).collect();
    let seconds = began.elapsed().as_secs_f64();
    let mut text = format!(
        "{crashes} crash points and {} other occasions in {} scenarios, {done} of {} planned runs, in {seconds:.0} s, {} failed\n             {}\n",
        done - crashes,
        ALL.len(),
        runs.len(),
        failed.len(),
        ran.join(", "),
    );
    for failed in &failed {
        let _ = writeln!(text, "  {failed}");
    }
    report(&text);
    assert!(failed.is_empty(), "{} runs failed", failed.len());
}

/// The command that repeats a run, with its trace.
fn again(run: &Run) -> String {
    let plan: Vec<_> =
        run.plan.iter().map(|strike| format!("{strike:?}").replace(' ', "")).collect();
    let (scenario, plan) = (run.scenario, plan.join(" "));
    format!("SIM_PLAN='{scenario:?} {plan}' cargo test --test sim one_run -- --nocapture")
}

fn told(plan: &[Strike]) -> String {
    plan.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// Every scenario, also what is not swept.
pub(crate) fn scenarios() -> impl Iterator<Item = Scenario> {
    ALL.into_iter().chain(UNSWEPT)
}

/// Does nothing unless it is told: `SIM_PLAN` says what, `SIM_MUTANT` with which mistake.
#[test]
fn one_run_as_the_environment_says() {
    let Ok(text) = std::env::var("SIM_PLAN") else { return };
    let (name, strikes) = text.split_once(' ').unwrap_or((&text, ""));
    let scenario = scenarios().find(|one| format!("{one:?}") == name).expect("a scenario");
    let strikes = strikes.split_whitespace();
    let plan: Vec<Strike> = strikes.map(|word| word.parse().expect("a strike")).collect();
    let clean = play(scenario, &[]);
    let mutant = std::env::var("SIM_MUTANT").ok();
    let mutant = mutant.map(|name| {
        let mut all = lochness_mutant::ALL.into_iter();
        all.find(|mutant| format!("{mutant:?}") == name).expect("a mutant")
    });
    let _guard = mutant.map(lochness_mutant::turn_on);
    let outcome = play_as(scenario, &plan, true);
    println!("{}\n{:?}\n{}", outcome.trace, outcome.counts, outcome.ending);
    let wrong = fault(scenario, &plan, &clean.ending);
    assert_eq!(wrong, None, "{scenario:?} fails with {}", told(&plan));
}
