//! The way to etcd: from the command line to a connection. One that does not answer is waited for, since hosts serve
//! without it and a restart would not make it answer sooner.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use lochness_kv::{EtcdConfig, EtcdKv, KvError, Pem, Secret, TlsConfig};

use crate::args::StoreArguments;

/// The password's variable. There is no flag for it: command lines are visible to everybody on the machine.
const PASSWORD: &str = "LOCHNESS_ETCD_PASSWORD";
/// Between two attempts to connect.
const RETRY: Duration = Duration::from_secs(3);

/// How the command line says that etcd is reached; `password` is that of the environment.
pub(crate) fn configuration(
    arguments: &StoreArguments,
    password: Option<String>,
) -> anyhow::Result<EtcdConfig> {
    let StoreArguments { etcd, prefix: _, lease: _, user, password_file, cacert, cert, key } =
        arguments;
    let password = match (password_file, password) {
        (Some(file), _) => first_line(file)?,
        (None, password) => password.unwrap_or_default(),
    };
    ensure!(
        user.is_none() || !password.is_empty(),
        "there is a user of etcd, but no password: set {PASSWORD}, or give --password-file"
    );
    let pem = |path: &Option<PathBuf>| path.clone().map(Pem::Path);
    let tls = TlsConfig { ca: pem(cacert), cert: pem(cert), key: pem(key), domain: None };
    Ok(EtcdConfig {
        endpoints: etcd.clone(),
        user: user.clone(),
        password: Secret::new(password),
        tls: (tls.ca.is_some() || tls.cert.is_some()).then_some(tls),
        ..EtcdConfig::default()
    })
}

/// The password that the environment has for etcd.
pub(crate) fn password_of_environment() -> Option<String> {
    std::env::var(PASSWORD).ok()
}

/// Connects, however long that takes. Says why it takes so long when that changes, not at every attempt.
///
/// # Errors
/// [`KvError::Invalid`] for a configuration that can never work.
pub(crate) async fn connect(config: &EtcdConfig) -> Result<EtcdKv, KvError> {
    let endpoints = config.endpoints.join(",");
    let mut told = None;
    loop {
        match EtcdKv::connect(config.clone()).await {
            Ok(kv) => {
                tracing::info!(endpoints, "connected to etcd");
                return Ok(kv);
            }
            Err(error @ KvError::Invalid(_)) => return Err(error),
            Err(error) => {
                let words = error.to_string();
                if told.as_ref() != Some(&words) {
                    tracing::warn!(endpoints, %error, "cannot reach etcd, no host is registered yet; trying again");
                    told = Some(words);
                }
            }
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// The first line of a file with a secret.
pub(crate) fn first_line(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("{} cannot be read", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Arguments;

    fn configured(flags: &[&str], password: Option<&str>) -> anyhow::Result<EtcdConfig> {
        let line = ["lochness-agent"].iter().chain(flags);
        let store = Arguments::parse_from(line).run.store;
        configuration(&store, password.map(str::to_owned))
    }

    #[test]
    fn the_password_of_the_file_wins_over_the_variable() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "from-file\nsecond line\n").unwrap();
        let flags = ["--user", "u", "--password-file", file.path().to_str().unwrap()];
        let config = configured(&flags, Some("from-variable")).unwrap();
        assert_eq!(config.password.reveal(), "from-file");
        let config = configured(&["--user", "u"], Some("from-variable")).unwrap();
        assert_eq!(config.password.reveal(), "from-variable");
    }

    #[test]
    fn a_user_without_password_is_refused_before_anything_is_sent() {
        let error = configured(&["--user", "u"], None).unwrap_err();
        assert!(error.to_string().contains(PASSWORD), "{error}");
    }
}
