//! The long one: pairs of operators side by side, rounds of [`crate::frozen`] one after the other with fresh seeds, until
//! the time is over; then a report. Asked for by `SOAK_MINUTES` (`make soak MINUTES=30`), otherwise it does nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use lochness_kv::test_support::EtcdProcess;
use tokio::runtime::Builder;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use crate::frozen::{Told, round};

/// Pairs at the same time.
const PAIRS: u64 = 3;
/// Cycles of one round: about half a minute, so that a violation is told soon and histories stay short.
const CYCLES: u32 = 8;

/// Everything until now.
#[derive(Default)]
struct Report {
    rounds: u64,
    cycles: u64,
    revisions: u64,
    effects: u64,
    faults: BTreeMap<&'static str, u64>,
    /// Rounds that did not end well: prefix and seed; their own words were printed when they ended.
    violations: Vec<(String, u64)>,
}

impl Report {
    fn add(&mut self, prefix: String, seed: u64, outcome: Result<Told, JoinError>) {
        self.rounds += 1;
        match outcome {
            Ok(told) => {
                self.cycles += u64::from(told.cycles);
                self.revisions += told.revisions as u64;
                self.effects += told.effects as u64;
                for (fault, count) in told.faults {
                    *self.faults.entry(fault).or_default() += count;
                }
            }
            Err(_) => self.violations.push((prefix, seed)),
        }
    }

    fn print(&self, elapsed: Duration) {
        println!(
            "soak: {} rounds, {} cycles of stop and continue, {} revisions, {} effects on hosts, {} violations in {} s",
            self.rounds,
            self.cycles,
            self.revisions,
            self.effects,
            self.violations.len(),
            elapsed.as_secs()
        );
        for (fault, count) in &self.faults {
            println!("soak:   {count:6} x {fault}");
        }
        for (prefix, seed) in &self.violations {
            println!("soak:   violated or not converged: round {prefix} of seed {seed}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pairs_of_operators_under_all_faults_for_as_long_as_asked() {
    let minutes = std::env::var("SOAK_MINUTES").ok().and_then(|text| text.parse::<u64>().ok());
    let Some(minutes) = minutes else { return };
    let first = std::env::var("SOAK_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    let mut seeds = first.unwrap_or_else(rand::random)..;
    let (began, time) = (Instant::now(), Duration::from_secs(60 * minutes));
    let etcd = EtcdProcess::start();
    let mut report = Report::default();
    let mut running = JoinSet::new();
    let mut rounds = BTreeMap::new();
    loop {
        while running.len() < usize::try_from(PAIRS).expect("they are few")
            && began.elapsed() < time
        {
            let seed = seeds.next().expect("seeds do not end");
            let (endpoint, prefix) = (etcd.endpoint().to_owned(), format!("soak-{seed}/"));
            let named = prefix.clone();
            // A runtime of its own: what a round leaves behind ends with it.
            let round = move || {
                let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
                let runtime = runtime.expect("a thread can be started");
                runtime.block_on(round(&endpoint, &prefix, seed, CYCLES))
            };
            rounds.insert(running.spawn_blocking(round).id(), (named, seed));
        }
        let Some(ended) = running.join_next_with_id().await else { break };
        let (id, outcome) = match ended {
            Ok((id, told)) => (id, Ok(told)),
            Err(error) => (error.id(), Err(error)),
        };
        let (prefix, seed) = rounds.remove(&id).expect("it was begun here");
        report.add(prefix, seed, outcome);
        report.print(began.elapsed());
    }
    assert!(report.violations.is_empty(), "see above");
    assert!(report.cycles > 0, "nothing was done");
}
