//! The firewall loop: every host with guests has a ruleset that was compiled at or after their placement.
//!
//! Guarantees: one change is on its way to a host at a time, and the next one covers everything that came meanwhile; a
//! ruleset carries the revision of the view that it was compiled on, so that an agent refuses an older one that arrives
//! late; nothing is sent while the one in force does. What is acknowledged goes into the reports, where the job loop reads
//! it before it lets a guest start (INVARIANTS.md, S13).
//!
//! Where this leader knows what is in force and the rules are the same, a patch of the elements that came and went is sent;
//! otherwise, and when the agent does not take the patch, the whole ruleset. The hash names what is in force, however it
//! came to be, so a new leader that finds it right sends nothing and goes on with patches.

pub mod compile;
pub mod content;
pub mod input;
mod known;
mod nft;
pub mod plan;
pub mod rules;

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod facts;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod unanswered_tests;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lochness_agent::AgentError;
use lochness_agent::client::PatchOutcome;
use lochness_agent::wire::{FirewallPatch, FirewallPut, FirewallState, Order};
use lochness_api::HypervisorId;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use lochness_runtime::metrics::Metrics;
use rustc_hash::FxHashMap;
use tokio::time::Instant;
use tracing::{debug, info};

use crate::agents::{Agent, CallError, target};
use crate::context::Context;
use crate::reports::FirewallReport;
use crate::rollback;
use crate::wake::wake_job_of;
use crate::world::World;
use compile::compile;
use content::Content;
use known::Known;

/// Before a ruleset is planned anew when the agent did not say what is in force.
const PATCH_RETRY: Duration = Duration::from_millis(100);

/// Keeps hosts' rulesets.
pub struct FirewallReconciler {
    context: Context,
    /// What may be in force on each host, as far as this leader has compiled it. The agent says by its hash which of it is.
    contents: Mutex<FxHashMap<HypervisorId, Known>>,
    /// Hosts of which nobody knows what is in force: a request was not answered, which may take longer than its answer is
    /// waited for and arrive when the rules have changed back, or two reads have crossed. With the newest revision that may be.
    unsure: Mutex<FxHashMap<HypervisorId, Order>>,
}

/// A ruleset that must be in force.
struct Due {
    agent: Agent,
    content: Arc<Content>,
    request: Request,
    /// What is in force so far; `None` when that is not known.
    before: Option<FirewallReport>,
    /// How often something had been noted of what is in force.
    notes: u64,
}

/// What may be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// A patch, if it is known what that leads from.
    Shortest,
    /// Nothing but the whole ruleset: the agent has something else in force than the report says.
    Whole,
}

/// What is sent for it.
enum Request {
    Put(FirewallPut),
    Patch(FirewallPatch),
}

/// How a request ended.
enum Sent {
    /// The agent says what is in force now.
    Answered(FirewallState),
    /// The agent does not take the patch: another ruleset is in force than its base, or the patch itself is not right.
    PatchNotTaken {
        /// The hash of what is in force, where the agent told it.
        current: Option<String>,
    },
    /// It failed otherwise.
    Failed(CallError),
}

/// What a read of what is in force has brought.
#[derive(Debug, PartialEq, Eq)]
enum Read {
    /// What was known, or nothing that would help.
    AsKnown,
    /// Something else, which is noted.
    News,
    /// Something else, and something was noted while it was read: which of the two is newer, only the agent knows.
    Crossed,
}

impl Request {
    fn revision(&self) -> Order {
        match self {
            Self::Put(put) => put.revision,
            Self::Patch(patch) => patch.revision,
        }
    }
}

impl FirewallReconciler {
    /// A reconciler for one term.
    pub fn new(context: Context, _metrics: &Metrics) -> Self {
        Self { context, contents: Mutex::default(), unsure: Mutex::default() }
    }

