//! The loop behind the committer: takes commits up, sends groups, hands out verdicts.

use std::collections::{BTreeMap, VecDeque};
use std::iter::repeat_n;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use lochness_kv::{Compare, Kv, KvError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::footprint::Footprint;
use super::group::{Answer, Limits, Ticket, read, transaction};
use super::order::{Entry, Number, Order};
use super::window::{Demand, Window};
use super::{CommitterOptions, Verdict};
use crate::metrics::CommitMetrics;

/// While the view lags too far it is asked again so often.
const LAG_POLL: Duration = Duration::from_millis(10);
/// So many transactions may be in flight however few commits wait: nobody on an idle store waits for another's answer.
const SLOTS_FOR_FEW: usize = 2;
/// Beyond these, one more for so many commits that wait. A transaction costs etcd about as much as a dozen commits nested
/// in one, so that under load a few that wait for the next answer make everything faster.
const COMMITS_A_SLOT: usize = 96;
/// How long transactions in flight may still take when the loop is stopped; after it their outcome is unknown.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// Does the work of a [`Committer`](super::Committer). Ends when it is told to, when it was fenced, or when nobody can
/// hand commits in any more; what it has not sent then is answered, and what is in flight gets a second.
pub struct CommitLoop {
    sender: Sender,
    limits: Limits,
    max_waiting: usize,
    max_lag: u64,
    lag: Arc<dyn Fn() -> u64 + Send + Sync>,
    tickets: mpsc::Receiver<Ticket>,
    fenced: Arc<AtomicBool>,
    order: Order,
    next_number: Number,
    /// Commits that stand behind another one.
    behind: BTreeMap<Number, Ticket>,
    /// Commits that can go, first come, first served.
    free: VecDeque<Ticket>,
    window: Window,
    in_flight: FuturesUnordered<BoxFuture<'static, Sent>>,
}

/// What sending a group takes. Cheap to clone.
#[derive(Clone)]
struct Sender {
    kv: Arc<dyn Kv>,
    fence: Compare,
    timeout: Duration,
    metrics: CommitMetrics,
}

/// A group after its verdicts were handed out.
struct Sent {
    footprints: Vec<Footprint>,
    latency: Duration,
    end: End,
}

/// How the sending of a group ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Answered,
    Failed,
    Fenced,
}

/// What wakes the loop.
enum Wake {
    Stop,
    Sent(Sent),
    Arrived,
    LagPoll,
}

/// Whether commits may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Free,
    /// The view lags too far behind, and commits wait for it.
    HeldUp,
}

impl CommitLoop {
    pub(super) fn new(
        kv: Arc<dyn Kv>,
        fence: Compare,
        options: CommitterOptions,
        lag: Arc<dyn Fn() -> u64 + Send + Sync>,
        tickets: mpsc::Receiver<Ticket>,
        fenced: Arc<AtomicBool>,
        metrics: CommitMetrics,
    ) -> Self {
        Self {
            limits: Limits::new(&options, &fence),
            sender: Sender { kv, fence, timeout: options.timeout, metrics },
            max_waiting: options.max_waiting.max(1),
            max_lag: options.max_lag,
            lag,
            tickets,
            fenced,
            order: Order::default(),
            next_number: 0,
            behind: BTreeMap::new(),
            free: VecDeque::new(),
            window: Window::new(options.in_flight, options.max_in_flight),
            in_flight: FuturesUnordered::new(),
        }
    }

    /// Works until `token` is cancelled, or the fence has changed.
    pub async fn run(mut self, token: CancellationToken) {
        let mut arrived = Vec::new();
        loop {
            self.take_up_waiting();
            let pace = self.send_free();
            let room = self.max_waiting.saturating_sub(self.free.len() + self.behind.len());
            let wake = tokio::select! {
                biased;
                () = token.cancelled() => Wake::Stop,
                Some(sent) = self.in_flight.next() => Wake::Sent(sent),
                count = self.tickets.recv_many(&mut arrived, room), if room > 0 => {
                    if count == 0 { Wake::Stop } else { Wake::Arrived }
                }
                () = sleep(LAG_POLL), if pace == Pace::HeldUp => Wake::LagPoll,
            };
            match wake {
                Wake::Stop => return self.stop(&Verdict::not_sent()).await,
                Wake::Sent(Sent { end: End::Fenced, .. }) => {
                    warn!(fence = ?self.sender.fence, "fenced: another process leads, or none");
                    self.fenced.store(true, Ordering::Release);
                    return self.stop(&Verdict::Fenced).await;
                }
                Wake::Sent(sent) => self.finish(&sent),
                Wake::Arrived => arrived.drain(..).for_each(|ticket| self.take_up(ticket)),
                Wake::LagPoll => {}
            }
        }
    }

