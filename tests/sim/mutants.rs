//! Is the simulation able to see? Each mistake of [`lochness_mutant`] breaks one rule on purpose; a run that is recorded
//! here catches it, by that rule, and is clean without the mistake.
//!
//! `SIM_MUTANTS=hunt` looks for a catcher of every mistake anew, in all sweeps, and prints the table's lines; a number
//! after it (`SIM_MUTANTS=hunt:500`) says how many runs of each sweep and scenario it looks at.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lochness_mutant::{ALL, Mutant, turn_on};
use lochness_runtime::clock::{Clock as _, SystemClock};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rand::seq::SliceRandom;
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::cores::on_all_cores;
use crate::points::Strike;
use crate::report::{deadline, first_line, report};
use crate::sweep::plans::{SWEEPS, some};
use crate::sweep::{self, SECRET, Scenario, play};

/// A hunt looks at so many runs of each sweep and scenario.
const HUNTED: usize = 12;

/// A run that catches a mistake, and the rule by which it does.
struct Catcher {
    mutant: Mutant,
    scenario: Scenario,
    plan: &'static [Strike],
}

const fn catcher(mutant: Mutant, scenario: Scenario, plan: &'static [Strike]) -> Catcher {
    Catcher { mutant, scenario, plan }
}

/// One line a mistake, as the hunt prints it.
const CATCHERS: [Catcher; 38] = [
    catcher(Mutant::PlacesWithoutLook, Scenario::StatusLost, &[]),
    catcher(Mutant::UnaskedHostsForgotten, Scenario::RestoredWithoutHost, &[]),
    catcher(Mutant::FailedListIsEmpty, Scenario::PlaceLost, &[]),
    catcher(Mutant::AddressUnchecked, Scenario::ManyCreates, &[]),
    catcher(Mutant::AddressFreedFirst, Scenario::Delete, &[]),
    catcher(Mutant::FreedUnconfirmed, Scenario::Delete, &[]),
    catcher(Mutant::JobUnknown, Scenario::Create, &[]),
    catcher(Mutant::JobUnnamed, Scenario::StopAndStart, &[]),
    catcher(Mutant::OrderRunsTwice, Scenario::Reboot, &[Strike::Twice(1)]),
    catcher(Mutant::CapacityClaimsIgnored, Scenario::ManyCreates, &[]),
    catcher(Mutant::MemoryIgnored, Scenario::NoRoom, &[]),
    catcher(Mutant::FenceDropped, Scenario::Create, &[]),
    catcher(Mutant::EpochIgnored, Scenario::Create, &[Strike::Twice(3), Strike::Crash(115)]),
    catcher(Mutant::LeaseUncounted, Scenario::FirewallRefused, &[Strike::Cut(21)]),
    catcher(Mutant::OrderIgnored, Scenario::CreateAndDelete, &[Strike::Twice(3)]),
    catcher(Mutant::UnparsedIsGone, Scenario::Malformed, &[]),
    catcher(Mutant::TeardownUnchecked, Scenario::DeleteAndCreateAgain, &[Strike::Act(1)]),
    catcher(Mutant::BudgetIgnored, Scenario::MassDeletion, &[]),
    catcher(Mutant::MalformedSpreads, Scenario::Malformed, &[]),
    catcher(Mutant::DocumentWrittenBack, Scenario::Create, &[]),
    catcher(Mutant::FirewallNotAwaited, Scenario::FirewallRefused, &[]),
    catcher(Mutant::OldRulesetTaken, Scenario::CreateAndDelete, &[Strike::Twice(1)]),
    catcher(Mutant::SilentHostFreed, Scenario::HostLost, &[]),
    catcher(Mutant::SecretLogged, Scenario::Create, &[]),
    catcher(Mutant::SecretInStatus, Scenario::Create, &[]),
    catcher(Mutant::RetriesAtOnce, Scenario::HostLost, &[]),
    catcher(Mutant::AddressUncompared, Scenario::AddressByHand, &[Strike::Act(1)]),
    catcher(Mutant::IndexUncompared, Scenario::IndexByHand, &[Strike::Act(1)]),
    catcher(Mutant::JobReused, Scenario::JobsFail, &[]),
    catcher(Mutant::SecretInMetric, Scenario::Create, &[]),
    catcher(Mutant::TwoWorkers, Scenario::Create, &[]),
    catcher(Mutant::HoldIgnored, Scenario::StoreRestored, &[]),
    catcher(Mutant::StandsLate, Scenario::Create, &[]),
    catcher(Mutant::PoisonDelays, Scenario::Poisoned, &[]),
    catcher(Mutant::DriftIgnored, Scenario::Drifted, &[]),
    catcher(Mutant::RulesDriftIgnored, Scenario::RulesDrifted, &[]),
    catcher(Mutant::StandbyUnready, Scenario::Create, &[]),
    catcher(Mutant::ReadyWithoutStore, Scenario::Create, &[Strike::Cut(40)]),
];

