//! Doing work: a job begins, and ends.

use jiff::Timestamp;
use lochness_api::GuestId;
use lochness_api::job::JobAction;
use rand::RngExt;
use tokio::time::Duration;

use super::config::Compat;
use super::core::Core;
use super::driver::{Course, Outcome};
use super::firewall::InForce;
use super::guests::{GuestRecord, PowerState, Transition, Trouble, transition};
use super::history::{Effect, EffectKind};
use super::jobs::{JobRecord, Subject, Work};
use super::record::{Cause, Record};
use super::storage::StorageError;
use crate::wire::{AgentImage, ImageFetch};

/// After a delete is `Complete` the original's record is seen for at most so long.
const VANISHING: Duration = Duration::from_secs(1);
/// One in so many of its deletes is seen.
const VANISHING_ONE_IN: u32 = 5;

/// A job that has begun.
#[derive(Debug)]
pub(crate) struct Begun {
    pub(crate) job: JobRecord,
    pub(crate) course: Course,
}

/// What is to happen after a job's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum After {
    Nothing,
    /// The agent's process ends and comes back after so long.
    Die(Duration),
    /// The guest's record goes after so long.
    Vanish(GuestId, Duration),
}

impl Core {
    /// Begins the next job of a queue that may still be done; none ends the queue's worker.
    pub(super) fn begin(&mut self, subject: Subject) -> Result<Option<Begun>, StorageError> {
        while let Some(job) = self.state.jobs.next(subject) {
            let now = self.now();
            if let Err(why) = self.may_begin(&job) {
                self.end(job.ended(now, Err(why)), Vec::new())?;
                continue;
            }
            if self.has_image(&job.work) {
                self.end(job.ended(now, Ok(())), Vec::new())?;
                continue;
            }
            let job = job.running(now);
            if self.state.jobs.get(&job.id).is_some() {
                self.commit(vec![Record::Job(Box::new(job.clone()))])?;
            }
            self.stats.jobs_begun += 1;
            let course = self.driver.begin(&job.work, self.faults.now(), &mut self.rng);
            return Ok(Some(Begun { job, course }));
        }
        Ok(None)
    }

    /// Takes in how a job's work ended.
    pub(super) fn finish(
        &mut self,
        job: JobRecord,
        outcome: Outcome,
    ) -> Result<After, StorageError> {
        let now = self.now();
        let done = match (&job.work, outcome) {
            (_, Outcome::Failed(why)) => Err(why),
            (_, Outcome::Ignored) => Ok((Vec::new(), After::Nothing)),
            (Work::Guest(id, action), Outcome::Done) => self.guest_done(*id, *action, &job, now),
            (Work::FetchImage(fetch), Outcome::Done) => Ok(self.image_done(fetch, job.cause())),
        };
        match done {
            Ok((batch, after)) => {
                self.end(job.ended(now, Ok(())), batch)?;
                Ok(after)
            }
            Err(why) => {
                self.end(job.ended(now, Err(why)), Vec::new())?;
                let killing = self.faults.now().failed_job_kills_after_ms;
                Ok(killing.map_or(After::Nothing, |ms| After::Die(Duration::from_millis(ms))))
            }
        }
    }

    /// Removes the record of a guest whose delete is `Complete`, unless something else has become of it.
    pub(super) fn vanish(&mut self, id: GuestId) -> Result<(), StorageError> {
        match self.state.guests.get(&id).map(|guest| guest.trouble) {
            Some(Trouble::Vanishing) => self.commit(vec![Record::GuestGone(id)]),
            Some(Trouble::None | Trouble::Stuck | Trouble::Damaged) | None => Ok(()),
        }
    }

    /// The fence is asked a second time: a newer order may have come while the job waited.
    fn may_begin(&self, job: &JobRecord) -> Result<(), String> {
        let Work::Guest(id, action) = &job.work else { return Ok(()) };
        if self.config.compat == Compat::Mistify {
            return Ok(());
        }
        if !self.state.fence.is_current(*id, job.cause) {
            return Err("a newer order came".to_owned());
        }
        let Some(guest) = self.state.guests.get(id) else {
            return Err("guest is gone".to_owned());
        };
        if let InForce::No(why) = &self.in_force
            && makes_run(*action)
        {
            return Err(format!("firewall is not in force: {why}"));
        }
        // Whoever asked knew of such a ruleset here; a host that has lost its memory since has none.
        let in_force = self.state.firewall.revision();
        if let Some(needed) = job.ruleset.filter(|needed| in_force < Some(*needed))
            && makes_run(*action)
        {
            let in_force = in_force.map_or_else(|| "none".to_owned(), |order| order.to_string());
            return Err(format!(
                "the ruleset in force is {in_force}, and the guest needs {needed} or a later one"
            ));
        }
        if self.self_fenced && guest.is_evacuated() && makes_run(*action) {
            return Err("host is fenced: its lease is lost".to_owned());
        }
        Ok(())
    }

