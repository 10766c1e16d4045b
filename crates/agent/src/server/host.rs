//! One host that lives: its state behind a lock, its workers, its deaths and returns.
//!
//! ```text
//!   Up(1) ── process ends ──▶ Down ── after a while ──▶ Up(2) ── …
//! ```
//! A life ends with its workers and its open answers; only what is stored goes on. The guests of the simulated driver
//! outlive the agent, as real ones do.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lochness_api::HypervisorId;
use lochness_api::document::Resources;
use tokio::sync::{Semaphore, watch};
use tokio::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::accept::Accepted;
use super::changes::Changes;
use super::config::{Compat, HostConfig};
use super::core::{Core, WallClock};
use super::driver::Outcome;
use super::events::Aftermath;
use super::faults::{Event, Faults};
use super::firewall::InForce;
use super::firewall::enforcer::Enforcer;
use super::history::Effect;
use super::jobs::{JobRecord, QUEUE_LIMIT, Subject, Work};
use super::perform::{After, makes_run};
use super::ports::Ports;
use super::stats::Stats;
use super::storage::{Storage, StorageError};
use crate::wire::{
    CAPABILITY_BLOCKING_LIST, CAPABILITY_FIREWALL, CAPABILITY_JOBS_ON_DISK, CAPABILITY_ORDER,
    CAPABILITY_SUSPEND, CAPABILITY_VLAN, Capabilities,
};

/// One hypervisor's agent. Cheap to clone; all clones are the same host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    core: Mutex<Core>,
    life: watch::Sender<Life>,
    changes: Changes,
    /// One ruleset at a time is being put in force.
    firewall: Semaphore,
    enforcer: Enforcer,
    /// Whether the stored ruleset was put in force, or that failed.
    firewall_tried: watch::Sender<bool>,
    /// The host's ends of the guests' interfaces, where they are real.
    ports: Option<Ports>,
    tasks: TaskTracker,
    stop: CancellationToken,
    id: HypervisorId,
    name: String,
    compat: Compat,
    bearer: Option<String>,
}

/// One life of the agent's process.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    pub(crate) up: bool,
    /// Cancelled when it ends.
    pub(crate) end: CancellationToken,
}

impl Host {
    /// Reads what is stored of a host and starts the work that waits in it. Must be called inside a tokio runtime.
    pub fn open(
        config: HostConfig,
        storage: Storage,
        clock: WallClock,
    ) -> Result<Self, StorageError> {
        let (id, name, compat) = (config.id, config.name.clone(), config.compat);
        let bearer = config.bearer.clone();
        let enforcer = Enforcer::new(&config);
        let ports = match &enforcer {
            Enforcer::Nft(nft) => Some(Ports::new(nft.runner().clone())),
            Enforcer::Nobody | Enforcer::Simulated(_) => None,
        };
        let changes = Changes::default();
        let (core, subjects) = Core::open(config, storage, clock, changes.clone())?;
        let stop = CancellationToken::new();
        let life = Life { up: true, end: stop.child_token() };
        let host = Self(Arc::new(Inner {
            core: Mutex::new(core),
            life: watch::Sender::new(life),
            changes,
            firewall: Semaphore::new(1),
            firewall_tried: watch::Sender::new(ports.is_none()),
            enforcer,
            ports,
            tasks: TaskTracker::new(),
            stop,
            id,
            name,
            compat,
            bearer,
        }));
        host.start_guard();
        host.start_workers(&host.life(), subjects);
        Ok(host)
    }

    /// The host's id.
    pub fn id(&self) -> HypervisorId {
        self.0.id
    }

    /// The host's name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Which protocol it speaks.
    pub fn compat(&self) -> Compat {
        self.0.compat
    }

    /// What truly happened on it after the effect numbered `sequence`, oldest first.
    pub fn history_since(&self, sequence: u64) -> Vec<Effect> {
        self.core().state.history.since(sequence).cloned().collect()
    }

    /// What truly happened on it, oldest first.
    pub fn history(&self) -> Vec<Effect> {
        self.history_since(0)
    }

    /// What it was asked.
    pub fn stats(&self) -> Stats {
        self.core().stats
    }

    /// The boot that its guests live in.
    pub fn boot_id(&self) -> String {
        self.core().state.boot_id.clone()
    }

