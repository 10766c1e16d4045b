//! What the process shows over HTTP: metrics, whether it lives, whether it could lead.
//!
//! Read-only and without authentication, so it listens on the loopback unless told otherwise.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use lochness_controllers::readiness::Readiness;
use lochness_runtime::{Metrics, Tasks};

use crate::readiness::Progress;

/// What the answers are made from.
#[derive(Clone)]
pub(crate) struct Shown {
    pub(crate) metrics: Metrics,
    pub(crate) tasks: Tasks,
    pub(crate) progress: Progress,
}

/// The three pages.
pub(crate) fn router(shown: Shown) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shown)
}

async fn metrics(State(shown): State<Shown>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, shown.metrics.gather_text())
}

async fn healthz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.tasks.panicked() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(task) => (StatusCode::INTERNAL_SERVER_ERROR, format!("task {task} has panicked\n")),
    }
}

async fn readyz(State(shown): State<Shown>) -> (StatusCode, String) {
    match shown.progress.readiness() {
        Readiness::Ready(what) => (StatusCode::OK, format!("ok: {what}\n")),
        Readiness::NotReady(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}
