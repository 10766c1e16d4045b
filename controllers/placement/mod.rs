//! The placement loop: every guest that is declared and has no placement gets one, or a status that says why not.
//!
//! Guarantees: a placement is one transaction (status, address, index and first job, or none of them), based on the
//! guest's own document and status; what open commits will use counts as used; a guest that is already somewhere is
//! adopted, never placed again. Plans are made one after the other under one lock, a few microseconds each; their
//! transactions are under way at the same time, and the committer makes few requests of them.

mod address;
mod adopt;
mod choose;
mod claims;
mod filter;
mod plan;
mod refusal;
mod status;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use lochness_api::job::{Job, JobAction, JobStatus};
use lochness_api::keys::Key;
use lochness_api::status::{GuestStatus, Placement};
use lochness_api::{GuestId, HypervisorId, JobId};
use lochness_kv::{Compare, Op};
use lochness_mutant::Mutant;
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::{Outcome, ReconcileError, Reconciler};
use rand::Rng;
use tokio::time::Instant;
use tracing::info;

use self::adopt::Adoption;
use self::claims::{Claim, ClaimGuard, Claims, Planner};
use self::filter::Fleet;
use self::plan::{Decision, plan};
use crate::context::Context;
use crate::pace::{Pace, Turn};
use crate::reports::Inner;
use crate::settings::Settings;
use crate::world::{GuestEntry, World};

/// A guest that needs what an open commit may take is planned again after this long.
const CLAIM_PATIENCE: Duration = Duration::from_millis(100);
/// Who was refused beside a claim that came to nothing is looked at again after so long.
const GIVEN_BACK: Duration = Duration::from_secs(1);

/// The placement loop.
pub struct PlacementReconciler {
    context: Context,
    planner: Arc<Mutex<Planner>>,
    /// When a message was last written for a guest whose reason stayed.
    messages: Pace<GuestId>,
}

/// A decision, made ready to be carried out without looking at the world again.
enum Step {
    Nothing,
    /// Its status says why not; the numbers in that move, and no change of the store tells.
    LookAgain(Duration),
    /// Another commit decides; it is seldom open for long.
    Later,
    Commit {
        commit: Commit,
        claim: Option<ClaimGuard>,
        place: Option<Place>,
    },
}

/// Where a guest has its place, for the log.
struct Place {
    host: HypervisorId,
    ip: IpAddr,
    adopted: bool,
}

impl PlacementReconciler {
    /// The loop for one term.
    pub fn new(context: Context) -> Self {
        let planner = Planner::new(context.settings.seed);
        Self { context, planner, messages: Pace::default() }
    }

    fn step(&self, id: GuestId) -> Step {
        let world = self.context.world.read();
        let reports = self.context.reports.read();
        let hold = self.context.hold(&world);
        let mut planner = Planner::lock(&self.planner);
        let planner = &mut *planner;
        let fleet = Fleet {
            world: &world,
            reports: &reports,
            claims: &planner.claims,
            now: Instant::now(),
            reachable_window: self.context.settings.reachable_window,
        };
        let decision = plan(fleet, id, hold.as_ref(), &mut planner.random);
        if !matches!(decision, Decision::Refuse(_)) {
            self.messages.forget(&id);
        }
        let Some(entry) = world.guest(id) else { return Step::Nothing };
        match decision {
            Decision::Leave => Step::Nothing,
            Decision::Later => Step::Later,
            Decision::Forget => Step::commit(self.forget(id, entry)),
            Decision::Place(placement) => {
                let job = random_job_id(&mut planner.random);
                let claim = claim(&placement, entry);
                let place = Place { host: claim.hypervisor, ip: claim.ip, adopted: false };
                // Claimed last: a claim that is dropped by a panic here would wait for the lock that is held.
                let commit = self.place(id, &world, entry, *placement, job);
                let claim = Some(planner.claim(claim, &self.planner));
                Step::Commit { commit, claim, place: Some(place) }
            }
            Decision::Adopt(adoption) => {
                let claim = claim(&adoption.placement, entry);
                let place = Place { host: claim.hypervisor, ip: claim.ip, adopted: true };
                let commit = self.adopt(id, &world, entry, *adoption);
                let claim = Some(planner.claim(claim, &self.planner));
                Step::Commit { commit, claim, place: Some(place) }
            }
            Decision::Refuse(refusal) => {
                planner.note_refusal(id);
                let status = status::refused(entry, &refusal, self.context.now());
                match self.turn(id, entry, &status) {
                    Turn::Now => Step::commit(self.write_status(id, entry, &status)),
                    Turn::Later(left) => Step::LookAgain(left),
                    Turn::Nothing => Step::LookAgain(self.context.settings.message_interval),
                }
            }
        }
    }

