//! How to reach etcd. Plain data: nothing is read or opened before [`EtcdKv::connect`](super::EtcdKv::connect).

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where etcd is, who asks, and how long anything may take.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// `http://host:port`, `https://host:port` or `host:port`, one a member. One is asked until it fails, then the
    /// next one.
    pub endpoints: Vec<String>,
    /// The user of etcd's own authentication, with `password`.
    pub user: Option<String>,
    /// The user's password; it appears in no log and no error.
    pub password: Secret,
    /// Encryption and certificates; without it, plain HTTP.
    pub tls: Option<TlsConfig>,
    /// After so long without an answer a request fails, with an unknown outcome.
    pub request_timeout: Duration,
    /// After so long a connection attempt is given up.
    pub connect_timeout: Duration,
    /// HTTP/2 pings go out every so often, also while nothing is asked; one that finds no answer as long ends the
    /// connection. etcd cuts off who pings more often than every 5 s.
    pub keep_alive: Duration,
}

impl Default for EtcdConfig {
    fn default() -> Self {
        Self {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            user: None,
            password: Secret::default(),
            tls: None,
            request_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            keep_alive: Duration::from_secs(6),
        }
    }
}

/// Certificates for connections to etcd.
#[derive(Debug, Clone, Default)]
pub struct TlsConfig {
    /// The authority that signed etcd's certificate.
    pub ca: Option<Pem>,
    /// Our own certificate, for an etcd that asks for one; needs `key`.
    pub cert: Option<Pem>,
    /// The private key of `cert`.
    pub key: Option<Pem>,
    /// The name to expect in etcd's certificate, where it is not the host of the endpoint.
    pub domain: Option<String>,
}

/// A PEM file, or its content.
#[derive(Debug, Clone)]
pub enum Pem {
    /// Read when connecting.
    Path(PathBuf),
    /// The text itself.
    Text(Secret),
}

/// Text that no log shows.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "Secret(empty)" } else { "Secret(redacted)" })
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}
