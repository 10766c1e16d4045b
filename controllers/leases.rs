//! Leases that many keys share: finished jobs, quarantined addresses, events.
//!
//! A lease is used for a while or for so many keys, whichever comes first, so that what expires together is never so
//! much that etcd stops for it (revoking a lease with 50,000 keys stops all writes for 0.6 s).

use std::sync::Arc;
use std::time::Duration;

use lochness_kv::{Kv, LeaseId};
use lochness_runtime::controller::ReconcileError;
use rustc_hash::FxHashMap;
use tokio::sync::Mutex;
use tokio::time::Instant;

/// So many keys hang on one lease at most.
const KEYS_PER_LEASE: u32 = 1_000;
/// A lease is handed out for this share of its time to live, so that keys live at least the rest of it longer.
const SHARED_FOR: u32 = 20;

/// A lease that is being handed out.
#[derive(Debug, Clone, Copy)]
struct Shared {
    id: LeaseId,
    until: Instant,
    keys_left: u32,
}

/// Leases that many keys share, by their time to live.
pub struct Leases {
    kv: Arc<dyn Kv>,
    // An async lock on purpose: whoever needs a lease waits for the one grant that serves them all.
    current: Mutex<FxHashMap<Duration, Shared>>,
}

impl Leases {
    /// No leases yet.
    pub fn new(kv: Arc<dyn Kv>) -> Self {
        Self { kv, current: Mutex::default() }
    }

    /// A lease under which a key lives at least `ttl`, and at most a tenth longer.
    ///
    /// # Errors
    /// When the store grants none.
    pub async fn lease(&self, ttl: Duration) -> Result<LeaseId, ReconcileError> {
        let mut current = self.current.lock().await;
        let now = Instant::now();
        if let Some(shared) = current.get_mut(&ttl)
            && shared.keys_left > 0
            && now < shared.until
        {
            shared.keys_left -= 1;
            return Ok(shared.id);
        }
        let shared_for = (ttl / SHARED_FOR).max(Duration::from_secs(1));
        let (id, _) = self
            .kv
            .lease_grant(ttl + shared_for)
            .await
            .map_err(|error| ReconcileError::failed("LeaseNotGranted", error.to_string()))?;
        let until = now + shared_for;
        current.insert(ttl, Shared { id, until, keys_left: KEYS_PER_LEASE - 1 });
        Ok(id)
    }

    /// The store does not know one of these leases any more: somebody revoked it, or it was another store's. None of them
    /// is handed out again.
    pub async fn forget(&self, gone: &[LeaseId]) {
        self.current.lock().await.retain(|_, shared| !gone.contains(&shared.id));
    }
}

#[cfg(test)]
mod tests {
    use lochness_api::Key;
    use lochness_kv::{Compare, Kv, Op};
    use lochness_runtime::committer::Commit;

    use crate::agents::bench::Bench;

    const TTL: std::time::Duration = std::time::Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_the_store_does_not_know_any_more_is_not_handed_out_again() {
        let bench = Bench::new().await;
        let context = &bench.context;
        let key = context.key(&Key::ClusterStatus);
        let lease = context.leases.lease(TTL).await.unwrap();
        let commit = || Commit {
            compares: vec![Compare::absent(key.clone())],
            writes: vec![Op::put_leased(key.clone(), "1", lease)],
        };
        bench.kv.lease_revoke(lease).await.unwrap();
        context.commit(commit()).await.unwrap_err();
        let next = context.leases.lease(TTL).await.unwrap();
        assert_ne!(next, lease);
        assert_eq!(context.leases.lease(TTL).await.unwrap(), next, "the new one is shared");
        bench.end().await;
    }
}
