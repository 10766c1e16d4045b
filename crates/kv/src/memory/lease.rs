//! Leases of the model: who hangs on what, and when it ends. Time comes in as an argument.
//!
//! As in etcd, the keys of a lease go a little after its time to live, and between the two it cannot be renewed any
//! more: the holder knows that it is lost before anybody else sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::{KvError, LeaseId};

/// etcd raises shorter ones, with its default election timeout of 1 s.
const SHORTEST: Duration = Duration::from_secs(2);
/// etcd looks for ended leases twice a second.
const REMOVAL_LAG: Duration = Duration::from_millis(500);

/// All leases that have not been removed.
#[derive(Debug, Clone, Default)]
pub(super) struct Leases {
    granted: i64,
    live: BTreeMap<LeaseId, Lease>,
    by_end: BTreeSet<(Instant, LeaseId)>,
}

#[derive(Debug, Clone)]
struct Lease {
    ttl: Duration,
    end: Instant,
    keys: BTreeSet<Bytes>,
}

impl Leases {
    pub(super) fn grant(&mut self, ttl: Duration, now: Instant) -> (LeaseId, Duration) {
        self.granted += 1;
        let id = LeaseId(self.granted);
        let ttl = whole_seconds(ttl).max(SHORTEST);
        let end = now + ttl;
        self.live.insert(id, Lease { ttl, end, keys: BTreeSet::new() });
        self.by_end.insert((end, id));
        (id, ttl)
    }

    pub(super) fn renew(&mut self, id: LeaseId, now: Instant) -> Result<Duration, KvError> {
        let lease = self.live.get_mut(&id).ok_or(KvError::LeaseNotFound)?;
        if lease.end <= now {
            return Err(KvError::LeaseNotFound);
        }
        self.by_end.remove(&(lease.end, id));
        lease.end = now + lease.ttl;
        self.by_end.insert((lease.end, id));
        Ok(lease.ttl)
    }

    /// Forgets the lease; the answer is the keys that go with it, in order.
    pub(super) fn remove(&mut self, id: LeaseId) -> Result<BTreeSet<Bytes>, KvError> {
        let lease = self.live.remove(&id).ok_or(KvError::LeaseNotFound)?;
        self.by_end.remove(&(lease.end, id));
        Ok(lease.keys)
    }

    /// Which lease is removed next, and when.
    pub(super) fn next_removal(&self) -> Option<(Instant, LeaseId)> {
        self.by_end.first().map(|(end, id)| (*end + REMOVAL_LAG, *id))
    }

    pub(super) fn exists(&self, id: LeaseId) -> bool {
        self.live.contains_key(&id)
    }

    /// Moves `key` from the lease it hung on to the one it hangs on now.
    pub(super) fn rebind(&mut self, key: &Bytes, from: Option<LeaseId>, to: Option<LeaseId>) {
        if let Some(lease) = from.and_then(|id| self.live.get_mut(&id)) {
            lease.keys.remove(key);
        }
        if let Some(lease) = to.and_then(|id| self.live.get_mut(&id)) {
            lease.keys.insert(key.clone());
        }
    }

    /// Every lease begins anew, as after a restart of etcd; no id that `replaced` granted is granted again.
    pub(super) fn restart_after(&mut self, replaced: &Self, now: Instant) {
        self.granted = self.granted.max(replaced.granted);
        self.by_end.clear();
        for (id, lease) in &mut self.live {
            lease.end = now + lease.ttl;
            self.by_end.insert((lease.end, *id));
        }
    }
}

fn whole_seconds(ttl: Duration) -> Duration {
    let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    Duration::from_secs(seconds)
}
