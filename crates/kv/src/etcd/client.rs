//! The client: which member is asked, for how long, and what an unanswered question means.
//!
//! All requests go to one member until it fails; then the next one is asked. A request moves on to the next member by
//! itself only if it certainly did not happen (there was no connection, or the member has no leader), so nothing is
//! ever done twice here. After a request without an answer, or one whose caller lost patience, the *following* requests go to the next member.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

use super::config::EtcdConfig;
use super::endpoint::{Endpoint, Failure, Member, endpoints};
use super::{watch, wire};
use crate::{
    Kv, KvError, LeaseId, RangeRequest, RangeResponse, ServerStatus, Txn, TxnResponse,
    WatchRequest, WatchStream,
};

/// A caller that waited so long and then dropped its request was let down by the member; one that did not wait so long
/// changed its mind.
const DROPPED_LATE: Duration = Duration::from_millis(300);

/// The store in etcd. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct EtcdKv {
    shared: Arc<Shared>,
}

struct Shared {
    members: Vec<Endpoint>,
    /// Index of the member that is asked first.
    current: AtomicUsize,
    request_timeout: Duration,
    /// Whether the `NOSPACE` alarm was seen raised, and nothing was written since.
    full: AtomicBool,
}

impl EtcdKv {
    /// Connects to the first member that answers.
    ///
    /// # Errors
    /// [`KvError::Invalid`] for a configuration that cannot work, [`KvError::PermissionDenied`] for a wrong user or
    /// password, [`KvError::Unavailable`] when no member answers: it names each of them and what went wrong there.
    pub async fn connect(config: EtcdConfig) -> Result<Self, KvError> {
        let members = endpoints(&config)?;
        let kv = Self {
            shared: Arc::new(Shared {
                members,
                current: AtomicUsize::new(0),
                request_timeout: config.request_timeout,
                full: AtomicBool::new(false),
            }),
        };
        kv.find_member().await?;
        Ok(kv)
    }

    /// Forgets what was overwritten or deleted at or before `revision`: for administrators and tests, the operator never
    /// does.
    ///
    /// # Errors
    /// [`KvError::Compacted`] for one that is compacted already, [`KvError::Invalid`] for one still to come.
    pub async fn compact(&self, revision: i64) -> Result<(), KvError> {
        self.call(|member| async move {
            member.kv.clone().compact(revision, None).await?;
            Ok(())
        })
        .await
    }

    /// Asks one member after the other for its status, each with its own time.
    async fn find_member(&self) -> Result<(), KvError> {
        let mut reasons = Vec::new();
        for (index, endpoint) in self.shared.members.iter().enumerate() {
            let deadline = Instant::now() + self.shared.request_timeout;
            let reason = match self.ask(index, deadline, &status).await {
                Ok(_) => {
                    self.shared.current.store(index, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error @ (KvError::PermissionDenied(_) | KvError::Invalid(_))) => {
                    return Err(error);
                }
                Err(KvError::Unavailable(reason) | KvError::Unknown(reason)) => reason,
                Err(error) => error.to_string(),
            };
            reasons.push(format!("{} ({reason})", endpoint.url));
        }
        Err(KvError::Unavailable(format!(
            "none of its endpoints answers: {}; check that etcd runs, that address and port are those of its \
             --listen-client-urls, and that http or https and the certificates fit",
            reasons.join(", ")
        )))
    }

    /// Asks the current member, and the others if it certainly did nothing.
    async fn call<T, F>(&self, operation: impl Fn(Member) -> F + Sync) -> Result<T, KvError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let shared = &self.shared;
        let deadline = Instant::now() + shared.request_timeout;
        let count = shared.members.len();
        let first = shared.current.load(Ordering::Relaxed);
        let mut refused = None;
        for index in (0..count).map(|step| (first + step) % count) {
            let mut asked = Asked { client: self, index, since: Instant::now(), answered: false };
            let answer = self.ask(index, deadline, &operation).await;
            asked.answered = true;
            match answer {
                Err(KvError::Unavailable(reason)) => {
                    self.leave(index, &reason);
                    let error = KvError::Unavailable(reason);
                    // Who answers that there is no leader tells more than who does not answer.
                    if refused.is_none() || error.says_no_leader() {
                        refused = Some(error);
                    }
                }
                Err(KvError::Unknown(reason)) => {
                    self.leave(index, &reason);
                    return Err(KvError::Unknown(reason));
                }
                answer => return answer,
            }
        }
        Err(refused.expect("there is at least one member, and it refused"))
    }

