//! A runtime with one thread, for keepalives alone: they are sent and read in time however much the rest has to do.

use std::sync::Arc;

use anyhow::Context as _;
use lochness_kv::{EtcdConfig, KvError};
use lochness_runtime::leader::Keeper;
use tokio::runtime::{Builder, Runtime};

use crate::readiness::Progress;
use crate::store::connect_again;

/// The thread; ends when dropped.
pub(crate) struct LeaseThread(Option<Runtime>);

impl LeaseThread {
    /// Starts it.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("lochness-lease")
            .enable_all()
            .build()
            .context("cannot start the thread that keeps the lease")?;
        Ok(Self(Some(runtime)))
    }

    /// Connects on that thread: what a connection does is done where it was opened.
    ///
    /// # Errors
    /// [`KvError::Invalid`] for a configuration that can never work.
    pub(crate) async fn keeper(
        &self,
        config: EtcdConfig,
        progress: Progress,
    ) -> Result<Keeper, KvError> {
        let runtime = self.0.as_ref().expect("it is there until it is dropped").handle().clone();
        let connecting = runtime.spawn(async move { connect_again(&config, &progress).await });
        let kv = connecting.await.map_err(|error| KvError::Unavailable(error.to_string()))??;
        Ok(Keeper { kv: Arc::new(kv), runtime })
    }
}

impl Drop for LeaseThread {
    fn drop(&mut self) {
        // Its own drop would block, which is not done among other tasks.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
