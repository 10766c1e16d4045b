//! How a process becomes leader: wait until the key is absent, then try to be the one who puts it.

use std::sync::Arc;
use std::time::Duration;

use lochness_kv::{Compare, Event, Kv, KvError, LeaseId, Op, RangeRequest, Txn, WatchRequest};
use tokio::time::{Instant, sleep, timeout};
use tracing::debug;

use super::ElectorOptions;
use super::term::Won;

/// A candidate.
pub(super) struct Campaign {
    pub(super) kv: Arc<dyn Kv>,
    pub(super) options: ElectorOptions,
}

impl Campaign {
    /// Waits until the key was seen absent. Puts nothing; may be dropped.
    pub(super) async fn vacancy(&self) -> Result<(), KvError> {
        let Some(revision) = self.held_at().await? else { return Ok(()) };
        let key = self.options.key.clone();
        let request = WatchRequest { key, end: bytes::Bytes::new(), start_revision: revision + 1 };
        let mut stream = self.bounded(self.kv.watch(request)).await?;
        loop {
            tokio::select! {
                biased;
                batch = stream.next() => {
                    if batch?.events.iter().any(|event| matches!(event, Event::Delete { .. })) {
                        return Ok(());
                    }
                }
                // The watch may be dead without a word.
                () = sleep(self.patience()) => {
                    if self.held_at().await?.is_none() {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// Asks for a lease and puts the key if it is absent; `None` when another was faster. Not to be dropped half way: the
    /// key would stay until the lease ends.
    pub(super) async fn stand(&self) -> Result<Option<Won>, KvError> {
        let asked = Instant::now();
        let (lease_id, granted) = self.bounded(self.kv.lease_grant(self.options.lease)).await?;
        let key = self.options.key.clone();
        let put = Op::put_leased(key.clone(), self.options.identity.clone(), lease_id);
        let txn = Txn {
            compares: vec![Compare::absent(key.clone())],
            success: vec![put],
            failure: Vec::new(),
        };
        match self.bounded(self.kv.txn(txn)).await {
            Ok(answer) if answer.succeeded => {
                let revision = answer.header.revision;
                let lease = granted.min(self.options.lease);
                Ok(Some(Won { key, revision, lease_id, lease, asked }))
            }
            Ok(_) => {
                self.revoke(lease_id).await;
                Ok(None)
            }
            // If it happened, the key goes with the lease; if it still lands, it finds no lease.
            Err(error) => {
                self.revoke(lease_id).await;
                Err(error)
            }
        }
    }

    /// Gives a key that was won back at once. What cannot be reached now ends with the lease.
    pub(super) async fn release(&self, fence: Compare, lease_id: LeaseId) {
        let delete = Op::delete(self.options.key.clone());
        let txn = Txn { compares: vec![fence], success: vec![delete], failure: Vec::new() };
        if let Err(error) = self.bounded(self.kv.txn(txn)).await {
            debug!(%error, "the leader's key could not be deleted");
        }
        self.revoke(lease_id).await;
    }

    async fn revoke(&self, lease_id: LeaseId) {
        if let Err(error) = self.bounded(self.kv.lease_revoke(lease_id)).await {
            debug!(%error, "the lease of a candidate could not be revoked");
        }
    }

    /// The store's revision while somebody holds the key.
    async fn held_at(&self) -> Result<Option<i64>, KvError> {
        let answer =
            self.bounded(self.kv.range(RangeRequest::key(self.options.key.clone()))).await?;
        Ok((!answer.kvs.is_empty()).then_some(answer.header.revision))
    }

    async fn bounded<T>(
        &self,
        request: impl Future<Output = Result<T, KvError>>,
    ) -> Result<T, KvError> {
        bounded(self.patience(), request).await
    }

    fn patience(&self) -> Duration {
        self.options.lease / 3
    }
}

/// A request that is given up after `patience`.
pub(super) async fn bounded<T>(
    patience: Duration,
    request: impl Future<Output = Result<T, KvError>>,
) -> Result<T, KvError> {
    match timeout(patience, request).await {
        Ok(answer) => answer,
        Err(_) => Err(KvError::Unknown(format!("no answer within {patience:?}"))),
    }
}
