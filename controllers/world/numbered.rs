//! Values by key, each at a number that stays the same for as long as its key is there: indexes have the number, of four
//! bytes, where they would have a key of sixteen.
//!
//! Values lie side by side in a list, and the table that finds them has numbers alone in it: a table is between seven
//! sixteenths and seven eighths full, so that what lies in it weighs up to twice itself.

use std::hash::{BuildHasher as _, Hash};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use rustc_hash::FxBuildHasher;

/// Where a value lies: a number, in bytes for the sake of the gaps that it would have as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place([u8; 4]);

impl Place {
    pub(super) const FIRST: Self = Self([u8::MIN; 4]);
    pub(super) const LAST: Self = Self([u8::MAX; 4]);
}

const KEPT: &str = "who has a place of a value gives it up before the value goes";

/// See the module.
pub(super) struct Numbered<K, V> {
    slots: Vec<Option<(K, V)>>,
    free: Vec<Place>,
    places: HashTable<Place>,
}

impl<K: Copy + Eq + Hash, V> Numbered<K, V> {
    /// Where the value of a key lies.
    pub(super) fn place(&self, key: &K) -> Option<Place> {
        let is_it = |place: &Place| self.is_at(*place, key);
        self.places.find(hash(key), is_it).copied()
    }

    /// The key of a value that is there.
    pub(super) fn key(&self, place: Place) -> K {
        self.at(place).0
    }

    /// A value that is there.
    pub(super) fn value(&self, place: Place) -> &V {
        &self.at(place).1
    }

    /// A value that is there, to change it.
    pub(super) fn value_mut(&mut self, place: Place) -> &mut V {
        let slot = self.slots[index(place)].as_mut();
        &mut slot.expect(KEPT).1
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        let slot = self.slots[index(self.place(key)?)].as_ref();
        slot.map(|(_, value)| value)
    }

    /// Takes a value out.
    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let Self { slots, free, places } = self;
        let is_it = |place: &Place| is_at(slots, *place, key);
        let (place, _) = places.find_entry(hash(key), is_it).ok()?.remove();
        free.push(place);
        slots[index(place)].take().map(|(_, value)| value)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// All of them, in no order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, &V)> + '_ {
        self.slots.iter().flatten().map(|(key, value)| (*key, value))
    }

    fn at(&self, place: Place) -> &(K, V) {
        let slot = self.slots[index(place)].as_ref();
        slot.expect(KEPT)
    }

    fn is_at(&self, place: Place, key: &K) -> bool {
        is_at(&self.slots, place, key)
    }
}

impl<K: Copy + Eq + Hash, V: Default> Numbered<K, V> {
    /// The value of a key; an empty one when there was none.
    pub(super) fn entry(&mut self, key: K) -> &mut V {
        let Self { slots, free, places } = self;
        let is_it = |place: &Place| is_at(slots, *place, &key);
        let hash_at = |place: &Place| slots[index(*place)].as_ref().map_or(0, |(key, _)| hash(key));
        let place = match places.entry(hash(&key), is_it, hash_at) {
            Entry::Occupied(entry) => *entry.get(),
            Entry::Vacant(entry) => {
                let place = free.pop().unwrap_or_else(|| {
                    let number = u32::try_from(slots.len());
                    Place(number.expect("memory ends before the numbers do").to_ne_bytes())
                });
                entry.insert(place);
                place
            }
        };
        if index(place) == slots.len() {
            slots.push(None);
        }
        &mut slots[index(place)].get_or_insert_with(|| (key, V::default())).1
    }
}

impl<K, V> Default for Numbered<K, V> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), places: HashTable::new() }
    }
}

fn is_at<K: Eq, V>(slots: &[Option<(K, V)>], place: Place, key: &K) -> bool {
    slots[index(place)].as_ref().is_some_and(|(other, _)| other == key)
}

fn hash<K: Hash>(key: &K) -> u64 {
    FxBuildHasher.hash_one(key)
}

fn index(Place(bytes): Place) -> usize {
    usize::try_from(u32::from_ne_bytes(bytes))
        .expect("a processor that runs this has at least 32 bits")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_as_a_map_does_and_a_place_stays_a_keys_own(
            operations in prop::collection::vec((any::<bool>(), 0_u8..30, 0_u8..9), 0..200),
        ) {
            let (mut numbered, mut map) = (Numbered::default(), BTreeMap::new());
            let mut places = BTreeMap::new();
            for (insert, key, value) in operations {
                if insert {
                    *numbered.entry(key) = value;
                    map.insert(key, value);
                    let place = numbered.place(&key).unwrap();
                    prop_assert_eq!(*places.entry(key).or_insert(place), place);
                } else {
                    prop_assert_eq!(numbered.remove(&key), map.remove(&key));
                    places.remove(&key);
                }
            }
            let all: BTreeMap<u8, u8> = numbered.iter().map(|(key, value)| (key, *value)).collect();
            prop_assert_eq!((&all, numbered.len()), (&map, map.len()));
            for key in 0..30 {
                prop_assert_eq!(numbered.get(&key), map.get(&key));
                prop_assert_eq!(numbered.place(&key), places.get(&key).copied());
            }
            for (key, place) in places {
                prop_assert_eq!(numbered.key(place), key);
            }
        }
    }
}