    /// What the host lacks, if it lacks something and may be sent it.
    fn due(&self, host: HypervisorId, form: Form) -> Option<Due> {
        let context = &self.context;
        let (world, reports) = (context.world.read(), context.reports.read());
        let Some(entry) = world.host(host) else {
            self.forget(host);
            return None;
        };
        let (report, target) = (reports.host(host)?, target(entry)?);
        let reachable = report.is_reachable(Instant::now(), context.settings.reachable_window);
        let held = context.hold(&world).is_some() || entry.config.pause;
        if held || !reachable || !report.is_from(&target) || !plan::is_wanted(entry, report) {
            return None;
        }
        if rollback::is_unjudged(&world, entry, report) {
            return None;
        }
        let newest = context.order(plan::newest_placement(entry));
        let unanswered = self.unsure().get(&host).copied();
        if report.firewall.is_none() && newest.revision == 0 && unanswered.is_none() {
            return None;
        }
        let ruleset = compile(&input::input(&world, entry));
        let before = report.firewall.clone();
        if before.as_ref().is_some_and(|report| report.hash == ruleset.content.hash) {
            self.note(host, &ruleset.content);
        }
        if !plan::must_send(before.as_ref(), &ruleset.content.hash, newest, unanswered) {
            if let Some(in_force) = &before {
                self.overtaken(host, in_force.revision);
            }
            return None;
        }
        let revision = context.order(world.revision());
        let patch = match form {
            Form::Shortest => self.patch(&world, host, before.as_ref(), &ruleset.content, revision),
            Form::Whole => None,
        };
        let request = patch.map_or_else(
            || {
                let hash = ruleset.content.hash.clone();
                let ruleset = ruleset.text(|group| world.member_addresses(group));
                Request::Put(FirewallPut { hash, revision, ruleset })
            },
            Request::Patch,
        );
        let agent = context.agents.agent_at(host, target);
        let notes = report.firewall_notes;
        Some(Due { agent, content: Arc::new(ruleset.content), request, before, notes })
    }

    /// What leads from what is in force to what is wanted, if that is known and a matter of elements.
    fn patch(
        &self,
        world: &World,
        host: HypervisorId,
        before: Option<&FirewallReport>,
        wanted: &Content,
        revision: Order,
    ) -> Option<FirewallPatch> {
        let base = before?.hash.clone();
        let known = self.contents().get(&host)?.of(&base)?;
        let difference = known.difference(wanted, |group| world.member_addresses(group))?;
        let hash = wanted.hash.clone();
        Some(FirewallPatch { base, hash, revision, add: difference.add, remove: difference.remove })
    }

    fn contents(&self) -> std::sync::MutexGuard<'_, FxHashMap<HypervisorId, Known>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what is in force on a host, if that is not known.
    fn note(&self, host: HypervisorId, content: &Content) {
        if !self.knows(host, &content.hash) {
            self.contents().insert(host, Known::only(Arc::new(content.clone())));
        }
    }

    fn knows(&self, host: HypervisorId, hash: &str) -> bool {
        self.contents().get(&host).is_some_and(|known| known.of(hash).is_some())
    }