    /// Whether the ruleset that it has stored is in force; so it is while there is none.
    pub fn rules_are_in_force(&self) -> bool {
        self.core().in_force == InForce::Yes
    }

    /// From now on, and at most for `lasting`, these go wrong, and nothing else.
    pub fn set_faults(&self, faults: Faults, lasting: Option<Duration>) {
        self.core().faults.set(faults, lasting);
    }

    /// Lets something happen.
    pub fn happen(&self, event: Event) -> Result<(), StorageError> {
        let aftermath = self.core().happen(event)?;
        match aftermath {
            Aftermath::Lives => {}
            Aftermath::Dies(ms) => self.die(Duration::from_millis(ms)),
        }
        Ok(())
    }

    /// What it has.
    pub(crate) fn total_resources(&self) -> Resources {
        self.core().config.total_resources
    }

    /// What it can do, as its agent says.
    pub fn capabilities(&self) -> Capabilities {
        let core = self.core();
        let has_vlans = matches!(self.enforcer(), Enforcer::Nft(nft) if nft.filters_vlans());
        let words = [
            (CAPABILITY_ORDER, true),
            (CAPABILITY_FIREWALL, self.enforcer().works()),
            (CAPABILITY_BLOCKING_LIST, true),
            (CAPABILITY_SUSPEND, true),
            (CAPABILITY_JOBS_ON_DISK, true),
            (CAPABILITY_VLAN, has_vlans),
        ];
        let offered = words.into_iter().filter(|(_, offered)| *offered);
        Capabilities {
            id: self.0.id,
            boot_id: core.state.boot_id.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            capabilities: offered.map(|(word, _)| word.to_owned()).collect(),
            self_fence_seconds: core.config.self_fence_seconds,
            epoch: core.state.fence.epoch(),
        }
    }

    /// Ends its work, and waits for that. Nothing is lost: what had begun is found interrupted at the next start.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(crate) fn core(&self) -> MutexGuard<'_, Core> {
        // A panic under the lock leaves at worst a state that was not stored, which the next start reads anew.
        self.0.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bearer(&self) -> Option<&str> {
        self.0.bearer.as_deref()
    }

    pub(crate) fn life(&self) -> Life {
        self.0.life.borrow().clone()
    }

    pub(crate) fn lives(&self) -> watch::Receiver<Life> {
        self.0.life.subscribe()
    }

    pub(crate) fn changes(&self) -> &Changes {
        &self.0.changes
    }

