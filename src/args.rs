//! The command line and the environment, laid over the file.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use lochness_kv::Secret;

use crate::config::{Config, ConfigError, LogFormat};
use crate::span::Span;

/// The password's variable. There is no flag for it: command lines are visible to everybody on the machine.
const PASSWORD: &str = "LOCHNESS_ETCD_PASSWORD";

const AFTER_HELP: &str = "\
Flags win over variables, variables over the file, the file over defaults. The password of etcd comes from \
--password-file or LOCHNESS_ETCD_PASSWORD. deploy/operator.toml shows every key of the file.

Served at --listen: /metrics for Prometheus, /healthz (no task has panicked), /readyz (the view follows etcd; says why \
not).

Exit codes: 0 told to stop by SIGTERM or SIGINT, 1 failed while running, 2 wrong configuration.";

/// Makes what runs on your hypervisors equal to what etcd says should run.
///
/// Run two or more of them: one leads, the others stand by with a warm view and take over when its lease ends.
#[derive(Debug, Clone, Default, Parser)]
#[command(name = "lochness-operator", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// A TOML file with any of these settings.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_CONFIG")]
    pub config: Option<PathBuf>,

    /// Print the configuration that would be used, without secrets, and exit: 0 if it is usable, 2 if not.
    #[arg(long)]
    pub check_config: bool,

    /// Endpoints of etcd, separated by commas [default: port 2379 of this machine].
    #[arg(long, value_name = "URL", value_delimiter = ',', env = "LOCHNESS_ETCD")]
    pub etcd: Option<Vec<String>>,

    /// What all keys begin with [default: lochness/].
    #[arg(long, env = "LOCHNESS_PREFIX")]
    pub prefix: Option<String>,

    /// User of etcd's authentication.
    #[arg(long, value_name = "NAME", env = "LOCHNESS_ETCD_USER")]
    pub user: Option<String>,

    /// A file whose first line is that user's password.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_PASSWORD_FILE")]
    pub password_file: Option<PathBuf>,

    /// The authority that signed etcd's certificate (PEM).
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_CACERT")]
    pub cacert: Option<PathBuf>,

    /// Our certificate, for an etcd that asks for one (PEM); needs --key.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_CERT")]
    pub cert: Option<PathBuf>,

    /// The private key of --cert (PEM).
    #[arg(long, value_name = "FILE", env = "LOCHNESS_ETCD_KEY")]
    pub key: Option<PathBuf>,

    /// The authority that signed the agents' certificates (PEM), for agents with TLS.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_CACERT")]
    pub agent_cacert: Option<PathBuf>,

    /// Our certificate, for agents that ask for one (PEM); needs --agent-key.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_CERT")]
    pub agent_cert: Option<PathBuf>,

    /// The private key of --agent-cert (PEM).
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_KEY")]
    pub agent_key: Option<PathBuf>,

    /// A file whose first line is the bearer token that agents ask for.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_TOKEN_FILE")]
    pub agent_token_file: Option<PathBuf>,

    /// Address and port of /metrics, /healthz and /readyz; port 0 takes a free one [default: 127.0.0.1:9464].
    #[arg(long, value_name = "ADDRESS", env = "LOCHNESS_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// How long a silent leader keeps its term, such as 15s [default: 15s].
    #[arg(long, value_name = "SPAN", env = "LOCHNESS_LEASE")]
    pub lease: Option<Span>,

    /// Who this process is, for people [default: host name, process id and a random part].
    #[arg(long, value_name = "NAME", env = "LOCHNESS_IDENTITY")]
    pub identity: Option<String>,

    /// How log lines look [default: text].
    #[arg(long, value_name = "FORMAT", value_enum, env = "LOCHNESS_LOG_FORMAT")]
    pub log_format: Option<LogFormat>,

    /// What is logged: a level, or levels by module, separated by commas [default: info].
    #[arg(long, value_name = "FILTER", env = "LOCHNESS_LOG")]
    pub log: Option<String>,
}

impl Args {
    /// The configuration that all sources make together, checked.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut config = match &self.config {
            Some(file) => Config::from_file(file)?,
            None => Config::default(),
        };
        if let Ok(password) = std::env::var(PASSWORD) {
            config.etcd.password = Secret::new(password);
        }
        self.overlay(&mut config);
        config.check()?;
        Ok(config)
    }

    fn overlay(&self, config: &mut Config) {
        let Self {
            config: _,
            check_config: _,
            etcd,
            prefix,
            user,
            password_file,
            cacert,
            cert,
            key,
            agent_cacert,
            agent_cert,
            agent_key,
            agent_token_file,
            listen,
            lease,
            identity,
            log_format,
            log,
        } = self.clone();
        replace(&mut config.etcd.endpoints, etcd);
        replace(&mut config.prefix, prefix);
        replace(&mut config.listen, listen);
        replace(&mut config.lease, lease);
        replace(&mut config.identity, identity);
        replace(&mut config.log.format, log_format);
        replace(&mut config.log.filter, log);
        replace_option(&mut config.etcd.user, user);
        replace_option(&mut config.etcd.password_file, password_file);
        replace_option(&mut config.etcd.ca_file, cacert);
        replace_option(&mut config.etcd.cert_file, cert);
        replace_option(&mut config.etcd.key_file, key);
        replace_option(&mut config.agents.ca_file, agent_cacert);
        replace_option(&mut config.agents.cert_file, agent_cert);
        replace_option(&mut config.agents.key_file, agent_key);
        replace_option(&mut config.agents.token_file, agent_token_file);
    }
}

fn replace<T>(setting: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *setting = given;
    }
}

fn replace_option<T>(setting: &mut Option<T>, given: Option<T>) {
    if given.is_some() {
        *setting = given;
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn overlaid(words: &[&str]) -> Config {
        let args = Args::parse_from([&["lochness-operator"], words].concat());
        let mut config = Config::default();
        args.overlay(&mut config);
        config
    }

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_flag_wins_over_what_was_there_and_leaves_the_rest() {
        let config = overlaid(&["--etcd", "a:1,b:2", "--lease", "3s", "--listen", "127.0.0.1:0"]);
        assert_eq!(config.etcd.endpoints, ["a:1", "b:2"]);
        assert_eq!(config.lease, Span::seconds(3));
        assert_eq!(config.listen.port(), 0);
        assert_eq!(config.log.filter, "info");
    }

    #[test]
    fn a_flag_wins_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "prefix = \"from-file/\"\nidentity = \"kept\"\n").unwrap();
        let path = file.path().to_str().unwrap();
        let args = Args::parse_from(["lochness-operator", "--config", path, "--prefix", "flag/"]);
        let config = args.config().unwrap();
        assert_eq!((config.prefix.as_str(), config.identity.as_str()), ("flag/", "kept"));
    }
}
