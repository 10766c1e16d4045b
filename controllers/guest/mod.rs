//! The guest loop: every guest that is placed becomes and stays what its owner wants, and is taken down when its document
//! is gone.
//!
//! Guarantees: one job a guest at a time, created in the transaction that changes the status and closed in one; nothing is
//! started on what an old list says; an address is freed only when the guest is gone from its host. This loop sends
//! nothing to agents: it writes jobs, and the job loop carries them out.

mod conditions;
mod converge;
mod ends;
mod plan;
mod power;
mod stopping;
mod teardown;
#[cfg(test)]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use lochness_api::job::{Job, JobStatus};
use lochness_api::keys::Key;
use lochness_api::status::{GuestStatus, Phase, Placement};
use lochness_api::{GuestId, HypervisorId, JobId, Kind};
use lochness_kv::{Compare, Op};
use lochness_mutant::Mutant;
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::time::Instant;

use self::ends::Ends;
use self::plan::{
    Action, AgentAbilities, Closing, Input, NextJob, Plan, Sight, TeardownPermit, plan,
};
use crate::agents::target;
use crate::cluster::budget::{self, DeletionBudget};
use crate::context::{Context, Hold};
use crate::firewall::rules::closed_group;
use crate::job::plan::gate;
use crate::knowledge::{address_used_by, may_run_on};
use crate::pace::{Pace, Turn};
use crate::placement::random_job_id;
use crate::reports::{Contact, HostReport, Inner};
use crate::world::{GuestEntry, HostEntry, Stored, World};

/// The guest loop.
pub struct GuestReconciler {
    context: Context,
    random: Mutex<SmallRng>,
    messages: Pace<GuestId>,
    ends: Ends,
}

/// A plan, with what its transaction is based on: carried out without looking at the world again.
struct Step {
    plan: Plan,
    id: GuestId,
    former: GuestStatus,
    status_revision: i64,
    placement: Placement,
    job: Option<(Job, i64)>,
    /// The mod revision of the guest's reservation, 0 when its address has none; `None` when it is another's.
    address_revision: Option<i64>,
    quarantine: Duration,
}

impl GuestReconciler {
    /// The loop for one term.
    pub fn new(context: Context) -> Self {
        // Another stream of random numbers than the placement loop's, from the same seed.
        let random = SmallRng::seed_from_u64(context.settings.seed ^ 0x6775_6573_7400_0000);
        Self {
            context,
            random: Mutex::new(random),
            messages: Pace::default(),
            ends: Ends::default(),
        }
    }

    /// Plans. `None`: the guest is not placed, or the operator holds.
    fn step(&self, id: GuestId) -> Option<Step> {
        let world = self.context.world.read();
        let reports = self.context.reports.read();
        let entry = world.guest(id)?;
        let status = entry.status()?;
        let placement = status.placement.as_ref()?;
        let hold = self.context.hold(&world);
        if matches!(hold, Some(Hold::StoreReplaced(_) | Hold::Suspected)) {
            return None;
        }
        let stored = status.job.and_then(|job| world.job(job));
        let job = stored.and_then(|stored| stored.value.as_deref());
        let report = reports.host(placement.hypervisor);
        let outcome = status.job.and_then(|job| self.context.outcomes.get(job));
        let asked_at = report.and_then(|report| Some(report.guests.as_ref()?.asked_at));
        let seen_for = self.ends.seen_for(id, job);
        let input = Input {
            entry,
            status,
            placement,
            job,
            outcome: outcome.as_ref(),
            sight: self.sight(&world, report, id, placement),
            elsewhere: elsewhere(&world, &reports, id, placement),
            may_be_on: may_run_on(&world, &reports, id),
            address_used_by: address_used_by(&world, &reports, id, placement.network, placement.ip),
            sight_is_fresh: asked_at.is_some_and(|at| self.context.outcomes.is_fresh(id, at)),
            agent: AgentAbilities::of(report, id),
            teardown: self.teardown_permit(&world, entry),
            paused: who_paused(&world, entry, placement, hold.as_ref()),
            closed_group: placement.fwgroup.and_then(|group| closed_group(&world, group)),
            name_taken_by: name_taken_by(&world, id, entry),
            waiting: job
                .filter(|job| job.status == JobStatus::New)
                .and_then(|job| gate(&world, &reports, status, job.action).err()),
            now: self.context.now(),
            under_way_for: seen_for.under_way,
            ended_for: seen_for.ended,
            outcome_for: status.job.map_or(Duration::ZERO, |job| self.context.outcomes.age(job)),
            quarantine: Duration::from_secs(world.config().quarantine_seconds),
            settings: &self.context.settings,
        };
        let plan = plan(&input);
        let job = job.cloned().zip(stored.map(|stored: &Stored<Job>| stored.mod_revision));
        Some(Self::based_on(id, &world, entry, plan, job))
    }