    /// Asks one member.
    async fn ask<T, F>(
        &self,
        index: usize,
        deadline: Instant,
        operation: &(impl Fn(Member) -> F + Sync),
    ) -> Result<T, KvError>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let endpoint = &self.shared.members[index];
        let member = match timeout_at(deadline, endpoint.member()).await {
            Ok(member) => member?,
            Err(_) => return Err(KvError::Unavailable("no connection in time".into())),
        };
        match timeout_at(deadline, operation(member)).await {
            Ok(answer) => answer.map_err(Failure::into_error),
            Err(_) => Err(KvError::Unknown(format!(
                "{} did not answer within {} s",
                endpoint.url,
                self.shared.request_timeout.as_secs_f32()
            ))),
        }
    }

    /// Later requests go to the member after `index`, unless somebody went on already.
    fn leave(&self, index: usize, reason: &str) {
        let shared = &self.shared;
        let next = (index + 1) % shared.members.len();
        let (relaxed, here) = (Ordering::Relaxed, &shared.members[index].url);
        let left = shared.current.compare_exchange(index, next, relaxed, relaxed).is_ok();
        if left && next != index {
            warn!(
                member = here,
                next = shared.members[next].url,
                reason,
                "leaving a member of etcd"
            );
        }
    }
}

/// A request under way. Its caller may lose patience before we do: then it is dropped, and so is the member's turn, or
/// everybody with little patience would ask one that hangs for ever.
struct Asked<'a> {
    client: &'a EtcdKv,
    index: usize,
    since: Instant,
    answered: bool,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !self.answered && self.since.elapsed() >= DROPPED_LATE {
            self.client.leave(self.index, "it gave no answer while its caller waited");
        }
    }
}

#[async_trait]
impl Kv for EtcdKv {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        let request = &request;
        self.call(|member| async move { member.range(request).await }).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, KvError> {
        let txn = &txn;
        let was_full = self.shared.full.load(Ordering::Relaxed);
        let answer = self
            .call(|member| async move {
                let answer = member.kv.clone().txn(wire::txn(txn)).await?;
                Ok(wire::txn_response(answer))
            })
            .await;
        match answer {
            // The transaction with which etcd finds its quota exceeded is applied and refused at once; those after the
            // alarm are only refused. So the refusal is believed when the alarm was seen before.
            Err(KvError::NoSpace) if !was_full => {
                let _seen = self.status().await;
                Err(KvError::Unknown("etcd ran out of space (NOSPACE) on this transaction".into()))
            }
            Err(error) => Err(error),
            Ok(answer) => {
                self.shared.full.store(false, Ordering::Relaxed);
                Ok(answer)
            }
        }
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError> {
        let request = &request;
        self.call(|member| watch::open(member, request.clone())).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), KvError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        self.call(|member| async move {
            let answer = member.lease.clone().grant(seconds, None).await?;
            Ok((LeaseId(answer.id()), wire::seconds(answer.ttl())))
        })
        .await
    }

    async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        self.call(|member| async move {
            // The library checks the first answer and keeps it to itself, so the second one tells the time to live.
            let (mut keeper, mut answers) = member.lease.clone().keep_alive(lease.0).await?;
            keeper.keep_alive().await?;
            let answer = answers.message().await?;
            match answer.map_or(0, |answer| answer.ttl()) {
                ..=0 => Err(Failure::Told(KvError::LeaseNotFound)),
                ttl => Ok(wire::seconds(ttl)),
            }
        })
        .await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), KvError> {
        self.call(|member| async move {
            member.lease.clone().revoke(lease.0).await?;
            Ok(())
        })
        .await
    }

    async fn status(&self) -> Result<ServerStatus, KvError> {
        let status = self.call(status).await?;
        self.shared.full.store(status.no_space, Ordering::Relaxed);
        Ok(status)
    }
}

async fn status(member: Member) -> Result<ServerStatus, Failure> {
    let answer = member.maintenance.clone().status().await?;
    Ok(wire::server_status(&answer))
}
