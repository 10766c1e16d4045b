//! `lochness-agent`: one process, one or many simulated hypervisors.

mod args;
mod daemon;
mod setup;

use std::io::IsTerminal;

use clap::Parser;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into()),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    let arguments = args::Arguments::parse();
    match arguments.command {
        Some(args::Command::ResetFence(reset)) => daemon::reset_fence(&reset),
        None => daemon::run(&arguments.run),
    }
}
