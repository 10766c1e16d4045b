//! Entries that somebody asked for, beside the records of which they were made.

use std::hash::Hash;

use elsa::sync::FrozenMap;

/// So many entries stay unpacked, of some two kilobytes each: those of the guests that are worked on. With debug assertions
/// few do, so that tests and the simulation, whose fleets are small, pack and unpack as a large one makes it happen.
pub(super) const MOST: usize = if cfg!(debug_assertions) { 16 } else { 4096 };

/// Entries by key. Readers add, and keep what they were given; only the writer takes away.
///
/// They lie in two generations. When the younger one is half of what may stay, the elder one is let go and the younger one
/// takes its place: whatever came last stays for as long as half of it comes after, without a note of who used what.
pub(super) struct Unpacked<K, V> {
    young: FrozenMap<K, Box<V>>,
    old: FrozenMap<K, Box<V>>,
}

impl<K: Copy + Eq + Hash, V> Unpacked<K, V> {
    /// The entry of a key, made by the first reader who asks.
    pub(super) fn get(&self, key: K, make: impl FnOnce() -> V) -> &V {
        let known = self.young.get(&key).or_else(|| self.old.get(&key));
        known.unwrap_or_else(|| self.young.insert(key, Box::new(make())))
    }

    /// The entry of a key, to change it, if it is here.
    pub(super) fn get_mut(&mut self, key: K) -> Option<&mut V> {
        let Self { young, old } = self;
        let known = young.as_mut().get_mut(&key).or_else(|| old.as_mut().get_mut(&key));
        known.map(AsMut::as_mut)
    }

    /// Sets the entry of a key.
    pub(super) fn put(&mut self, key: K, entry: Box<V>) {
        self.old.as_mut().remove(&key);
        self.young.as_mut().insert(key, entry);
    }

    /// Takes the entry of a key out, if it is here.
    pub(super) fn take(&mut self, key: K) -> Option<Box<V>> {
        let Self { young, old } = self;
        young.as_mut().remove(&key).or_else(|| old.as_mut().remove(&key))
    }

    /// Whether there are more than should be.
    pub(super) fn are_many(&self) -> bool {
        self.young.len() > MOST / 2
    }

    /// How many are unpacked.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Lets go of the elder half, if they are many; of all, if more came at once than may stay.
    pub(super) fn shrink(&mut self) {
        if self.young.len() > MOST {
            *self = Self::default();
        } else if self.are_many() {
            self.old.as_mut().clear();
            std::mem::swap(&mut self.young, &mut self.old);
        }
    }
}

impl<K, V> Default for Unpacked<K, V> {
    fn default() -> Self {
        Self { young: FrozenMap::new(), old: FrozenMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_all_at_once_does_not_stay_and_what_comes_one_by_one_does() {
        let mut unpacked = Unpacked::default();
        for key in 0..=MOST {
            unpacked.get(key, || key);
        }
        unpacked.shrink();
        assert_eq!(unpacked.len(), 0);
        for key in 0..=2 * MOST {
            unpacked.get(key, || key);
            unpacked.shrink();
            assert!(unpacked.len() <= MOST + 1);
        }
        assert!(unpacked.len() > MOST / 2);
    }
}
