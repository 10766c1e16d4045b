//! Guests and jobs as the world keeps them: packed, and unpacked while somebody works on them.
//!
//! Most guests rest: nobody asks for them between two rescans. Such a one is a record of some hundred bytes, in which what
//! many guests have in common (ids, words, the frame of a placement) is a number into a pool. Who asks for a guest gets
//! the typed entry, which is unpacked at the first question and stays until the world is written next and has more than
//! [`unpacked::MOST`] of them.
//!
//! Guarantees: what is unpacked equals what was packed, field by field; a record says nothing in `Debug`, for documents
//! hold secrets; memory follows what is stored.

mod document;
mod job;
mod keys;
mod pool;
mod record;
mod shapes;
mod status;
mod unpacked;
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::OnceLock;

use lochness_api::document::Guest;
use lochness_api::status::{GuestStatus, Placement};
use lochness_api::{GuestId, HypervisorId, JobId, SubnetId};

use super::GuestEntry;
use super::numbered::{Numbered, Place};
use super::stored::{Declared, Stored};
use pool::Pool;
use record::{Parts, Record};
use shapes::Shapes;
use unpacked::Unpacked;

pub(super) use job::Jobs;
pub(super) use keys::Keys;
pub use record::Outline;

/// Every guest that any key names.
#[derive(Default)]
pub(super) struct Guests {
    records: Numbered<GuestId, Record>,
    pool: Pool,
    shapes: Shapes,
    unpacked: Unpacked<GuestId, GuestEntry>,
}

/// A guest's entry, out of the world for as long as it is changed.
pub(super) struct Lifted {
    pub(super) place: Place,
    pub(super) entry: Box<GuestEntry>,
    was_unpacked: bool,
}

/// The parts of a record that are written one by one.
#[derive(Clone, Copy)]
enum Part {
    Document,
    Status,
    Keys,
}

impl Guests {
    /// The entry of a guest.
    pub(super) fn get(&self, id: GuestId) -> Option<&GuestEntry> {
        let record = self.records.get(&id)?;
        Some(self.unpacked.get(id, || self.unpack(id, record)))
    }

    /// The entry of a guest, for one look: it does not stay unpacked.
    pub(super) fn look(&self, id: GuestId) -> Option<GuestEntry> {
        Some(self.unpack(id, self.records.get(&id)?))
    }

    /// What can be told of a guest without unpacking it.
    pub(super) fn outline(&self, id: GuestId) -> Option<Outline> {
        Some(self.records.get(&id)?.outline())
    }

    /// The job that a guest's status names, without unpacking it.
    pub(super) fn job(&self, id: GuestId) -> Option<JobId> {
        match self.records.get(&id)?.parts().status {
            [] => None,
            part => status::read_job(&self.pool, part),
        }
    }

    /// Where a guest's status says that it is, without unpacking the rest.
    pub(super) fn placement(&self, id: GuestId) -> Option<Placement> {
        match self.records.get(&id)?.parts().status {
            [] => None,
            part => status::read_place(&self.pool, part),
        }
    }

