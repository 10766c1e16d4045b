//! Making sense of answers.

use std::collections::BTreeSet;

use bytes::Bytes;
use http::{Response, StatusCode, header};
use serde::de::DeserializeOwned;

use super::error::cut;
use super::{AgentError, GuestList};
use crate::wire::{AgentGuest, ErrorBody, HEADER_FIREWALL, HEADER_REMOTE_JOB};

/// Longest job id of an agent that is believed, in bytes; it becomes part of documents and paths.
const JOB_ID_LIMIT: usize = 128;

/// The body as a `T`; trailing or missing bytes are an error.
pub(super) fn decode<T: DeserializeOwned>(body: &Bytes) -> Result<T, AgentError> {
    serde_json::from_slice(body).map_err(|error| AgentError::Garbled(cut(&error.to_string())))
}

/// All guests, or an error.
pub(super) fn guest_list(answer: &Response<Bytes>) -> Result<GuestList, AgentError> {
    let guests = decode::<Option<Vec<AgentGuest>>>(answer.body())?.unwrap_or_default();
    let mut seen = BTreeSet::new();
    if let Some(twice) = guests.iter().find(|guest| !seen.insert(guest.id)) {
        return Err(AgentError::Garbled(format!("list names guest {} twice", twice.id)));
    }
    let tag = answer.headers().get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let moves = answer.headers().get(HEADER_FIREWALL).and_then(|moves| moves.to_str().ok());
    let firewall_moves = moves.and_then(|moves| moves.parse().ok()).unwrap_or(0);
    Ok(GuestList::Complete { guests, tag: tag.map(ToOwned::to_owned), firewall_moves })
}

/// The job that an accepted request made.
pub(super) fn remote_job(answer: &Response<Bytes>) -> Result<String, AgentError> {
    let id = answer.headers().get(HEADER_REMOTE_JOB).and_then(|id| id.to_str().ok());
    match id {
        Some(id) if is_path_segment(id) => Ok(id.to_owned()),
        Some(_) => Err(AgentError::Garbled("accepted with a job id that is no id".to_owned())),
        None => Err(AgentError::Garbled("accepted without a job id".to_owned())),
    }
}

/// Whether an agent's id can stand in a path as it is: the protocol has no escapes.
pub(super) fn is_path_segment(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    !id.is_empty() && id.len() <= JOB_ID_LIMIT && id.bytes().all(plain)
}

/// What an answer other than the expected one means.
pub(super) fn refusal(answer: &Response<Bytes>) -> AgentError {
    let status = answer.status();
    let (code, message) = (status.as_u16(), message(answer.body()));
    if status == StatusCode::CONFLICT {
        AgentError::Fenced(message)
    } else if status.is_client_error() || status.is_redirection() {
        AgentError::Refused { code, message }
    } else if status.is_server_error() {
        AgentError::Failed { code, message }
    } else {
        AgentError::Garbled(format!("unexpected status {code}"))
    }
}

/// The reason in a body: the protocol's error object, or plain text.
fn message(body: &Bytes) -> String {
    match serde_json::from_slice::<ErrorBody>(body) {
        Ok(error) if !error.message.is_empty() => cut(&error.message),
        _ => cut(String::from_utf8_lossy(&body[..body.len().min(1024)]).trim()),
    }
}
