//! The network between an operator and the agents. What was sent arrives even when its sender has died.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use lochness_agent::{RouterTransport, Transport, TransportError};
use lochness_runtime::tasks::Tasks;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::course::Course;
use crate::judge::Judge;
use crate::replica::Life;

/// What is late arrives within this time.
pub(crate) const LATEST: Duration = Duration::from_secs(60);
/// Nobody waits so long for an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);

type Answer = Result<Response<Bytes>, TransportError>;

/// The network of a history.
pub(crate) struct Network {
    pub(crate) hosts: RouterTransport,
    pub(crate) course: Arc<Course>,
    pub(crate) judge: Arc<Judge>,
    /// What is on its way.
    pub(crate) tasks: Tasks,
    /// Hosts that nobody reaches, and until when.
    pub(crate) dark: Mutex<BTreeMap<String, Instant>>,
}

/// What becomes of a request.
enum Fate {
    Arrives,
    RequestLost,
    AnswerLost,
    Late(Duration),
    Twice(Duration),
}

impl Network {
    /// Nobody reaches this host for so long.
    pub(crate) fn darken(&self, authority: String, lasting: Duration) {
        let mut dark = self.dark.lock().unwrap_or_else(PoisonError::into_inner);
        dark.insert(authority, Instant::now() + lasting);
    }

    fn is_dark(&self, authority: &str) -> bool {
        let dark = self.dark.lock().unwrap_or_else(PoisonError::into_inner);
        dark.get(authority).is_some_and(|until| *until > Instant::now())
    }

    fn fate(&self, what: &str) -> Fate {
        let (course, profile) = (&self.course, &self.course.profile);
        let strikes = |class, permille| {
            let struck = course.strikes(permille);
            if struck {
                course.fault(class, what);
            }
            struck
        };
        if strikes("request lost", profile.request_lost) {
            Fate::RequestLost
        } else if strikes("answer lost", profile.answer_lost) {
            Fate::AnswerLost
        } else if strikes("request late", profile.late) {
            Fate::Late(course.between(Duration::from_millis(100), LATEST))
        } else if strikes("request twice", profile.twice) {
            Fate::Twice(course.between(Duration::ZERO, LATEST))
        } else {
            Fate::Arrives
        }
    }

    /// Sends a request that arrives after `delay`, whatever becomes of its sender.
    fn deliver(&self, request: Request<Bytes>, delay: Duration) -> oneshot::Receiver<Answer> {
        let (answered, answer) = oneshot::channel();
        let (hosts, course, judge) =
            (self.hosts.clone(), Arc::clone(&self.course), Arc::clone(&self.judge));
        self.tasks.spawn("delivery", async move {
            sleep(delay).await;
            let what = told(&request);
            let come = hosts.round_trip(request, LONGEST_ANSWER).await;
            judge.catch_up();
            let verdict = match &come {
                Ok(response) => response.status().as_u16().to_string(),
                Err(error) => error.to_string(),
            };
            course.note(&format!("agent answers {what}: {verdict}"));
            // Who waited may be gone.
            let _gone = answered.send(come);
        });
        answer
    }
}

fn told(request: &Request<Bytes>) -> String {
    let order = request.headers().get("X-Lochness-Order");
    let order = order.and_then(|value| value.to_str().ok()).unwrap_or("-");
    format!("{} {} order {order}", request.method(), request.uri())
}

/// One operator's end of the network.
pub(crate) struct Wire {
    pub(crate) network: Arc<Network>,
    pub(crate) life: Arc<Life>,
}

impl Wire {
    async fn carry(&self, request: Request<Bytes>) -> Answer {
        let network = &self.network;
        let what = told(&request);
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        if network.is_dark(&authority) {
            return std::future::pending().await;
        }
        let usual = network.course.between(Duration::from_millis(1), Duration::from_millis(20));
        if let Some(until) = self.life.agents_are_cut_until() {
            // Like one that the paused process had sent before it was paused, and the network kept.
            let late = until.saturating_duration_since(Instant::now()).min(LATEST);
            return answer(network.deliver(request, late + usual)).await;
        }
        match network.fate(&what) {
            Fate::Arrives => answer(network.deliver(request, usual)).await,
            Fate::RequestLost => std::future::pending().await,
            Fate::AnswerLost => {
                let _lost = network.deliver(request, usual).await;
                Err(TransportError::Unknown("connection broke".to_owned()))
            }
            Fate::Late(delay) => answer(network.deliver(request, delay)).await,
            Fate::Twice(delay) => {
                let _second = network.deliver(request.clone(), delay);
                answer(network.deliver(request, usual)).await
            }
        }
    }
}

async fn answer(receiver: oneshot::Receiver<Answer>) -> Answer {
    receiver.await.unwrap_or_else(|_| Err(TransportError::Unknown("connection broke".to_owned())))
}

#[async_trait]
impl Transport for Wire {
    async fn round_trip(&self, request: Request<Bytes>, patience: Duration) -> Answer {
        let mutates = request.method() != Method::GET;
        self.life.step("before the agent").await;
        if mutates {
            self.network.course.note(&format!("{} asks {}", self.life.name, told(&request)));
        }
        let answer = timeout(patience, self.carry(request)).await;
        self.life.step("after the agent").await;
        answer.unwrap_or_else(|_| Err(TransportError::Unknown("timed out".to_owned())))
    }
}
