//! One host's agent, as the loops speak with it: a client behind a limit, a breaker and the term's budget.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lochness_agent::client::PatchOutcome;
use lochness_agent::wire::{
    AgentGuest, AgentImage, AgentJob, Capabilities, FirewallPatch, FirewallPut, FirewallState,
    ImageFetch, Order,
};
use lochness_agent::{AgentClient, AgentError, GuestList, GuestLookup, Ticket, Wait};
use lochness_api::job::JobAction;
use lochness_api::{GuestId, HypervisorId, JobId};
use lochness_runtime::leader::Term;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::breaker::{Breaker, BreakerOptions};
use super::metrics::{AgentMetrics, OpenBreaker, Operation};
use super::witness::Witness;
use crate::settings::Settings;
use crate::world::WorldCell;

/// So many requests in a row without an answer, and the agent is left alone for a while.
const CONTACT_FAILURES: u32 = 3;

/// Why a request to an agent brought nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// Not sent: the lease is in its last third, or the term is over.
    #[error("the lease leaves no time for a mutation")]
    NoBudget,
    /// Not sent: the store is not the one that was there before, and nobody has accepted it.
    #[error("the store is held")]
    Held,
    /// Not sent: as many requests as one agent gets are under way.
    #[error("enough requests are under way at this agent")]
    Busy,
    /// Not sent: the agent failed repeatedly and is left alone for so long.
    #[error("the agent failed repeatedly, it is left alone for {retry_in:?}")]
    LeftAlone {
        /// When to ask again.
        retry_in: Duration,
    },
    /// The agent's own failure, or that of the way to it.
    #[error(transparent)]
    Agent(#[from] AgentError),
}

/// What keeps a request for a guest from doing harm, whenever it arrives; nothing of it to an agent that does not know it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Numbers {
    /// The job's number.
    pub order: Option<Order>,
    /// What the ruleset in force must at least be of before the guest may begin to run.
    pub ruleset: Option<Order>,
}

/// The way to one host's agent. Cheap to clone. Nothing waits for a turn: what cannot be sent now is refused at once, so
/// that a slow agent holds no worker of a loop.
#[derive(Clone)]
pub struct Agent {
    client: AgentClient,
    lane: Arc<Lane>,
    term: Term,
    metrics: AgentMetrics,
    ears: Ears,
}

/// Who hears of the numbers that this agent tells.
#[derive(Clone)]
pub(super) struct Ears {
    pub(super) witness: Witness,
    pub(super) host: HypervisorId,
    /// The epoch of this term.
    pub(super) epoch: Order,
    /// What is held when a number may prove that the store was rolled back.
    pub(super) world: Option<Arc<WorldCell>>,
}

impl Ears {
    /// The agent has shown a number.
    fn saw(&self, number: Order) {
        if self.witness.saw(self.host, number) {
            self.suspect();
        }
    }

    /// A leader of this epoch has asked the agent for a change.
    fn led_by(&self, epoch: Order) {
        if self.witness.led_by(self.host, epoch) {
            self.suspect();
        }
    }

    /// The agent has refused a request.
    fn listen(&self, error: &AgentError) {
        if self.witness.listen(self.host, error) {
            self.suspect();
        }
    }

    /// Holds everything from now on if what was told may prove something: [`crate::rollback`] looks into it.
    fn suspect(&self) {
        let Some(world) = &self.world else { return };
        if self.witness.is_above(self.epoch, world.position().borrow().revision) {
            world.suspect();
            // It may have been looked into just before.
            self.witness.again();
        }
    }

    fn is_held(&self) -> bool {
        self.world.as_ref().is_some_and(|world| world.is_held())
    }
}

/// What all requests to one host share.
pub(super) struct Lane {
    permits: Semaphore,
    breakers: Mutex<Breakers>,
    /// Told when the list is wanted as it is now: a mutation was sent, or a job ended.
    refresh: Notify,
    metrics: AgentMetrics,
}

struct Breakers {
    /// Opens when requests get no answer.
    contact: Breaker,
    /// Opens for mutations when jobs die with their agent, so that one poisoned guest does not keep a host down.
    jobs: Breaker,
    /// Counts while one of them is open.
    shown: Option<OpenBreaker>,
}

impl CallError {
    /// A word out of a closed set.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NoBudget => "NoBudget",
            Self::Held => "Held",
            Self::Busy => "Busy",
            Self::LeftAlone { .. } => "LeftAlone",
            Self::Agent(error) => error.reason(),
        }
    }

    /// Whether the request may have been carried out, now or later.
    pub fn may_have_happened(&self) -> bool {
        match self {
            Self::NoBudget | Self::Held | Self::Busy | Self::LeftAlone { .. } => false,
            Self::Agent(error) => error.may_have_happened(),
        }
    }
}

