//! `/guests`.

use std::str::FromStr;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use lochness_api::GuestId;
use lochness_api::job::JobAction;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use super::super::accept::{Accepted, Denied};
use super::super::config::Compat;
use super::super::fence::Stamp;
use super::super::guests::Trouble;
use super::super::host::{Host, Life};
use super::request::{BadRequest, Head};
use super::{bad, denied, reply, request};
use crate::wire::{AgentGuest, HEADER_FIREWALL, Order};

/// `POST /guests`.
pub(super) async fn create(host: &Host, life: &Life, head: &Head, body: Body) -> Response {
    let (stamp, ruleset) = match numbers_of(host, head) {
        Ok(numbers) => numbers,
        Err(error) => return bad(&error),
    };
    let body = match request::json::<Value>(body).await {
        Ok(body) => body,
        Err(error) => return bad(&error),
    };
    let accepted = {
        let Some(mut core) = host.core_of(life) else { return reply::refused() };
        let made = GuestId::new(core.random_uuid());
        match guest_of(body, made) {
            Ok(guest) => core.create(guest, stamp, ruleset),
            Err(error) => return bad(&error),
        }
    };
    answer(host, life, accepted).await
}

/// `POST /guests/{id}/{action}`.
pub(super) async fn act(host: &Host, life: &Life, head: &Head, id: &str, action: &str) -> Response {
    if action == "suspend" && host.compat() == Compat::Mistify {
        return reply::error(StatusCode::NOT_FOUND, "suspend: Not configured");
    }
    let Some(action) = action_of(host.compat(), action) else { return reply::no_route() };
    let Some(id) = parse_id(id) else { return denied(host, &Denied::UnknownGuest) };
    let (stamp, ruleset) = match numbers_of(host, head) {
        Ok(numbers) => numbers,
        Err(error) => return bad(&error),
    };
    let accepted = {
        let Some(mut core) = host.core_of(life) else { return reply::refused() };
        core.act(id, action, stamp, ruleset)
    };
    answer(host, life, accepted).await
}

/// `GET /guests/{id}`.
pub(super) fn get(host: &Host, life: &Life, id: &str) -> Response {
    let Some(core) = host.core_of(life) else { return reply::refused() };
    let known = parse_id(id).and_then(|id| core.state.guests.get(&id));
    match known {
        None => denied(host, &Denied::UnknownGuest),
        Some(guest) if guest.trouble == Trouble::Damaged => denied(host, &Denied::Damaged),
        Some(guest) => {
            let guest = guest.to_wire(core.config.compat, core.config.state_words);
            reply::json(StatusCode::OK, &guest)
        }
    }
}

/// `GET /guests`, which may wait for a change.
pub(super) async fn list(host: &Host, life: &Life, head: &Head) -> Response {
    let (wait, known) = match (host.compat(), head.wait()) {
        (Compat::Mistify, _) => (None, None),
        (Compat::Lochness, Ok(wait)) => (wait, head.known_tag()),
        (Compat::Lochness, Err(error)) => return bad(&error),
    };
    let deadline = wait.map(|wait| Instant::now() + wait);
    loop {
        let before = host.changes().count();
        let Some(response) = list_now(host, life, known) else { return reply::refused() };
        if response.status() == StatusCode::OK {
            return response;
        }
        let woken = match deadline {
            Some(deadline) => timeout_at(deadline, host.changes().after(before)).await,
            None => return response,
        };
        if woken.is_err() {
            return response;
        }
    }
}

/// The list, or 304 when it is the known one; none when the life has ended.
fn list_now(host: &Host, life: &Life, known: Option<&str>) -> Option<Response> {
    let mut core = host.core_of(life)?;
    if core.faults.now().empty_list {
        return Some(reply::json(StatusCode::OK, &Value::Null));
    }
    let (tag, body) = core.guest_list();
    let mut response = if known == Some(tag.as_str()) {
        core.stats.lists_unchanged += 1;
        reply::empty(StatusCode::NOT_MODIFIED)
    } else {
        core.stats.lists += 1;
        reply::json_bytes(StatusCode::OK, body)
    };
    if host.compat() == Compat::Lochness {
        let tag = HeaderValue::from_str(&tag).expect("tags are ids and numbers");
        response.headers_mut().insert(header::ETAG, tag);
        if core.firewall_moves > 0 {
            response.headers_mut().insert(HEADER_FIREWALL, core.firewall_moves.into());
        }
    }
    Some(response)
}

async fn answer(host: &Host, life: &Life, accepted: Result<Accepted, Denied>) -> Response {
    match accepted {
        Ok(accepted) => {
            host.hand_over(life, &accepted).await;
            reply::accepted(&accepted.job, &accepted.guest)
        }
        Err(why) => denied(host, &why),
    }
}

/// What a request is numbered with, and which ruleset it needs. The original knows neither.
fn numbers_of(host: &Host, head: &Head) -> Result<(Option<Stamp>, Option<Order>), BadRequest> {
    match host.compat() {
        Compat::Mistify => Ok((None, None)),
        Compat::Lochness => Ok((head.stamp()?, head.ruleset()?)),
    }
}

/// The guest in a body. Without an id it gets `made`, as the original does.
fn guest_of(mut body: Value, made: GuestId) -> Result<AgentGuest, BadRequest> {
    if let Value::Object(fields) = &mut body {
        match fields.get("id") {
            None | Some(Value::Null) => {
                fields.insert("id".to_owned(), made.to_string().into());
            }
            Some(Value::String(id)) if id.is_empty() => {
                fields.insert("id".to_owned(), made.to_string().into());
            }
            Some(id) => {
                let is_uuid = id.as_str().is_some_and(|id| GuestId::from_str(id).is_ok());
                if !is_uuid {
                    return Err(BadRequest::GuestId);
                }
            }
        }
    }
    Ok(serde_json::from_value(body)?)
}

/// Ids are compared as text: another spelling of a UUID is another, unknown guest.
fn parse_id(text: &str) -> Option<GuestId> {
    text.parse::<GuestId>().ok().filter(|id| id.to_string() == text)
}

fn action_of(compat: Compat, word: &str) -> Option<JobAction> {
    match (word, compat) {
        ("start", _) => Some(JobAction::Start),
        ("shutdown", _) => Some(JobAction::Shutdown),
        ("reboot", _) => Some(JobAction::Reboot),
        ("restart", _) => Some(JobAction::Restart),
        ("poweroff", _) => Some(JobAction::Poweroff),
        ("delete", _) => Some(JobAction::Delete),
        ("suspend", Compat::Lochness) => Some(JobAction::Suspend),
        ("resume", Compat::Lochness) => Some(JobAction::Resume),
        _ => None,
    }
}
