//! The client that the operator uses for one agent, original or ours.
//!
//! Guarantees: every call has a deadline; a list is complete or an error, never shorter; an error says whether the
//! request may have been carried out ([`AgentError::may_have_happened`]); nothing is repeated, redirected or cached.
//! Deliberately not here: retries, breakers, deciding what to do. Whoever calls decides.

mod answer;
mod error;
mod http;
mod router;
mod transport;

use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderValue, Method, Request, StatusCode, header};
use bytes::Bytes;
use lochness_api::job::JobAction;
use lochness_api::{GuestId, JobId};
use serde::Serialize;

pub use self::http::{HttpOptions, HttpTransport, HttpTransportError};
pub use error::AgentError;
pub use router::{AnswerLost, ConnectionRefused, RouterTransport};
pub use transport::{Transport, TransportError};

use crate::wire::{
    AGENT_QUEUE, AgentGuest, AgentImage, AgentJob, Capabilities, DAMAGED_MESSAGE, ErrorBody,
    FirewallPatch, FirewallPut, FirewallState, HEADER_EPOCH, HEADER_JOB, HEADER_ORDER,
    HEADER_RULESET, ImageFetch, Order,
};
use answer::{decode, refusal, remote_job};

/// For reads that do not block: the original takes 3 s when its log is full.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A client of one agent. Cheap to clone; clones share the transport's connections.
#[derive(Clone)]
pub struct AgentClient {
    transport: Arc<dyn Transport>,
    /// `http://host:port`.
    base: Arc<str>,
    epoch: Option<HeaderValue>,
}

/// What makes a mutating guest request harmless when it arrives late or twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    /// The job that it is for.
    pub job: JobId,
    /// The job's number; none for agents without order.
    pub order: Option<Order>,
    /// What the ruleset in force must at least be of before the guest may begin to run; none where nobody waits for one.
    pub ruleset: Option<Order>,
    /// The request is given up after so long; the caller has taken it from its lease.
    pub budget: Duration,
}

/// Wait for a change before answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait<'a> {
    /// Answer after so long even if nothing changed; sent in whole seconds.
    pub at_most: Duration,
    /// The tag of the list that the caller has; without one the answer comes at once.
    pub tag: Option<&'a str>,
}

/// The answer to a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestList {
    /// Nothing changed since the tag that was sent.
    Unchanged,
    /// Every guest that the agent has.
    Complete {
        /// All of them, no id twice.
        guests: Vec<AgentGuest>,
        /// Names this state of the list, for the next wait; none from the original.
        tag: Option<String>,
        /// How often the firewall came in force or ceased to be by itself since the agent began: another number than
        /// before, and `GET /firewall` has news.
        firewall_moves: u64,
    },
}

/// The answer to a look at one guest.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one lives for a moment, and is nearly always found")]
pub enum GuestLookup {
    /// The agent has it.
    Found(AgentGuest),
    /// The agent does not have it.
    Absent,
    /// The agent has a record that answers nothing; creating it again heals it.
    Damaged,
}

/// The answer to a firewall patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PatchOutcome {
    /// It is in force.
    Applied(FirewallState),
    /// The firewall in force is not the one that the patch builds on: put the whole one.
    WrongBase {
        /// The hash of what is in force, if anything is.
        current: Option<String>,
    },
}

impl AgentClient {
    /// A client of the agent at `authority` (`host:port`, or `https://host:port`). With `epoch`, every request names
    /// its leader.
    pub fn new(transport: Arc<dyn Transport>, authority: String, epoch: Option<Order>) -> Self {
        let base =
            if authority.contains("://") { authority } else { format!("http://{authority}") };
        Self { transport, base: base.into(), epoch: epoch.map(header_of) }
    }

    /// The health probe: `GET /metadata`.
    pub async fn metadata(&self) -> Result<(), AgentError> {
        let answer = self.get("/metadata", READ_TIMEOUT).await?;
        let _: Option<serde_json::Map<String, serde_json::Value>> = decode(ok(answer)?.body())?;
        Ok(())
    }

    /// What the agent can do; `None` is the original, which can do sections 1–4 of the protocol.
    pub async fn capabilities(&self) -> Result<Option<Capabilities>, AgentError> {
        let answer = self.get("/capabilities", READ_TIMEOUT).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        decode(ok(answer)?.body()).map(Some)
    }