impl Lane {
    pub(super) fn new(settings: &Settings, metrics: &AgentMetrics) -> Self {
        let options = |threshold| BreakerOptions {
            threshold,
            min: settings.retry_min,
            max: settings.retry_max,
        };
        let breakers = Breakers {
            contact: Breaker::new(options(CONTACT_FAILURES)),
            jobs: Breaker::new(options(1)),
            shown: None,
        };
        Self {
            permits: Semaphore::new(settings.requests_per_agent.max(1)),
            breakers: Mutex::new(breakers),
            refresh: Notify::new(),
            metrics: metrics.clone(),
        }
    }

    /// Changes the breakers, and shows whether one is open.
    fn breakers<T>(&self, change: impl FnOnce(&mut Breakers, Instant) -> T) -> T {
        let mut breakers: MutexGuard<'_, Breakers> =
            self.breakers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = change(&mut breakers, Instant::now());
        let open = breakers.contact.is_open() || breakers.jobs.is_open();
        if open != breakers.shown.is_some() {
            breakers.shown = open.then(|| self.metrics.breaker_opened());
        }
        answer
    }

    /// Counts an answer, or that there was none.
    fn answered<T>(&self, result: &Result<T, AgentError>) {
        self.breakers(|breakers, now| match result {
            Err(AgentError::NotSent(_) | AgentError::Unknown(_)) => breakers.contact.failed(now),
            Ok(_)
            | Err(
                AgentError::Refused { .. }
                | AgentError::Fenced(_)
                | AgentError::Failed { .. }
                | AgentError::Garbled(_),
            ) => breakers.contact.succeeded(),
        });
    }
}

impl Numbers {
    fn ticket(self, job: JobId, budget: Duration) -> Ticket {
        let Self { order, ruleset } = self;
        Ticket { job, order, ruleset, budget }
    }
}

impl Agent {
    pub(super) fn new(
        client: AgentClient,
        lane: Arc<Lane>,
        term: Term,
        metrics: AgentMetrics,
        ears: Ears,
    ) -> Self {
        Self { client, lane, term, metrics, ears }
    }

    /// One guest, as the agent has it now.
    pub async fn guest(&self, id: GuestId) -> Result<GuestLookup, CallError> {
        self.read(Operation::Guest, self.client.guest(id)).await
    }

    /// The jobs of one guest that the agent still knows, newest first.
    pub async fn jobs_of(&self, guest: GuestId) -> Result<Vec<AgentJob>, CallError> {
        self.read(Operation::JobsOf, self.client.jobs_of(guest)).await
    }

    /// A job by the agent's own id; `None` says nothing of its outcome.
    pub async fn job(&self, remote: &str) -> Result<Option<AgentJob>, CallError> {
        self.read(Operation::Job, self.client.job(remote)).await
    }

    /// The jobs that belong to no guest that the agent still knows, newest first.
    pub async fn image_jobs(&self) -> Result<Vec<AgentJob>, CallError> {
        self.read(Operation::Jobs, self.client.image_jobs()).await
    }

    /// The images that the host has.
    pub async fn images(&self) -> Result<Vec<AgentImage>, CallError> {
        self.read(Operation::Images, self.client.images()).await
    }

    /// The ruleset in force.
    pub async fn firewall(&self) -> Result<FirewallState, CallError> {
        self.read(Operation::Firewall, self.client.firewall()).await
    }

    /// Asks for a guest to be created; the answer is the agent's id of the job.
    pub async fn create(
        &self,
        guest: &AgentGuest,
        job: JobId,
        numbers: Numbers,
    ) -> Result<String, CallError> {
        self.begin(JobAction::Create, |budget| async move {
            self.client.create(guest, &numbers.ticket(job, budget)).await
        })
        .await
    }

    /// Asks for anything else to be done with a guest; the answer is the agent's id of the job.
    pub async fn act(
        &self,
        guest: GuestId,
        action: JobAction,
        job: JobId,
        numbers: Numbers,
    ) -> Result<String, CallError> {
        self.begin(action, |budget| async move {
            self.client.act(guest, action, &numbers.ticket(job, budget)).await
        })
        .await
    }

    /// Asks for an image to be fetched; the answer is the agent's id of the job.
    pub async fn fetch_image(&self, image: &ImageFetch) -> Result<String, CallError> {
        self.mutate(Operation::FetchImage, |budget| self.client.fetch_image(image, budget)).await
    }

    /// Puts a whole ruleset in force.
    pub async fn put_firewall(&self, ruleset: &FirewallPut) -> Result<FirewallState, CallError> {
        self.mutate(Operation::PutFirewall, |budget| self.client.put_firewall(ruleset, budget))
            .await
    }

    /// Changes members of sets in the ruleset in force.
    pub async fn patch_firewall(&self, patch: &FirewallPatch) -> Result<PatchOutcome, CallError> {
        self.mutate(Operation::PatchFirewall, |budget| self.client.patch_firewall(patch, budget))
            .await
    }

