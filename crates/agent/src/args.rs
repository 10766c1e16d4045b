//! The command line of `lochness-agent`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use lochness_api::HypervisorId;

/// The agent of a hypervisor: carries out what the Loch Ness operator asks.
#[derive(Debug, Parser)]
#[command(
    name = "lochness-agent",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) run: Run,
}

/// What else it can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Forget the epoch and all orders that were seen, for a number that was poisoned. The agent must not run.
    ResetFence(ResetFence),
}

/// `lochness-agent reset-fence`.
#[derive(Debug, Args)]
pub(crate) struct ResetFence {
    /// Where the agent keeps its state.
    #[arg(long, env = "LOCHNESS_AGENT_STATE_DIR")]
    pub(crate) state_dir: PathBuf,
    /// The host's id.
    #[arg(long, conflicts_with = "name", required_unless_present = "name")]
    pub(crate) id: Option<HypervisorId>,
    /// The host's name, from which its id is made.
    #[arg(long)]
    pub(crate) name: Option<String>,
}

/// `lochness-agent`.
#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) host: HostArguments,
    #[command(flatten)]
    pub(crate) store: StoreArguments,
    #[command(flatten)]
    pub(crate) simulated: SimulatedArguments,
}

/// Which hosts this process is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Hosts")]
pub(crate) struct HostArguments {
    /// The driver below.
    #[arg(long, value_enum, default_value_t = DriverName::Simulated)]
    pub(crate) driver: DriverName,
    /// Who puts rulesets in force: nobody; nobody, but it is said so; or nft, for one host whose network is real.
    #[arg(long, value_enum, default_value_t = FirewallName::Simulated)]
    pub(crate) firewall: FirewallName,
    /// The network namespace of the host's bridges, when it is not the agent's own: a name of `ip netns`, or a path.
    #[arg(long, value_name = "NAME|PATH")]
    pub(crate) firewall_netns: Option<String>,
    /// How many hosts this process is.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub(crate) hosts: u32,
    /// The host's name. For many hosts, see --name-pattern.
    #[arg(long, conflicts_with = "name_pattern")]
    pub(crate) name: Option<String>,
    /// The names of the hosts: %d or %0Nd becomes 1, 2 and so on.
    #[arg(long, default_value = "host-%02d")]
    pub(crate) name_pattern: String,
    /// The host's id, when it is not to be made of its name. For one host only.
    #[arg(long)]
    pub(crate) id: Option<HypervisorId>,
    /// The first host's address; each further host has the next one.
    #[arg(long, default_value = "127.0.0.1")]
    pub(crate) address_base: IpAddr,
    /// The port, at every address.
    #[arg(long, default_value_t = 8080)]
    pub(crate) port: u16,
    /// Where state is kept, a directory a host. Without it, in memory.
    #[arg(long, env = "LOCHNESS_AGENT_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
    /// Let the disk confirm every change before it is answered.
    #[arg(long)]
    pub(crate) fsync: bool,
    /// Memory of a host, in MB.
    #[arg(long, default_value_t = 65_536)]
    pub(crate) memory: u64,
    /// Disk of a host, in MB.
    #[arg(long, default_value_t = 1_048_576)]
    pub(crate) disk: u64,
    /// Cores of a host.
    #[arg(long, default_value_t = 16)]
    pub(crate) cpu: u32,
    /// A file whose first line is the bearer token that requests must carry.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_TOKEN_FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Serve by TLS alone, with this certificate (PEM); needs --tls-key. Hosts then need `config/agent_tls`.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_TLS_CERT", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of --tls-cert (PEM).
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_TLS_KEY", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Refuse clients without a certificate of this authority (PEM).
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_TLS_CLIENT_CA", requires = "tls_cert")]
    pub(crate) tls_client_ca: Option<PathBuf>,
    /// Promise to stop guests marked `evacuate: recreate` within so many seconds without a living lease.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) self_fence: Option<u64>,
}

