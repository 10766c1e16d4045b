//! The command line: what applies to every command. Each command's own flags lie beside it.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::command::{
    accept_store, apply, audit, completion, confirm_deletion, cordon, delete, describe, fence, get,
    pause, schema, wait,
};
use crate::span;

/// Tells the operator of Loch Ness what should run, and shows what does.
#[derive(Debug, Parser)]
#[command(name = "lochnessctl", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// How to reach the store.
    #[command(flatten)]
    pub connection: Connection,

    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed or refused, 2 wrong command line or manifest, 3 time was over.";

/// How to reach the store, and how long anything may take.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Connection {
    /// Endpoints of etcd, separated by commas: http://host:port, https://host:port.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        value_delimiter = ',',
        env = "LOCHNESS_ETCD",
        default_value = "http://127.0.0.1:2379"
    )]
    pub etcd: Vec<String>,

    /// What all keys begin with.
    #[arg(long, global = true, env = "LOCHNESS_PREFIX", default_value = "lochness/")]
    pub prefix: String,

    /// User of etcd's authentication; the password comes from `LOCHNESS_ETCD_PASSWORD` or from --password-file.
    #[arg(long, global = true, value_name = "NAME", env = "LOCHNESS_ETCD_USER")]
    pub user: Option<String>,

    /// A file whose first line is the password.
    #[arg(long, global = true, value_name = "FILE", env = "LOCHNESS_ETCD_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,

    /// The authority that signed etcd's certificate (PEM).
    #[arg(long, global = true, value_name = "FILE", env = "LOCHNESS_ETCD_CACERT")]
    pub cacert: Option<PathBuf>,

    /// Our certificate, for an etcd that asks for one (PEM); needs --key.
    #[arg(long, global = true, value_name = "FILE", env = "LOCHNESS_ETCD_CERT", requires = "key")]
    pub cert: Option<PathBuf>,

    /// The private key of --cert (PEM).
    #[arg(long, global = true, value_name = "FILE", env = "LOCHNESS_ETCD_KEY", requires = "cert")]
    pub key: Option<PathBuf>,

    /// How long to wait: with --wait or `wait` for the result (5m by default), otherwise for an answer of etcd (5s).
    #[arg(long, global = true, value_name = "SPAN", value_parser = span::parse)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Put what manifests say; what is already so is not touched.
    Apply(apply::Apply),
    /// List objects, jobs, events or the cluster.
    Get(get::Get),
    /// Tell everything about one object: why it does not run comes first.
    Describe(describe::Describe),
    /// Delete documents; the operator tears down what they declared.
    Delete(delete::Delete),
    /// Wait until an object is as wanted.
    Wait(wait::Wait),
    /// Let a held mass deletion go on.
    ConfirmDeletion(confirm_deletion::ConfirmDeletion),
    /// Let the operator go on with a restored or exchanged store.
    AcceptStore(accept_store::AcceptStore),
    /// Check the store, and what the hosts list, against what must hold.
    Audit(audit::Audit),
    /// Vouch that a lost hypervisor is switched off: it takes no guests, and nobody waits for it.
    Fence(fence::Fence),
    /// Let a repaired hypervisor take guests again.
    Unfence(fence::Unfence),
    /// Give a hypervisor no new guests.
    Cordon(cordon::Cordon),
    /// Give a hypervisor new guests again; ends a drain too.
    Uncordon(cordon::Uncordon),
    /// Give a hypervisor no new guests, and say how many are left.
    Drain(cordon::Drain),
    /// Stop all changes on agents: of the cluster, one hypervisor or one guest.
    Pause(pause::Pause),
    /// End a pause.
    Unpause(pause::Unpause),
    /// Print the JSON Schema of manifests.
    Schema(schema::Schema),
    /// Print a completion script for a shell.
    Completion(completion::Completion),
    /// Print the version.
    Version,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_stand_anywhere() {
        let cli =
            Cli::parse_from(["lochnessctl", "get", "guests", "--prefix", "/x", "--timeout", "2m"]);
        assert_eq!(cli.connection.prefix, "/x");
        assert_eq!(cli.connection.timeout, Some(Duration::from_secs(120)));
    }
}
