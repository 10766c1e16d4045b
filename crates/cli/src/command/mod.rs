//! One file a command: its flags, and what it does.

pub(crate) mod accept_store;
pub(crate) mod apply;
pub(crate) mod audit;
pub(crate) mod completion;
pub(crate) mod confirm_deletion;
pub(crate) mod cordon;
pub(crate) mod delete;
pub(crate) mod describe;
pub(crate) mod fence;
pub(crate) mod get;
pub(crate) mod pause;
pub(crate) mod schema;
pub(crate) mod wait;

use crate::args::{Cli, Command};
use crate::{Console, Failure, Session};

/// Runs a command that needs no store, and tells what is wrong with one's manifests before any store is asked; `None` when
/// the rest needs one.
pub(crate) fn run_offline(cli: &Cli, console: &mut Console<'_>) -> Option<Result<(), Failure>> {
    match &cli.command {
        Command::Apply(args) => args.check(console).err().map(Err),
        Command::Schema(args) => Some(args.run(console)),
        Command::Completion(args) => Some(args.run(console)),
        Command::Version => Some(version(console)),
        Command::Get(_)
        | Command::Describe(_)
        | Command::Delete(_)
        | Command::Wait(_)
        | Command::ConfirmDeletion(_)
        | Command::AcceptStore(_)
        | Command::Audit(_)
        | Command::Fence(_)
        | Command::Unfence(_)
        | Command::Cordon(_)
        | Command::Uncordon(_)
        | Command::Drain(_)
        | Command::Pause(_)
        | Command::Unpause(_) => None,
    }
}

/// Runs any command.
pub(crate) async fn run(
    cli: Cli,
    session: &Session,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    match cli.command {
        Command::Apply(args) => args.run(session, console).await,
        Command::Get(args) => args.run(session, console).await,
        Command::Describe(args) => args.run(session, console).await,
        Command::Delete(args) => args.run(session, console).await,
        Command::Wait(args) => args.run(session, console).await,
        Command::ConfirmDeletion(args) => args.run(session, console).await,
        Command::AcceptStore(args) => args.run(session, console).await,
        Command::Audit(args) => args.run(session, console).await,
        Command::Fence(args) => args.run(session, console).await,
        Command::Unfence(args) => args.run(session, console).await,
        Command::Cordon(args) => args.run(session, console).await,
        Command::Uncordon(args) => args.run(session, console).await,
        Command::Drain(args) => args.run(session, console).await,
        Command::Pause(args) => args.run(session, console).await,
        Command::Unpause(args) => args.run(session, console).await,
        Command::Schema(args) => args.run(console),
        Command::Completion(args) => args.run(console),
        Command::Version => version(console),
    }
}

fn version(console: &mut Console<'_>) -> Result<(), Failure> {
    writeln!(console.out, "lochnessctl {}", env!("CARGO_PKG_VERSION"))?;
    Ok(())
}
