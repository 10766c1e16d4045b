//! A host in the store: its document once, its heartbeat as long as it lives.
//!
//! Guarantees: the host's document is created if it is absent, and never written again; the heartbeat hangs on a lease, is
//! written only when its content changed or its lease was lost, and is read back after every keepalive, because a store
//! may answer keepalives of a lease that is gone. While the store is away the host keeps serving. A host that promised
//! self-fencing keeps it: [`watch_lease`].
//!
//! ```text
//!   (none) ── grant, document, heartbeat ──▶ held ──keepalive, read back──▶ held
//!      ▲                                       │
//!      └────────── lease or key gone ──────────┘   no answer: try again, with backoff
//! ```

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use lochness_api::document::Heartbeat;
use lochness_api::{HypervisorId, Key, Prefix};
use lochness_kv::{Compare, Kv, KvError, LeaseId, Op, RangeRequest, Txn};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use super::config::Compat;
use super::host::Host;

/// So many requests of all hosts of this process are under way at once, so that a thousand that start do not storm etcd.
const IN_FLIGHT: usize = 64;
/// While the store gives no answer, the next attempt comes after this,
const BACKOFF_MIN: Duration = Duration::from_millis(200);
/// then after twice as long, up to this.
const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Where and how hosts register.
pub struct Registrar {
    kv: Arc<dyn Kv>,
    prefix: Prefix,
    lease: Duration,
    in_flight: Semaphore,
    began: Instant,
}

/// A lease that is held, with what hangs on it.
struct Session {
    lease: LeaseId,
    written: Bytes,
}

impl Registrar {
    /// Registers hosts under `prefix`, each with a lease of `lease`, kept alive every third of it.
    pub fn new(kv: Arc<dyn Kv>, prefix: Prefix, lease: Duration) -> Self {
        let (in_flight, began) = (Semaphore::new(IN_FLIGHT), Instant::now());
        Self { kv, prefix, lease, in_flight, began }
    }

    /// When a lease that was renewed at `renewed` is to be renewed again: within a third of it, and for every host at a
    /// moment of its own, for otherwise hosts that came up together, or found the store again together, would all come at
    /// once from then on, and hold up everybody else.
    fn next_renewal(&self, host: HypervisorId, renewed: Instant) -> Instant {
        let third = self.lease / 3;
        let (high, low) = host.uuid().as_u64_pair();
        let moment = self.began + third.mul_f64(SmallRng::seed_from_u64(high ^ low).random());
        let Some(passed) = renewed.checked_duration_since(moment) else { return moment };
        let over = passed.as_nanos() % third.as_nanos().max(1);
        renewed + third.saturating_sub(Duration::from_nanos(u64::try_from(over).unwrap_or(0)))
    }

    /// One request to the store, which must end within a third of the lease.
    async fn ask<T>(
        &self,
        request: impl Future<Output = Result<T, KvError>>,
    ) -> Result<T, KvError> {
        let bounded = async {
            let _permit = self.in_flight.acquire().await;
            request.await
        };
        let late = || KvError::Unknown("no answer within a third of the lease".to_owned());
        timeout(self.lease / 3, bounded).await.unwrap_or_else(|_| Err(late()))
    }
}

/// Keeps a host that is served at `address` registered, for ever.
pub async fn register(registrar: &Registrar, host: &Host, address: SocketAddr) {
    // Nothing is known of leases of former processes; guests of theirs had no more time than this one gives.
    let (proofs, proven) = watch::channel(Instant::now());
    tokio::join!(
        biased;
        keep_heartbeat(registrar, host, address, &proofs),
        watch_lease(host, proven)
    );
}

async fn keep_heartbeat(
    registrar: &Registrar,
    host: &Host,
    address: SocketAddr,
    proofs: &watch::Sender<Instant>,
) {
    let mut lives = host.lives();
    loop {
        let life = lives.borrow_and_update().clone();
        if life.up {
            let beating = beat(registrar, host, address, proofs);
            life.end.run_until_cancelled(beating).await;
        }
        if lives.changed().await.is_err() {
            return;
        }
    }
}

/// The heartbeat of one life.
async fn beat(
    registrar: &Registrar,
    host: &Host,
    address: SocketAddr,
    proofs: &watch::Sender<Instant>,
) {
    let mut session = None;
    let mut backoff = BACKOFF_MIN;
    // A store that is away is told once, not at every attempt of every host.
    let mut is_told = false;
    loop {
        let sent = Instant::now();
        match renew(registrar, host, address, session.take()).await {
            Ok(Some(held)) => {
                if std::mem::take(&mut is_told) {
                    tracing::info!(host = host.name(), "heartbeat is kept again");
                }
                proofs.send_replace(sent);
                session = Some(held);
                backoff = BACKOFF_MIN;
                sleep_until(registrar.next_renewal(host.id(), sent)).await;
            }
            Ok(None) => tracing::info!(host = host.name(), "lease is lost, taking a new one"),
            Err((held, error)) => {
                if is_told {
                    tracing::debug!(host = host.name(), %error, "cannot keep heartbeat, will retry");
                } else {
                    tracing::warn!(host = host.name(), %error, "cannot keep heartbeat, will retry");
                }
                is_told = true;
                session = held;
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_MAX);
            }
        }
    }
}

