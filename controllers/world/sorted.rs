//! Small sorted collections that weigh what is in them.
//!
//! A host has some hundred guests and there are some thousand hosts: trees would spend half their memory on room for more,
//! and a doubled list as well. Here an insertion moves what is behind it, and what is inserted in order moves nothing.

use std::slice::Iter;

/// A sorted list grows by this share of itself, and at least by [`LEAST`].
const SHARE: usize = 8;
const LEAST: usize = 4;

/// Values by key, in the order of the keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedMap<K, V>(Vec<(K, V)>);

/// Keys in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedSet<K>(Vec<K>);

impl<K: Ord, V> SortedMap<K, V> {
    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.place(key).ok().map(|at| &self.0[at].1)
    }

    /// Whether the key is there.
    pub fn contains_key(&self, key: &K) -> bool {
        self.place(key).is_ok()
    }

    /// Sets the value of a key.
    pub fn insert(&mut self, key: K, value: V) {
        match self.place(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => {
                make_room(&mut self.0);
                self.0.insert(at, (key, value));
            }
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) {
        if let Ok(at) = self.place(key) {
            self.0.remove(at);
        }
    }

    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }
}

impl<K, V> SortedMap<K, V> {
    /// Every key.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Ord> SortedSet<K> {
    /// Whether the key is there.
    pub fn contains(&self, key: &K) -> bool {
        self.0.binary_search(key).is_ok()
    }

    /// Puts a key in.
    pub fn insert(&mut self, key: K) {
        if let Err(at) = self.0.binary_search(&key) {
            make_room(&mut self.0);
            self.0.insert(at, key);
        }
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) {
        if let Ok(at) = self.0.binary_search(key) {
            self.0.remove(at);
        }
    }
}

impl<K> SortedSet<K> {
    /// Every key.
    pub fn iter(&self) -> Iter<'_, K> {
        self.0.iter()
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a, K> IntoIterator for &'a SortedSet<K> {
    type Item = &'a K;
    type IntoIter = Iter<'a, K>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K> Default for SortedSet<K> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

fn make_room<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact((list.len() / SHARE).max(LEAST));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_behave_as_trees_do(operations in prop::collection::vec((any::<bool>(), 0_u8..30, 0_u8..9), 0..200)) {
            let (mut map, mut set) = (SortedMap::default(), SortedSet::default());
            let (mut tree, mut keys) = (BTreeMap::new(), BTreeSet::new());
            for (insert, key, value) in operations {
                if insert {
                    map.insert(key, value);
                    tree.insert(key, value);
                    set.insert(key);
                    keys.insert(key);
                } else {
                    map.remove(&key);
                    tree.remove(&key);
                    set.remove(&key);
                    keys.remove(&key);
                }
            }
            prop_assert!(map.keys().eq(tree.keys()));
            prop_assert!(set.iter().eq(keys.iter()) && set.len() == keys.len());
            prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
            for key in 0..30 {
                prop_assert_eq!(map.get(&key), tree.get(&key));
                prop_assert_eq!(set.contains(&key), keys.contains(&key));
            }
        }
    }
}
