//! From the command line to a connection with etcd.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lochness_api::Prefix;
use lochness_kv::{EtcdConfig, EtcdKv, KvError, Pem, Secret, TlsConfig};

use crate::args::{Cli, Connection};
use crate::{Failure, Session};

/// The password's variable. There is no flag for it: command lines are visible to everybody on the machine.
const PASSWORD: &str = "LOCHNESS_ETCD_PASSWORD";

/// Connects, and makes sure that an etcd answers.
pub(crate) async fn connect(cli: &Cli) -> Result<Session, Failure> {
    let connection = &cli.connection;
    let endpoints = connection.etcd.join(",");
    let config = config(connection, std::env::var(PASSWORD).ok())?;
    let kv = EtcdKv::connect(config).await.map_err(|error| {
        if let KvError::Invalid(reason) = error {
            return Failure::usage(
                format!("etcd cannot be reached in this way: {reason}"),
                "look at --etcd, --cacert, --cert, --key and their variables (lochnessctl --help)",
            );
        }
        Failure::from(error).at(&endpoints)
    })?;
    let session = Session::new(Arc::new(kv), Prefix::new(connection.prefix.clone()), endpoints);
    Ok(session.with_limit(connection.timeout))
}

fn config(connection: &Connection, password: Option<String>) -> Result<EtcdConfig, Failure> {
    if connection.etcd.iter().any(|endpoint| endpoint.trim().is_empty()) {
        return Err(Failure::usage(
            "an endpoint of etcd is empty",
            "look at --etcd, LOCHNESS_ETCD",
        ));
    }
    let password = match (&connection.password_file, password) {
        (Some(file), _) => first_line(file)?,
        (None, Some(password)) => password,
        (None, None) => String::new(),
    };
    if connection.user.is_some() && password.is_empty() {
        return Err(Failure::usage(
            "there is a user of etcd, but no password",
            format!("set {PASSWORD}, or give --password-file"),
        ));
    }
    let mut config = EtcdConfig {
        endpoints: connection.etcd.clone(),
        user: connection.user.clone(),
        password: Secret::new(password),
        tls: tls(connection),
        ..EtcdConfig::default()
    };
    if let Some(limit) = connection.timeout {
        let limit = limit.max(Duration::from_millis(1));
        config.request_timeout = config.request_timeout.min(limit);
        config.connect_timeout = config.connect_timeout.min(limit);
    }
    Ok(config)
}

fn tls(connection: &Connection) -> Option<TlsConfig> {
    let (ca, cert, key) = (&connection.cacert, &connection.cert, &connection.key);
    if ca.is_none() && cert.is_none() && key.is_none() {
        return None;
    }
    let pem = |file: &Option<std::path::PathBuf>| file.clone().map(Pem::Path);
    Some(TlsConfig { ca: pem(ca), cert: pem(cert), key: pem(key), domain: None })
}

fn first_line(file: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| {
        Failure::usage(
            format!("the password file {} cannot be read: {error}", file.display()),
            "look at --password-file, LOCHNESS_ETCD_PASSWORD_FILE",
        )
    })?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn connection(words: &[&str]) -> Connection {
        let line = [&["lochnessctl", "version"], words].concat();
        Cli::parse_from(line).connection
    }

    #[test]
    fn a_user_without_password_is_refused_before_anything_is_sent() {
        let failure = config(&connection(&["--user", "root"]), None).unwrap_err();
        assert!(failure.to_string().contains("LOCHNESS_ETCD_PASSWORD"), "{failure}");
    }

    #[test]
    fn several_endpoints_and_certificates_reach_the_client() {
        let words = ["--etcd", "https://a:1,https://b:2", "--cacert", "/ca.pem"];
        let config = config(&connection(&words), None).unwrap();
        assert_eq!(config.endpoints, ["https://a:1", "https://b:2"]);
        assert!(matches!(config.tls.unwrap().ca, Some(Pem::Path(_))));
    }

    #[test]
    fn the_password_of_the_file_wins_over_the_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\n").unwrap();
        let path = file.path().to_str().unwrap();
        let connection = connection(&["--user", "u", "--password-file", path]);
        let config = config(&connection, Some("from-variable".into())).unwrap();
        assert_eq!(config.password.reveal(), "from-file");
    }
}
