//! Entries that somebody asked for, beside the records of which they were made.

use std::hash::Hash;

use elsa::sync::FrozenMap;

/// So many entries stay unpacked, of some two kilobytes each: those of the guests that are worked on. With debug assertions
/// few do, so that tests and the simulation, whose fleets are small, pack and unpack as a large one makes it happen.
pub(super) const MOST: usize = if cfg!(debug_assertions) { 16 } else { 4096 };

/// Entries by key. Readers add, and keep what they were given; only the writer takes away.
pub(super) struct Unpacked<K, V>(FrozenMap<K, Box<V>>);

impl<K: Copy + Eq + Hash, V> Unpacked<K, V> {
    /// The entry of a key, made by the first reader who asks.
    pub(super) fn get(&self, key: K, make: impl FnOnce() -> V) -> &V {
        match self.0.get(&key) {
            Some(entry) => entry,
            None => self.0.insert(key, Box::new(make())),
        }
    }

    /// The entry of a key, to change it, if it is here.
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        self.0.as_mut().get_mut(&key).map(AsMut::as_mut)
    }

    /// Sets the entry of a key.
    pub(super) fn put(&mut self, key: K, entry: V) {
        self.0.as_mut().insert(key, Box::new(entry));
    }

    /// Takes the entry of a key out, if it is here.
    pub(super) fn take(&mut self, key: K) -> Option<V> {
        self.0.as_mut().remove(&key).map(|entry| *entry)
    }

    /// Whether there are more than should be.
    pub(super) fn are_many(&self) -> bool {
        self.0.len() > MOST
    }

    /// Lets go of all, if they are many.
    pub(super) fn shrink(&mut self) {
        if self.are_many() {
            *self = Self::default();
        }
    }
}

impl<K, V> Default for Unpacked<K, V> {
    fn default() -> Self {
        Self(FrozenMap::new())
    }
}
