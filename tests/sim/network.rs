//! The network between an operator and the agents. What was sent arrives even when its sender has died.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Method, Request, Response};
use lochness_agent::wire::Order;
use lochness_agent::{RouterTransport, Transport, TransportError};
use lochness_runtime::tasks::Tasks;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use crate::answers::Spoiled;
use crate::course::Course;
use crate::faults::Fault;
use crate::judge::Judge;
use crate::machine::Machine;
use crate::replica::Life;

/// What is late arrives within this time.
pub(crate) const LATEST: Duration = Duration::from_secs(60);
/// The same on the way to an agent of the original's protocol, which cannot tell what is late: no longer than an address
/// of its guests is kept back.
const LATEST_UNORDERED: Duration = Duration::from_secs(20);
/// Nobody waits so long for an answer.
const LONGEST_ANSWER: Duration = Duration::from_secs(120);
/// A slow answer takes up to this.
const SLOWEST: Duration = Duration::from_secs(15);

type Answer = Result<Response<Bytes>, TransportError>;

/// The network of a history.
pub(crate) struct Network {
    pub(crate) hosts: RouterTransport,
    pub(crate) course: Arc<Course>,
    pub(crate) judge: Arc<Judge>,
    /// What is on its way.
    pub(crate) tasks: Tasks,
    places: Mutex<BTreeMap<String, Place>>,
}

/// What is known of an address.
#[derive(Default)]
struct Place {
    machine: Option<Arc<Machine>>,
    /// Nobody reaches it until then.
    dark: Option<Instant>,
    /// It is reached, and its answers get lost, until then.
    deaf: Option<Instant>,
    /// How often what was on its way to it was lost with the machine that it was meant for.
    replaced: u64,
    /// The highest epoch that it was shown.
    epoch: Option<Order>,
}

/// What becomes of a request.
enum Fate {
    Arrives,
    RequestLost,
    AnswerLost,
    Late(Duration),
    Twice(Duration),
    Slow(Duration),
    Spoiled(Spoiled),
}

impl Network {
    /// A network without hosts.
    pub(crate) fn new(course: Arc<Course>, judge: Arc<Judge>, tasks: &Tasks) -> Arc<Self> {
        let (hosts, tasks, places) = (RouterTransport::new(), tasks.child(), Mutex::default());
        Arc::new(Self { hosts, course, judge, tasks, places })
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<String, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, authority: &str, change: impl FnOnce(&mut Place)) {
        change(self.places().entry(authority.to_owned()).or_default());
    }

    /// This machine is at this address.
    pub(crate) fn stands_at(&self, machine: &Arc<Machine>, authority: &str) {
        self.change(authority, |place| place.machine = Some(Arc::clone(machine)));
    }

    /// Nobody reaches this host for so long.
    pub(crate) fn darken(&self, authority: &str, lasting: Duration) {
        self.change(authority, |place| place.dark = Some(Instant::now() + lasting));
    }

    /// Everybody reaches this host, and hears it.
    pub(crate) fn clear(&self, authority: &str) {
        self.change(authority, |place| (place.dark, place.deaf) = (None, None));
    }

    /// Nobody hears this host for so long; it hears everybody.
    pub(crate) fn deafen(&self, authority: &str, lasting: Duration) {
        self.change(authority, |place| place.deaf = Some(Instant::now() + lasting));
    }

    /// What is on its way to this address is lost: a machine that remembers no order could not tell it from new.
    pub(crate) fn replace(&self, authority: &str) {
        self.change(authority, |place| {
            place.replaced += 1;
            place.epoch = None;
        });
    }

    /// Reads something of an address.
    fn at<T>(&self, authority: &str, read: impl FnOnce(&Place) -> T) -> T {
        let mut places = self.places();
        read(places.entry(authority.to_owned()).or_default())
    }

    fn fate(&self, request: &Request<Bytes>, authority: &str) -> Fate {
        let (course, profile) = (&self.course, &self.course.profile.network);
        if course.is_truce() {
            return Fate::Arrives;
        }
        let strikes = |class, permille| course.faults(class, permille, || told(request));
        let latest = if self.at(authority, is_ordered) { LATEST } else { LATEST_UNORDERED };
        if strikes(Fault::RequestLost, profile.request_lost) {
            Fate::RequestLost
        } else if strikes(Fault::AnswerLost, profile.answer_lost) {
            Fate::AnswerLost
        } else if strikes(Fault::Late, profile.late) {
            Fate::Late(course.between(Duration::from_millis(100), latest))
        } else if strikes(Fault::Twice, profile.twice) {
            Fate::Twice(course.between(Duration::ZERO, latest))
        } else if strikes(Fault::AnswerSlow, profile.slow) {
            Fate::Slow(course.between(Duration::from_secs(1), SLOWEST))
        } else {
            Spoiled::draw(course, || told(request)).map_or(Fate::Arrives, Fate::Spoiled)
        }
    }

