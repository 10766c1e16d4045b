//! The simulation: the real operator, two or three replicas of it with all loops, on one thread and in paused time. Only
//! what lies below the two waists is simulated: the store ([`lochness_kv::MemoryKv`]) and the network to the agents, which
//! are the real server with its simulated driver.
//!
//! Everything is drawn from one seed: what the user does, what fails and when. So a seed is a history, and the same seed
//! gives the same one, byte for byte. While faults happen, and after them, every revision and the hosts' true histories
//! are judged by the [`checker`] that the end-to-end tests use, too; after the last fault the world must come to what the
//! documents say within [`BOUND`](history::BOUND) and then be silent for three rescans, and through a cold start.
//!
//! `SIM_SEEDS=n` runs n fresh seeds, `SIM_SECONDS=s` or `SIM_MINUTES=m` fresh ones for so long, `SIM_FROM=x` those from x on; `SIM_SEED=x`
//! that one, shortened by `SIM_CUT=k` to its first k faults and wishes, and shown by `SIM_TRACE=1`.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a rule names the keys and effects that it is about"
)]

mod answers;
mod caretaker;
mod checker;
mod client;
mod climate;
mod clock;
mod cores;
mod course;
mod deletions;
mod election;
mod faults;
mod history;
mod hunt;
mod judge;
mod known;
mod load;
mod machine;
mod moves;
mod mutants;
mod network;
mod onlooker;
mod points;
mod profile;
mod regress;
mod repeated;
mod replica;
mod report;
mod restoration;
mod restores;
mod script;
mod sweep;
mod truths;
mod weather;
mod wishes;
mod words;

use std::process::Command;

use history::{Plan, simulate};
use hunt::{Hunt, number};

#[test]
fn every_history_is_safe_and_ends_as_the_documents_say() {
    Hunt::from_environment().run();
}

/// The trace of a history, from its seed.
fn trace(seed: u64) -> String {
    simulate(&Plan { traced: true, ..Plan::of(seed) }).trace
}

/// Two tellings of a history are the same; how many lines they have.
fn assert_same(seed: u64, one: &str, other: &str) -> usize {
    if one != other {
        let line = one.lines().zip(other.lines()).position(|(a, b)| a != b).unwrap_or_default();
        let show = |trace: &str| {
            trace.lines().skip(line.saturating_sub(5)).take(9).collect::<Vec<_>>().join("\n")
        };
        panic!("seed {seed}, line {line} differs:\n{}\n---\n{}", show(one), show(other));
    }
    one.lines().count()
}

#[test]
fn the_same_seed_gives_the_same_history_byte_for_byte() {
    let lines: usize = (0..12).map(|seed| assert_same(seed, &trace(seed), &trace(seed))).sum();
    assert!(lines > 12_000, "histories in which little happens prove little");
}

#[test]
fn another_process_gives_the_same_history_byte_for_byte() {
    let program = std::env::current_exe().expect("this program has a path");
    let there = |seed: u64, length: usize| {
        let output = Command::new(&program)
            .args(["--exact", "prints_one_trace", "--nocapture"])
            .env("SIM_PRINT", seed.to_string())
            .output()
            .expect("this program runs");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let begins = printed.find(&format!("seed {seed} ")).expect("it prints a trace");
        printed[begins..].chars().take(length).collect::<String>()
    };
    for seed in [1, 5] {
        let here = trace(seed);
        assert_same(seed, &here, &there(seed, here.chars().count()));
    }
}

/// Does nothing unless it is told by the test above.
#[test]
fn prints_one_trace() {
    if let Some(seed) = number("SIM_PRINT") {
        println!("\n{}", trace(seed));
    }
}
