//! Hardware addresses: which guest has which, and who asks for one. No two guests get the same.

use std::collections::BTreeSet;

use lochness_api::{GuestId, Mac};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::numbered::Place;
use super::{GuestEntry, World};

/// Who stands in the way of a hardware address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacHolder {
    /// A guest that is placed with it.
    Placed(GuestId),
    /// A guest that waits for a place, was declared earlier, and asks for this one, or would get it by its id.
    AskedEarlier(GuestId),
}

/// Hardware addresses of placed guests, and those that guests without a place ask for.
#[derive(Debug, Default)]
pub(super) struct Macs {
    held: FxHashMap<Mac, Place>,
    /// Where several guests have one: the others.
    shared: BTreeSet<(Mac, Place)>,
    /// Who asks for one, the eldest: with the create revision of the document.
    asked: FxHashMap<Mac, (i64, GuestId)>,
    /// Where several guests ask for one: the others.
    asked_later: BTreeSet<(Mac, i64, GuestId)>,
    /// Those of which something changed while somebody asked for them, until these were named among the changes.
    moved: BTreeSet<Mac>,
}

impl Macs {
    pub(super) fn insert(&mut self, id: GuestId, place: Place, entry: &GuestEntry) {
        if let Some(placement) = entry.placement() {
            self.hold(placement.mac, place);
            self.note(placement.mac);
        } else if let Some((mac, created)) = wish(entry) {
            self.ask(mac, (created, id));
        }
    }

    pub(super) fn remove(&mut self, id: GuestId, place: Place, entry: &GuestEntry) {
        if let Some(placement) = entry.placement() {
            self.free(placement.mac, place);
            self.note(placement.mac);
        } else if let Some((mac, created)) = wish(entry) {
            self.ask_no_more(mac, (created, id));
            self.note(mac);
        }
    }

    /// Everybody who asks for an address of which something changed, once.
    pub(super) fn take_concerned(&mut self) -> Vec<GuestId> {
        let moved = std::mem::take(&mut self.moved);
        moved.into_iter().flat_map(|mac| self.askers(mac).map(|(_, id)| id)).collect()
    }

    fn hold(&mut self, mac: Mac, guest: Place) {
        let first = *self.held.entry(mac).or_insert(guest);
        if first != guest {
            self.shared.insert((mac, guest));
        }
    }

    fn free(&mut self, mac: Mac, guest: Place) {
        if self.held.get(&mac) != Some(&guest) {
            self.shared.remove(&(mac, guest));
            return;
        }
        let next = self.others(mac).next();
        match next {
            Some(next) => {
                self.shared.remove(&(mac, next));
                self.held.insert(mac, next);
            }
            None => {
                self.held.remove(&mac);
            }
        }
    }

    fn ask(&mut self, mac: Mac, asker: (i64, GuestId)) {
        let eldest = self.asked.entry(mac).or_insert(asker);
        if *eldest != asker {
            let (created, id) = std::mem::replace(eldest, asker.min(*eldest)).max(asker);
            self.asked_later.insert((mac, created, id));
        }
    }

    fn ask_no_more(&mut self, mac: Mac, asker: (i64, GuestId)) {
        if self.asked.get(&mac) != Some(&asker) {
            self.asked_later.remove(&(mac, asker.0, asker.1));
            return;
        }
        let next = self.later_askers(mac).next();
        match next {
            Some((created, id)) => {
                self.asked_later.remove(&(mac, created, id));
                self.asked.insert(mac, (created, id));
            }
            None => {
                self.asked.remove(&mac);
            }
        }
    }

    /// Who has the address beside the one that is told first.
    fn others(&self, mac: Mac) -> impl Iterator<Item = Place> + '_ {
        self.shared.range((mac, Place::FIRST)..=(mac, Place::LAST)).map(|(_, guest)| *guest)
    }

    fn holders(&self, mac: Mac) -> impl Iterator<Item = Place> + '_ {
        self.held.get(&mac).copied().into_iter().chain(self.others(mac))
    }

    fn note(&mut self, mac: Mac) {
        if self.asked.contains_key(&mac) {
            self.moved.insert(mac);
        }
    }

    /// Who asks for the address, the eldest first.
    fn askers(&self, mac: Mac) -> impl Iterator<Item = (i64, GuestId)> + '_ {
        self.asked.get(&mac).copied().into_iter().chain(self.later_askers(mac))
    }

    fn later_askers(&self, mac: Mac) -> impl Iterator<Item = (i64, GuestId)> + '_ {
        let all = (mac, i64::MIN, FIRST)..=(mac, i64::MAX, LAST);
        self.asked_later.range(all).map(|(_, created, id)| (*created, *id))
    }
}

impl World {
    /// Who stands in the way of `id` having this hardware address.
    pub fn mac_taken_by(&self, mac: Mac, id: GuestId) -> Option<MacHolder> {
        let holders = self.macs.holders(mac).map(|holder| self.guests.at(holder));
        let others = holders.filter(|holder| *holder != id);
        if let Some(holder) = others.min() {
            return Some(MacHolder::Placed(holder));
        }
        if self.macs.held.contains_key(&mac) {
            return None;
        }
        let document = self.guest(id)?.document.as_ref()?;
        let own = (document.create_revision, id);
        let earlier = self.macs.askers(mac).next().filter(|eldest| *eldest < own);
        earlier.map(|(_, asker)| MacHolder::AskedEarlier(asker))
    }
}

const FIRST: GuestId = GuestId::new(Uuid::nil());
const LAST: GuestId = GuestId::new(Uuid::max());

/// What a guest without a place asks for, in words or by its id, and since when.
fn wish(entry: &GuestEntry) -> Option<(Mac, i64)> {
    Some((entry.understood()?.effective_mac(), entry.document.as_ref()?.create_revision))
}
