//! Keeps a term alive, and ends it as soon as anything speaks against it.

use std::sync::Arc;

use bytes::Bytes;
use lochness_kv::{Event, KeyValue, Kv, KvError, RangeRequest, WatchRequest};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use super::campaign::bounded;
use super::pulse::Pulse;
use super::term::Term;
use crate::trouble::Trouble;

/// Keepalives go out so many times a lease.
const KEEPALIVES: u32 = 5;
/// A keepalive is given up after this part of the lease, so that a second one fits in before the last third.
const PATIENCE: u32 = 3;
/// After a failure the pause is this part of the lease.
const RETRIES: u32 = 20;

/// Runs until the term is lost, and loses it. `pulse` beats where the term's work is done, if that is elsewhere.
pub(super) async fn keep(kv: Arc<dyn Kv>, term: Term, pulse: Option<Pulse>) {
    let still = async {
        match pulse {
            Some(pulse) => pulse.stands_still().await,
            None => std::future::pending().await,
        }
    };
    let reason = tokio::select! {
        biased;
        reason = run_out(&term) => reason,
        reason = still => reason,
        reason = guard(&*kv, &term) => reason,
        reason = renew(&*kv, &term) => reason,
    };
    term.lose(reason);
}

/// Waits until the lease may have expired in the store, by our own clock.
pub(super) async fn run_out(term: &Term) -> &'static str {
    while term.deadline() > Instant::now() {
        sleep_until(term.deadline()).await;
    }
    "the lease ran out"
}

/// Sends keepalives.
async fn renew(kv: &dyn Kv, term: &Term) -> &'static str {
    let lease = term.lease();
    let mut trouble = Trouble::default();
    let mut next = Instant::now() + lease / KEEPALIVES;
    loop {
        sleep_until(next).await;
        let asked = Instant::now();
        next = asked + lease / KEEPALIVES;
        match bounded(lease / PATIENCE, kv.lease_keepalive(term.lease_id())).await {
            Ok(ttl) if !ttl.is_zero() => {
                term.renewed(asked, ttl);
                if trouble.is_over() {
                    info!("keepalives are answered again");
                }
            }
            Ok(_) | Err(KvError::LeaseNotFound) => return "the store does not know the lease",
            Err(error) => {
                if trouble.is_news() {
                    warn!(%error, "keepalive of the leader's key failed, will retry");
                }
                next = Instant::now() + lease / RETRIES;
            }
        }
    }
}

/// Watches the key: a keepalive alone proves little, as a store may answer it although the lease is gone.
async fn guard(kv: &dyn Kv, term: &Term) -> &'static str {
    let mut trouble = Trouble::default();
    loop {
        match follow(kv, term).await {
            Ok(Key::Lost) => return "the key was deleted or put by another",
            Ok(Key::Silent) => {}
            Err(error) => {
                if trouble.is_news() {
                    warn!(%error, "the leader's key cannot be watched, will retry");
                }
                sleep(term.lease() / RETRIES).await;
            }
        }
    }
}

/// What following the key has shown.
enum Key {
    /// It is not ours any more.
    Lost,
    /// It was ours, and then nothing came for a whole lease. That proves nothing, for the watch may be dead.
    Silent,
}

/// Reads the key and follows it until something is to be said of it.
async fn follow(kv: &dyn Kv, term: &Term) -> Result<Key, KvError> {
    let (lease, patience) = (term.lease(), term.lease() / PATIENCE);
    let answer = bounded(patience, kv.range(RangeRequest::key(term.key().clone()))).await?;
    if answer.header.revision < term.revision() {
        return Err(KvError::Unavailable("the answer is older than the term".to_owned()));
    }
    if !answer.kvs.first().is_some_and(|kv| is_ours(term, kv)) {
        return Ok(Key::Lost);
    }
    let key = term.key().clone();
    let start_revision = answer.header.revision + 1;
    let request = WatchRequest { key, end: Bytes::new(), start_revision };
    let mut stream = bounded(patience, kv.watch(request)).await?;
    loop {
        let Ok(batch) = timeout(lease, stream.next()).await else { return Ok(Key::Silent) };
        let lost = |event: &Event| match event {
            Event::Put(kv) => !is_ours(term, kv),
            Event::Delete { .. } => true,
        };
        if batch?.events.iter().any(lost) {
            return Ok(Key::Lost);
        }
    }
}

/// A put by hand keeps the create revision but takes the key off our lease: it would outlive us.
fn is_ours(term: &Term, kv: &KeyValue) -> bool {
    kv.create_revision == term.revision() && kv.lease == Some(term.lease_id())
}
