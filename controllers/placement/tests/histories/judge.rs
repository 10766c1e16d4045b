//! What must be so at every moment of a history, and when everything is quiet.

use std::collections::{BTreeMap, BTreeSet};

use lochness_api::keys::Key;
use lochness_api::status::{GuestStatus, Placement};
use lochness_api::{GuestId, Mac, Prefix};

use super::documents::{guest_id, subnet_id};
use super::scene::{Act, Scene};
use crate::world::GuestEntry;

/// Everything is quiet after so many rounds, or never.
const ROUNDS: usize = 30;

/// What the store says of placed guests: the revision of the status, and the placement.
pub(super) type Placed = BTreeMap<GuestId, (i64, Placement)>;

impl Scene {
    /// Lets everything come to rest, and says what is left that nothing explains.
    pub(super) async fn settle(&mut self) -> Result<(), String> {
        for _ in 0..ROUNDS {
            while let Some(index) = self.under_way(0) {
                self.land(index).await;
            }
            self.see(self.unseen.len());
            for guest in 0..super::GUESTS {
                self.happen(Act::Release(guest)).await;
            }
            self.happen(Act::Expire).await;
            self.happen(Act::Pass).await;
            self.see(self.unseen.len());
            for guest in 0..super::GUESTS {
                self.plan(guest_id(guest));
            }
            for subnet in 0..3 {
                self.look(subnet_id(subnet));
            }
            self.check().await?;
        }
        self.check_nothing_leaked().await
    }

    /// What must be so at every moment.
    pub(super) async fn check(&self) -> Result<(), String> {
        let (mut addresses, mut macs) = (BTreeSet::new(), BTreeSet::<Mac>::new());
        for (guest, (_, placement)) in self.placed().await {
            let Placement { subnet, ip, mac, .. } = placement;
            if !addresses.insert(ip) {
                return Err(format!("two guests have {ip}, one of them is {guest}"));
            }
            if !macs.insert(mac) {
                return Err(format!("two guests have {mac}, one of them is {guest}"));
            }
            let held = self.get(&Key::Address(subnet, ip)).await;
            if held.is_none_or(|kv| kv.value != guest.to_string()) {
                return Err(format!("{ip} of {guest} is not reserved for it"));
            }
        }
        for (guest, (_, subnet, ip)) in &self.running {
            let held = self.get(&Key::Address(*subnet, *ip)).await;
            if held.is_none_or(|kv| kv.value != guest.to_string()) {
                return Err(format!("{guest} runs with {ip}, which is not reserved for it"));
            }
        }
        Ok(())
    }

    async fn check_nothing_leaked(&self) -> Result<(), String> {
        let placed = self.placed().await;
        let pending = |text: &str| {
            let guest = text.parse::<GuestId>().ok();
            let world = self.context.world.read();
            guest.is_some_and(|guest| world.guest(guest).is_some_and(GuestEntry::wants_placement))
        };
        for kv in self.all().await {
            let Ok(Key::Address(subnet, ip)) = Prefix::default().parse(&kv.key) else { continue };
            let text = String::from_utf8_lossy(&kv.value);
            let has = |(_, it): &(i64, Placement)| (it.subnet, it.ip) == (subnet, ip);
            let guest = text.parse().ok();
            let is_used = guest.is_some_and(|guest: GuestId| placed.get(&guest).is_some_and(has));
            // A guest that waits for a place keeps what was written for it.
            if !is_used && !pending(&text) {
                return Err(format!("{ip} of {subnet} is reserved for {text}, and nobody has it"));
            }
        }
        if self.open.is_empty() { Ok(()) } else { Err("something is still to be done".to_owned()) }
    }

    pub(super) async fn placed(&self) -> Placed {
        let mut placed = Placed::new();
        for kv in self.all().await {
            if let Ok(Key::GuestStatus(guest)) = Prefix::default().parse(&kv.key)
                && let Some(placement) = GuestStatus::parse(&kv.value).unwrap().placement
            {
                placed.insert(guest, (kv.mod_revision, placement));
            }
        }
        placed
    }
}