    fn turn(&self, id: GuestId, entry: &GuestEntry, status: &GuestStatus) -> Turn {
        let interval = self.context.settings.message_interval;
        entry.status().map_or(Turn::Now, |former| self.messages.turn(id, former, status, interval))
    }

    async fn carry_out(&self, id: GuestId, step: Step) -> Result<Outcome, ReconcileError> {
        match step {
            Step::Nothing => Ok(Outcome::unchanged()),
            Step::LookAgain(delay) => Ok(Outcome::unchanged().after(delay)),
            Step::Later => Ok(Outcome::unchanged().after(CLAIM_PATIENCE)),
            Step::Commit { commit, claim, place } => {
                let result = self.context.commits.commit(commit).await;
                let had_claim = claim.is_some();
                drop(claim);
                if result.is_err() && had_claim {
                    self.wake_refused();
                }
                result?;
                if let Some(Place { host, ip, adopted }) = place {
                    info!(guest = %id, %host, %ip, adopted, "guest has a place");
                }
                Ok(Outcome::changed())
            }
        }
    }

    /// A claim came to nothing, and no change of the store tells those who were refused because of it. Not at once: while
    /// the store takes nothing, they fail as well, and would wake each other without a pause.
    fn wake_refused(&self) {
        let refused = Planner::lock(&self.planner).take_refused();
        for guest in refused {
            self.context.queues.placement.add_after(guest, GIVEN_BACK);
        }
    }

    fn place(
        &self,
        id: GuestId,
        world: &World,
        entry: &GuestEntry,
        placement: Placement,
        job: JobId,
    ) -> Commit {
        let hypervisor = placement.hypervisor;
        // Absent, or this guest's own already.
        let reserved = world.address(placement.subnet, placement.ip).reservation;
        let reserved = reserved.map_or(0, |reservation| reservation.mod_revision);
        let address = self.context.key(&Key::Address(placement.subnet, placement.ip));
        let index = self.context.key(&Key::Placement(hypervisor, id));
        let job_key = self.context.key(&Key::Job(job));
        let status = status::placed(entry, placement, job, self.context.now());
        let job = Job {
            id: job,
            remote: None,
            action: JobAction::Create,
            guest: id,
            hypervisor,
            order: None,
            attempt: 0,
            deadline: None,
            error: None,
            status: JobStatus::New,
            started_at: None,
            finished_at: None,
        };
        let mut commit = self.write_status(id, entry, &status);
        let blind = lochness_mutant::is(Mutant::AddressUnchecked)
            || lochness_mutant::is(Mutant::AddressUncompared);
        if !blind {
            commit.compares.push(Compare::ModRevision(address.clone().into(), reserved));
        }
        if !lochness_mutant::is(Mutant::IndexUncompared) {
            commit.compares.push(Compare::absent(index.clone()));
        }
        commit.compares.push(Compare::absent(job_key.clone()));
        commit.writes.extend([
            Op::put(address, id.to_string()),
            Op::put(index, id.to_string()),
            Op::put(job_key, json(&job)),
        ]);
        commit
    }

