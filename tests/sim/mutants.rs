//! Is the simulation able to see? Each mistake of [`lochness_mutant`] breaks one rule on purpose; a run that is recorded
//! here catches it, by that rule, and is clean without the mistake.
//!
//! `SIM_MUTANTS=hunt` looks for a catcher of every mistake anew, in all sweeps, and prints the table's lines; a number of
//! runs after it (`SIM_MUTANTS=hunt:500`) says how long it looks for each.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use lochness_mutant::{ALL, Mutant, turn_on};
use tokio::time::Instant;
use tracing_subscriber::fmt::MakeWriter;

use crate::points::Strike;
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
const CATCHERS: [Catcher; 25] = [
    catcher(Mutant::PlacesWithoutLook, Scenario::StatusLost, &[]),
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
    catcher(Mutant::LeaseUncounted, Scenario::FirewallRefused, &[Strike::Cut(60)]),
    catcher(Mutant::OrderIgnored, Scenario::CreateAndDelete, &[Strike::Twice(3)]),
    catcher(Mutant::UnparsedIsGone, Scenario::Malformed, &[]),
    catcher(Mutant::TeardownUnchecked, Scenario::DeleteAndCreateAgain, &[Strike::Act(1)]),
    catcher(Mutant::BudgetIgnored, Scenario::MassDeletion, &[]),
    catcher(Mutant::MalformedSpreads, Scenario::Malformed, &[]),
    catcher(Mutant::DocumentWrittenBack, Scenario::Create, &[]),
    catcher(Mutant::FirewallNotAwaited, Scenario::FirewallRefused, &[]),
    catcher(Mutant::OldRulesetTaken, Scenario::CreateAndDelete, &[Strike::Twice(2)]),
    catcher(Mutant::SilentHostFreed, Scenario::HostLost, &[]),
    catcher(Mutant::SecretLogged, Scenario::Create, &[]),
    catcher(Mutant::SecretInStatus, Scenario::Create, &[]),
    catcher(Mutant::RetriesAtOnce, Scenario::HostLost, &[]),
];

/// The rule that a mistake breaks.
fn rule(mutant: Mutant) -> &'static str {
    match mutant {
        Mutant::PlacesWithoutLook | Mutant::FailedListIsEmpty => "S1",
        Mutant::AddressUnchecked => "S2",
        Mutant::AddressFreedFirst | Mutant::FreedUnconfirmed => "S3",
        Mutant::JobUnknown | Mutant::JobUnnamed => "S4",
        Mutant::OrderRunsTwice => "S5",
        Mutant::CapacityClaimsIgnored | Mutant::MemoryIgnored => "S6",
        Mutant::FenceDropped | Mutant::EpochIgnored | Mutant::LeaseUncounted => "S7",
        Mutant::OrderIgnored => "S8",
        Mutant::UnparsedIsGone | Mutant::TeardownUnchecked => "S9",
        Mutant::BudgetIgnored => "S10",
        Mutant::MalformedSpreads => "S11",
        Mutant::DocumentWrittenBack => "S12",
        Mutant::FirewallNotAwaited | Mutant::OldRulesetTaken => "S13",
        Mutant::SilentHostFreed => "S14",
        Mutant::SecretLogged | Mutant::SecretInStatus => "S15",
        Mutant::RetriesAtOnce => "S16",
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
        let outcome = tracing::subscriber::with_default(subscriber, || play(scenario, plan));
        return outcome.wrong.or_else(|| log.tells_secret());
    }
    match std::panic::catch_unwind(|| play(scenario, plan)) {
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

/// Looks for a run that catches each mistake, and prints it as a line of the table.
fn hunt() {
    let text = std::env::var("SIM_MUTANTS").unwrap_or_default();
    let most = text.split_once(':').map_or(HUNTED, |(_, most)| most.parse().expect("a number"));
    let only = std::env::var("SIM_MUTANT").ok();
    let counts: Vec<_> =
        sweep::scenarios().map(|scenario| (scenario, play(scenario, &[]).counts)).collect();
    let mut alive = Vec::new();
    for mutant in ALL {
        if only.as_ref().is_some_and(|only| *only != format!("{mutant:?}")) {
            continue;
        }
        let undisturbed = sweep::scenarios().map(|scenario| (scenario, Vec::new()));
        let swept = SWEEPS.into_iter().flat_map(|sweep| {
            counts.iter().flat_map(move |(scenario, counts)| {
                let plans = some(sweep.plans(*scenario, *counts), most, 7);
                plans.into_iter().map(move |plan| (*scenario, plan))
            })
        });
        let mut runs = 0;
        let mut otherwise = None;
        let caught = undisturbed.chain(swept).find(|(scenario, plan)| {
            runs += 1;
            let Some(wrong) = wrong_with(Some(mutant), *scenario, plan) else { return false };
            let is_caught = wrong.contains(&format!("{}: ", rule(mutant)));
            otherwise.get_or_insert((*scenario, plan.clone(), wrong));
            is_caught
        });
        if let Some((scenario, plan)) = caught {
            let plan: Vec<_> = plan.iter().map(|it| format!("Strike::{it:?}")).collect();
            println!(
                "    catcher(Mutant::{mutant:?}, Scenario::{scenario:?}, &[{}]), // {runs} runs",
                plan.join(", ")
            );
        } else {
            println!("{mutant:?} lives after {runs} runs; caught otherwise: {otherwise:?}");
            alive.push(mutant);
        }
    }
    assert!(alive.is_empty(), "nothing catches {alive:?}");
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
