//! Who must be looked at again when another object changes: whoever said something because of it.
//!
//! Guarantees: an object that was looked at because of another one is woken once that other one is no longer as it was
//! then; two that wait for each other do not wake each other for ever. Lives for one term; a new leader looks at all.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Objects that said something because of others: by the other one, with its version as they saw it.
#[derive(Debug)]
pub(crate) struct Dependents<K>(Mutex<BTreeMap<K, BTreeMap<K, i64>>>);

impl<K> Default for Dependents<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Clone + Ord> Dependents<K> {
    /// `dependent` said something because `other` is as it is at `version` (0: absent).
    pub(crate) fn depend(&self, dependent: K, other: K, version: i64) {
        self.lock().entry(other).or_default().insert(dependent, version);
    }

    /// Those who said something because of `other` as it was at another version than this one.
    pub(crate) fn outdated(&self, other: &K, version: i64) -> Vec<K> {
        let mut all = self.lock();
        let Some(dependents) = all.get_mut(other) else { return Vec::new() };
        let mut outdated = Vec::new();
        dependents.retain(|dependent, seen| {
            let stays = *seen == version;
            if !stays {
                outdated.push(dependent.clone());
            }
            stays
        });
        if dependents.is_empty() {
            all.remove(other);
        }
        outdated
    }

    /// Whether `dependent` has seen `other` at this version.
    pub(crate) fn has_seen(&self, dependent: &K, other: &K, version: i64) -> bool {
        self.lock().get(other).and_then(|dependents| dependents.get(dependent)) == Some(&version)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, BTreeMap<K, i64>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependent_is_woken_once_by_a_change_and_never_by_the_same_version() {
        let dependents = Dependents::default();
        dependents.depend("flavor", "image", 0);
        assert!(dependents.outdated(&"image", 0).is_empty());
        assert_eq!(dependents.outdated(&"image", 7), ["flavor"]);
        assert!(dependents.outdated(&"image", 8).is_empty());
    }

    #[test]
    fn two_that_contradict_each_other_see_each_other_and_rest() {
        let dependents = Dependents::default();
        dependents.depend("a", "b", 2);
        assert!(!dependents.has_seen(&"b", &"a", 1));
        dependents.depend("b", "a", 1);
        assert!(dependents.has_seen(&"b", &"a", 1) && dependents.has_seen(&"a", &"b", 2));
        assert!(dependents.outdated(&"a", 1).is_empty() && dependents.outdated(&"b", 2).is_empty());
    }
}
