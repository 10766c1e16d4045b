//! The binary `lochness-operator`. Exit codes: 0 told to stop, 1 failed while running, 2 wrong configuration.

use std::process::ExitCode;

use clap::Parser as _;
use lochness_operator::{Args, init_logging, run, terminated};

/// A fifth of a leader's time under load went into the system's allocator, which also keeps what a list has freed.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    let config = match args.config() {
        Ok(config) => config,
        Err(error) => return complain(&error.to_string(), 2),
    };
    if args.check_config {
        print!("{}", config.to_toml());
        return ExitCode::SUCCESS;
    }
    init_logging(&config.log);
    match run(config, terminated()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(&format!("{error:#}"), 1),
    }
}

fn complain(error: &str, code: u8) -> ExitCode {
    eprintln!("lochness-operator: {error}");
    ExitCode::from(code)
}
