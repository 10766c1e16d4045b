//! The agent over HTTP.
//!
//! Guarantees: what the original answers, ours answers the same, down to its 404s and 301s; a mutating request is carried
//! out whole once its body is read, even when the client goes away. One table of paths ([`answer`]) is the protocol.

mod firewall;
mod guests;
mod images;
mod jobs;
mod reply;
mod request;
mod simulated;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{Method, StatusCode};
use rand::RngExt;
use tokio::time::Duration;

use super::accept::Denied;
use super::config::Compat;
use super::driver::jittered;
use super::faults::{PERMILLE, ReplyFault};
use super::fence::EpochVerdict;
use super::firewall::enforcer::Enforcer;
use super::host::{Host, Life};
use super::storage::StorageError;
use request::{BadRequest, Head};

/// What goes wrong with one request.
struct Weather {
    fault: Option<ReplyFault>,
    is_lost: bool,
    delay: Duration,
}

/// The whole protocol of one host. While the host is down, answers carry
/// [`ConnectionRefused`](crate::client::ConnectionRefused).
pub fn router(host: Host) -> Router {
    Router::new().fallback(enter).with_state(host)
}

async fn enter(State(host): State<Host>, request: axum::extract::Request) -> Response {
    let (head, body) = request::split(request);
    if let ["simulated", what] = head.segments().as_slice() {
        return simulated::answer(&host, what, &head, body).await;
    }
    let life = host.life();
    let Some(weather) = weather(&host, &life, &head) else { return reply::refused() };
    let answered = async {
        let response = match weather.fault {
            Some(fault) => faulty(fault).await,
            None => answer(&host, &life, &head, body).await,
        };
        if !weather.delay.is_zero() {
            tokio::time::sleep(weather.delay).await;
        }
        if weather.is_lost { reply::lost(response) } else { response }
    };
    match life.end.run_until_cancelled(answered).await {
        Some(response) => response,
        None => reply::lost(reply::empty(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

fn weather(host: &Host, life: &Life, head: &Head) -> Option<Weather> {
    let mut core = host.core_of(life)?;
    let core = &mut *core;
    core.stats.requests += 1;
    if head.is_mutation() {
        core.stats.mutations += 1;
    }
    let faults = core.faults.now();
    let is_lost =
        faults.lost_answers > 0 && core.rng.random_range(0..PERMILLE) < faults.lost_answers;
    let delays = core.config.delays;
    let delay = match delays.reply {
        Duration::ZERO => Duration::ZERO,
        reply => jittered(reply, delays.jitter, &mut core.rng),
    };
    Some(Weather { fault: faults.reply, is_lost, delay })
}

async fn faulty(fault: ReplyFault) -> Response {
    match fault {
        ReplyFault::Status(code) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            reply::empty(status)
        }
        ReplyFault::Hang => std::future::pending().await,
        ReplyFault::Truncated => {
            reply::json_bytes(StatusCode::OK, bytes::Bytes::from_static(b"[{\"id\":\""))
        }
        ReplyFault::Redirect => reply::moved("http://127.0.0.1:9/elsewhere"),
    }
}

/// The table of the protocol.
async fn answer(host: &Host, life: &Life, head: &Head, body: Body) -> Response {
    if let Some(clean) = head.unclean_path() {
        return reply::moved(&clean);
    }
    if !head.is_authorized(host.bearer()) {
        return reply::error(StatusCode::UNAUTHORIZED, "bearer token is missing or wrong");
    }
    // A body may be long on its way: the epoch is judged when all of it is there.
    let body = match request::whole(body).await {
        Ok(body) => body,
        Err(error) => return bad(&error),
    };
    if head.is_mutation()
        && let Some(mut core) = host.core_of(life)
    {
        core.stats.mutation_bytes += axum::body::HttpBody::size_hint(&body).lower();
    }
    if let Err(response) = check_epoch(host, life, head) {
        return *response;
    }
    let ours = host.compat() == Compat::Lochness;
    let has_firewall = ours && !matches!(host.enforcer(), Enforcer::Nobody);
    match (head.method(), head.segments().as_slice()) {
        (&Method::GET, ["metadata"]) => {
            reply::json(StatusCode::OK, &std::collections::BTreeMap::<String, String>::new())
        }
        (&Method::GET, ["capabilities"]) if ours => {
            reply::json(StatusCode::OK, &host.capabilities())
        }
        (&Method::POST, ["images"]) => images::fetch(host, life, body).await,
        (&Method::GET, ["images"]) => images::list(host, life, head),
        (&Method::GET, ["images", id]) => images::get(host, life, id),
        (&Method::POST, ["guests"]) => guests::create(host, life, head, body).await,
        (&Method::GET, ["guests"]) => guests::list(host, life, head).await,
        (&Method::GET, ["guests", id]) => guests::get(host, life, id),
        (&Method::GET, ["guests", id, "jobs"]) => jobs::of_guest(host, life, id, head),
        (&Method::GET, ["jobs"]) => jobs::list(host, life, head),
        (&Method::GET, ["jobs", job] | ["guests", _, "jobs", job]) => jobs::get(host, life, job),
        (&Method::POST, ["guests", id, action]) => guests::act(host, life, head, id, action).await,
        (&Method::GET, ["firewall"]) if has_firewall => firewall::get(host, life).await,
        (&Method::PUT, ["firewall"]) if has_firewall => firewall::put(host, head, body).await,
        (&Method::PATCH, ["firewall"]) if has_firewall => firewall::patch(host, head, body).await,
        _ => reply::no_route(),
    }
}

/// Takes notice of the epoch, of reads too, and refuses mutations with an old one.
fn check_epoch(host: &Host, life: &Life, head: &Head) -> Result<(), Box<Response>> {
    if host.compat() == Compat::Mistify {
        return Ok(());
    }
    let epoch = head.epoch().map_err(|error| Box::new(bad(&error)))?;
    let Some(mut core) = host.core_of(life) else { return Err(Box::new(reply::refused())) };
    match core.see_epoch(epoch) {
        Ok(EpochVerdict::Old(seen)) if head.is_mutation() => {
            core.stats.fenced += 1;
            Err(Box::new(denied(host, &Denied::Epoch(seen))))
        }
        Ok(EpochVerdict::Old(_) | EpochVerdict::Raise(_) | EpochVerdict::Current) => Ok(()),
        Err(error) => {
            drop(core);
            Err(Box::new(storage_failed(host, &error)))
        }
    }
}

fn bad(error: &BadRequest) -> Response {
    reply::error(StatusCode::BAD_REQUEST, error.to_string())
}

fn denied(host: &Host, denied: &Denied) -> Response {
    let status = match denied {
        Denied::Epoch(_) | Denied::Order(_) => StatusCode::CONFLICT,
        Denied::UnknownGuest => StatusCode::NOT_FOUND,
        Denied::AnotherGuest => StatusCode::UNPROCESSABLE_ENTITY,
        Denied::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        Denied::QueueFull => StatusCode::TOO_MANY_REQUESTS,
        Denied::Storage(error) => return storage_failed(host, error),
    };
    reply::error(status, denied.to_string())
}

/// Not what the disk said: that is for the agent's own log.
fn storage_failed(host: &Host, error: &StorageError) -> Response {
    host.storage_failed(error);
    reply::error(StatusCode::INTERNAL_SERVER_ERROR, "state cannot be stored")
}
