//! The task that reads what one host's agent reports, and the only one that writes it.
//!
//! ```text
//!             capabilities          images, firewall
//!   greeting ──────────────▶ reading ───────────────▶ listing ─┐ list, 304
//!      ▲  ▲                                           ▲  │     │
//!      │  └─ backoff ── silent, wrong host ◀── error ─┼──┤     │
//!      └──────────── the host booted ────────────────┼──┘     │
//!                                                     └────────┘
//! ```
//!
//! Guarantees: a failure leaves the last list as it is and says since when it is old; a list that [`super::accept`] does
//! not believe is asked for again and changes nothing meanwhile. These requests are also the probe of reachability: an
//! agent that can hold a list open still answers often enough for [`Settings::reachable_window`].
//!
//! [`Settings::reachable_window`]: crate::settings::Settings::reachable_window

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::mem;
use std::time::Duration;

use lochness_agent::wire::{CAPABILITY_BLOCKING_LIST, Capabilities};
use lochness_agent::{AgentError, GuestList, Wait};
use lochness_api::{GuestId, HypervisorId};
use lochness_mutant::Mutant;
use lochness_runtime::{Backoff, BackoffOptions};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::warn;

use super::accept::{Answer, Former, Verdict, judge};
use super::agent::{Agent, CallError};
use super::listing;
use super::notes::{Boot, Notes};
use crate::context::Context;
use crate::reports::{Protocol, ReportedGuest};

/// The longest pause between two attempts to reach an agent, unless the reachable window asks for less.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Lists are asked for no more often, nor are agents greeted: what changes meanwhile comes in one answer.
const SPACING: Duration = Duration::from_millis(20);
/// After a list, the next one is asked for so much later a guest in it, up to [`LONGEST_REST`]: reading a list costs time
/// for each guest, and a guest that comes up changes more than once in a moment.
const REST_A_GUEST: Duration = Duration::from_millis(1);
/// The longest such rest.
const LONGEST_REST: Duration = Duration::from_millis(100);
/// A list that waits for a change is given up only if it does not end by itself so soon: the change that makes somebody
/// want a newer one often ends it.
const REFRESH_GRACE: Duration = Duration::from_millis(50);
/// What an original's images were so long ago is read again.
const ORIGINAL_IMAGES_AGE: Duration = Duration::from_secs(60);
/// Waits are sent in whole seconds.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Reads what one host's agent reports.
pub(super) struct Poller {
    context: Context,
    host: HypervisorId,
    /// Where the agent listens.
    target: String,
    agent: Agent,
    backoff: Backoff,
    failures: u32,
    /// Since when lists are not believed.
    held_since: Option<Instant>,
    notes: Notes,
}

/// One conversation with the agent: from a greeting to the first failure.
struct Session {
    protocol: Protocol,
    /// What the heartbeat said at the greeting: another word later means a boot.
    heartbeat_boot: Option<String>,
    /// Names the list that the report shows; none before the first one.
    tag: Option<String>,
    /// Whether somebody wants a list that is newer than the last request.
    refresh: bool,
    /// When its images were last read, unless they are to be read again.
    images_read: Option<Instant>,
    firewall_read: bool,
    /// What the agent said then of changes that are not of our doing.
    firewall_moves: u64,
}

/// Why a conversation ended.
enum End {
    /// Greet again at once.
    Again,
    /// No answer, or none that makes sense.
    Failed(CallError),
    /// Another host answers.
    WrongHost(HypervisorId),
}

impl From<CallError> for End {
    fn from(error: CallError) -> Self {
        Self::Failed(error)
    }
}

impl Session {
    fn boot(&self) -> Boot {
        Boot(match &self.protocol {
            Protocol::Original => None,
            Protocol::Lochness(capabilities) => Some(capabilities.boot_id.clone()),
        })
    }

    fn has(&self, capability: &str) -> bool {
        match &self.protocol {
            Protocol::Original => false,
            Protocol::Lochness(capabilities) => capabilities.has(capability),
        }
    }
}

