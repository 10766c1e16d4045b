//! Measures Loch Ness: real etcd, the real operator, simulated hosts over real HTTP, and beside each figure a reference
//! that was measured in the same run.
//!
//! Machines are shared and noisy, so a figure is a ratio: reference and ours take turns, several rounds, and the report
//! has median and range. A round in which neighbours took more than a tenth of the processors is told, and has no
//! verdict. Nothing here asserts, but with `--check`.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures real time, and the tasks that it spawns end with it"
)]

mod ceiling;
mod documents;
mod figure;
mod guard;
mod machine;
mod near;
mod report;
mod requests;
mod scenario;
mod stack;
mod tally;

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::figure::Figure;
use crate::guard::Guard;
use crate::report::Report;

/// Measures Loch Ness against the etcd under it.
#[derive(Debug, Parser)]
#[command(name = "lochness-bench", version, max_term_width = 100)]
struct Arguments {
    /// How large.
    #[arg(long, value_enum, default_value_t = Size::Usual)]
    size: Size,
    /// How many rounds of reference and ours.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Only these, in this order; all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Scenario>,
    /// Where the report goes as JSON.
    #[arg(long, value_name = "FILE", default_value = "target/bench/report.json")]
    json: PathBuf,
    /// Ends with an error when a figure is worse than this file says.
    #[arg(long, value_name = "FILE")]
    check: Option<PathBuf>,
    /// Where `lochness-operator` and `lochness-agent` lie; beside this program by default.
    #[arg(long, value_name = "DIRECTORY")]
    programs: Option<PathBuf>,
}

/// How large the fleets are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Size {
    /// To see whether it works at all: a minute.
    Tiny,
    /// About ten minutes.
    Usual,
    /// As large as the promises.
    Full,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// Guests that become placeable all at once.
    Placement,
    /// From the document to `Running`.
    Life,
    /// One guest on an idle fleet.
    Latency,
    /// A replica that starts on a full store, and what it keeps of it.
    Cache,
    /// A converged fleet.
    Idle,
    /// The leader is killed under load.
    Failover,
    /// One guest while others come at half the pace that is possible.
    HalfLoad,
    /// All at once, and one that somebody waits for.
    Overload,
    /// One firewall group that most guests are in.
    Firewall,
    /// What a placement costs as the fleet grows.
    Growth,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let programs = if let Some(directory) = &arguments.programs {
        directory.clone()
    } else {
        let own = std::env::current_exe()?;
        own.parent().map(PathBuf::from).unwrap_or_default()
    };
    let guard = arguments.check.as_deref().map(Guard::read).transpose()?;
    let scale = scenario::Scale { size: arguments.size, rounds: arguments.rounds, programs };
    let wanted = if arguments.only.is_empty() {
        Scenario::value_variants().to_vec()
    } else {
        arguments.only.clone()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let mut report = Report::new(arguments.size);
    for one in wanted {
        eprintln!("== {one:?}");
        let figures: Vec<Figure> = runtime.block_on(async {
            match one {
                Scenario::Placement => scenario::placement::run(&scale).await,
                Scenario::Life => scenario::life::run(&scale).await,
                Scenario::Latency => scenario::latency::run(&scale).await,
                Scenario::Cache => scenario::cache::run(&scale).await,
                Scenario::Idle => scenario::idle::run(&scale).await,
                Scenario::Failover => scenario::failover::run(&scale).await,
                Scenario::HalfLoad => scenario::half_load::run(&scale).await,
                Scenario::Overload => scenario::overload::run(&scale).await,
                Scenario::Firewall => scenario::firewall::run(&scale).await,
                Scenario::Growth => scenario::growth::run(&scale).await,
            }
        })?;
        report.add(figures);
        // What is known so far is not lost when a later scenario fails.
        report.write(&arguments.json)?;
    }
    println!("{report}");
    println!("also as {}", arguments.json.display());
    guard.map_or(Ok(()), |guard| guard.check(&report))
}
