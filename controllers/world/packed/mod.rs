//! Guests and jobs as the world keeps them: packed, and unpacked while somebody works on them.
//!
//! Most guests rest: nobody asks for them between two rescans. Such a one is a record of some hundred bytes, in which what
//! many guests have in common (ids, words, the frame of a placement) is a number into a pool. Who asks for a guest gets
//! the typed entry, which is unpacked at the first question and stays until the world is written next and has more than
//! [`UNPACKED`] of them.
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
mod wire;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use lochness_api::document::Guest;
use lochness_api::status::{GuestStatus, Placement};
use lochness_api::{GuestId, HypervisorId, JobId, SubnetId};
use rustc_hash::FxHashMap;

use super::GuestEntry;
use super::stored::{Declared, Stored};
use pool::Pool;
use record::{Parts, Record};
use shapes::Shapes;

pub(super) use job::Jobs;
pub(super) use keys::Keys;
pub use record::Outline;

/// So many entries stay unpacked, of some two kilobytes each: those of the guests that are worked on. With debug assertions
/// few do, so that tests and the simulation, whose fleets are small, pack and unpack as a large one makes it happen.
const UNPACKED: usize = if cfg!(debug_assertions) { 16 } else { 4096 };

/// Every guest that any key names.
#[derive(Default)]
pub(super) struct Guests {
    cells: FxHashMap<GuestId, Cell>,
    pool: Pool,
    shapes: Shapes,
    unpacked: Unpacked<GuestId>,
}

#[derive(Default)]
struct Cell {
    record: Record,
    /// Made by the first reader who asks. A box, for most cells have none.
    entry: OnceLock<Box<GuestEntry>>,
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
        let cell = self.cells.get(&id)?;
        Some(cell.entry.get_or_init(|| {
            self.unpacked.note(id);
            Box::new(self.unpack(id, &cell.record))
        }))
    }

    /// The entry of a guest, for one look: it does not stay unpacked.
    pub(super) fn look(&self, id: GuestId) -> Option<GuestEntry> {
        Some(self.unpack(id, &self.cells.get(&id)?.record))
    }

    /// What can be told of a guest without unpacking it.
    pub(super) fn outline(&self, id: GuestId) -> Option<Outline> {
        Some(self.cells.get(&id)?.record.outline())
    }

    /// The job that a guest's status names, without unpacking it.
    pub(super) fn job(&self, id: GuestId) -> Option<JobId> {
        match self.cells.get(&id)?.record.parts().status {
            [] => None,
            part => status::read_job(&self.pool, part),
        }
    }

    /// Where a guest's status says that it is, without unpacking the rest.
    pub(super) fn placement(&self, id: GuestId) -> Option<Placement> {
        match self.cells.get(&id)?.record.parts().status {
            [] => None,
            part => status::read_place(&self.pool, part),
        }
    }

    /// All of them, in no order.
    pub(super) fn outlines(&self) -> impl Iterator<Item = (GuestId, Outline)> + '_ {
        self.cells.iter().map(|(id, cell)| (*id, cell.record.outline()))
    }

    /// Takes a guest out; an empty entry when there is none.
    pub(super) fn take(&mut self, id: GuestId) -> GuestEntry {
        let Some(mut cell) = self.cells.remove(&id) else { return GuestEntry::default() };
        let entry = match cell.entry.take() {
            Some(entry) => *entry,
            None => self.unpack(id, &cell.record),
        };
        let Parts { outline: _, document, status, keys } = cell.record.parts();
        for part in [document, status, keys] {
            self.release(part);
        }
        entry
    }

    /// Puts a guest back. Its entry stays unpacked, for a guest that changed is about to be planned.
    pub(super) fn put(&mut self, id: GuestId, entry: GuestEntry) {
        let record = self.pack(&entry);
        self.unpacked.note(id);
        self.cells.insert(id, Cell { record, entry: OnceLock::from(Box::new(entry)) });
    }

    /// Changes the keys that name a guest and nothing else of it; one of which nothing is left is dropped.
    pub(super) fn change_keys(&mut self, id: GuestId, change: impl FnOnce(&mut Keys)) {
        let Self { cells, pool, .. } = self;
        let cell = cells.entry(id).or_default();
        let keys = cell.change_keys(pool, change);
        let Parts { outline: _, document, status, keys: part } = cell.record.parts();
        if keys.is_empty() && document.is_empty() && status.is_empty() {
            if !part.is_empty() {
                wire::release(pool, part);
            }
            cells.remove(&id);
        }
    }

    /// Takes in a document of a list, with nothing derived from it.
    pub(super) fn stage_document(&mut self, id: GuestId, declared: Declared<Guest>) {
        let document = document::write(&mut self.pool, &declared);
        let entry = GuestEntry { document: Some(declared), ..GuestEntry::default() };
        let outline = Outline::of(&entry);
        let cell = self.cells.entry(id).or_default();
        let outline = outline.with_status_of(cell.record.outline());
        cell.splice(&mut self.pool, Part::Document, &document, outline);
    }

    /// Takes in a status of a list, with nothing derived from it.
    pub(super) fn stage_status(&mut self, id: GuestId, stored: Stored<GuestStatus>) {
        let status = status::write(&mut self.pool, &mut self.shapes, &stored);
        let entry = GuestEntry { status: Some(stored), ..GuestEntry::default() };
        let outline = Outline::of(&entry);
        let cell = self.cells.entry(id).or_default();
        let outline = cell.record.outline().with_status_of(outline);
        cell.splice(&mut self.pool, Part::Status, &status, outline);
    }

    /// Takes in a key of a host's index of a list, with nothing derived from it.
    pub(super) fn stage_index(&mut self, id: GuestId, host: HypervisorId, created: i64) {
        self.stage_keys(id, |keys| {
            keys.index.insert(host, created);
        });
    }

    /// Takes in a reservation of a list, with nothing derived from it.
    pub(super) fn stage_address(&mut self, id: GuestId, at: (SubnetId, std::net::IpAddr)) {
        self.stage_keys(id, |keys| {
            keys.addresses.insert(at);
        });
    }

    fn stage_keys(&mut self, id: GuestId, change: impl FnOnce(&mut Keys)) {
        let Self { cells, pool, .. } = self;
        cells.entry(id).or_default().change_keys(pool, change);
    }

    /// Every guest, sorted: what is built in this order is built from left to right.
    pub(super) fn sorted(&self) -> Vec<GuestId> {
        let mut ids: Vec<_> = self.cells.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// Whether more are unpacked than should be.
    pub(super) fn is_swollen(&self) -> bool {
        self.unpacked.is_many()
    }

    /// Lets go of entries that can be unpacked again, if they are many.
    pub(super) fn shrink(&mut self) {
        if self.unpacked.is_many() {
            for id in self.unpacked.take() {
                if let Some(cell) = self.cells.get_mut(&id) {
                    cell.entry.take();
                }
            }
        }
    }

    fn pack(&mut self, entry: &GuestEntry) -> Record {
        let document = entry.document.as_ref().map(|it| document::write(&mut self.pool, it));
        let status =
            entry.status.as_ref().map(|it| status::write(&mut self.pool, &mut self.shapes, it));
        let GuestEntry { document: _, gone_at, status: _, index, addresses, digest: _ } = entry;
        let (index, addresses) = (index.clone(), addresses.clone());
        let keys = Keys { index, addresses, gone_at: *gone_at };
        let keys = keys.write(&mut self.pool);
        Record::new(Parts {
            outline: Outline::of(entry),
            document: document.as_deref().unwrap_or_default(),
            status: status.as_deref().unwrap_or_default(),
            keys: &keys,
        })
    }

    fn unpack(&self, id: GuestId, record: &Record) -> GuestEntry {
        let Parts { outline: _, document, status, keys } = record.parts();
        let some = |part: &[u8]| !part.is_empty();
        let Keys { index, addresses, gone_at } =
            if some(keys) { Keys::read(&self.pool, keys) } else { Keys::default() };
        GuestEntry {
            document: some(document).then(|| document::read(&self.pool, document, id)),
            gone_at,
            status: some(status).then(|| status::read(&self.pool, &self.shapes, status)),
            index,
            addresses,
            digest: OnceLock::new(),
        }
    }

    fn release(&mut self, part: &[u8]) {
        if !part.is_empty() {
            wire::release(&mut self.pool, part);
        }
    }
}

