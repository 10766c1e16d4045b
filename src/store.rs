//! The first connection to etcd. One that does not answer is waited for: a restart would not make it answer sooner.

use std::time::Duration;

use lochness_kv::{EtcdConfig, EtcdKv, Kv as _, KvError};
use tracing::{info, warn};

use crate::readiness::Progress;

/// Between two attempts.
const RETRY: Duration = Duration::from_secs(3);

/// Connects, however long that takes. Tells `progress` why it takes so long.
///
/// # Errors
/// [`KvError::Invalid`] for a configuration that can never work.
pub(crate) async fn connect(config: &EtcdConfig, progress: &Progress) -> Result<EtcdKv, KvError> {
    let kv = connect_again(config, progress).await?;
    introduce(&kv, config).await;
    Ok(kv)
}

/// As [`connect`], to a store of which everything was said already.
pub(crate) async fn connect_again(
    config: &EtcdConfig,
    progress: &Progress,
) -> Result<EtcdKv, KvError> {
    let mut told = String::new();
    loop {
        let error = match EtcdKv::connect(config.clone()).await {
            Ok(kv) => return Ok(kv),
            Err(error @ KvError::Invalid(_)) => return Err(error),
            Err(error) => error,
        };
        let trouble = error.to_string();
        // Once: `/readyz` goes on saying so.
        if trouble != told {
            warn!(endpoints = config.endpoints.join(","), %error, "cannot reach etcd, trying again");
            told.clone_from(&trouble);
        }
        progress.connecting(trouble);
        tokio::time::sleep(RETRY).await;
    }
}

/// Says which etcd answers, and what a person should know of it.
async fn introduce(kv: &EtcdKv, config: &EtcdConfig) {
    match kv.status().await {
        Ok(status) => {
            info!(
                endpoints = config.endpoints.join(","),
                version = status.version,
                revision = status.header.revision,
                "connected to etcd"
            );
            for warning in status.warnings() {
                warn!("{warning}");
            }
        }
        Err(error) => warn!(%error, "etcd does not tell its version"),
    }
}
