//! The client: which member is asked, for how long, and what an unanswered question means.
//!
//! All requests go to one member until it fails; then the next one is asked. A request moves on to the next member by
//! itself only if it certainly did not happen (there was no connection, or the member has no leader), so nothing is
//! ever done twice here. After a request without an answer, the *following* requests go to the next member.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::OnceCell;
use tokio::time::{Instant, timeout_at};

use super::config::{EtcdConfig, Pem, TlsConfig};
use super::{watch, wire};
use crate::{
    Kv, KvError, LeaseId, RangeRequest, RangeResponse, ServerStatus, Txn, TxnResponse,
    WatchRequest, WatchStream,
};

/// Largest answer that is read. Lists are paged well below it; a watch message is at most etcd's request limit and
/// 512 KiB, unless somebody raised that.
const LARGEST_ANSWER_BYTES: usize = 16 * 1024 * 1024;

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
}

struct Endpoint {
    url: String,
    options: wire::ConnectOptions,
    authenticates: bool,
    connected: OnceCell<Member>,
}

/// One connected member. It reconnects by itself.
#[derive(Clone)]
pub(super) struct Member {
    client: wire::Client,
    kv: wire::KvClient,
    pub(super) watch: wire::WatchClient,
    lease: wire::LeaseClient,
    maintenance: wire::MaintenanceClient,
    pub(super) authenticates: bool,
}

/// Why a call to one member failed.
pub(super) enum Failure {
    /// Already in our words.
    Told(KvError),
    /// In the library's.
    Raw(wire::Error),
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
            match self.ask(index, deadline, &operation).await {
                Err(KvError::Unavailable(reason)) => {
                    self.leave(index);
                    refused.get_or_insert(KvError::Unavailable(reason));
                }
                Err(KvError::Unknown(reason)) => {
                    self.leave(index);
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
    fn leave(&self, index: usize) {
        let next = (index + 1) % self.shared.members.len();
        let _someone_went_on =
            self.shared.current.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }
}

#[async_trait]
impl Kv for EtcdKv {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        let request = &request;
        self.call(|member| async move { member.range(request).await }).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, KvError> {
        let txn = &wire::txn(txn);
        self.call(|member| async move {
            let answer = member.kv.clone().txn(txn.clone()).await?;
            Ok(wire::txn_response(&answer))
        })
        .await
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
        self.call(status).await
    }
}

async fn status(member: Member) -> Result<ServerStatus, Failure> {
    let answer = member.maintenance.clone().status().await?;
    Ok(wire::server_status(&answer))
}

impl Endpoint {
    /// The connected member. Without a user nothing is sent before the first request; with one, who it is.
    async fn member(&self) -> Result<Member, KvError> {
        let member = self.connected.get_or_try_init(|| async {
            let options = Some(self.options.clone());
            let client = wire::Client::connect([self.url.as_str()], options).await?;
            Ok::<_, wire::Error>(Member::new(client, self.authenticates))
        });
        match member.await {
            Ok(member) => Ok(member.clone()),
            // Who it is that asks changes nothing in the store.
            Err(error) => Err(match wire::error(&error) {
                KvError::Unknown(reason) => KvError::Unavailable(reason),
                other => other,
            }),
        }
    }
}

impl Member {
    fn new(client: wire::Client, authenticates: bool) -> Self {
        Self {
            kv: client.kv_client().max_decoding_message_size(LARGEST_ANSWER_BYTES),
            watch: client.watch_client().max_decoding_message_size(LARGEST_ANSWER_BYTES),
            lease: client.lease_client(),
            maintenance: client.maintenance_client(),
            client,
            authenticates,
        }
    }

    pub(super) async fn range(&self, request: &RangeRequest) -> Result<RangeResponse, Failure> {
        let options = wire::get_options(request);
        match self.kv.clone().get(request.key.clone(), Some(options)).await {
            Ok(answer) => Ok(wire::range_response(answer)),
            Err(error) => Err(Failure::Told(wire::read_error(&error))),
        }
    }

    pub(super) async fn renew_token(&self) -> Result<(), Failure> {
        Ok(self.client.refresh_token().await?)
    }
}

impl Failure {
    pub(super) fn into_error(self) -> KvError {
        match self {
            Self::Told(error) => error,
            Self::Raw(error) => wire::error(&error),
        }
    }
}

impl From<wire::Error> for Failure {
    fn from(error: wire::Error) -> Self {
        Self::Raw(error)
    }
}

/// Checks the configuration, and reads the certificates.
fn endpoints(config: &EtcdConfig) -> Result<Vec<Endpoint>, KvError> {
    if config.endpoints.is_empty() {
        return Err(KvError::Invalid("no endpoint of etcd is configured".into()));
    }
    let mut options = wire::ConnectOptions::new()
        .with_connect_timeout(config.connect_timeout)
        .with_keep_alive(config.keep_alive, config.keep_alive)
        .with_keep_alive_while_idle(true)
        .with_tcp_keepalive(config.keep_alive)
        .with_require_leader(true)
        .with_auto_token_refresh(true);
    if let Some(user) = &config.user {
        options = options.with_user(user.as_str(), config.password.reveal());
    }
    if let Some(tls) = &config.tls {
        options = options.with_tls(tls_options(tls)?);
    }
    let secure = config.tls.as_ref().is_some_and(|tls| tls.ca.is_some());
    let endpoint = |address: &String| {
        let url = url(address, config.tls.is_some());
        if url.starts_with("https://") && !secure {
            return Err(KvError::Invalid(format!(
                "{url} needs the authority of its certificate (ca), which is not configured"
            )));
        }
        if url.starts_with("http://") && config.tls.is_some() {
            return Err(KvError::Invalid(format!(
                "{url} is not encrypted, but certificates are configured: say https://"
            )));
        }
        Ok(Endpoint {
            url,
            options: options.clone(),
            authenticates: config.user.is_some(),
            connected: OnceCell::new(),
        })
    };
    config.endpoints.iter().map(endpoint).collect()
}

fn url(address: &str, encrypted: bool) -> String {
    match (address.contains("://"), encrypted) {
        (true, _) => address.to_owned(),
        (false, true) => format!("https://{address}"),
        (false, false) => format!("http://{address}"),
    }
}

/// The cryptography is ring's: the library takes the process's default provider, and ring where none is set.
fn tls_options(tls: &TlsConfig) -> Result<wire::TlsOptions, KvError> {
    let mut options = wire::TlsOptions::new();
    if let Some(ca) = &tls.ca {
        options = options.ca_certificate(wire::Certificate::from_pem(read(ca)?));
    }
    match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => {
            options = options.identity(wire::Identity::from_pem(read(cert)?, read(key)?));
        }
        (None, None) => {}
        (Some(_), None) | (None, Some(_)) => {
            return Err(KvError::Invalid("cert and key for etcd go together".into()));
        }
    }
    if let Some(domain) = &tls.domain {
        options = options.domain_name(domain);
    }
    Ok(options)
}

fn read(pem: &Pem) -> Result<Vec<u8>, KvError> {
    match pem {
        Pem::Path(path) => std::fs::read(path)
            .map_err(|error| KvError::Invalid(format!("cannot read {}: {error}", path.display()))),
        Pem::Text(text) => Ok(text.reveal().as_bytes().to_vec()),
    }
}