/// One step. `Ok(None)` is a lease that is gone; after an error the session, if there was one, may still hold.
async fn renew(
    registrar: &Registrar,
    host: &Host,
    address: SocketAddr,
    session: Option<Session>,
) -> Result<Option<Session>, (Option<Session>, KvError)> {
    let Some(session) = session else {
        return begin(registrar, host, address).await.map_err(|error| (None, error));
    };
    let lease = session.lease;
    match registrar.ask(registrar.kv.lease_keepalive(lease)).await {
        Ok(_) => {}
        Err(KvError::LeaseNotFound) => return Ok(None),
        Err(error) => return Err((Some(session), error)),
    }
    let content = heartbeat(host, address);
    if session.written != content {
        return match write(registrar, host, lease, content).await {
            Ok(session) => Ok(Some(session)),
            Err(KvError::LeaseNotFound) => Ok(None),
            Err(error) => Err((Some(session), error)),
        };
    }
    let key = registrar.prefix.key(&Key::Heartbeat(host.id()));
    match registrar.ask(registrar.kv.range(RangeRequest::key(key))).await {
        Ok(read) => {
            let held = read.kvs.first().is_some_and(|kv| kv.lease == Some(lease));
            Ok(held.then_some(session))
        }
        Err(error) => Err((Some(session), error)),
    }
}

async fn begin(
    registrar: &Registrar,
    host: &Host,
    address: SocketAddr,
) -> Result<Option<Session>, KvError> {
    create_document(registrar, host, address).await?;
    let (lease, _) = registrar.ask(registrar.kv.lease_grant(registrar.lease)).await?;
    match write(registrar, host, lease, heartbeat(host, address)).await {
        Ok(session) => Ok(Some(session)),
        Err(KvError::LeaseNotFound) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn write(
    registrar: &Registrar,
    host: &Host,
    lease: LeaseId,
    content: Bytes,
) -> Result<Session, KvError> {
    let key = registrar.prefix.key(&Key::Heartbeat(host.id()));
    let put = Op::put_leased(key, content.clone(), lease);
    let txn = Txn { success: vec![put], ..Txn::default() };
    registrar.ask(registrar.kv.txn(txn)).await?;
    Ok(Session { lease, written: content })
}

/// Creates the host's document unless there is one: from then on it belongs to the users.
async fn create_document(
    registrar: &Registrar,
    host: &Host,
    address: SocketAddr,
) -> Result<(), KvError> {
    let key = registrar.prefix.key(&Key::Hypervisor(host.id()));
    let txn = Txn {
        compares: vec![Compare::absent(key.clone())],
        success: vec![Op::put(key, document(host, address).to_string())],
        failure: Vec::new(),
    };
    registrar.ask(registrar.kv.txn(txn)).await.map(|_| ())
}

fn document(host: &Host, address: SocketAddr) -> Value {
    json!({
        "id": host.id(),
        "metadata": { "name": host.name() },
        "ip": address.ip(),
        "total_resources": host.total_resources(),
    })
}

fn heartbeat(host: &Host, address: SocketAddr) -> Bytes {
    match host.compat() {
        Compat::Mistify => host.id().to_string().into(),
        Compat::Lochness => {
            let capabilities = host.capabilities();
            let heartbeat = Heartbeat {
                id: Some(host.id()),
                boot_id: Some(capabilities.boot_id),
                version: Some(capabilities.version),
                address: Some(address.ip()),
                port: Some(address.port()),
                total_resources: Some(host.total_resources()),
                capabilities: capabilities.capabilities,
                self_fence_seconds: capabilities.self_fence_seconds,
            };
            heartbeat.to_json().to_string().into()
        }
    }
}

/// Stops guests that may be placed anew, in time, when the lease was not proven to live for as long as promised.
async fn watch_lease(host: &Host, mut proven: watch::Receiver<Instant>) {
    let Some(promised) = host.capabilities().self_fence_seconds else { return };
    // A fifth of the promise is kept for stopping.
    let patience = Duration::from_secs(promised) * 4 / 5;
    loop {
        let deadline = *proven.borrow_and_update() + patience;
        tokio::select! {
            biased;
            changed = proven.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = sleep_until(deadline) => {}
        }
        tracing::warn!(host = host.name(), "lease is lost for too long, stopping its guests");
        host.self_fence().await;
        if proven.changed().await.is_err() {
            return;
        }
        host.lease_proven();
    }
}

#[cfg(test)]
mod tests {
    use lochness_kv::MemoryKv;
    use uuid::Uuid;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn hosts_that_came_up_together_keep_their_leases_at_moments_of_their_own() {
        const THIRD: Duration = Duration::from_secs(20);
        let registrar = Registrar::new(Arc::new(MemoryKv::new()), Prefix::default(), THIRD * 3);
        let mut tenths = [0; 10];
        for number in 0..1_000 {
            let host = HypervisorId::new(Uuid::from_u128(number));
            let began = Instant::now();
            let first = registrar.next_renewal(host, began);
            assert!(first <= began + THIRD);
            // Whenever it is renewed, it is renewed again within a third, and at the same moment of it.
            assert_eq!(registrar.next_renewal(host, first), first + THIRD);
            let late = first + THIRD * 7 + Duration::from_secs(3);
            assert_eq!(registrar.next_renewal(host, late), first + THIRD * 8);
            tenths[usize::try_from((first - began).as_secs() / 2).unwrap().min(9)] += 1;
        }
        assert!(tenths.iter().all(|hosts| (60..140).contains(hosts)), "{tenths:?}");
    }
}