    fn adopt(&self, id: GuestId, world: &World, entry: &GuestEntry, found: Adoption) -> Commit {
        let Placement { hypervisor, subnet, ip, .. } = found.placement;
        let (reserve, index) = (found.reserve, found.index);
        let status = status::adopted(entry, found, self.context.now());
        let mut commit = self.write_status(id, entry, &status);
        let address = self.context.key(&Key::Address(subnet, ip));
        if reserve {
            commit.compares.push(Compare::absent(address.clone()));
            commit.writes.push(Op::put(address, id.to_string()));
        } else if let Some(reservation) = world.address(subnet, ip).reservation {
            commit.compares.push(Compare::ModRevision(address.into(), reservation.mod_revision));
        }
        if index {
            let index = self.context.key(&Key::Placement(hypervisor, id));
            commit.compares.push(Compare::absent(index.clone()));
            commit.writes.push(Op::put(index, id.to_string()));
        }
        commit
    }

    fn forget(&self, id: GuestId, entry: &GuestEntry) -> Commit {
        let mut commit = self.based_on(id, entry);
        commit.writes.push(Op::delete(self.context.key(&Key::GuestStatus(id))));
        commit
    }

    fn write_status(&self, id: GuestId, entry: &GuestEntry, status: &GuestStatus) -> Commit {
        let mut commit = self.based_on(id, entry);
        commit.writes.push(Op::put(self.context.key(&Key::GuestStatus(id)), json(status)));
        commit
    }

    /// What every commit about a guest is based on: its document and its status as they were when it was planned.
    fn based_on(&self, id: GuestId, entry: &GuestEntry) -> Commit {
        let document = self.context.key(&Key::Guest(id));
        let status = self.context.key(&Key::GuestStatus(id));
        Commit {
            compares: vec![
                Compare::ModRevision(document.into(), entry.document_revision()),
                Compare::ModRevision(status.into(), entry.status_revision()),
            ],
            writes: Vec::with_capacity(4),
        }
    }
}

impl Step {
    fn commit(commit: Commit) -> Self {
        Self::Commit { commit, claim: None, place: None }
    }
}

#[async_trait]
impl Reconciler for PlacementReconciler {
    type Key = GuestId;

    fn name(&self) -> &'static str {
        "placement"
    }

    async fn reconcile(&self, id: &GuestId) -> Result<Outcome, ReconcileError> {
        self.carry_out(*id, self.step(*id)).await
    }
}

/// Where the loop would place a guest that waits for a place, if no commit were open: for benchmarks of the decision.
///
/// # Errors
/// Why it would not, in words.
pub fn foresee(
    world: &World,
    reports: &Inner,
    guest: GuestId,
    random: &mut impl Rng,
) -> Result<Placement, String> {
    let claims = Claims::default();
    let (now, reachable_window) = (Instant::now(), Settings::default().reachable_window);
    let fleet = Fleet { world, reports, claims: &claims, now, reachable_window };
    match plan(fleet, guest, None, random) {
        Decision::Place(placement) => Ok(*placement),
        Decision::Adopt(adoption) => Ok(adoption.placement),
        Decision::Refuse(refusal) => Err(refusal.message()),
        Decision::Leave | Decision::Forget => Err("it does not wait for a place".to_owned()),
        Decision::Later => Err("another commit decides".to_owned()),
    }
}

fn claim(placement: &Placement, entry: &GuestEntry) -> Claim {
    Claim {
        hypervisor: placement.hypervisor,
        resources: placement.resources,
        network: placement.network,
        subnet: placement.subnet,
        ip: placement.ip,
        mac: placement.mac,
        set: entry.understood().and_then(|document| document.metadata.set()).map(Into::into),
    }
}

/// A random id (UUID version 4), from the loop's own source, so that a seed gives the same history.
pub(crate) fn random_job_id(random: &mut impl Rng) -> JobId {
    let mut bytes = [0; 16];
    random.fill_bytes(&mut bytes);
    JobId::new(uuid::Builder::from_random_bytes(bytes).into_uuid())
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = Vec::with_capacity(1024);
    serde_json::to_writer(&mut text, value)
        .expect("a status or a job has string keys only, so it is always JSON");
    text
}
