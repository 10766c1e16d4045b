//! What looks like a leak, and since when: only what looked so for a while is one.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// Suspects by the object that they belong to, each with the time since when it has been one without a break.
#[derive(Debug)]
pub(crate) struct Suspects<O, K>(Mutex<FxHashMap<O, BTreeMap<K, Instant>>>);

impl<O, K> Default for Suspects<O, K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<O: Eq + Hash, K: Copy + Ord> Suspects<O, K> {
    /// Takes in what is suspect now; what is not any more is forgotten. The answer is what has been suspect for `grace`.
    pub(crate) fn observe(
        &self,
        owner: O,
        suspects: &BTreeSet<K>,
        now: Instant,
        grace: Duration,
    ) -> Vec<K> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if suspects.is_empty() {
            all.remove(&owner);
            return Vec::new();
        }
        let known = all.entry(owner).or_default();
        known.retain(|suspect, _| suspects.contains(suspect));
        let mut convicted = Vec::new();
        for suspect in suspects {
            let since = *known.entry(*suspect).or_insert(now);
            if now.saturating_duration_since(since) >= grace {
                convicted.push(*suspect);
            }
        }
        convicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_is_suspect_all_the_time_is_convicted() {
        let (suspects, start, grace) =
            (Suspects::default(), Instant::now(), Duration::from_secs(60));
        let look = |at: u64, now: &[u8]| {
            let now = now.iter().copied().collect();
            suspects.observe("subnet", &now, start + Duration::from_secs(at), grace)
        };
        assert!(look(0, &[1, 2]).is_empty());
        assert!(look(30, &[1]).is_empty());
        assert_eq!(look(60, &[1, 2]), [1]);
        assert!(look(89, &[2]).is_empty());
        assert!(look(90, &[1, 2]).is_empty());
        assert_eq!(look(120, &[1, 2]), [2]);
    }
}