    /// All guests of the host. An answer that is cut off, does not decode or names an id twice is an error.
    pub async fn list_guests(&self, wait: Option<Wait<'_>>) -> Result<GuestList, AgentError> {
        let Some(wait) = wait else {
            return answer::guest_list(&ok(self.get("/guests", READ_TIMEOUT).await?)?);
        };
        let path = format!("/guests?wait={}s", wait.at_most.as_secs());
        let mut request = self.request(Method::GET, &path, Bytes::new())?;
        if let Some(tag) = wait.tag {
            let value = HeaderValue::from_str(tag)
                .map_err(|_| AgentError::Garbled("list has a tag that is no header".to_owned()))?;
            request.headers_mut().insert(header::IF_NONE_MATCH, value);
        }
        let answer = self.send(request, wait.at_most + READ_TIMEOUT).await?;
        if answer.status() == StatusCode::NOT_MODIFIED && wait.tag.is_some() {
            return Ok(GuestList::Unchanged);
        }
        answer::guest_list(&ok(answer)?)
    }

    /// One guest.
    pub async fn guest(&self, id: GuestId) -> Result<GuestLookup, AgentError> {
        let answer = self.get(&format!("/guests/{id}"), READ_TIMEOUT).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(GuestLookup::Absent);
        }
        if answer.status() == StatusCode::INTERNAL_SERVER_ERROR
            && decode::<ErrorBody>(answer.body()).is_ok_and(|body| body.message == DAMAGED_MESSAGE)
        {
            return Ok(GuestLookup::Damaged);
        }
        let guest: AgentGuest = decode(ok(answer)?.body())?;
        if guest.id != id {
            return Err(AgentError::Garbled(format!("asked for guest {id}, got {}", guest.id)));
        }
        Ok(GuestLookup::Found(guest))
    }

    /// Asks for a guest to be created; the answer is the agent's id of the job. On the original a blind upsert: look
    /// first.
    pub async fn create(&self, guest: &AgentGuest, ticket: &Ticket) -> Result<String, AgentError> {
        self.mutate("/guests", encode(guest)?, ticket).await
    }

    /// Asks for something to be done with a guest; the answer is the agent's id of the job. [`JobAction::Create`] needs
    /// [`Self::create`], which has the guest.
    pub async fn act(
        &self,
        guest: GuestId,
        action: JobAction,
        ticket: &Ticket,
    ) -> Result<String, AgentError> {
        if action == JobAction::Create {
            return Err(AgentError::NotSent("create needs the guest itself".to_owned()));
        }
        self.mutate(&format!("/guests/{guest}/{action}"), Bytes::new(), ticket).await
    }

    /// A job by the agent's own id; `None` says nothing of its outcome.
    pub async fn job(&self, remote: &str) -> Result<Option<AgentJob>, AgentError> {
        if !answer::is_path_segment(remote) {
            return Err(AgentError::NotSent("job id cannot stand in a path".to_owned()));
        }
        let answer = self.get(&format!("/jobs/{remote}"), READ_TIMEOUT).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let job: AgentJob = decode(ok(answer)?.body())?;
        if job.id != remote {
            return Err(AgentError::Garbled("asked for one job, got another".to_owned()));
        }
        Ok(Some(job))
    }

    /// The jobs of one guest that the agent still knows, newest first. The original answers with those of the whole
    /// agent, so they are filtered here.
    pub async fn jobs_of(&self, guest: GuestId) -> Result<Vec<AgentJob>, AgentError> {
        let answer = self.get(&format!("/guests/{guest}/jobs"), READ_TIMEOUT).await?;
        let jobs: Option<Vec<AgentJob>> = decode(ok(answer)?.body())?;
        let ours = |job: &AgentJob| job.guest_id.parse() == Ok(guest);
        Ok(jobs.unwrap_or_default().into_iter().filter(ours).collect())
    }

    /// The jobs that belong to no guest, such as fetches of images, that the agent still knows, newest first.
    pub async fn image_jobs(&self) -> Result<Vec<AgentJob>, AgentError> {
        let answer = self.get("/jobs", READ_TIMEOUT).await?;
        let jobs: Option<Vec<AgentJob>> = decode(ok(answer)?.body())?;
        let of_images = |job: &AgentJob| job.guest_id == AGENT_QUEUE;
        Ok(jobs.unwrap_or_default().into_iter().filter(of_images).collect())
    }

    /// The images that the host has.
    pub async fn images(&self) -> Result<Vec<AgentImage>, AgentError> {
        let answer = self.get("/images", READ_TIMEOUT).await?;
        decode::<Option<Vec<AgentImage>>>(ok(answer)?.body()).map(Option::unwrap_or_default)
    }

    /// Asks for an image to be fetched; the answer is the agent's id of the job.
    pub async fn fetch_image(
        &self,
        image: &ImageFetch,
        budget: Duration,
    ) -> Result<String, AgentError> {
        let request = self.request(Method::POST, "/images", encode(image)?)?;
        remote_job(&accepted(self.send(request, budget).await?)?)
    }

    /// What is in force of the firewall.
    pub async fn firewall(&self) -> Result<FirewallState, AgentError> {
        firewall_state(&ok(self.get("/firewall", READ_TIMEOUT).await?)?)
    }

    /// Puts a whole ruleset in force, or changes nothing.
    pub async fn put_firewall(
        &self,
        firewall: &FirewallPut,
        budget: Duration,
    ) -> Result<FirewallState, AgentError> {
        let request = self.request(Method::PUT, "/firewall", encode(firewall)?)?;
        firewall_state(&ok(self.send(request, budget).await?)?)
    }

    /// Changes members of sets in the ruleset in force, or changes nothing.
    pub async fn patch_firewall(
        &self,
        patch: &FirewallPatch,
        budget: Duration,
    ) -> Result<PatchOutcome, AgentError> {
        let request = self.request(Method::PATCH, "/firewall", encode(patch)?)?;
        let answer = self.send(request, budget).await?;
        if answer.status() == StatusCode::CONFLICT
            && let Ok(ErrorBody { hash: Some(current), .. }) = decode(answer.body())
        {
            let current = Some(current).filter(|hash| !hash.is_empty());
            return Ok(PatchOutcome::WrongBase { current });
        }
        firewall_state(&ok(answer)?).map(PatchOutcome::Applied)
    }

    async fn mutate(&self, path: &str, body: Bytes, ticket: &Ticket) -> Result<String, AgentError> {
        let mut request = self.request(Method::POST, path, body)?;
        let headers = request.headers_mut();
        headers.insert(HEADER_JOB, header_of(ticket.job));
        if let Some(order) = ticket.order {
            headers.insert(HEADER_ORDER, header_of(order));
        }
        if let Some(ruleset) = ticket.ruleset {
            headers.insert(HEADER_RULESET, header_of(ruleset));
        }
        remote_job(&accepted(self.send(request, ticket.budget).await?)?)
    }

    async fn get(
        &self,
        path: &str,
        timeout: Duration,
    ) -> Result<::http::Response<Bytes>, AgentError> {
        self.send(self.request(Method::GET, path, Bytes::new())?, timeout).await
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Bytes>, AgentError> {
        let has_body = !body.is_empty();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .body(body)
            .map_err(|error| AgentError::NotSent(format!("bad address {}: {error}", self.base)))?;
        let headers = request.headers_mut();
        if has_body {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(epoch) = &self.epoch {
            headers.insert(HEADER_EPOCH, epoch.clone());
        }
        Ok(request)
    }

    async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<::http::Response<Bytes>, AgentError> {
        self.transport.round_trip(request, timeout).await.map_err(|error| match error {
            TransportError::NotSent(why) => AgentError::NotSent(error::cut(&why)),
            TransportError::Unknown(why) => AgentError::Unknown(error::cut(&why)),
        })
    }
}

/// The answer, if it is a success with content.
fn ok(answer: ::http::Response<Bytes>) -> Result<::http::Response<Bytes>, AgentError> {
    if answer.status() == StatusCode::OK { Ok(answer) } else { Err(refusal(&answer)) }
}

/// The answer, if it says that a job was made.
fn accepted(answer: ::http::Response<Bytes>) -> Result<::http::Response<Bytes>, AgentError> {
    if answer.status() == StatusCode::ACCEPTED { Ok(answer) } else { Err(refusal(&answer)) }
}

/// What an agent says of its firewall; its words go into statuses and logs.
fn firewall_state(answer: &::http::Response<Bytes>) -> Result<FirewallState, AgentError> {
    let mut state: FirewallState = decode(answer.body())?;
    state.error = state.error.map(|words| error::cut(&words));
    Ok(state)
}

fn encode<T: Serialize>(body: &T) -> Result<Bytes, AgentError> {
    serde_json::to_vec(body)
        .map(Bytes::from)
        .map_err(|error| AgentError::NotSent(format!("request is not JSON: {error}")))
}

/// A number or an id as a header.
fn header_of(value: impl std::fmt::Display) -> HeaderValue {
    HeaderValue::from_str(&value.to_string())
        .expect("digits, letters, dots and dashes are header text")
}
