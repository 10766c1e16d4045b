//! `lochness-agent`: one process, one or many simulated hypervisors. Exit codes: 0 told to stop, 1 failed, 2 wrong command line.

mod args;
mod daemon;
mod setup;
mod store;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let arguments = args::Arguments::parse();
    let outcome = match arguments.command {
        Some(args::Command::ResetFence(reset)) => daemon::reset_fence(&reset),
        None => daemon::run(&arguments.run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lochness-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
