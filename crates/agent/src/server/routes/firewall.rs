//! `/firewall`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;

use super::super::firewall::Refusal;
use super::super::firewall_change::{FirewallChange, FirewallError};
use super::super::host::{Host, Life};
use super::{bad, reply, request, storage_failed};

/// `GET /firewall`.
pub(super) fn get(host: &Host, life: &Life) -> Response {
    let Some(core) = host.core_of(life) else { return reply::refused() };
    reply::json(StatusCode::OK, &core.state.firewall.to_wire())
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
    match refusal {
        Refusal::Older(seen) => {
            reply::error(StatusCode::CONFLICT, format!("revision is below {seen}"))
        }
        Refusal::WrongBase(current) => {
            let message = "another ruleset is in force than the patch's base";
            let current = Some(current.unwrap_or_default());
            reply::error_with_hash(StatusCode::CONFLICT, message, current)
        }
        Refusal::NoSuchSet(name) => {
            reply::error(StatusCode::UNPROCESSABLE_ENTITY, format!("ruleset has no set {name}"))
        }
    }
}