/// Where hosts are registered.
#[derive(Debug, Args)]
#[command(next_help_heading = "Store")]
pub(crate) struct StoreArguments {
    /// Endpoints of etcd, separated by commas. Without them the hosts are not registered.
    #[arg(long, value_name = "URL", env = "LOCHNESS_ETCD", value_delimiter = ',')]
    pub(crate) etcd: Vec<String>,
    /// What all keys begin with.
    #[arg(long, env = "LOCHNESS_PREFIX", default_value = "lochness/")]
    pub(crate) prefix: String,
    /// How long a heartbeat outlives its agent, such as 15s.
    #[arg(long, value_name = "SPAN", default_value = "15s", value_parser = lease)]
    pub(crate) lease: Duration,
    /// User of etcd's authentication; the password comes from --password-file or `LOCHNESS_ETCD_PASSWORD`.
    #[arg(long, value_name = "NAME", env = "LOCHNESS_ETCD_USER")]
    pub(crate) user: Option<String>,
    /// A file whose first line is that user's password.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_PASSWORD_FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// The authority that signed etcd's certificate (PEM).
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_CACERT")]
    pub(crate) cacert: Option<PathBuf>,
    /// Our certificate, for an etcd that asks for one (PEM); needs --key.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_CERT", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// The private key of --cert (PEM).
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_KEY", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

/// How simulated hosts behave.
#[derive(Debug, Args)]
#[command(next_help_heading = "Simulated driver (times in milliseconds)")]
pub(crate) struct SimulatedArguments {
    /// Which protocol: ours, or the original's alone with its traps.
    #[arg(long, value_enum, default_value_t = CompatName::Lochness)]
    pub(crate) compat: CompatName,
    /// Which words the original's sub-agent has for states.
    #[arg(long, value_enum, default_value_t = StateWordsName::Libvirt)]
    pub(crate) state_words: StateWordsName,
    /// To create a guest.
    #[arg(long, default_value_t = 0)]
    pub(crate) create_delay: u64,
    /// To start, resume or suspend one.
    #[arg(long, default_value_t = 0)]
    pub(crate) start_delay: u64,
    /// To shut one down, power it off, reboot or restart it.
    #[arg(long, default_value_t = 0)]
    pub(crate) shutdown_delay: u64,
    /// To delete one.
    #[arg(long, default_value_t = 0)]
    pub(crate) delete_delay: u64,
    /// To fetch an image.
    #[arg(long, default_value_t = 0)]
    pub(crate) image_delay: u64,
    /// To put a firewall in force.
    #[arg(long, default_value_t = 0)]
    pub(crate) firewall_delay: u64,
    /// Before every answer.
    #[arg(long, default_value_t = 0)]
    pub(crate) reply_delay: u64,
    /// At most so much is added to each, at random.
    #[arg(long, default_value_t = 0)]
    pub(crate) jitter: u64,
    /// Of a thousand jobs so many fail.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(crate) failing_jobs: u16,
    /// Of a thousand requests so many are carried out and never answered.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    pub(crate) lost_answers: u16,
    /// A failed job ends the host's agent, as the original's does; it is back after so long.
    #[arg(long, value_name = "MILLISECONDS")]
    pub(crate) failed_job_kills: Option<u64>,
    /// Chance, repeatable. Without it, chance.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
}

/// The drivers that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverName {
    /// Guests are records; work is waiting.
    Simulated,
}

/// Who can put rulesets in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FirewallName {
    /// Nobody: the host offers no firewall.
    None,
    /// Nobody; rulesets are stored.
    Simulated,
    /// The program nft.
    Nft,
}

/// The protocols that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompatName {
    /// The original's, with our extensions.
    Lochness,
    /// The original's alone.
    Mistify,
}

/// The words that there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateWordsName {
    /// `running`, `paused`, `shutoff`, `crashed`.
    Libvirt,
    /// `running`, `paused`, `stopped`.
    Docker,
    /// `create`, for ever.
    Echo,
}

/// A lease as people write it; etcd counts it in whole seconds.
fn lease(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a span from 1s to 1h; write it as in 15s or 1m");
    let span: jiff::SignedDuration = text.trim().parse().map_err(|_| wrong())?;
    let span = Duration::try_from(span).map_err(|_| wrong())?;
    let allowed = Duration::from_secs(1)..=Duration::from_secs(3600);
    if allowed.contains(&span) { Ok(span) } else { Err(wrong()) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_lease_is_written_with_its_unit() {
        let lease = |text| {
            let line = ["lochness-agent", "--lease", text];
            Arguments::try_parse_from(line).map(|parsed| parsed.run.store.lease)
        };
        assert_eq!(lease("1m").unwrap(), Duration::from_secs(60));
        for wrong in ["15", "0s", "2h", "-1s", "soon"] {
            assert!(lease(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_reaches_etcd_is_named_as_for_the_other_programs() {
        let line = "lochness-agent --user u --password-file p --cacert a --cert c --key k";
        let store = Arguments::parse_from(line.split(' ')).run.store;
        assert_eq!(store.user.as_deref(), Some("u"));
        assert!(Arguments::try_parse_from("lochness-agent --cert c".split(' ')).is_err());
    }

    #[test]
    fn many_hosts_and_a_subcommand_parse() {
        let run = ["lochness-agent", "--hosts", "100", "--compat", "mistify", "--etcd", "a:1,b:2"];
        let parsed = Arguments::parse_from(run);
        assert_eq!((parsed.run.host.hosts, parsed.run.store.etcd.len()), (100, 2));
        let reset = ["lochness-agent", "reset-fence", "--state-dir", "/d", "--name", "host-01"];
        assert!(matches!(Arguments::parse_from(reset).command, Some(Command::ResetFence(_))));
    }
}