    /// All of them, in no order.
    pub(super) fn outlines(&self) -> impl Iterator<Item = (GuestId, Outline)> + '_ {
        self.records.iter().map(|(id, record)| (id, record.outline()))
    }

    /// Where the record of a guest lies: its own for as long as any key names it.
    pub(super) fn place(&self, id: GuestId) -> Option<Place> {
        self.records.place(&id)
    }

    /// Whose record lies there.
    pub(super) fn at(&self, place: Place) -> GuestId {
        self.records.key(place)
    }

    /// The create revision of the document in the record that lies there; 0 when it has none.
    pub(super) fn created(&self, place: Place) -> i64 {
        match self.records.value(place).parts().document {
            [] => 0,
            part => document::read_created(&self.pool, part),
        }
    }

    /// Takes out what is known of a guest, and keeps its place until it is [put](Self::put) back or [given up](Self::give_up).
    pub(super) fn take(&mut self, id: GuestId) -> (Place, Box<GuestEntry>) {
        let record = std::mem::take(self.records.entry(id));
        let place = self.records.place(&id).expect("an entry has just been made");
        let entry = self.unpacked.take(id).unwrap_or_else(|| Box::new(self.unpack(id, &record)));
        let Parts { outline: _, document, status, keys } = record.parts();
        for part in [document, status, keys] {
            release(&mut self.pool, part);
        }
        (place, entry)
    }

    /// Takes out the entry of a guest whose status is about to change, to be put back with
    /// [`put_status`](Self::put_status). The rest of its record stays as it is.
    pub(super) fn lift(&mut self, id: GuestId) -> Lifted {
        self.records.entry(id);
        let place = self.records.place(&id).expect("an entry has just been made");
        let entry = self.unpacked.take(id);
        let was_unpacked = entry.is_some();
        let entry = entry.unwrap_or_else(|| Box::new(self.unpack(id, self.records.value(place))));
        Lifted { place, entry, was_unpacked }
    }

    /// Puts a guest back that has another status and is otherwise as it was. Its entry stays unpacked if somebody had
    /// asked for it: a standby has nobody who asks.
    pub(super) fn put_status(&mut self, id: GuestId, lifted: Lifted) {
        let Self { records, pool, shapes, unpacked } = self;
        let Lifted { place, entry, was_unpacked } = lifted;
        let status = entry.status.as_ref().map(|it| status::write(pool, shapes, it));
        let part = status.as_deref().unwrap_or_default();
        splice(records.value_mut(place), pool, Part::Status, part, Outline::of(&entry));
        if was_unpacked {
            unpacked.put(id, entry);
        }
    }

    /// Gives up the place of a guest that was taken out.
    pub(super) fn give_up(&mut self, id: GuestId) {
        self.records.remove(&id);
    }

    /// Puts a guest back. Its entry stays unpacked, for a guest that changed is about to be planned.
    pub(super) fn put(&mut self, id: GuestId, entry: Box<GuestEntry>) {
        *self.records.entry(id) = self.pack(&entry);
        self.unpacked.put(id, entry);
    }

    /// Changes the keys that name a guest and nothing else of it; one of which nothing is left is dropped.
    pub(super) fn change_keys(&mut self, id: GuestId, change: impl FnOnce(&mut Keys)) {
        let Self { records, pool, shapes: _, unpacked } = self;
        let record = records.entry(id);
        let mut keys = match record.parts().keys {
            [] => Keys::default(),
            part => Keys::read(pool, part),
        };
        change(&mut keys);
        let part = keys.write(pool);
        splice(record, pool, Part::Keys, &part, record.outline());
        let Parts { outline: _, document, status, keys: part } = record.parts();
        if keys.is_empty() && document.is_empty() && status.is_empty() {
            release(pool, part);
            records.remove(&id);
            unpacked.take(id);
        } else if let Some(entry) = unpacked.get_mut(id) {
            (entry.index, entry.addresses) = (keys.index, keys.addresses);
        }
    }

    /// Takes in a document of a list, with nothing derived from it.
    pub(super) fn stage_document(&mut self, id: GuestId, declared: Declared<Guest>) {
        let document = document::write(&mut self.pool, &declared);
        let entry = GuestEntry { document: Some(declared), ..GuestEntry::default() };
        let outline = Outline::of(&entry);
        let record = self.records.entry(id);
        let outline = outline.with_status_of(record.outline());
        splice(record, &mut self.pool, Part::Document, &document, outline);
        self.unpacked.take(id);
    }

    /// Takes in a status of a list, with nothing derived from it.
    pub(super) fn stage_status(&mut self, id: GuestId, stored: Stored<GuestStatus>) {
        let status = status::write(&mut self.pool, &mut self.shapes, &stored);
        let entry = GuestEntry { status: Some(stored), ..GuestEntry::default() };
        let outline = Outline::of(&entry);
        let record = self.records.entry(id);
        let outline = record.outline().with_status_of(outline);
        splice(record, &mut self.pool, Part::Status, &status, outline);
        self.unpacked.take(id);
    }

    /// Takes in a key of a host's index of a list, with nothing derived from it.
    pub(super) fn stage_index(&mut self, id: GuestId, host: HypervisorId, created: i64) {
        self.change_keys(id, |keys| {
            keys.index.insert(host, created);
        });
    }

    /// Takes in a reservation of a list, with nothing derived from it.
    pub(super) fn stage_address(&mut self, id: GuestId, at: (SubnetId, std::net::IpAddr)) {
        self.change_keys(id, |keys| {
            keys.addresses.insert(at);
        });
    }

    /// Every guest, sorted: what is built in this order is built from left to right.
    pub(super) fn sorted(&self) -> Vec<GuestId> {
        let mut ids: Vec<_> = self.records.iter().map(|(id, _)| id).collect();
        ids.sort_unstable();
        ids
    }

    /// Whether more are unpacked than should be.
    pub(super) fn is_swollen(&self) -> bool {
        self.unpacked.are_many()
    }

    /// Lets go of entries that can be unpacked again, if they are many.
    pub(super) fn shrink(&mut self) {
        self.unpacked.shrink();
    }

    fn pack(&mut self, entry: &GuestEntry) -> Record {
        let document = entry.document.as_ref().map(|it| document::write(&mut self.pool, it));
        let status =
            entry.status.as_ref().map(|it| status::write(&mut self.pool, &mut self.shapes, it));
        let GuestEntry { document: _, gone_at, status: _, index, addresses, digest: _ } = entry;
        let keys = keys::write(&mut self.pool, *gone_at, index, addresses);
        Record::new(Parts {
            outline: Outline::of(entry),
            document: document.as_deref().unwrap_or_default(),
            status: status.as_deref().unwrap_or_default(),
            keys: &keys,
        })
    }

    fn unpack(&self, id: GuestId, record: &Record) -> GuestEntry {
        let Parts { outline, document, status, keys } = record.parts();
        let some = |part: &[u8]| !part.is_empty();
        let Keys { index, addresses, gone_at } =
            if some(keys) { Keys::read(&self.pool, keys) } else { Keys::default() };
        let status = some(status).then(|| status::read(&self.pool, &self.shapes, status));
        let answered = status.as_ref().filter(|_| outline.is_answered());
        let observed = answered.and_then(|status| status.value.as_deref()?.observed);
        GuestEntry {
            document: some(document).then(|| document::read(&self.pool, document, id)),
            gone_at,
            status,
            index,
            addresses,
            digest: observed.map_or_else(OnceLock::new, OnceLock::from),
        }
    }
}

/// Exchanges one part of a record, and gives back what the former one had of the pool.
fn splice(record: &mut Record, pool: &mut Pool, which: Part, bytes: &[u8], outline: Outline) {
    let mut parts = Parts { outline, ..record.parts() };
    let former = match which {
        Part::Document => std::mem::replace(&mut parts.document, bytes),
        Part::Status => std::mem::replace(&mut parts.status, bytes),
        Part::Keys => std::mem::replace(&mut parts.keys, bytes),
    };
    release(pool, former);
    *record = Record::new(parts);
}

fn release(pool: &mut Pool, part: &[u8]) {
    if !part.is_empty() {
        wire::release(pool, part);
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("count", &self.records.len()).finish_non_exhaustive()
    }
}