/// The rule that a mistake breaks.
fn rule(mutant: Mutant) -> &'static str {
    match mutant {
        Mutant::PlacesWithoutLook | Mutant::UnaskedHostsForgotten => "S1",
        Mutant::AddressUnchecked | Mutant::AddressUncompared => "S2",
        Mutant::AddressFreedFirst | Mutant::FreedUnconfirmed => "S3",
        Mutant::JobUnknown | Mutant::JobUnnamed => "S4",
        // Its agent makes no guest over one that it has made: what is left of the mistake is a second job beside the first.
        Mutant::FailedListIsEmpty | Mutant::JobReused | Mutant::OrderRunsTwice => "S5",
        Mutant::CapacityClaimsIgnored | Mutant::MemoryIgnored => "S6",
        Mutant::FenceDropped | Mutant::EpochIgnored | Mutant::LeaseUncounted => "S7",
        Mutant::OrderIgnored => "S8",
        Mutant::UnparsedIsGone | Mutant::TeardownUnchecked => "S9",
        Mutant::BudgetIgnored => "S10",
        Mutant::MalformedSpreads => "S11",
        Mutant::DocumentWrittenBack => "S12",
        Mutant::FirewallNotAwaited | Mutant::IndexUncompared | Mutant::OldRulesetTaken => "S13",
        Mutant::SilentHostFreed => "S14",
        Mutant::SecretLogged | Mutant::SecretInMetric | Mutant::SecretInStatus => "S15",
        Mutant::RetriesAtOnce | Mutant::TwoWorkers => "S16",
        Mutant::HoldIgnored => "HOLD",
        Mutant::StandsLate => "L4",
        Mutant::PoisonDelays => "L5",
        Mutant::DriftIgnored | Mutant::RulesDriftIgnored => "L6",
        Mutant::StandbyUnready | Mutant::ReadyWithoutStore => "READY",
    }
}

/// What is wrong with a run on which a mistake is made, its logs included.
fn wrong_with(mutant: Option<Mutant>, scenario: Scenario, plan: &[Strike]) -> Option<String> {
    let _guard = mutant.map(turn_on);
    if mutant.is_none_or(|mutant| mutant == Mutant::SecretLogged) {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        let played = || catch_unwind(|| play(scenario, plan));
        return match tracing::subscriber::with_default(subscriber, played) {
            Ok(outcome) => outcome.wrong.or_else(|| log.tells_secret()),
            Err(_) => Some("it panicked".to_owned()),
        };
    }
    match catch_unwind(|| play(scenario, plan)) {
        Ok(outcome) => outcome.wrong,
        Err(_) => Some("it panicked".to_owned()),
    }
}