    fn has_image(&self, work: &Work) -> bool {
        match (work, self.config.compat) {
            (Work::FetchImage(fetch), Compat::Lochness) => {
                self.state.images.contains_key(&fetch.id.to_string())
            }
            (Work::FetchImage(_) | Work::Guest(..), _) => false,
        }
    }

    fn guest_done(
        &mut self,
        id: GuestId,
        action: JobAction,
        job: &JobRecord,
        now: Timestamp,
    ) -> Result<(Vec<Record>, After), String> {
        let Some(record) = self.state.guests.get(&id).cloned() else {
            return Err("guest is gone".to_owned());
        };
        let Transition { power, effects } = transition(self.config.compat, action, record.power)?;
        let mut batch = self.effects(effects, &record, &job.cause());
        let after = match power {
            Some(power) => {
                let guest = job.snapshot.as_deref().unwrap_or(&record.guest).clone();
                let record = GuestRecord { guest, power, fresh: false, ..record };
                batch.push(Record::Guest(Box::new(record)));
                After::Nothing
            }
            None => self.gone(record, now, &mut batch),
        };
        Ok((batch, after))
    }

    /// The record of a deleted guest goes: ours before its job is `Complete`, the original's perhaps after.
    fn gone(&mut self, record: GuestRecord, now: Timestamp, batch: &mut Vec<Record>) -> After {
        let id = record.id();
        match self.config.compat {
            Compat::Lochness => {
                batch.push(Record::GuestGone(id));
                batch.extend(self.state.fence.bury(id, now).map(Record::Fence));
                After::Nothing
            }
            Compat::Mistify if self.rng.random_ratio(1, VANISHING_ONE_IN) => {
                let power = PowerState::Shutoff;
                let vanishing = GuestRecord { power, trouble: Trouble::Vanishing, ..record };
                batch.push(Record::Guest(Box::new(vanishing)));
                After::Vanish(id, VANISHING.mul_f64(self.rng.random::<f64>()))
            }
            Compat::Mistify => {
                batch.push(Record::GuestGone(id));
                After::Nothing
            }
        }
    }

    fn image_done(&self, fetch: &ImageFetch, cause: Cause) -> (Vec<Record>, After) {
        let image = AgentImage {
            id: fetch.id.to_string(),
            image_type: fetch.image_type.clone(),
            source: fetch.source.clone(),
            sha256: fetch.sha256.clone().unwrap_or_default(),
        };
        let effect = Effect {
            detail: Some(image.id.clone()),
            ..self.effect(0, EffectKind::ImageFetched, None, cause)
        };
        (vec![Record::Image(image), Record::Effect(Box::new(effect))], After::Nothing)
    }

    pub(super) fn effects(
        &self,
        kinds: &[EffectKind],
        guest: &GuestRecord,
        cause: &Cause,
    ) -> Vec<Record> {
        let effects = kinds.iter().enumerate().map(|(nth, kind)| {
            Record::Effect(Box::new(self.effect(nth, *kind, Some(guest), cause.clone())))
        });
        effects.collect()
    }

    /// Stores a job's end with what came of it as one. A job that was cut from the log stays cut.
    fn end(&mut self, job: JobRecord, mut batch: Vec<Record>) -> Result<(), StorageError> {
        if self.state.jobs.get(&job.id).is_some() {
            batch.push(Record::Job(Box::new(job)));
        }
        if self.config.compat == Compat::Lochness {
            batch.extend(self.state.jobs.surplus().into_iter().map(Record::JobGone));
        }
        self.commit(batch)
    }
}

pub(super) fn makes_run(action: JobAction) -> bool {
    match action {
        JobAction::Create
        | JobAction::Start
        | JobAction::Restart
        | JobAction::Reboot
        | JobAction::Resume => true,
        JobAction::Shutdown | JobAction::Poweroff | JobAction::Suspend | JobAction::Delete => false,
    }
}