    fn unsure(&self) -> std::sync::MutexGuard<'_, FxHashMap<HypervisorId, Order>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, host: HypervisorId) {
        self.contents().remove(&host);
    }

    /// This is in force: what is older is refused, whenever it arrives.
    fn overtaken(&self, host: HypervisorId, in_force: Order) {
        self.unsure().retain(|of, unanswered| *of != host || *unanswered > in_force);
    }

    async fn send(due: &Due) -> Sent {
        match &due.request {
            Request::Put(put) => {
                debug!(hash = put.hash, revision = %put.revision, "a ruleset is sent");
                due.agent.put_firewall(put).await.map_or_else(Sent::Failed, Sent::Answered)
            }
            Request::Patch(patch) => {
                debug!(hash = patch.hash, revision = %patch.revision, "elements are sent");
                match due.agent.patch_firewall(patch).await {
                    Ok(PatchOutcome::Applied(state)) => Sent::Answered(state),
                    Ok(PatchOutcome::WrongBase { current }) => Sent::PatchNotTaken { current },
                    Err(CallError::Agent(error)) if plan::is_about_the_patch(&error) => {
                        Sent::PatchNotTaken { current: None }
                    }
                    Err(error) => Sent::Failed(error),
                }
            }
        }
    }

    /// Takes in how the last request for a host ended.
    fn take_in(
        &self,
        host: HypervisorId,
        due: &Due,
        sent: Sent,
    ) -> Result<Outcome, ReconcileError> {
        match sent {
            Sent::Answered(state) => self.answered(host, due, state),
            Sent::Failed(error) => {
                if let CallError::Agent(error) = &error {
                    self.refused(host, due, error);
                }
                later(&error)
            }
            // The last request was no patch.
            Sent::PatchNotTaken { .. } => Ok(Outcome::unchanged().after(PATCH_RETRY)),
        }
    }

    /// Nobody knows whether what was sent is in force: it is read before anything else is sent.
    fn doubt(&self, host: HypervisorId, due: &Due) {
        self.contents().entry(host).or_default().add(Arc::clone(&due.content));
        self.suspect(host, due.request.revision());
    }

    /// What is of this revision may be in force.
    fn suspect(&self, host: HypervisorId, revision: Order) {
        let mut unsure = self.unsure();
        let newest = unsure.entry(host).or_default();
        *newest = (*newest).max(revision);
    }

    /// Notes what the agent says is in force now; or, when something was noted of the host's rules while the request was
    /// under way, that nobody knows: that the rules are gone may have been read after the request was carried out and before
    /// its answer came, and which of the two is newer, only the agent knows.
    fn answered(
        &self,
        host: HypervisorId,
        due: &Due,
        state: FirewallState,
    ) -> Result<Outcome, ReconcileError> {
        let revision = due.request.revision();
        let wanted = match &due.request {
            Request::Put(put) => &put.hash,
            Request::Patch(patch) => &patch.hash,
        };
        let hash = state.hash.unwrap_or_default();
        let error = state.error.or_else(|| {
            (hash != *wanted).then(|| "the agent says that another is in force".to_owned())
        });
        let revision = state.revision.unwrap_or(revision);
        let is_as_sent = hash == *wanted;
        let now = FirewallReport { hash, revision, error: error.clone() };
        if !self.acknowledged(host, due, now) {
            debug!(%host, "what is in force was noted while a ruleset was sent: it is read again");
            self.doubt(host, due);
            self.context.reports.change(host, |report| report.note_firewall(None));
            return Ok(Outcome::unchanged().after(PATCH_RETRY));
        }
        if is_as_sent {
            self.contents().insert(host, Known::only(Arc::clone(&due.content)));
        } else {
            self.forget(host);
        }
        self.overtaken(host, revision);
        match error {
            None => {
                info!(%host, %revision, "a ruleset is in force");
                Ok(Outcome::changed())
            }
            Some(words) => Err(ReconcileError::failed("RulesetRefused", words)),
        }
    }

    /// Notes what is in force now, and wakes those who wait for it; nothing when something was noted since the request was
    /// decided upon. Whether it is noted.
    fn acknowledged(&self, host: HypervisorId, due: &Due, now: FirewallReport) -> bool {
        let context = &self.context;
        let mut is_taken = false;
        context.reports.change(host, |report| {
            is_taken = report.firewall_notes == due.notes;
            if is_taken {
                report.note_firewall(Some(now));
            }
        });
        if !is_taken {
            return false;
        }
        context.queues.host.add(host);
        let world = context.world.read();
        let Some(entry) = world.host(host) else { return true };
        let order = |revision| context.order(revision);
        for guest in plan::newly_covered(entry, due.before.as_ref(), order) {
            context.queues.guest.add(guest);
            wake_job_of(&world, guest, &context.queues);
        }
        true
    }

    /// Notes that the agent did not take a ruleset: the former one stays in force.
    fn refused(&self, host: HypervisorId, due: &Due, error: &AgentError) {
        if matches!(error, AgentError::NotSent(_)) {
            return;
        }
        if error.may_have_happened() {
            self.doubt(host, due);
        }
        let nothing =
            || FirewallReport { hash: String::new(), revision: Order::default(), error: None };
        let context = &self.context;
        let (mut news, mut uncovered) = (false, None);
        context.reports.change(host, |report| {
            let before = report.firewall.clone().unwrap_or_else(nothing);
            let failed = FirewallReport { error: Some(error.to_string()), ..before.clone() };
            news = report.firewall.as_ref() != Some(&failed);
            uncovered = Some(before);
            report.note_firewall(Some(failed));
        });
        context.queues.host.add(host);
        if !news {
            return;
        }
        // Those who wait for it say why.
        let world = context.world.read();
        let Some(entry) = world.host(host) else { return };
        let order = |revision| context.order(revision);
        for guest in plan::newly_covered(entry, uncovered.as_ref(), order) {
            context.queues.guest.add(guest);
        }
    }

    /// Reads what is in force on a host of which that is not known. `Err` when the agent does not say.
    async fn read(&self, host: HypervisorId, due: &Due) -> Result<Read, CallError> {
        let Some(known) = in_force(due.agent.firewall().await?) else { return Ok(Read::AsKnown) };
        let revision = known.revision;
        let of = |report: &FirewallReport| (report.hash.clone(), report.revision);
        let is_news = due.before.as_ref().map(of) != Some(of(&known));
        if is_news && !self.acknowledged(host, due, known) {
            debug!(%host, "what is in force was noted while it was read: it is read again");
            // Also on a host where nobody needs rules any more.
            self.suspect(host, revision);
            self.context.reports.change(host, |report| report.note_firewall(None));
            return Ok(Read::Crossed);
        }
        self.overtaken(host, revision);
        Ok(if is_news { Read::News } else { Read::AsKnown })
    }

    /// What is still due when the agent has said what is in force; or how this look at the host ends.
    async fn due_after_reading(
        &self,
        host: HypervisorId,
        due: Due,
    ) -> Result<Due, Result<Outcome, ReconcileError>> {
        match self.read(host, &due).await {
            Ok(Read::AsKnown) => Ok(due),
            Ok(Read::News) => {
                self.due(host, Form::Shortest).ok_or_else(|| Ok(Outcome::unchanged()))
            }
            Ok(Read::Crossed) => Err(Ok(Outcome::unchanged().after(PATCH_RETRY))),
            Err(error) => Err(later(&error)),
        }
    }
}

