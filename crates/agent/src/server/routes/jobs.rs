//! `/jobs` and `/guests/{id}/jobs`.

use axum::response::Response;
use http::StatusCode;

use super::super::config::Compat;
use super::super::host::{Host, Life};
use super::reply;
use super::request::Head;
use crate::wire::AgentJob;

/// `GET /jobs/{job}`. The original does not check the guest in the longer path, so nobody may rely on it.
pub(super) fn get(host: &Host, life: &Life, id: &str) -> Response {
    let Some(mut core) = host.core_of(life) else { return reply::refused() };
    if let Some(response) = housekeep(host, &mut core) {
        return response;
    }
    let forgotten = core.faults.now().forget_jobs;
    match core.state.jobs.get(id).filter(|_| !forgotten) {
        Some(job) => reply::json(StatusCode::OK, &job.to_wire()),
        None => reply::error(StatusCode::NOT_FOUND, "job not found"),
    }
}

/// `GET /jobs`.
pub(super) fn list(host: &Host, life: &Life, head: &Head) -> Response {
    newest(host, life, head, |_| true)
}

/// `GET /guests/{id}/jobs`: from the original, the jobs of the whole agent.
pub(super) fn of_guest(host: &Host, life: &Life, id: &str, head: &Head) -> Response {
    match host.compat() {
        Compat::Mistify => newest(host, life, head, |_| true),
        Compat::Lochness => newest(host, life, head, |job| job.guest_id == id),
    }
}

fn newest(host: &Host, life: &Life, head: &Head, wanted: impl Fn(&AgentJob) -> bool) -> Response {
    let limit = head.query("limit").and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    let Some(mut core) = host.core_of(life) else { return reply::refused() };
    if let Some(response) = housekeep(host, &mut core) {
        return response;
    }
    let limit = if core.faults.now().forget_jobs { 0 } else { limit };
    let jobs = core.state.jobs.newest().map(super::super::jobs::JobRecord::to_wire);
    let jobs: Vec<_> = jobs.filter(wanted).take(limit).collect();
    reply::json(StatusCode::OK, &jobs)
}

/// Cuts the original's log when that is due. `Some` is an answer that says that it failed.
fn housekeep(host: &Host, core: &mut super::super::core::Core) -> Option<Response> {
    if host.compat() == Compat::Lochness {
        return None;
    }
    let due = core.housekeeping();
    core.commit(due).err().map(|error| super::storage_failed(host, &error))
}
