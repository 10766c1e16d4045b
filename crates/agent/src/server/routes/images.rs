//! `/images`.

use axum::body::Body;
use axum::response::Response;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::host::{Host, Life};
use super::request::{BadRequest, Head};
use super::{bad, denied, reply, request};

/// `POST /images`.
pub(super) async fn fetch(host: &Host, life: &Life, body: Body) -> Response {
    let body = match request::json::<Value>(body).await {
        Ok(body) => body,
        Err(error) => return bad(&error),
    };
    if body.get("id").and_then(Value::as_str).is_none_or(str::is_empty) {
        return bad(&BadRequest::MissingId);
    }
    let fetch = match serde_json::from_value(body) {
        Ok(fetch) => fetch,
        Err(error) => return bad(&error.into()),
    };
    let accepted = {
        let Some(mut core) = host.core_of(life) else { return reply::refused() };
        core.fetch_image(fetch)
    };
    match accepted {
        Ok(accepted) => {
            host.hand_over(life, &accepted).await;
            reply::accepted(&accepted.job, &json!({ "images": null }))
        }
        Err(why) => denied(host, &why),
    }
}

/// `GET /images`.
pub(super) fn list(host: &Host, life: &Life, head: &Head) -> Response {
    let Some(mut core) = host.core_of(life) else { return reply::refused() };
    if core.faults.now().broken_images {
        return reply::error(StatusCode::INTERNAL_SERVER_ERROR, "storage is broken");
    }
    let wanted = head.query("type");
    let images = core.state.images.values();
    let images: Vec<_> =
        images.filter(|image| wanted.is_none_or(|wanted| image.image_type == wanted)).collect();
    let images = Some(images).filter(|images| !images.is_empty());
    reply::json(StatusCode::OK, &images)
}

/// `GET /images/{id}`.
pub(super) fn get(host: &Host, life: &Life, id: &str) -> Response {
    let Some(core) = host.core_of(life) else { return reply::refused() };
    match core.state.images.get(id) {
        Some(image) => reply::json(StatusCode::OK, image),
        None => reply::error(StatusCode::NOT_FOUND, "image not found"),
    }
}
