//! The configuration: one struct, filled from defaults, a file, the environment and flags, the later ones winning.
//!
//! Guarantees: a key that does not exist is an error that names file and line; what was checked here cannot turn out
//! wrong later, but for what changes on disk; no secret is ever printed. Files with secrets are named, never their content.

mod tuning;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use lochness_api::Prefix;
use lochness_kv::{EtcdConfig, Pem, Secret, TlsConfig};
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;

use crate::span::Span;

pub use tuning::Tuning;

/// etcd raises shorter leases to this anyway.
const SHORTEST_LEASE: Span = Span::seconds(2);
/// With a longer one a lost leader would be missed for too long.
const LONGEST_LEASE: Span = Span::seconds(300);

/// Everything that an operator process is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// What all keys begin with.
    pub prefix: String,
    /// Who this process is, for people who look at the leader's key. Empty: host name, process id and a random part.
    pub identity: String,
    /// Where `/metrics`, `/healthz` and `/readyz` are served. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long a silent leader keeps its term, and so how long a takeover lasts after a crash.
    pub lease: Span,
    /// The store.
    pub etcd: Etcd,
    /// What agents are shown, and what they must show.
    pub agents: Agents,
    /// What is logged, and how.
    pub log: Log,
    /// Durations and limits of the loops.
    pub tuning: Tuning,
}