impl Cell {
    /// Changes the keys in the record and in the entry, if that is there; the answer is what they are now.
    fn change_keys(&mut self, pool: &mut Pool, change: impl FnOnce(&mut Keys)) -> Keys {
        let mut keys = match self.record.parts().keys {
            [] => Keys::default(),
            part => Keys::read(pool, part),
        };
        change(&mut keys);
        let part = keys.write(pool);
        let entry = self.entry.take();
        self.splice(pool, Part::Keys, &part, self.record.outline());
        if let Some(mut entry) = entry {
            entry.index.clone_from(&keys.index);
            entry.addresses.clone_from(&keys.addresses);
            self.entry = OnceLock::from(entry);
        }
        keys
    }

    /// Exchanges one part of the record, and gives back what the former one had of the pool.
    fn splice(&mut self, pool: &mut Pool, which: Part, bytes: &[u8], outline: Outline) {
        let mut parts = Parts { outline, ..self.record.parts() };
        let former = match which {
            Part::Document => std::mem::replace(&mut parts.document, bytes),
            Part::Status => std::mem::replace(&mut parts.status, bytes),
            Part::Keys => std::mem::replace(&mut parts.keys, bytes),
        };
        if !former.is_empty() {
            wire::release(pool, former);
        }
        self.record = Record::new(parts);
        self.entry.take();
    }
}

impl fmt::Debug for Guests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guests").field("count", &self.cells.len()).finish_non_exhaustive()
    }
}

/// Who was unpacked since there were last too many.
struct Unpacked<K> {
    ids: Mutex<Vec<K>>,
    count: AtomicUsize,
}

impl<K> Unpacked<K> {
    fn note(&self, id: K) {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        ids.push(id);
        self.count.store(ids.len(), Ordering::Relaxed);
    }

    fn is_many(&self) -> bool {
        self.count.load(Ordering::Relaxed) > UNPACKED
    }

    fn take(&mut self) -> Vec<K> {
        self.count.store(0, Ordering::Relaxed);
        std::mem::take(self.ids.get_mut().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K> Default for Unpacked<K> {
    fn default() -> Self {
        Self { ids: Mutex::new(Vec::new()), count: AtomicUsize::new(0) }
    }
}