#[test]
fn every_mistake_is_caught_by_the_rule_that_it_breaks() {
    if std::env::var("SIM_MUTANTS").is_ok_and(|text| text.starts_with("hunt")) {
        return hunt();
    }
    let began = Instant::now();
    let mut failed = Vec::new();
    for Catcher { mutant, scenario, plan } in &CATCHERS {
        let rule = rule(*mutant);
        let wrong = wrong_with(Some(*mutant), *scenario, plan).unwrap_or_default();
        if !wrong.contains(&format!("{rule}: ")) {
            failed.push(format!("{mutant:?} lives by {rule} in {scenario:?} {plan:?}: {wrong}"));
        }
        if let Some(wrong) = wrong_with(None, *scenario, plan) {
            failed.push(format!("{scenario:?} {plan:?} fails without {mutant:?}: {wrong}"));
        }
    }
    for mutant in ALL {
        if !CATCHERS.iter().any(|catcher| catcher.mutant == mutant) {
            failed.push(format!("nothing is recorded to catch {mutant:?}"));
        }
    }
    println!("{} mistakes, {} catchers, {:?}", ALL.len(), CATCHERS.len(), began.elapsed());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Looks for a run that catches each mistake, other ones every time, and prints it as a line of the table. When the time
/// that `SIM_MUTANTS_SECONDS` allows is over, the recorded run must do.
fn hunt() {
    let (began, until) = (Instant::now(), deadline("SIM_MUTANTS_SECONDS"));
    let text = std::env::var("SIM_MUTANTS").unwrap_or_default();
    let most = text.split_once(':').map_or(HUNTED, |(_, most)| most.parse().expect("a number"));
    let only = std::env::var("SIM_MUTANT").ok();
    let is_hunted = |it: &Mutant| only.as_ref().is_none_or(|only| *only == format!("{it:?}"));
    let mutants: Vec<_> = ALL.into_iter().filter(is_hunted).collect();
    let candidates = candidates(most);
    let (caught, alive) = (Mutex::new(BTreeMap::new()), Mutex::new(Vec::new()));
    on_all_cores(&mutants, None, |mutant| match catcher_of(*mutant, &candidates, until) {
        Ok(line) => drop(lock(&caught).insert(*mutant, line)),
        Err(line) => lock(&alive).push(line),
    });
    let (caught, alive) = (lock(&caught), lock(&alive));
    let mut text = format!(
        "{} of {} mistakes caught in {:.0} s\n",
        caught.len(),
        mutants.len(),
        began.elapsed().as_secs_f64()
    );
    for line in caught.values().chain(alive.iter()) {
        let _ = writeln!(text, "    {line}");
    }
    report(&text);
    assert!(alive.is_empty(), "nothing catches {}", alive.join("\n"));
}

/// Runs in which a mistake may show, in the order in which they are tried: first those in which nothing goes wrong.
fn candidates(most: usize) -> Vec<(Scenario, Vec<Strike>)> {
    let seed = u64::try_from(SystemClock.unix_millis()).unwrap_or_default();
    let mut swept = Vec::new();
    for scenario in sweep::scenarios() {
        // One that fails anyhow is a matter of the sweeps.
        let Ok(outcome) = catch_unwind(|| play(scenario, &[])) else { continue };
        for sweep in SWEEPS {
            let plans = some(sweep.plans(scenario, outcome.counts), most, seed);
            swept.extend(plans.into_iter().map(|plan| (scenario, plan)));
        }
    }
    swept.shuffle(&mut SmallRng::seed_from_u64(seed));
    sweep::scenarios().map(|scenario| (scenario, Vec::new())).chain(swept).collect()
}

/// A run that catches the mistake by its rule, as a line of the table; or what happened instead.
fn catcher_of(
    mutant: Mutant,
    candidates: &[(Scenario, Vec<Strike>)],
    until: Option<Instant>,
) -> Result<String, String> {
    let name = format!("{}: ", rule(mutant));
    let mut otherwise = None;
    let mut catches = |scenario: Scenario, plan: &[Strike]| {
        let Some(wrong) = wrong_with(Some(mutant), scenario, plan) else { return false };
        let is_caught = wrong.contains(&name);
        otherwise.get_or_insert_with(|| format!("{scenario:?} {plan:?} {}", first_line(&wrong)));
        is_caught
    };
    let mut runs = 0;
    for (scenario, plan) in candidates {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        runs += 1;
        if catches(*scenario, plan) {
            return Ok(format!("{}, // {runs} runs", line(mutant, *scenario, plan)));
        }
    }
    for known in CATCHERS.iter().filter(|known| known.mutant == mutant) {
        if catches(known.scenario, known.plan) {
            let line = line(mutant, known.scenario, known.plan);
            return Ok(format!("{line}, // as recorded, after {runs} runs"));
        }
    }
    Err(format!("{mutant:?} lives after {runs} runs; caught otherwise: {otherwise:?}"))
}

fn line(mutant: Mutant, scenario: Scenario, plan: &[Strike]) -> String {
    let plan: Vec<_> = plan.iter().map(|it| format!("Strike::{it:?}")).collect();
    format!("catcher(Mutant::{mutant:?}, Scenario::{scenario:?}, &[{}])", plan.join(", "))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Everything that is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn tells_secret(&self) -> Option<String> {
        let log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let log = String::from_utf8_lossy(&log);
        let line = log.lines().find(|line| line.contains(SECRET))?;
        Some(format!("S15: what a user keeps in a document is logged: {line}"))
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