#[async_trait]
impl Reconciler for FirewallReconciler {
    type Key = HypervisorId;

    fn name(&self) -> &'static str {
        "firewall"
    }

    async fn reconcile(&self, host: &HypervisorId) -> Result<Outcome, ReconcileError> {
        let Some(mut due) = self.due(*host, Form::Shortest) else {
            return Ok(Outcome::unchanged());
        };
        if due.before.is_none() || self.unsure().contains_key(host) {
            due = match self.due_after_reading(*host, due).await {
                Ok(still_due) => still_due,
                Err(end) => return end,
            };
        }
        let mut sent = Self::send(&due).await;
        if let Sent::PatchNotTaken { current } = &sent {
            debug!(%host, "a patch was not taken");
            if current.as_ref().is_some_and(|current| self.knows(*host, current)) {
                // One that was not answered has come in force meanwhile.
                due = match self.due_after_reading(*host, due).await {
                    Ok(still_due) => still_due,
                    Err(end) => return end,
                };
                sent = Self::send(&due).await;
            }
        }
        if matches!(sent, Sent::PatchNotTaken { .. }) {
            self.forget(*host);
            match self.due(*host, Form::Whole) {
                Some(whole) => due = whole,
                None => return Ok(Outcome::unchanged()),
            }
            sent = Self::send(&due).await;
        }
        self.take_in(*host, &due, sent)
    }
}

/// What is in force, if anything is.
fn in_force(state: FirewallState) -> Option<FirewallReport> {
    Some(FirewallReport { hash: state.hash?, revision: state.revision?, error: state.error })
}

/// A request that could not be sent now is made again in time; one that failed, with backoff.
fn later(error: &CallError) -> Result<Outcome, ReconcileError> {
    match error {
        CallError::LeftAlone { retry_in } => Ok(Outcome::unchanged().after(*retry_in)),
        CallError::NoBudget | CallError::Held | CallError::Busy => {
            Ok(Outcome::unchanged().after(Duration::from_millis(100)))
        }
        CallError::Agent(inner) => Err(ReconcileError::failed(inner.reason(), error.to_string())),
    }
}
