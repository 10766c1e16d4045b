//! `/firewall`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;

use super::super::firewall::Refusal;
use super::super::firewall::change::{FirewallChange, FirewallError};
use super::super::host::{Host, Life};
use super::{bad, reply, request, storage_failed};

/// `GET /firewall`.
pub(super) async fn get(host: &Host, life: &Life) -> Response {
    host.until_firewall_is_tried().await;
    let Some(core) = host.core_of(life) else { return reply::refused() };
    reply::json(StatusCode::OK, &core.told_firewall())
}

/// `PUT /firewall`.
pub(super) async fn put(host: &Host, body: Body) -> Response {
    match request::json(body).await {
        Ok(put) => change(host, FirewallChange::Put(put)).await,
        Err(error) => bad(&error),
    }
}

/// `PATCH /firewall`.
pub(super) async fn patch(host: &Host, body: Body) -> Response {
    match request::json(body).await {
        Ok(patch) => change(host, FirewallChange::Patch(patch)).await,
        Err(error) => bad(&error),
    }
}

async fn change(host: &Host, change: FirewallChange) -> Response {
    let refusal = match host.change_firewall(change).await {
        Ok(state) => return reply::json(StatusCode::OK, &state),
        Err(FirewallError::Refused(refusal)) => refusal,
        Err(FirewallError::Failed(why)) => {
            return reply::error(StatusCode::UNPROCESSABLE_ENTITY, why);
        }
        Err(FirewallError::Died) => return reply::refused(),
        Err(FirewallError::Storage(error)) => return storage_failed(host, &error),
    };
    let message = refusal.to_string();
    match refusal {
        Refusal::Older(_) => reply::error(StatusCode::CONFLICT, message),
        Refusal::WrongBase(current) => {
            let current = Some(current.unwrap_or_default());
            reply::error_with_hash(StatusCode::CONFLICT, message, current)
        }
        Refusal::NoSuchSet(_) | Refusal::Invalid(_) => {
            reply::error(StatusCode::UNPROCESSABLE_ENTITY, message)
        }
    }
}
