//! `lochnessctl`: manifests in, status out.
//!
//! Guarantees: every write is a transaction that compares what it was based on, so that two people never overwrite each
//! other unseen; only keys that users own are written (but by `audit --repair`); what is put a second time changes nothing; a wait counts only a
//! status that answers the document as it is now. Output for a pipe is plain, and the exit code says what happened
//! ([`Exit`]).
//!
//! Deliberately not here: decisions about guests, requests to agents that change anything. This program writes wishes and reads answers; the operator does the rest.

mod apply_plan;
mod args;
mod audit;
mod command;
mod config_write;
mod connect;
mod console;
mod failure;
mod files;
mod follow;
mod goal;
mod kind_word;
mod object;
mod owned;
mod page;
mod references;
mod rows;
#[cfg(test)]
mod sample;
mod selector;
mod session;
mod similar;
mod span;
mod table;
mod waiting;
mod why;

use std::process::ExitCode;

use clap::Parser as _;

pub use args::Cli;
pub use console::{Audience, Console, Paint};
pub use failure::{Exit, Failure};
pub use session::Session;

/// The whole process: reads the arguments, connects, runs the command and reports.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut console = Console::of_process();
    let result = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime does not start", error.to_string()))
        .and_then(|runtime| runtime.block_on(connect_and_run(cli, &mut console)));
    match result {
        Ok(()) => Exit::Done.into(),
        Err(failure) => {
            let exit = failure.exit();
            console.report(&failure);
            exit.into()
        }
    }
}

/// Runs one command against a store that is already there.
///
/// # Errors
/// [`Failure`]; its [`Failure::exit`] is the exit code, its text is for people.
pub async fn run(cli: Cli, session: &Session, console: &mut Console<'_>) -> Result<(), Failure> {
    command::run(cli, session, console).await
}

async fn connect_and_run(cli: Cli, console: &mut Console<'_>) -> Result<(), Failure> {
    if let Some(done) = command::run_offline(&cli, console) {
        return done;
    }
    let session = connect::connect(&cli).await?;
    run(cli, &session, console).await.map_err(|failure| failure.at(session.endpoints()))
}
