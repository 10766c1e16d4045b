//! Putting a firewall in force: one at a time, whole or not at all, stored once it is.
//!
//! Guarantees: a change that waited for its turn while a newer leader appeared is refused; one that was already being made
//! then is not news to nobody: the newer leader is told to look.

use std::sync::Arc;

use super::{Firewall, InForce, Refusal, Wanted};
use crate::server::core::Core;
use crate::server::driver::Outcome;
use crate::server::fence::EpochVerdict;
use crate::server::history::{Effect, EffectKind};
use crate::server::host::{Host, Life};
use crate::server::record::{Cause, Record};
use crate::server::storage::StorageError;
use crate::wire::{FirewallPatch, FirewallPut, FirewallState, Order};

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
    /// A leader with this higher epoch came while it waited.
    Fenced(Order),
    /// It could not be put in force.
    Failed(String),
    /// The process ended meanwhile.
    Died,
    Storage(StorageError),
}

impl Host {
    /// Puts a firewall in force, whole or not at all, even when the one who asked goes away meanwhile.
    pub(crate) async fn change_firewall(
        &self,
        epoch: Option<Order>,
        change: FirewallChange,
    ) -> Result<FirewallState, FirewallError> {
        let (host, life) = (self.clone(), self.life());
        let work = async move {
            let change = host.apply_firewall(&life, epoch, change);
            life.end.run_until_cancelled(change).await.unwrap_or(Err(FirewallError::Died))
        };
        self.tasks().spawn(work).await.unwrap_or(Err(FirewallError::Died))
    }

    async fn apply_firewall(
        &self,
        life: &Life,
        epoch: Option<Order>,
        change: FirewallChange,
    ) -> Result<FirewallState, FirewallError> {
        let Ok(_turn) = self.firewall_turn().acquire().await else {
            return Err(FirewallError::Died);
        };
        let (wanted, course) = {
            let mut core = self.core();
            let core = &mut *core;
            if let EpochVerdict::Old(seen) = core.state.fence.check_epoch(epoch) {
                return Err(FirewallError::Fenced(seen));
            }
            let wanted = wanted(core, change)?;
            let course = self.enforcer().begin(&wanted, core.faults.now(), &mut core.rng);
            (wanted, course)
        };
        match course.run().await {
            Outcome::Done | Outcome::Ignored => {
                let mut core = self.core_of(life).ok_or(FirewallError::Died)?;
                core.in_force = InForce::Yes;
                let effect = core.effect(0, EffectKind::FirewallApplied, None, Cause::default());
                let effect = Effect { firewall: Some(wanted.applied.revision), ..effect };
                let batch = vec![record(&wanted), Record::Effect(Box::new(effect))];
                core.commit(batch).map_err(FirewallError::Storage)?;
                if matches!(core.state.fence.check_epoch(epoch), EpochVerdict::Old(_)) {
                    core.firewall_moved();
                }
                Ok(core.told_firewall())
            }
            Outcome::Failed(why) => {
                self.keep_former().await;
                let mut core = self.core_of(life).ok_or(FirewallError::Died)?;
                let failed = Record::FirewallFailed(why.clone());
                core.commit(vec![failed]).map_err(FirewallError::Storage)?;
                Err(FirewallError::Failed(why))
            }
        }
    }
}

/// What is stored when it is in force.
fn record(wanted: &Wanted) -> Record {
    if let Some(patched) = &wanted.patched {
        return Record::FirewallPatched(Box::new(patched.clone()));
    }
    let applied = Some(wanted.applied.clone());
    Record::Firewall(Box::new(Firewall { applied, error: None }))
}

fn wanted(core: &Core, change: FirewallChange) -> Result<Arc<Wanted>, FirewallError> {
    let (firewall, now) = (&core.state.firewall, core.now());
    let wanted = match change {
        FirewallChange::Put(put) => firewall.replaced(put, now),
        // There is nothing that a patch could build on: the whole is needed.
        FirewallChange::Patch(_) if core.in_force != InForce::Yes => Err(Refusal::WrongBase(None)),
        FirewallChange::Patch(patch) => firewall.patched(&patch, now),
    };
    wanted.map(Arc::new).map_err(FirewallError::Refused)
}
