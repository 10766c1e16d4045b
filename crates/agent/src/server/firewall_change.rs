//! Putting a firewall in force: one at a time, whole or not at all, stored once it is.

use jiff::Timestamp;

use super::driver::Outcome;
use super::firewall::{Applied, Firewall, Refusal};
use super::history::{Effect, EffectKind};
use super::host::{Host, Life};
use super::record::{Cause, Record};
use super::storage::StorageError;
use crate::wire::{FirewallPatch, FirewallPut, FirewallState};

/// A change of the firewall.
#[derive(Debug)]
pub(crate) enum FirewallChange {
    Put(FirewallPut),
    Patch(FirewallPatch),
}

/// Why the firewall stays as it is.
#[derive(Debug)]
pub(crate) enum FirewallError {
    Refused(Refusal),
    /// The driver could not put it in force.
    Failed(String),
    /// The process ended meanwhile.
    Died,
    Storage(StorageError),
}

impl Host {
    /// Puts a firewall in force, whole or not at all, even when the one who asked goes away meanwhile.
    pub(crate) async fn change_firewall(
        &self,
        change: FirewallChange,
    ) -> Result<FirewallState, FirewallError> {
        let (host, life) = (self.clone(), self.life());
        let work = async move {
            let change = host.apply_firewall(&life, change);
            life.end.run_until_cancelled(change).await.unwrap_or(Err(FirewallError::Died))
        };
        self.tasks().spawn(work).await.unwrap_or(Err(FirewallError::Died))
    }

    async fn apply_firewall(
        &self,
        life: &Life,
        change: FirewallChange,
    ) -> Result<FirewallState, FirewallError> {
        let Ok(_turn) = self.firewall_turn().acquire().await else {
            return Err(FirewallError::Died);
        };
        let (applied, course) = {
            let mut core = self.core();
            let now = core.now();
            let applied = changed(&core.state.firewall, change, now)?;
            let core = &mut *core;
            (applied, core.driver.begin_firewall(core.faults.now(), &mut core.rng))
        };
        let outcome = course.run().await;
        let mut core = self.core_of(life).ok_or(FirewallError::Died)?;
        let (firewall, failed) = match outcome {
            Outcome::Done | Outcome::Ignored => {
                (Firewall { applied: Some(applied), error: None }, None)
            }
            Outcome::Failed(why) => {
                let applied = core.state.firewall.applied.clone();
                (Firewall { applied, error: Some(why.clone()) }, Some(why))
            }
        };
        let mut batch = vec![Record::Firewall(Box::new(firewall.clone()))];
        if failed.is_none() {
            let effect = core.effect(0, EffectKind::FirewallApplied, None, Cause::default());
            let effect = Effect { firewall: firewall.revision(), ..effect };
            batch.push(Record::Effect(Box::new(effect)));
        }
        core.commit(batch).map_err(FirewallError::Storage)?;
        failed.map_or_else(|| Ok(firewall.to_wire()), |why| Err(FirewallError::Failed(why)))
    }
}

fn changed(
    firewall: &Firewall,
    change: FirewallChange,
    now: Timestamp,
) -> Result<Applied, FirewallError> {
    let applied = match change {
        FirewallChange::Put(put) => firewall.replaced(put, now),
        FirewallChange::Patch(patch) => firewall.patched(patch, now),
    };
    applied.map_err(FirewallError::Refused)
}
