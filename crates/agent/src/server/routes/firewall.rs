//! `/firewall`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;

use super::super::accept::Denied;
use super::super::firewall::Refusal;
use super::super::firewall::change::{FirewallChange, FirewallError};
use super::super::host::{Host, Life};
use super::request::Head;
use super::{bad, denied, reply, request, storage_failed};

/// `GET /firewall`.
pub(super) async fn get(host: &Host, life: &Life) -> Response {
    host.until_firewall_is_tried().await;
    let Some(core) = host.core_of(life) else { return reply::refused() };
    reply::json(StatusCode::OK, &core.told_firewall())
}

/// `PUT /firewall`.
pub(super) async fn put(host: &Host, head: &Head, body: Body) -> Response {
    match request::json(body).await {
        Ok(put) => change(host, head, FirewallChange::Put(put)).await,
        Err(error) => bad(&error),
    }
}

/// `PATCH /firewall`.
pub(super) async fn patch(host: &Host, head: &Head, body: Body) -> Response {
    match request::json(body).await {
        Ok(patch) => change(host, head, FirewallChange::Patch(patch)).await,
        Err(error) => bad(&error),
    }
}

async fn change(host: &Host, head: &Head, change: FirewallChange) -> Response {
    let epoch = match head.epoch() {
        Ok(epoch) => epoch,
        Err(error) => return bad(&error),
    };
    let refusal = match host.change_firewall(epoch, change).await {
        Ok(state) => return reply::json(StatusCode::OK, &state),
        Err(FirewallError::Refused(refusal)) => refusal,
        Err(FirewallError::Fenced(seen)) => return denied(host, &Denied::Epoch(seen)),
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