    /// Takes up what was handed in while the loop did something else, so that it can go with the next group.
    fn take_up_waiting(&mut self) {
        while self.free.len() + self.behind.len() < self.max_waiting
            && let Ok(ticket) = self.tickets.try_recv()
        {
            self.take_up(ticket);
        }
    }

    fn take_up(&mut self, ticket: Ticket) {
        let number = self.next_number;
        self.next_number += 1;
        match self.order.enter(number, &ticket.footprint) {
            Entry::Free => self.free.push_back(ticket),
            Entry::Waits => {
                self.behind.insert(number, ticket);
            }
        }
    }

    /// Sends as many groups as the window and the view's lag allow.
    fn send_free(&mut self) -> Pace {
        while !self.free.is_empty() && self.in_flight.len() < self.slots() {
            if (self.lag)() > self.max_lag {
                return Pace::HeldUp;
            }
            let mut unwanted = Vec::new();
            let group = self.limits.fill(&mut self.free, |ticket| unwanted.push(ticket.footprint));
            for footprint in &unwanted {
                self.leave(footprint);
            }
            if !group.is_empty() {
                self.in_flight.push(Box::pin(self.sender.clone().send(group)));
            }
        }
        Pace::Free
    }

    /// How many transactions may be in flight: as many as the store takes, and as many as make groups worth sending.
    fn slots(&self) -> usize {
        self.window.limit().min(SLOTS_FOR_FEW + self.free.len() / COMMITS_A_SLOT)
    }

    fn finish(&mut self, sent: &Sent) {
        let demand = if self.free.is_empty() { Demand::Met } else { Demand::Waiting };
        match sent.end {
            End::Answered => self.window.answered(sent.latency, demand),
            End::Failed | End::Fenced => self.window.failed(),
        }
        for footprint in &sent.footprints {
            self.leave(footprint);
        }
    }

    fn leave(&mut self, footprint: &Footprint) {
        let (behind, free) = (&mut self.behind, &mut self.free);
        self.order.leave(footprint, |number| free.extend(behind.remove(&number)));
    }

    /// Answers all that was not sent, and gives what was sent a little time.
    async fn stop(mut self, verdict: &Verdict) {
        self.tickets.close();
        let waiting = self.free.drain(..).chain(mem::take(&mut self.behind).into_values());
        // Nobody may wait any more: then there is nobody to tell.
        waiting.for_each(|ticket| drop(ticket.reply.send(verdict.clone())));
        while let Some(ticket) = self.tickets.recv().await {
            drop(ticket.reply.send(verdict.clone()));
        }
        let answers = async { while self.in_flight.next().await.is_some() {} };
        if timeout(STOP_GRACE, answers).await.is_err() {
            debug!("transactions in flight got no answer before the committer stopped");
        }
    }
}

impl Sender {
    /// Sends a group and hands out its verdicts. A group that the store refuses is cut in halves, as often as it takes to
    /// find out which commit is to blame; it did not happen, so this repeats nothing.
    async fn send(self, group: Vec<Ticket>) -> Sent {
        let started = Instant::now();
        let mut sent = Sent {
            footprints: Vec::with_capacity(group.len()),
            latency: Duration::ZERO,
            end: End::Answered,
        };
        let mut parts = vec![group];
        while let Some(mut part) = parts.pop() {
            match self.ask(&part).await {
                Answer::Refused(_) if part.len() > 1 => {
                    parts.push(part.split_off(part.len() / 2));
                    parts.push(part);
                }
                Answer::Refused(error) => {
                    sent.hand_out(part, repeat_n(Verdict::Rejected(error), 1));
                }
                Answer::Each(verdicts) => sent.hand_out(part, verdicts.into_iter()),
                Answer::All(verdict) => {
                    sent.end = End::of_all(&verdict);
                    let count = part.len();
                    sent.hand_out(part, repeat_n(verdict, count));
                }
            }
        }
        sent.latency = started.elapsed();
        sent
    }

    async fn ask(&self, group: &[Ticket]) -> Answer {
        let measured = self.metrics.sent(group.len());
        let answer = timeout(self.timeout, self.kv.txn(transaction(&self.fence, group))).await;
        drop(measured);
        let answer = answer.unwrap_or_else(|_| {
            Err(KvError::Unknown(format!("no answer within {:?}", self.timeout)))
        });
        read(answer, group.len())
    }
}

impl Sent {
    fn hand_out(&mut self, part: Vec<Ticket>, verdicts: impl Iterator<Item = Verdict>) {
        for (ticket, verdict) in part.into_iter().zip(verdicts) {
            // Whoever no longer waits does not need it.
            drop(ticket.reply.send(verdict));
            self.footprints.push(ticket.footprint);
        }
    }
}

impl End {
    fn of_all(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Fenced => Self::Fenced,
            Verdict::Unknown(_) | Verdict::Rejected(_) => Self::Failed,
            Verdict::Committed { .. } | Verdict::Conflict { .. } => Self::Answered,
        }
    }
}