    fn based_on(
        id: GuestId,
        world: &World,
        entry: &GuestEntry,
        plan: Plan,
        job: Option<(Job, i64)>,
    ) -> Step {
        let former = entry.status().cloned().expect("the caller has seen a status");
        let placement = former.placement.clone().expect("the caller has seen a placement");
        let reservation = world.address(placement.subnet, placement.ip).reservation;
        Step {
            plan,
            id,
            status_revision: entry.status_revision(),
            address_revision: match reservation {
                None => Some(0),
                Some(held) if held.quarantined || held.holder != Some(id) => None,
                Some(held) => Some(held.mod_revision),
            },
            quarantine: Duration::from_secs(world.config().quarantine_seconds),
            former,
            placement,
            job,
        }
    }

    /// What is known of the guest on its host.
    fn sight<'a>(
        &self,
        world: &World,
        report: Option<&'a HostReport>,
        id: GuestId,
        placement: &Placement,
    ) -> Sight<'a> {
        let host = world.host(placement.hypervisor);
        let alive = host.is_some_and(HostEntry::is_alive);
        let heard = report.is_some_and(|report| report.contact != Contact::Never);
        let will_be = host.and_then(target).is_some();
        let window = self.context.settings.reachable_window;
        let reachable = report.filter(|report| report.is_reachable(Instant::now(), window));
        match (alive, reachable.and_then(|report| report.guest(id))) {
            // A host whose heartbeat is gone but whose agent answers is seen, and may be acted on.
            (_, Some(Some(guest))) => {
                let address = guest.addresses.first().copied();
                let address = address.filter(|_| !guest.addresses.contains(&placement.ip));
                Sight::Listed { power: guest.state.power(), word: &guest.record.state, address }
            }
            (_, Some(None)) => Sight::Absent,
            (true, None) if !heard && will_be => Sight::Unasked,
            (true, None) => Sight::Unreachable,
            (false, None) => Sight::HostSilent,
        }
    }

    fn teardown_permit(&self, world: &World, entry: &GuestEntry) -> TeardownPermit {
        if !entry.awaits_teardown() {
            return TeardownPermit::Granted;
        }
        let begun = self.context.deletions.begun_lately(Instant::now());
        match budget::verdict(world, entry.gone_at, begun) {
            DeletionBudget::Open { left: 0 } => TeardownPermit::Later,
            DeletionBudget::Confirmed | DeletionBudget::Open { .. } => TeardownPermit::Granted,
            DeletionBudget::Held { pending, budget, .. } => {
                TeardownPermit::Held { pending, budget }
            }
        }
    }

    async fn write(
        &self,
        step: &Step,
        mut status: GuestStatus,
        next: Option<NextJob>,
        close: Option<Closing>,
        only_if_undeclared: bool,
    ) -> Result<Outcome, ReconcileError> {
        if next.is_none() && close.is_none() {
            let interval = self.context.settings.message_interval;
            match self.messages.turn(step.id, &step.former, &status, interval) {
                Turn::Now => {}
                Turn::Later(left) => return Ok(Outcome::unchanged().after(left)),
                Turn::Nothing => return Ok(Outcome::unchanged()),
            }
        }
        let mut commit = self.anchored(step);
        let blind = lochness_mutant::is(Mutant::TeardownUnchecked)
            || lochness_mutant::is(Mutant::UnparsedIsGone);
        if only_if_undeclared && !blind {
            commit.compares.push(Compare::absent(self.context.key(&Key::Guest(step.id))));
        }
        if only_if_undeclared && lochness_mutant::is(Mutant::AddressFreedFirst) {
            let Placement { subnet, ip, .. } = step.placement;
            commit.writes.push(Op::delete(self.context.key(&Key::Address(subnet, ip))));
        }
        if lochness_mutant::is(Mutant::DocumentWrittenBack) && !only_if_undeclared {
            let bound = format!(r#"{{"hypervisor":"{}"}}"#, step.placement.hypervisor);
            commit.writes.push(Op::put(self.context.key(&Key::Guest(step.id)), bound));
        }
        self.close(step, close.as_ref(), &mut commit).await?;
        if let Some(next) = next {
            let again = lochness_mutant::is(Mutant::JobReused) && next.attempt > 0;
            let former = step.job.as_ref().filter(|_| again).map(|(job, _)| job.id);
            let id = former.unwrap_or_else(|| self.random_job_id());
            let key = self.context.key(&Key::Job(id));
            if former.is_none() {
                commit.compares.push(Compare::absent(key.clone()));
            }
            commit.writes.push(Op::put(key, json(&new_job(step, id, next))));
            if !lochness_mutant::is(Mutant::JobUnnamed) {
                status.job = Some(id);
            }
        }
        commit.writes.push(Op::put(self.context.key(&Key::GuestStatus(step.id)), json(&status)));
        self.context.commit(commit).await?;
        self.closed(step, close.is_some());
        Ok(Outcome::changed())
    }

    /// The guest is gone from its host: its address goes into quarantine, its index key and its status go.
    async fn free(&self, step: &Step, close: Option<Closing>) -> Result<Outcome, ReconcileError> {
        let mut commit = self.anchored(step);
        self.close(step, close.as_ref(), &mut commit).await?;
        let Placement { hypervisor, subnet, ip, .. } = step.placement;
        if let Some(revision) = step.address_revision {
            let key = self.context.key(&Key::Address(subnet, ip));
            commit.compares.push(Compare::ModRevision(key.clone().into(), revision));
            if revision > 0 && step.quarantine.is_zero() {
                commit.writes.push(Op::delete(key));
            } else if revision > 0 {
                let lease = self.context.leases.lease(step.quarantine).await?;
                let words = format!("{}{}", crate::world::QUARANTINE, step.id);
                commit.writes.push(Op::put_leased(key, words, lease));
            }
        }
        // Even if the view does not show it: the host loop may just be putting it right.
        commit.writes.push(Op::delete(self.context.key(&Key::Placement(hypervisor, step.id))));
        commit.writes.push(Op::delete(self.context.key(&Key::GuestStatus(step.id))));
        self.context.commit(commit).await?;
        self.closed(step, close.is_some());
        self.context.outcomes.forget_guest(step.id);
        self.messages.forget(&step.id);
        self.ends.forget(step.id);
        Ok(Outcome::changed())
    }

    /// Adds the end of the present job to a commit.
    async fn close(
        &self,
        step: &Step,
        close: Option<&Closing>,
        commit: &mut Commit,
    ) -> Result<(), ReconcileError> {
        let (Some(closing), Some((job, revision))) = (close, &step.job) else { return Ok(()) };
        let mut job = job.clone();
        job.finished_at = Some(closing.finished_at);
        match &closing.result {
            Ok(()) => job.status = JobStatus::Done,
            Err(message) => {
                job.status = JobStatus::Error;
                job.error = Some(message.clone());
            }
        }
        let lease = self.context.leases.lease(self.context.settings.job_retention).await?;
        let key = self.context.key(&Key::Job(job.id));
        commit.compares.push(Compare::ModRevision(key.clone().into(), *revision));
        commit.writes.push(Op::put_leased(key, json(&job), lease));
        Ok(())
    }

    /// The store shows the end of the present job.
    fn closed(&self, step: &Step, closed: bool) {
        if closed && let Some((job, _)) = &step.job {
            self.context.outcomes.written(job.id, step.id);
        }
    }

    /// Every commit about a placed guest is based on its status as it was when it was planned.
    fn anchored(&self, step: &Step) -> Commit {
        let key = self.context.key(&Key::GuestStatus(step.id));
        Commit {
            compares: vec![Compare::ModRevision(key.into(), step.status_revision)],
            writes: Vec::with_capacity(4),
        }
    }

    fn random_job_id(&self) -> JobId {
        random_job_id(&mut *self.random.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[async_trait]
impl Reconciler for GuestReconciler {
    type Key = GuestId;

    fn name(&self) -> &'static str {
        "guest"
    }

    async fn reconcile(&self, id: &GuestId) -> Result<Outcome, ReconcileError> {
        let Some(step) = self.step(*id) else { return Ok(Outcome::unchanged()) };
        let again_in = step.plan.again_in;
        let outcome = match step.plan.action.clone() {
            Action::Write { status, next, close, only_if_undeclared } => {
                let begins = only_if_undeclared && step.former.phase != Phase::Deleting;
                if begins && !self.take_teardown(*id) {
                    return Ok(Outcome::unchanged().after(Duration::from_secs(1)));
                }
                self.write(&step, *status, next, close, only_if_undeclared).await?
            }
            Action::Free { close } => self.free(&step, close).await?,
        };
        Ok(match again_in {
            Some(delay) => outcome.after(delay),
            None => outcome,
        })
    }
}

impl GuestReconciler {
    /// Takes one of the teardowns that may begin in this minute; two workers never take the same one.
    fn take_teardown(&self, id: GuestId) -> bool {
        let world = self.context.world.read();
        let Some(entry) = world.guest(id) else { return false };
        self.context.deletions.take(Instant::now(), |begun| {
            match budget::verdict(&world, entry.gone_at, begun) {
                DeletionBudget::Confirmed => budget::Taken::Free,
                DeletionBudget::Open { left } if left > 0 => budget::Taken::Counted,
                DeletionBudget::Open { .. } | DeletionBudget::Held { .. } => budget::Taken::No,
            }
        })
    }
}

fn new_job(step: &Step, id: JobId, next: NextJob) -> Job {
    Job {
        id,
        remote: None,
        action: next.action,
        guest: step.id,
        hypervisor: step.placement.hypervisor,
        order: None,
        attempt: next.attempt,
        deadline: None,
        error: None,
        status: JobStatus::New,
        started_at: None,
        finished_at: None,
    }
}

/// Another host that has the guest by its last list, unless that host was known to be fenced when the guest left it.
fn elsewhere(
    world: &World,
    reports: &Inner,
    id: GuestId,
    placement: &Placement,
) -> Option<HypervisorId> {
    let is_stale = |host| world.host(host).is_some_and(|host| host.stale.contains_key(&id));
    let hosts = reports.hosts_of(id).iter().copied();
    hosts.filter(|host| *host != placement.hypervisor).find(|host| !is_stale(*host))
}

/// Who paused the guest, its host or the cluster.
fn who_paused(
    world: &World,
    entry: &GuestEntry,
    placement: &Placement,
    hold: Option<&Hold>,
) -> Option<&'static str> {
    if hold.is_some() {
        return Some("the cluster (config/pause)");
    }
    if world.host(placement.hypervisor).is_some_and(|host| host.config.pause) {
        return Some("its hypervisor (config/pause)");
    }
    let paused = entry.understood().is_some_and(|document| document.metadata.is_paused());
    paused.then_some("the guest (metadata.pause)")
}

fn name_taken_by(world: &World, id: GuestId, entry: &GuestEntry) -> Option<String> {
    let name = entry.understood()?.metadata.name()?;
    world.names().taken_by(Kind::Guest, name, &id.to_string())
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    serde_json::to_writer(&mut text, value)
        .expect("a status or a job has string keys only, so it is always JSON");
    text
}