    /// Sends a request that arrives after `delay`, whatever becomes of its sender.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        request: Request<Bytes>,
        delay: Duration,
    ) -> oneshot::Receiver<Answer> {
        let (answered, answer) = oneshot::channel();
        let network = Arc::clone(self);
        self.tasks.spawn("delivery", async move {
            let authority = authority_of(&request);
            let sent_to = network.at(&authority, |place| place.replaced);
            sleep(delay).await;
            if network.at(&authority, |place| place.replaced) != sent_to {
                return;
            }
            // Who waited may be gone.
            let _gone = answered.send(network.exchange(request, &authority).await);
        });
        answer
    }

    /// The agent is asked, and answers.
    async fn exchange(&self, request: Request<Bytes>, authority: &str) -> Answer {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let order = request.headers().get("X-Lochness-Order").cloned();
        let epoch = request.headers().get("X-Lochness-Epoch");
        let epoch: Option<Order> = epoch.and_then(|text| text.to_str().ok()?.parse().ok());
        let before = self.at(authority, |place| place.epoch.filter(|_| is_ordered(place)));
        let answer = self.hosts.round_trip(request, LONGEST_ANSWER).await;
        self.judge.catch_up();
        if let Ok(response) = &answer {
            if method != Method::GET && epoch < before && response.status().is_success() {
                let what = format!("{method} {uri} of epoch {epoch:?} after {before:?}");
                self.judge.wrong(format!("S7: an agent accepted {what}"));
            }
            if !response.status().is_server_error() {
                self.change(authority, |place| place.epoch = place.epoch.max(epoch));
            }
        }
        self.course.note(|| {
            let verdict = match &answer {
                Ok(response) => response.status().as_u16().to_string(),
                Err(error) => error.to_string(),
            };
            format!("agent answers {method} {uri} order {order:?}: {verdict}")
        });
        if let Ok(response) = &answer
            && method == Method::GET
            && let Some(machine) = self.at(authority, |place| place.machine.clone())
        {
            machine.loses_what_is_complete(&self.course, uri.path(), response.body());
            self.judge.catch_up();
        }
        answer
    }
}

fn is_ordered(place: &Place) -> bool {
    place.machine.as_ref().is_none_or(|machine| machine.is_ordered())
}

fn authority_of(request: &Request<Bytes>) -> String {
    request.uri().authority().map(ToString::to_string).unwrap_or_default()
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
        let authority = authority_of(&request);
        let now = Instant::now();
        if network.at(&authority, |place| place.dark.is_some_and(|until| until > now)) {
            return std::future::pending().await;
        }
        let usual = network.course.between(Duration::from_millis(1), Duration::from_millis(20));
        if network.at(&authority, |place| place.deaf.is_some_and(|until| until > now)) {
            let _lost = network.deliver(request, usual);
            return std::future::pending().await;
        }
        if let Some(until) = self.life.agents_are_cut_until() {
            // Like one that the paused process had sent before it was paused, and the network kept.
            let latest = if network.at(&authority, is_ordered) { LATEST } else { LATEST_UNORDERED };
            let late = until.saturating_duration_since(now).min(latest);
            return answer(network.deliver(request, late + usual)).await;
        }
        match network.fate(&request, &authority) {
            Fate::Arrives => answer(network.deliver(request, usual)).await,
            Fate::RequestLost => std::future::pending().await,
            Fate::AnswerLost => {
                let _lost = network.deliver(request, usual).await;
                Err(TransportError::Unknown("connection broke".to_owned()))
            }
            Fate::Late(delay) => answer(network.deliver(request, delay)).await,
            Fate::Twice(delay) => {
                let sent = Instant::now();
                let first = answer(network.deliver(request.clone(), usual)).await;
                // What was never taken is not carried twice.
                if !matches!(first, Err(TransportError::NotSent(_))) {
                    let _second = network.deliver(request, delay.saturating_sub(sent.elapsed()));
                }
                first
            }
            Fate::Slow(delay) => {
                let answer = answer(network.deliver(request, usual)).await;
                sleep(delay).await;
                answer
            }
            Fate::Spoiled(spoiled) => match spoiled.refusal() {
                Some(answer) => Ok(answer),
                None => spoiled.spoil(answer(network.deliver(request, usual)).await),
            },
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
        let (_under_way, wrong) = self.life.load.asks(&request);
        if let Some(wrong) = wrong {
            self.network.judge.wrong(format!("{wrong} of {}", self.life.name));
        }
        if mutates && self.life.holds() {
            let what = told(&request);
            self.network
                .judge
                .wrong(format!("HOLD: {} asks {what} while it holds", self.life.name));
        }
        if mutates {
            self.life.may_freeze(&self.network.tasks).await;
        }
        self.life.step("before the agent").await;
        if mutates {
            self.network.course.note(|| format!("{} asks {}", self.life.name, told(&request)));
        }
        let answer = timeout(patience, self.carry(request)).await;
        self.life.step("after the agent").await;
        answer.unwrap_or_else(|_| Err(TransportError::Unknown("timed out".to_owned())))
    }
}