    /// A job was lost with its agent, which may have died of it: mutations are held back for a while, longer each time.
    pub fn job_lost(&self) {
        self.lane.breakers(|breakers, now| breakers.jobs.failed(now));
    }

    /// A job ended as jobs do: the agent lives with what it is asked.
    pub fn job_ended(&self) {
        self.lane.breakers(|breakers, _| breakers.jobs.succeeded());
    }

    /// Asked whatever the breaker says, for these are the requests by which it learns that the agent is back.
    pub(super) async fn probe_capabilities(&self) -> Result<Option<Capabilities>, CallError> {
        let started = Instant::now();
        let answer = self.ask(Operation::Capabilities, Some(started), self.client.capabilities());
        let mut answer = answer.await?;
        // What it says of leaders is heard here, and is no capability.
        if let Some(capabilities) = &mut answer
            && capabilities.id == self.ears.host
            && let Some(epoch) = capabilities.epoch.take()
        {
            self.ears.led_by(epoch);
        }
        Ok(answer)
    }

    /// As [`Self::probe_capabilities`]. One a host, so it takes no turn of the others.
    pub(super) async fn probe_guests(
        &self,
        wait: Option<Wait<'_>>,
    ) -> Result<GuestList, CallError> {
        let started = wait.is_none().then(Instant::now);
        self.ask(Operation::ListGuests, started, self.client.list_guests(wait)).await
    }

    /// As [`Self::probe_capabilities`].
    pub(super) async fn probe_images(&self) -> Result<Vec<AgentImage>, CallError> {
        self.ask(Operation::Images, Some(Instant::now()), self.client.images()).await
    }

    /// As [`Self::probe_capabilities`].
    pub(super) async fn probe_firewall(&self) -> Result<FirewallState, CallError> {
        let state =
            self.ask(Operation::Firewall, Some(Instant::now()), self.client.firewall()).await?;
        if let Some(revision) = state.revision {
            self.ears.saw(revision);
        }
        Ok(state)
    }

    /// Asks for a list of guests that is newer than this moment, as soon as may be.
    pub fn refresh(&self) {
        self.lane.refresh.notify_one();
    }

    /// Waits until somebody wants a newer list.
    pub(super) async fn refresh_wanted(&self) {
        self.lane.refresh.notified().await;
    }

    async fn read<T>(
        &self,
        operation: Operation,
        request: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<T, CallError> {
        let _permit = self.lane.permits.try_acquire().map_err(|_| CallError::Busy)?;
        self.admit()?;
        self.ask(operation, Some(Instant::now()), request).await
    }

    /// A mutation that makes a job of a guest: held back while jobs die with the agent.
    async fn begin<F>(
        &self,
        action: JobAction,
        request: impl FnOnce(Duration) -> F,
    ) -> Result<String, CallError>
    where
        F: Future<Output = Result<String, AgentError>>,
    {
        self.lane.breakers(|breakers, now| {
            let refused = breakers.jobs.refuses(now).or_else(|| breakers.contact.refuses(now));
            match refused {
                Some(retry_in) => Err(CallError::LeftAlone { retry_in }),
                None => {
                    breakers.jobs.admit(now).map_err(|retry_in| CallError::LeftAlone { retry_in })
                }
            }
        })?;
        let result = self.mutate(Operation::Act(action), request).await;
        if result.as_ref().is_err_and(|error| !error.may_have_happened()) {
            self.lane.breakers(|breakers, now| breakers.jobs.abandoned(now));
        }
        result
    }

    /// The one gate of mutations: the budget is taken from the term right before the request is made, and a store that is
    /// held since the caller looked is seen.
    async fn mutate<T, F>(
        &self,
        operation: Operation,
        request: impl FnOnce(Duration) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<T, AgentError>>,
    {
        let _permit = self.lane.permits.try_acquire().map_err(|_| CallError::Busy)?;
        let budget = self.term.mutation_budget().ok_or(CallError::NoBudget)?;
        if self.ears.is_held() {
            return Err(CallError::Held);
        }
        self.admit()?;
        self.ask(operation, Some(Instant::now()), request(budget)).await
    }

    fn admit(&self) -> Result<(), CallError> {
        self.lane.breakers(|breakers, now| {
            breakers.contact.admit(now).map_err(|retry_in| CallError::LeftAlone { retry_in })
        })
    }

    async fn ask<T>(
        &self,
        operation: Operation,
        started: Option<Instant>,
        request: impl Future<Output = Result<T, AgentError>>,
    ) -> Result<T, CallError> {
        let answer = request.await;
        self.lane.answered(&answer);
        if let Err(error) = &answer {
            self.ears.listen(error);
        }
        let result = answer.map_err(CallError::from);
        self.metrics.requested(operation, started, &result);
        result
    }
}
