//! The waist below the client: one request, one answer.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

/// Carries requests to agents: over HTTP, or to a router in this process.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Sends `request`, whose URI is absolute, and waits at most `timeout` for the whole answer. Follows no redirect and
    /// repeats nothing.
    async fn round_trip(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, TransportError>;
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// No connection: the request did not arrive.
    #[error("{0}")]
    NotSent(String),
    /// The request may have arrived.
    #[error("{0}")]
    Unknown(String),
}
