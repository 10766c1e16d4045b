//! What is read of a request, and how it can be wrong.

use axum::body::Body;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use serde::de::DeserializeOwned;
use tokio::time::Duration;

use super::super::fence::Stamp;
use crate::wire::{HEADER_EPOCH, HEADER_JOB, HEADER_ORDER, HEADER_RULESET, Order};

/// The largest body, in bytes: a ruleset of 50,000 addresses.
const BODY_LIMIT: usize = 16 * 1024 * 1024;
/// Nobody waits longer than this for a change; beyond it, connections die unnoticed.
const WAIT_LIMIT: Duration = Duration::from_secs(300);

/// A request but for its body.
pub(super) struct Head(Parts);

/// Why a request makes no sense.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadRequest {
    #[error("body is broken or larger than {BODY_LIMIT} bytes")]
    Body,
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    #[error("{0} is not <incarnation>.<revision>")]
    Number(&'static str),
    #[error("{HEADER_ORDER} needs {HEADER_JOB} with a UUID")]
    Job,
    #[error("wait is not a number of seconds")]
    Wait,
    #[error("id must be uuid")]
    GuestId,
    #[error("missing id")]
    MissingId,
}

/// Parts a request from its body, which is not read yet.
pub(super) fn split(request: axum::extract::Request) -> (Head, Body) {
    let (parts, body) = request.into_parts();
    (Head(parts), body)
}

/// The body once all of it is there.
pub(super) async fn whole(body: Body) -> Result<Body, BadRequest> {
    let bytes = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(|_| BadRequest::Body)?;
    Ok(Body::from(bytes))
}

/// The body as JSON.
pub(super) async fn json<T: DeserializeOwned>(body: Body) -> Result<T, BadRequest> {
    let bytes = axum::body::to_bytes(body, BODY_LIMIT).await.map_err(|_| BadRequest::Body)?;
    Ok(serde_json::from_slice(&bytes)?)
}

impl Head {
    pub(super) fn method(&self) -> &Method {
        &self.0.method
    }

    pub(super) fn is_mutation(&self) -> bool {
        !matches!(self.0.method, Method::GET | Method::HEAD | Method::OPTIONS)
    }

    /// The parts of the path.
    pub(super) fn segments(&self) -> Vec<&str> {
        self.0.uri.path().split('/').skip(1).collect()
    }

    /// The path as it should be, if it is not.
    pub(super) fn unclean_path(&self) -> Option<String> {
        let path = self.0.uri.path();
        let parts: Vec<_> = path.split('/').filter(|part| !part.is_empty()).collect();
        let clean = format!("/{}", parts.join("/"));
        (clean != path).then_some(clean)
    }

    pub(super) fn is_authorized(&self, bearer: Option<&str>) -> bool {
        let Some(expected) = bearer else { return true };
        let given = self.text(header::AUTHORIZATION.as_str());
        given
            .and_then(|given| given.strip_prefix("Bearer "))
            .is_some_and(|given| is_same(given.as_bytes(), expected.as_bytes()))
    }

    pub(super) fn epoch(&self) -> Result<Option<Order>, BadRequest> {
        self.number(HEADER_EPOCH)
    }

    /// What the ruleset in force must at least be of.
    pub(super) fn ruleset(&self) -> Result<Option<Order>, BadRequest> {
        self.number(HEADER_RULESET)
    }

    /// Order and job of a guest request.
    pub(super) fn stamp(&self) -> Result<Option<Stamp>, BadRequest> {
        let Some(order) = self.number(HEADER_ORDER)? else { return Ok(None) };
        let job = self.text(HEADER_JOB).and_then(|job| job.parse().ok()).ok_or(BadRequest::Job)?;
        Ok(Some(Stamp { order, job }))
    }

    /// How long to wait for a change: `30s` or `30`.
    pub(super) fn wait(&self) -> Result<Option<Duration>, BadRequest> {
        let Some(text) = self.query("wait") else { return Ok(None) };
        let seconds = text.strip_suffix('s').unwrap_or(text);
        let seconds = seconds.parse().map_err(|_| BadRequest::Wait)?;
        Ok(Some(Duration::from_secs(seconds).min(WAIT_LIMIT)))
    }

    pub(super) fn known_tag(&self) -> Option<&str> {
        self.text(header::IF_NONE_MATCH.as_str())
    }

    /// A parameter of the query, as it stands there: the protocol has no escapes.
    pub(super) fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.0.uri.query()?.split('&');
        pairs.filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v)
    }

    fn number(&self, name: &'static str) -> Result<Option<Order>, BadRequest> {
        let text = self.text(name);
        text.map(|text| text.parse().map_err(|_| BadRequest::Number(name))).transpose()
    }

    fn text(&self, name: &str) -> Option<&str> {
        let headers: &HeaderMap = &self.0.headers;
        headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Compares in a time that does not tell how much of a secret was right.
fn is_same(left: &[u8], right: &[u8]) -> bool {
    let differing = left.iter().zip(right).fold(0, |all, (a, b)| all | (a ^ b));
    left.len() == right.len() && differing == 0
}
