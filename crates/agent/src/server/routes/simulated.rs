//! `/simulated`: the truth about a simulated host, and its faults. No part of the protocol; free of its fences.

use axum::body::Body;
use axum::response::Response;
use http::{Method, StatusCode};
use tokio::time::Duration;

use super::super::faults::{Event, FaultRequest};
use super::super::host::Host;
use super::super::storage::StorageError;
use super::request::Head;
use super::{bad, reply, request};

/// Answers `/simulated/{what}`.
pub(super) async fn answer(host: &Host, what: &str, head: &Head, body: Body) -> Response {
    if !head.is_authorized(host.bearer()) {
        return reply::error(StatusCode::UNAUTHORIZED, "bearer token is missing or wrong");
    }
    match (head.method(), what) {
        (&Method::GET, "history") => {
            let since = head.query("since").and_then(|since| since.parse().ok());
            reply::json(StatusCode::OK, &host.history_since(since.unwrap_or(0)))
        }
        (&Method::GET, "stats") => reply::json(StatusCode::OK, &host.stats()),
        (&Method::POST, "faults") => match request::json(body).await {
            Ok(request) => done(take_effect(host, request)),
            Err(error) => bad(&error),
        },
        (&Method::POST, "reboot") => done(host.happen(Event::Reboot)),
        _ => reply::no_route(),
    }
}

fn take_effect(host: &Host, request: FaultRequest) -> Result<(), StorageError> {
    if let Some(faults) = request.set {
        host.set_faults(faults, request.for_ms.map(Duration::from_millis));
    }
    for event in request.events {
        host.happen(event)?;
    }
    Ok(())
}

fn done(result: Result<(), StorageError>) -> Response {
    match result {
        Ok(()) => reply::empty(StatusCode::NO_CONTENT),
        Err(error) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    }
}