/// The table `[etcd]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Etcd {
    /// `http://host:port`, `https://host:port` or `host:port`, one a member.
    pub endpoints: Vec<String>,
    /// The user of etcd's own authentication.
    pub user: Option<String>,
    /// A file whose first line is that user's password.
    pub password_file: Option<PathBuf>,
    /// The password itself; only the environment can give it.
    #[serde(skip_deserializing, serialize_with = "redacted", skip_serializing_if = "is_empty")]
    pub password: Secret,
    /// The authority that signed etcd's certificate (PEM).
    pub ca_file: Option<PathBuf>,
    /// Our certificate, for an etcd that asks for one (PEM).
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file` (PEM).
    pub key_file: Option<PathBuf>,
    /// The name to expect in etcd's certificate, where it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// The table `[agents]`. All of it is for agents that are addressed with TLS or ask for a token.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// The authority that signed the agents' certificates (PEM).
    pub ca_file: Option<PathBuf>,
    /// Our certificate, for agents that ask for one (PEM).
    pub cert_file: Option<PathBuf>,
    /// The private key of `cert_file` (PEM).
    pub key_file: Option<PathBuf>,
    /// A file whose first line is the bearer token that agents ask for.
    pub token_file: Option<PathBuf>,
}

/// The table `[log]`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// Text or JSON.
    pub format: LogFormat,
    /// Levels by module, as in `info,lochness_controllers=debug`.
    pub filter: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there, or not ours to read.
    #[error("cannot read {}: {error}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file is no such configuration; the text names line and key.
    #[error("{}: {message}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// Line, column and what is wrong there.
        message: String,
    },
    /// A value cannot work.
    #[error("configuration: {0}")]
    Value(String),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            prefix: "lochness/".to_owned(),
            identity: String::new(),
            listen: SocketAddr::from(([127, 0, 0, 1], 9464)),
            lease: Span::seconds(15),
            etcd: Etcd::default(),
            agents: Agents::default(),
            log: Log::default(),
            tuning: Tuning::default(),
        }
    }
}

impl Default for Etcd {
    fn default() -> Self {
        Self {
            endpoints: EtcdConfig::default().endpoints,
            user: None,
            password_file: None,
            password: Secret::default(),
            ca_file: None,
            cert_file: None,
            key_file: None,
            server_name: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, filter: "info".to_owned() }
    }
}

impl Config {
    /// The defaults, and over them what the file says.
    pub fn from_file(file: &Path) -> Result<Self, ConfigError> {
        let text = read(file)?;
        toml::from_str(&text).map_err(|error| ConfigError::Syntax {
            file: file.to_owned(),
            message: error.to_string(),
        })
    }

    /// Refuses what cannot work, and reads the files that are named so that a missing one is noticed at once.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.prefix.trim_matches('/').is_empty() {
            return Err(value(
                "prefix is empty: the operator would take every key of the store for its own",
            ));
        }
        if self.lease.0 < SHORTEST_LEASE.0 || self.lease.0 > LONGEST_LEASE.0 {
            return Err(ConfigError::Value(format!(
                "lease is {}, it must lie between {SHORTEST_LEASE} and {LONGEST_LEASE}",
                self.lease
            )));
        }
        if let Some(fault) = self.tuning.fault() {
            return Err(ConfigError::Value(fault));
        }
        EnvFilter::try_new(&self.log.filter)
            .map_err(|error| ConfigError::Value(format!("log.filter: {error}")))?;
        self.etcd.check()?;
        self.agents.check()
    }

    /// Where the keys lie.
    pub fn key_prefix(&self) -> Prefix {
        Prefix::new(self.prefix.clone())
    }

    /// The configuration as a file would say it, without secrets.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).unwrap_or_else(|error| format!("# cannot be printed: {error}\n"))
    }
}

impl Etcd {
    fn check(&self) -> Result<(), ConfigError> {
        if self.endpoints.is_empty() || self.endpoints.iter().any(|it| it.trim().is_empty()) {
            return Err(value("etcd.endpoints is empty, or one of them is"));
        }
        let password = self.password()?;
        if self.user.is_some() == password.reveal().is_empty() {
            return Err(value(
                "etcd.user and its password (etcd.password_file, LOCHNESS_ETCD_PASSWORD) go together",
            ));
        }
        check_pair("etcd", self.cert_file.as_deref(), self.key_file.as_deref())?;
        for file in [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten() {
            read(file)?;
        }
        Ok(())
    }

    fn password(&self) -> Result<Secret, ConfigError> {
        match &self.password_file {
            Some(file) => first_line(file).map(Secret::new),
            None => Ok(self.password.clone()),
        }
    }

    /// How to reach the store.
    pub fn connection(&self) -> Result<EtcdConfig, ConfigError> {
        let tls = TlsConfig {
            ca: self.ca_file.clone().map(Pem::Path),
            cert: self.cert_file.clone().map(Pem::Path),
            key: self.key_file.clone().map(Pem::Path),
            domain: self.server_name.clone(),
        };
        let encrypted = self.ca_file.is_some() || self.cert_file.is_some();
        Ok(EtcdConfig {
            endpoints: self.endpoints.clone(),
            user: self.user.clone(),
            password: self.password()?,
            tls: encrypted.then_some(tls),
            ..EtcdConfig::default()
        })
    }
}

impl Agents {
    fn check(&self) -> Result<(), ConfigError> {
        check_pair("agents", self.cert_file.as_deref(), self.key_file.as_deref())?;
        if self.cert_file.is_some() && self.ca_file.is_none() {
            return Err(value(
                "agents.cert_file needs agents.ca_file: who is shown ours must show its own",
            ));
        }
        for file in [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten() {
            read(file)?;
        }
        self.token().map(drop)
    }

    /// The bearer token, if agents ask for one.
    pub(crate) fn token(&self) -> Result<Option<Secret>, ConfigError> {
        let Some(file) = &self.token_file else { return Ok(None) };
        let token = first_line(file)?;
        if token.is_empty() {
            return Err(ConfigError::Value(format!(
                "the first line of {} is empty",
                file.display()
            )));
        }
        Ok(Some(Secret::new(token)))
    }
}

fn value(what: &str) -> ConfigError {
    ConfigError::Value(what.to_owned())
}

fn check_pair(table: &str, cert: Option<&Path>, key: Option<&Path>) -> Result<(), ConfigError> {
    if cert.is_some() == key.is_some() {
        return Ok(());
    }
    Err(ConfigError::Value(format!("{table}.cert_file and {table}.key_file go together")))
}

/// A file's text.
pub(crate) fn read(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file)
        .map_err(|error| ConfigError::Read { file: file.to_owned(), error })
}

fn first_line(file: &Path) -> Result<String, ConfigError> {
    Ok(read(file)?.lines().next().unwrap_or_default().trim().to_owned())
}

fn redacted<S: serde::Serializer>(_: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str("(redacted)")
}

fn is_empty(secret: &Secret) -> bool {
    secret.reveal().is_empty()
}

#[cfg(test)]
mod tests;
