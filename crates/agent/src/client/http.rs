//! The transport over real connections.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::HeaderValue;

use super::transport::{Transport, TransportError};

/// An agent that does not even take a connection for so long is not reachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The largest answer that is read, in bytes, after decompression: 20,000 guests of 800 bytes.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Idle connections that are kept for an agent: a blocking list and one request beside it.
const IDLE_CONNECTIONS_PER_AGENT: usize = 2;
/// Shorter than servers commonly wait, so that we close first and no request meets a connection that just ended.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// How to reach agents.
#[derive(Debug, Clone, Default)]
pub struct HttpOptions {
    /// Certificates for agents that are addressed as `https://`. Without it such agents cannot be reached.
    pub tls: Option<rustls::ClientConfig>,
    /// Sent as `Authorization: Bearer`; marked sensitive, so that no log shows it.
    pub bearer: Option<String>,
}

/// One pool of connections for all agents.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: reqwest::Client,
}

/// Why a transport could not be made.
#[derive(Debug, thiserror::Error)]
pub enum HttpTransportError {
    /// The token cannot stand in a header.
    #[error("bearer token has characters that no header may carry")]
    Bearer,
    /// TLS has no usable provider or the client cannot be built.
    #[error("http client cannot be built: {0}")]
    Client(String),
}

impl HttpTransport {
    /// A pool without connections yet.
    pub fn new(options: HttpOptions) -> Result<Self, HttpTransportError> {
        let tls = match options.tls {
            Some(tls) => tls,
            None => no_trust()?,
        };
        let mut headers = http::HeaderMap::new();
        if let Some(token) = options.bearer {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| HttpTransportError::Bearer)?;
            value.set_sensitive(true);
            headers.insert(http::header::AUTHORIZATION, value);
        }
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .default_headers(headers)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .http1_only()
            .tcp_nodelay(true)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_CONNECTIONS_PER_AGENT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|error| HttpTransportError::Client(chain(&error)))?;
        Ok(Self { client })
    }
}

#[async_trait]
impl Transport for HttpTransport {
    async fn round_trip(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let (parts, body) = request.into_parts();
        let sent = self
            .client
            .request(parts.method, parts.uri.to_string())
            .headers(parts.headers)
            .body(body)
            .timeout(timeout)
            .send()
            .await;
        let mut response = sent.map_err(|error| failure(&error))?;
        let body = read_body(&mut response).await?;
        let mut answer = http::Response::new(body);
        *answer.status_mut() = response.status();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Ok(answer)
    }
}

async fn read_body(response: &mut reqwest::Response) -> Result<Bytes, TransportError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| failure(&error))? {
        if first.len() + rest.len() + chunk.len() > BODY_LIMIT {
            return Err(TransportError::Unknown(format!(
                "answer is larger than {BODY_LIMIT} bytes"
            )));
        }
        // Nearly every answer is one chunk, which then is not copied.
        if first.is_empty() && rest.is_empty() {
            first = chunk;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&chunk);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn failure(error: &reqwest::Error) -> TransportError {
    let text = chain(error);
    if error.is_connect() || error.is_builder() {
        TransportError::NotSent(text)
    } else {
        TransportError::Unknown(text)
    }
}

/// The error with its causes, and without the URL, which everyone who reads it knows.
fn chain(error: &reqwest::Error) -> String {
    let mut text = match (error.is_timeout(), error.is_connect()) {
        (true, true) => "connecting timed out".to_owned(),
        (true, false) => "timed out".to_owned(),
        (false, true) => "cannot connect".to_owned(),
        (false, false) => "connection broke".to_owned(),
    };
    let mut last = error.source();
    while let Some(cause) = last.and_then(Error::source) {
        last = Some(cause);
    }
    if let Some(cause) = last {
        text.push_str(": ");
        text.push_str(&cause.to_string());
    }
    text
}

/// A configuration that trusts nobody: `http://` needs none, and `https://` without certificates must fail.
fn no_trust() -> Result<rustls::ClientConfig, HttpTransportError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpTransportError::Client(error.to_string()))?;
    Ok(builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}
