//! Keys that are due, in lanes that take turns.
//!
//! Guarantees: within a lane, keys come in the order in which they were put; of lanes with keys, each has its turn before
//! another has its second. So ten thousand keys in one lane delay a key in another by one turn. All in one lane is a plain
//! queue.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// Whose turn it is. Whoever shares a lane waits for one another.
pub type Lane = u16;

/// See the module.
#[derive(Debug)]
pub(super) struct Ready<K> {
    /// Only lanes that have keys.
    lanes: FxHashMap<Lane, VecDeque<(K, Instant)>>,
    /// The same lanes, the next one first.
    turns: VecDeque<Lane>,
    count: usize,
}

impl<K> Default for Ready<K> {
    fn default() -> Self {
        Self { lanes: FxHashMap::default(), turns: VecDeque::new(), count: 0 }
    }
}

impl<K> Ready<K> {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Puts a key at the end of its lane.
    pub(super) fn push(&mut self, lane: Lane, key: K, since: Instant) {
        let keys = self.lanes.entry(lane).or_default();
        if keys.is_empty() {
            self.turns.push_back(lane);
        }
        keys.push_back((key, since));
        self.count += 1;
    }

    /// Takes the first key of the lane whose turn it is.
    pub(super) fn pop(&mut self) -> Option<(K, Instant)> {
        let lane = self.turns.pop_front()?;
        let keys = self.lanes.get_mut(&lane)?;
        let first = keys.pop_front();
        if keys.is_empty() {
            self.lanes.remove(&lane);
        } else {
            self.turns.push_back(lane);
        }
        self.count -= usize::from(first.is_some());
        first
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn lanes_take_turns_and_within_one_the_first_comes_first() {
        let mut ready = Ready::default();
        for key in [1, 2, 3, 4] {
            ready.push(0, key, Instant::now());
        }
        ready.push(7, 10, Instant::now());
        assert_eq!(ready.len(), 5);
        let mut order = Vec::new();
        while let Some((key, _)) = ready.pop() {
            order.push(key);
            if key == 3 {
                ready.push(7, 11, Instant::now());
            }
        }
        assert_eq!(order, [1, 10, 2, 3, 4, 11]);
        assert_eq!(ready.len(), 0);
    }
}
