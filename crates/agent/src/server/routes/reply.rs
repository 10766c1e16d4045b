//! Answers in the original's shapes.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use crate::client::{AnswerLost, ConnectionRefused};
use crate::wire::{ErrorBody, HEADER_REMOTE_JOB};

/// JSON.
pub(super) fn json<T: Serialize>(status: StatusCode, body: &T) -> Response {
    let body = serde_json::to_vec(body).expect("answers have text keys alone");
    json_bytes(status, body.into())
}

/// JSON that is already text.
pub(super) fn json_bytes(status: StatusCode, body: Bytes) -> Response {
    with_type(status, "application/json", body)
}

/// 202: a job was made.
pub(super) fn accepted<T: Serialize>(job: &str, body: &T) -> Response {
    let mut response = json(StatusCode::ACCEPTED, body);
    let job = HeaderValue::from_str(job).expect("job ids are UUIDs");
    response.headers_mut().insert(HEADER_REMOTE_JOB, job);
    response
}

/// The protocol's error object.
pub(super) fn error(status: StatusCode, message: impl Into<String>) -> Response {
    error_with_hash(status, message, None)
}

/// The same, with the hash of the firewall in force.
pub(super) fn error_with_hash(
    status: StatusCode,
    message: impl Into<String>,
    hash: Option<String>,
) -> Response {
    let (message, code) = (message.into(), status.as_u16());
    json(status, &ErrorBody { message, code, stack: Vec::new(), hash })
}

/// 404 as the original's router says it: for unknown paths and wrong methods.
pub(super) fn no_route() -> Response {
    let body = Bytes::from_static(b"404 page not found\n");
    with_type(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", body)
}

/// 301, whatever the method; a client that follows loses its body.
pub(super) fn moved(location: &str) -> Response {
    let mut response = empty(StatusCode::MOVED_PERMANENTLY);
    let location = HeaderValue::from_str(location).unwrap_or(HeaderValue::from_static("/"));
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// A status without a body.
pub(super) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// What a process that is not there answers: over a real connection nothing arrives.
pub(super) fn refused() -> Response {
    let mut response = broken(empty(StatusCode::SERVICE_UNAVAILABLE));
    response.extensions_mut().insert(ConnectionRefused);
    response
}

/// An answer that is lost on its way: the connection breaks before its body.
pub(super) fn lost(response: Response) -> Response {
    let mut response = broken(response);
    response.extensions_mut().insert(AnswerLost);
    response
}

fn broken(response: Response) -> Response {
    let failure = futures::stream::once(async {
        Err::<Bytes, _>(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    Response::from_parts(parts, Body::from_stream(failure))
}

fn with_type(status: StatusCode, content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
