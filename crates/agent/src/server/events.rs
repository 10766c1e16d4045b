//! What happens to a host by itself: guests die, the host boots, memory is lost, the lease is lost.

use lochness_api::GuestId;

use super::core::Core;
use super::faults::Event;
use super::firewall::InForce;
use super::guests::{GuestRecord, PowerState};
use super::history::{Effect, EffectKind};
use super::record::{Cause, Record};
use super::storage::StorageError;

/// What an event does to the agent's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aftermath {
    /// It runs on.
    Lives,
    /// It ends, and comes back after so many milliseconds.
    Dies(u64),
}

impl Core {
    /// Lets something happen.
    pub(super) fn happen(&mut self, event: Event) -> Result<Aftermath, StorageError> {
        match event {
            Event::CrashGuest(id) => self.fall(id, PowerState::Crashed, EffectKind::Crashed)?,
            Event::StopGuest(id) => self.fall(id, PowerState::Shutoff, EffectKind::Stopped)?,
            Event::LoseGuest(id) => self.lose(&[id])?,
            Event::LoseRules => self.lose_rules(),
            Event::KillAgent { down_ms } => return Ok(Aftermath::Dies(down_ms)),
            Event::Reboot => {
                self.boot()?;
                return Ok(Aftermath::Dies(0));
            }
            Event::RebootEmpty => {
                self.lose(&self.all_guests())?;
                self.boot()?;
                return Ok(Aftermath::Dies(0));
            }
            Event::Wipe => {
                self.lose(&self.all_guests())?;
                self.wipe()?;
                return Ok(Aftermath::Dies(0));
            }
        }
        Ok(Aftermath::Lives)
    }

    /// Stops every guest that may be placed anew elsewhere, and lets none of them start until [`Self::lease_proven`].
    pub(super) fn self_fence(&mut self) -> Result<(), StorageError> {
        self.self_fenced = true;
        let evacuated = |guest: &&GuestRecord| guest.is_live() && guest.is_evacuated();
        let guests: Vec<_> = self.state.guests.values().filter(evacuated).cloned().collect();
        self.stop_all(guests, "lease is lost")
    }

    /// The lease lives: nothing was placed anew elsewhere.
    pub(super) fn lease_proven(&mut self) {
        self.self_fenced = false;
    }

    fn all_guests(&self) -> Vec<GuestId> {
        self.state.guests.keys().copied().collect()
    }

    /// A guest stops running by itself. One that does not run is left as it is.
    fn fall(
        &mut self,
        id: GuestId,
        power: PowerState,
        kind: EffectKind,
    ) -> Result<(), StorageError> {
        let Some(guest) = self.state.guests.get(&id).filter(|guest| guest.is_live()) else {
            return Ok(());
        };
        let mut batch = self.effects(&[kind], guest, &Cause::default());
        batch.push(Record::Guest(Box::new(GuestRecord { power, ..guest.clone() })));
        self.commit(batch)
    }

    fn lose(&mut self, guests: &[GuestId]) -> Result<(), StorageError> {
        for id in guests {
            let Some(guest) = self.state.guests.get(id) else { continue };
            let kinds: &[EffectKind] = if guest.is_live() {
                &[EffectKind::Stopped, EffectKind::Lost]
            } else {
                &[EffectKind::Lost]
            };
            let mut batch = self.effects(kinds, guest, &Cause::default());
            batch.push(Record::GuestGone(*id));
            batch.extend(self.state.fence.bury(*id, self.now()).map(Record::Fence));
            self.commit(batch)?;
        }
        Ok(())
    }

    /// As on a real host whose tables somebody has changed and that cannot put them right.
    fn lose_rules(&mut self) {
        if self.state.firewall.applied.is_some() {
            self.in_force = InForce::No("somebody deleted our tables".to_owned());
            self.firewall_moved();
        }
    }

    /// The host boots: no guest runs, none is started, and the stored ruleset is in force before any could be.
    fn boot(&mut self) -> Result<(), StorageError> {
        let live = |guest: &&GuestRecord| guest.is_live();
        let guests: Vec<_> = self.state.guests.values().filter(live).cloned().collect();
        self.stop_all(guests, "host boots")?;
        let boot_id = self.random_id();
        let mut kinds = vec![EffectKind::Booted];
        if self.state.firewall.applied.is_some() {
            kinds.push(EffectKind::FirewallApplied);
        }
        let effects = kinds.into_iter().enumerate();
        let effects = effects.map(|(nth, kind)| self.effect(nth, kind, None, Cause::default()));
        let mut batch: Vec<_> = effects.map(|effect| Record::Effect(Box::new(effect))).collect();
        batch.push(Record::Boot(boot_id));
        self.commit(batch)
    }

    fn stop_all(&mut self, guests: Vec<GuestRecord>, why: &str) -> Result<(), StorageError> {
        let mut batch = Vec::with_capacity(guests.len() * 2);
        for (nth, guest) in guests.into_iter().enumerate() {
            let effect = self.effect(nth, EffectKind::Stopped, Some(&guest), Cause::default());
            let effect = Effect { detail: Some(why.to_owned()), ..effect };
            batch.push(Record::Effect(Box::new(effect)));
            let stopped = GuestRecord { power: PowerState::Shutoff, ..guest };
            batch.push(Record::Guest(Box::new(stopped)));
        }
        self.commit(batch)
    }
}
