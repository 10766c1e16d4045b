//! `lochnessctl completion`: a script that completes commands and flags in a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::{Cli, Console, Failure};

/// The flags of `completion`.
#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// For which shell.
    shell: Shell,
}

impl Completion {
    pub(crate) fn run(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "lochnessctl", &mut script);
        console.out.write_all(&script)?;
        Ok(())
    }
}
