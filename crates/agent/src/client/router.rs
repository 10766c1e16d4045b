//! The transport to routers in this process: for tests and the simulation.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use tower::ServiceExt;

use super::transport::{Transport, TransportError};

/// As for real connections.
const BODY_LIMIT: usize = 16 * 1024 * 1024;

/// Put into an answer's extensions by a router whose host is down: to the client no connection was made.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionRefused;

/// Put into an answer's extensions by a router that did the work and lets the answer be lost.
#[derive(Debug, Clone, Copy)]
pub struct AnswerLost;

/// Routers by `host:port`. Cheap to clone; all clones are the same network.
#[derive(Clone, Default)]
pub struct RouterTransport {
    routers: Arc<Mutex<BTreeMap<String, Router>>>,
}

impl RouterTransport {
    /// A network without hosts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts a host on the network, or another one in its place.
    pub fn insert(&self, authority: impl Into<String>, router: Router) {
        self.lock().insert(authority.into(), router);
    }

    /// Takes a host from the network: requests to it are refused.
    pub fn remove(&self, authority: &str) {
        self.lock().remove(authority);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Router>> {
        self.routers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Transport for RouterTransport {
    async fn round_trip(
        &self,
        request: http::Request<Bytes>,
        timeout: Duration,
    ) -> Result<http::Response<Bytes>, TransportError> {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let Some(router) = self.lock().get(&authority).cloned() else {
            return Err(TransportError::NotSent(format!("nobody listens at {authority}")));
        };
        let exchange = async {
            let response = router
                .oneshot(request.map(Body::from))
                .await
                .unwrap_or_else(|never: std::convert::Infallible| match never {});
            let (parts, body) = response.into_parts();
            if parts.extensions.get::<ConnectionRefused>().is_some() {
                return Err(TransportError::NotSent("connection refused".to_owned()));
            }
            if parts.extensions.get::<AnswerLost>().is_some() {
                return Err(TransportError::Unknown("connection broke".to_owned()));
            }
            let body = axum::body::to_bytes(body, BODY_LIMIT)
                .await
                .map_err(|error| TransportError::Unknown(error.to_string()))?;
            Ok(http::Response::from_parts(parts, body))
        };
        tokio::time::timeout(timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(TransportError::Unknown("timed out".to_owned())))
    }
}
