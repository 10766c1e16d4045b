//! The simulation: the real operator, two replicas of it with all loops, on one thread and in paused time. Only what lies
//! below the two waists is simulated: the store ([`lochness_kv::MemoryKv`]) and the network to the agents, which are the
//! real server with its simulated driver.
//!
//! Everything is drawn from one seed: what the user does, what fails and when. So a seed is a history, and the same seed
//! gives the same one, byte for byte. While faults happen, and after them, every revision and the hosts' true histories
//! are judged by the [`checker`] that the end-to-end tests use, too; after the last fault the world must come to what the
//! documents say within [`BOUND`](history::BOUND) and then be silent for three rescans.
//!
//! `SIM_SEEDS=n` runs the seeds 0 to n-1 instead of the fixed set, `SIM_SEED=x` that one, and prints its trace with
//! `SIM_TRACE=1`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the keys and effects that it is about"
)]

mod checker;
mod client;
mod course;
mod history;
mod judge;
mod network;
mod profile;
mod replica;
mod script;
mod weather;
mod wishes;

use std::collections::BTreeMap;
use std::panic::{catch_unwind, resume_unwind};

use history::{Ended, simulate};

/// The histories of every run.
const SEEDS: u64 = 24;

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("a number"))
}

#[test]
fn every_history_is_safe_and_ends_as_the_documents_say() {
    let seeds: Vec<u64> = match number("SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("SIM_SEEDS").unwrap_or(SEEDS)).collect(),
    };
    let mut faults: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failed = Vec::new();
    for seed in &seeds {
        let ended = catch_unwind(|| simulate(*seed)).unwrap_or_else(|panic| {
            println!("seed {seed} panicked");
            resume_unwind(panic)
        });
        let Ended { trace, faults: met, wrong } = ended;
        if std::env::var_os("SIM_TRACE").is_some() {
            println!("{trace}");
        }
        for (class, times) in met {
            *faults.entry(class).or_default() += times;
        }
        if let Some(wrong) = wrong {
            println!("seed {seed} failed: {wrong}\nagain: SIM_SEED={seed} cargo test --test sim\n");
            failed.push(*seed);
        }
    }
    let total: u64 = faults.values().sum();
    println!("{} histories, {total} faults: {faults:?}", seeds.len());
    assert!(failed.is_empty(), "{} of {} histories failed: {failed:?}", failed.len(), seeds.len());
}

#[test]
fn the_same_seed_gives_the_same_history_byte_for_byte() {
    let (one, other) = (simulate(7), simulate(7));
    let differs = one.trace.lines().zip(other.trace.lines()).position(|(a, b)| a != b);
    if let Some(line) = differs {
        let from = line.saturating_sub(5);
        let show = |trace: &str| trace.lines().skip(from).take(9).collect::<Vec<_>>().join("\n");
        panic!("line {line} differs:\n{}\n---\n{}", show(&one.trace), show(&other.trace));
    }
    assert_eq!(one.trace.len(), other.trace.len());
    assert!(one.trace.lines().count() > 1_000, "a history in which little happens proves little");
}