impl Poller {
    pub(super) fn new(context: Context, host: HypervisorId, target: String) -> Self {
        let agent = context.agents.agent_at(host, target.clone());
        let settings = &context.settings;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "any part of a random id does as a seed"
        )]
        let own = host.uuid().as_u128() as u64;
        let backoff = Backoff::new(BackoffOptions {
            min: settings.retry_min,
            max: LONGEST_PAUSE.min(settings.reachable_window / 3),
            seed: settings.seed ^ own,
            ..BackoffOptions::default()
        });
        let notes = Notes::new(context.clone(), host);
        Self { context, host, target, agent, backoff, failures: 0, held_since: None, notes }
    }

    /// Reads until it is dropped.
    pub(super) async fn run(mut self) -> Infallible {
        self.notes.begun();
        loop {
            let end = match self.session().await {
                Err(end) => end,
                Ok(never) => match never {},
            };
            match end {
                End::Again => {
                    // However often it says that it booted.
                    sleep(SPACING).await;
                    continue;
                }
                End::Failed(error) => self.notes.silent(&error, self.failures + 1),
                End::WrongHost(found) => self.notes.wrong_host(found),
            }
            let pause = self.backoff.delay(self.failures);
            self.failures = self.failures.saturating_add(1);
            sleep(pause).await;
        }
    }

    async fn session(&mut self) -> Result<Infallible, End> {
        let heartbeat_boot = self.heartbeat_boot();
        let protocol = match self.agent.probe_capabilities().await? {
            None => Protocol::Original,
            Some(Capabilities { id, .. }) if id != self.host => return Err(End::WrongHost(id)),
            Some(capabilities) => Protocol::Lochness(capabilities),
        };
        self.notes.greeted(&self.target, &protocol);
        let mut session = Session {
            protocol,
            heartbeat_boot,
            tag: None,
            refresh: false,
            images_read: None,
            firewall_read: false,
            firewall_moves: 0,
        };
        loop {
            self.read_rest(&mut session).await?;
            self.list(&mut session).await?;
            if self.heartbeat_boot() != session.heartbeat_boot {
                return Err(End::Again);
            }
        }
    }

    /// Images and firewall, until each was read once. An original does not say when its host has lost what it had: its
    /// images are read again when guests have vanished, and once in a while. That the storage of a host fails does not end the conversation.
    async fn read_rest(&mut self, session: &mut Session) -> Result<(), End> {
        let is_old = session.images_read.is_none_or(|read| {
            session.protocol == Protocol::Original && read.elapsed() >= ORIGINAL_IMAGES_AGE
        });
        if is_old && let Some(list) = answered("images", self.agent.probe_images().await)? {
            session.images_read = Some(Instant::now());
            self.notes.change(|report| {
                report.images = Some(listing::images(&list, report.images.take()));
            });
        }
        let has_firewall = session.has(lochness_agent::wire::CAPABILITY_FIREWALL);
        if has_firewall && !session.firewall_read {
            let before = self.notes.firewall_notes();
            if let Some(state) = answered("firewall", self.agent.probe_firewall().await)? {
                let read = listing::firewall(state);
                session.firewall_read = self.notes.firewall_read(before, read);
                // What crossed it may be older: it is read again at once, and not after a list that waits for a change.
                session.refresh |= !session.firewall_read;
            }
        }
        Ok(())
    }

    /// Asks for the list once, takes it in, and waits as long as is right before the next.
    async fn list(&mut self, session: &mut Session) -> Result<(), End> {
        let blocking = session.has(CAPABILITY_BLOCKING_LIST);
        let tag = session.tag.clone().filter(|_| blocking);
        let at_most = if mem::take(&mut session.refresh) { Duration::ZERO } else { self.wait() };
        let answer = self.ask(session, tag.as_deref(), at_most).await;
        if answer.is_err() && lochness_mutant::is(Mutant::FailedListIsEmpty) {
            self.notes.listed(BTreeMap::new(), session.boot(), Instant::now());
            self.interval().await;
            return Ok(());
        }
        let (answer, asked_at) = answer?;
        let mut next_at = asked_at + SPACING;
        match answer {
            GuestList::Unchanged => {
                self.failures = 0;
                self.notes.confirmed(asked_at);
                if at_most > Duration::ZERO && asked_at.elapsed() < at_most / 2 {
                    // It does not wait as it says it does.
                    sleep(self.context.settings.list_interval_busy).await;
                }
            }
            GuestList::Complete { guests, tag, firewall_moves } => {
                if firewall_moves != session.firewall_moves
                    && !lochness_mutant::is(Mutant::RulesDriftIgnored)
                {
                    (session.firewall_moves, session.firewall_read) = (firewall_moves, false);
                }
                let guests = listing::guests(guests);
                next_at = next_at.max(Instant::now() + rest_after(guests.len()));
                self.verify(session, &guests).await?;
                match self.judge(session, &guests, asked_at) {
                    Verdict::Accept => {
                        (self.failures, self.held_since) = (0, None);
                        let has_all =
                            self.notes.former().0.iter().all(|it| guests.contains_key(it));
                        if session.protocol == Protocol::Original && !has_all {
                            session.images_read = None;
                        }
                        self.notes.listed(guests, session.boot(), asked_at);
                        session.tag = tag;
                    }
                    Verdict::Hold { since, until, missing } => {
                        self.hold(since, until, missing).await;
                        return Ok(());
                    }
                }
            }
        }
        if blocking && session.tag.is_some() {
            sleep_until(next_at).await;
        } else {
            self.interval().await;
        }
        Ok(())
    }

    /// One request for the list, which waits for a change if there is a tag. When somebody wants a list that is newer
    /// than this request, it is given up for one that does not wait.
    async fn ask(
        &self,
        session: &mut Session,
        tag: Option<&str>,
        at_most: Duration,
    ) -> Result<(GuestList, Instant), End> {
        let request = |at_most| {
            let wait = tag.map(|tag| Wait { at_most, tag: Some(tag) });
            self.agent.probe_guests(wait)
        };
        let asked_at = Instant::now();
        if tag.is_none() || at_most.is_zero() {
            return Ok((request(Duration::ZERO).await?, asked_at));
        }
        let refresh = &mut session.refresh;
        let wanted = async {
            self.agent.refresh_wanted().await;
            *refresh = true;
            sleep(REFRESH_GRACE).await;
        };
        tokio::select! {
            biased;
            answer = request(at_most) => Ok((answer?, asked_at)),
            () = wanted => {
                session.refresh = false;
                let asked_at = Instant::now();
                Ok((request(Duration::ZERO).await?, asked_at))
            }
        }
    }

    /// How long an agent is to hold a list open: two thirds of the window, so that one slow answer does not make the
    /// host unreachable.
    fn wait(&self) -> Duration {
        let settings = &self.context.settings;
        settings.list_wait.min(settings.reachable_window * 2 / 3).max(SHORTEST_WAIT)
    }

    /// A list without some of the host's guests is believed only of the same host in the same boot: the address may be
    /// another's by now. The original does not say who it is.
    async fn verify(
        &self,
        session: &Session,
        guests: &BTreeMap<GuestId, ReportedGuest>,
    ) -> Result<(), End> {
        let Protocol::Lochness(greeted) = &session.protocol else { return Ok(()) };
        if self.notes.former().0.iter().all(|guest| guests.contains_key(guest)) {
            return Ok(());
        }
        match self.agent.probe_capabilities().await? {
            Some(Capabilities { id, .. }) if id != self.host => Err(End::WrongHost(id)),
            Some(now) if now.boot_id == greeted.boot_id => Ok(()),
            Some(_) | None => Err(End::Again),
        }
    }

    fn judge(
        &self,
        session: &Session,
        guests: &BTreeMap<GuestId, ReportedGuest>,
        asked_at: Instant,
    ) -> Verdict {
        let (former, former_boot) = self.notes.former();
        let (Boot(former_boot), Boot(boot)) = (former_boot, session.boot());
        let former = Former {
            guests: &former,
            boot_id: former_boot.as_deref(),
            held_since: self.held_since,
        };
        let answer = Answer { guests, boot_id: boot.as_deref(), asked_at };
        judge(former, &answer, self.context.settings.vanish_confirmation)
    }

    /// Leaves the report as it is, and rests before the list is asked for again.
    async fn hold(&mut self, since: Instant, until: Instant, missing: usize) {
        if self.held_since.is_none() {
            let confirmation = self.context.settings.vanish_confirmation;
            warn!(
                host = %self.host,
                missing,
                ?confirmation,
                "more than half of the host's guests vanished at once: not believed yet"
            );
        }
        self.held_since = Some(since);
        self.notes.answered();
        sleep_until(until.min(Instant::now() + self.context.settings.list_interval)).await;
    }

    /// Waits as an agent needs that cannot hold a list open: longer while nothing is under way there.
    async fn interval(&self) {
        let settings = &self.context.settings;
        if self.is_busy() {
            sleep(settings.list_interval_busy).await;
        } else {
            // Somebody wants it earlier, or it is time.
            let _ = timeout(settings.list_interval, self.agent.refresh_wanted()).await;
        }
    }

    /// Whether a job is under way on the host.
    fn is_busy(&self) -> bool {
        let world = self.context.world.read();
        let Some(entry) = world.host(self.host) else { return false };
        entry.placed.iter().any(|guest| {
            let job = world.job_of(*guest).and_then(|job| world.job(job)?.value.as_ref());
            job.is_some_and(|job| !job.status.is_finished())
        })
    }

    fn heartbeat_boot(&self) -> Option<String> {
        let world = self.context.world.read();
        world.host(self.host)?.heartbeat.as_ref()?.heartbeat.boot_id.clone()
    }
}

/// How long to rest after a list of so many guests.
fn rest_after(guests: usize) -> Duration {
    REST_A_GUEST.saturating_mul(u32::try_from(guests).unwrap_or(u32::MAX)).min(LONGEST_REST)
}

/// The answer; nothing when the agent answered that it cannot say.
fn answered<T>(what: &str, result: Result<T, CallError>) -> Result<Option<T>, CallError> {
    match result {
        Ok(answer) => Ok(Some(answer)),
        Err(CallError::Agent(
            error @ (AgentError::Refused { .. }
            | AgentError::Fenced(_)
            | AgentError::Failed { .. }
            | AgentError::Garbled(_)),
        )) => {
            warn!(%error, what, "agent cannot say");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