    /// The state, while this life lasts.
    pub(crate) fn core_of(&self, life: &Life) -> Option<MutexGuard<'_, Core>> {
        let core = self.core();
        if life.end.is_cancelled() { None } else { Some(core) }
    }

    /// Stops the guests that may be placed anew elsewhere; when the agent is down, as soon as it is back.
    pub(crate) async fn self_fence(&self) {
        let mut lives = self.lives();
        // Only the end of all hosts closes the channel.
        if lives.wait_for(|life| life.up).await.is_ok() {
            let fenced = self.core().self_fence();
            if let Err(error) = fenced {
                self.storage_failed(&error);
            }
        }
    }

    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Whoever holds its one permit may put a ruleset in force.
    pub(crate) fn firewall_turn(&self) -> &Semaphore {
        &self.0.firewall
    }

    pub(crate) fn enforcer(&self) -> &Enforcer {
        &self.0.enforcer
    }

    /// The stored ruleset is in force, or could not be put in force.
    pub(crate) fn firewall_is_tried(&self) {
        self.0.firewall_tried.send_replace(true);
    }

    /// Waits for that.
    pub(crate) async fn until_firewall_is_tried(&self) {
        // The host holds the sender as long as anybody can wait.
        self.0.firewall_tried.subscribe().wait_for(|tried| *tried).await.ok();
    }

    /// The host's lease lives again.
    pub(crate) fn lease_proven(&self) {
        self.core().lease_proven();
    }

    /// Hands an accepted job to a worker of the life that accepted it. Where the original's queue is full, returns when
    /// there is room.
    pub(crate) async fn hand_over(&self, life: &Life, accepted: &Accepted) {
        if accepted.wants_worker {
            self.start_workers(life, vec![accepted.subject]);
        }
        loop {
            let known = self.changes().count();
            let ahead = self.core().state.jobs.position(accepted.subject, &accepted.job);
            if ahead < QUEUE_LIMIT {
                return;
            }
            self.changes().after(known).await;
        }
    }

    /// Stores what is wrong, which no later request can put right: the process ends and reads its state anew.
    pub(crate) fn storage_failed(&self, error: &StorageError) {
        tracing::error!(host = %self.0.name, %error, "cannot store, restarting");
        self.die(RESTART_DELAY);
    }

    fn start_workers(&self, life: &Life, subjects: Vec<Subject>) {
        for subject in subjects {
            let (host, life) = (self.clone(), life.clone());
            self.0.tasks.spawn(async move {
                life.end.run_until_cancelled(host.work(&life, subject)).await;
            });
        }
    }

    fn start_guard(&self) {
        if self.0.ports.is_some() {
            let host = self.clone();
            self.0.tasks.spawn(async move {
                host.0.stop.run_until_cancelled(host.guard_firewall()).await;
            });
        }
    }

    /// Works a queue off, one job after the other.
    async fn work(&self, life: &Life, subject: Subject) {
        self.until_firewall_is_tried().await;
        loop {
            let begun = match self.core_of(life) {
                Some(mut core) => core.begin(subject),
                None => return,
            };
            let begun = match begun {
                Ok(Some(begun)) => begun,
                Ok(None) => return,
                Err(error) => return self.storage_failed(&error),
            };
            let outcome = match begun.course.run().await {
                Outcome::Done => self.connect(&begun.job).await,
                other @ (Outcome::Ignored | Outcome::Failed(_)) => other,
            };
            let finished = match self.core_of(life) {
                Some(mut core) => core.finish(begun.job, outcome),
                None => return,
            };
            match finished {
                Ok(After::Nothing) => {}
                Ok(After::Die(down)) => return self.die(down),
                Ok(After::Vanish(guest, after)) => self.vanish_later(life, guest, after),
                Err(error) => return self.storage_failed(&error),
            }
        }
    }

    /// Puts the ports of a guest that runs now into their VLANs, where ports are real.
    async fn connect(&self, job: &JobRecord) -> Outcome {
        let (Some(ports), Work::Guest(id, action)) = (&self.0.ports, &job.work) else {
            return Outcome::Done;
        };
        let nics = self.core().state.guests.get(id).map(|record| record.guest.nics.clone());
        match nics.filter(|_| makes_run(*action)) {
            Some(nics) => {
                ports.connect(&nics).await.map_or_else(Outcome::Failed, |()| Outcome::Done)
            }
            None => Outcome::Done,
        }
    }

    fn vanish_later(&self, life: &Life, guest: lochness_api::GuestId, after: Duration) {
        let (host, life) = (self.clone(), life.clone());
        self.0.tasks.spawn(async move {
            let slept = life.end.run_until_cancelled(tokio::time::sleep(after)).await;
            if slept.is_some()
                && let Err(error) = host.core().vanish(guest)
            {
                host.storage_failed(&error);
            }
        });
    }

    /// The process ends. It comes back after `down`.
    fn die(&self, down: Duration) {
        let ended = self.0.life.send_if_modified(|life| {
            life.end.cancel();
            std::mem::replace(&mut life.up, false)
        });
        if !ended {
            return;
        }
        tracing::info!(host = %self.0.name, ?down, "agent ends");
        let host = self.clone();
        self.0.tasks.spawn(async move {
            host.0.stop.run_until_cancelled(host.come_back(down)).await;
        });
    }

    async fn come_back(&self, mut down: Duration) {
        loop {
            tokio::time::sleep(down).await;
            let reopened = self.core().reopen();
            match reopened {
                Ok(subjects) => {
                    let life = Life { up: true, end: self.0.stop.child_token() };
                    self.start_workers(&life, subjects);
                    self.0.life.send_replace(life);
                    tracing::info!(host = %self.0.name, "agent is back");
                    return;
                }
                Err(error) => {
                    tracing::error!(host = %self.0.name, %error, "cannot read state");
                    down = RESTART_DELAY;
                }
            }
        }
    }
}

/// A supervisor waits so long before it starts a failed agent again.
const RESTART_DELAY: Duration = Duration::from_secs(5);
