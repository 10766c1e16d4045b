//! Members of etcd: what is configured of them, and their connections.

use tokio::sync::OnceCell;

use super::config::{EtcdConfig, Pem, TlsConfig};
use super::wire;
use crate::{KvError, RangeRequest, RangeResponse};

/// Largest answer that is read. Lists are paged well below it; a watch message is at most etcd's request limit and
/// 512 KiB, unless somebody raised that.
const LARGEST_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// One member, reached when it is first needed.
pub(super) struct Endpoint {
    pub(super) url: String,
    options: wire::ConnectOptions,
    authenticates: bool,
    connected: OnceCell<Member>,
}

/// One connected member. It reconnects by itself.
#[derive(Clone)]
pub(super) struct Member {
    client: wire::Client,
    pub(super) kv: wire::KvClient,
    pub(super) watch: wire::WatchClient,
    pub(super) lease: wire::LeaseClient,
    pub(super) maintenance: wire::MaintenanceClient,
    pub(super) authenticates: bool,
}

/// Why a call to one member failed.
pub(super) enum Failure {
    /// Already in our words.
    Told(KvError),
    /// In the library's.
    Raw(wire::Error),
}

impl Endpoint {
    /// The connected member. Without a user nothing is sent before the first request; with one, who it is.
    pub(super) async fn member(&self) -> Result<Member, KvError> {
        let member = self.connected.get_or_try_init(|| async {
            let options = Some(self.options.clone());
            let client = wire::Client::connect([self.url.as_str()], options).await?;
            Ok::<_, wire::Error>(Member::new(client, self.authenticates))
        });
        // Who it is that asks changes nothing in the store.
        member.await.cloned().map_err(|error| wire::error(&error).of_no_effect())
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
pub(super) fn endpoints(config: &EtcdConfig) -> Result<Vec<Endpoint>, KvError> {
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
