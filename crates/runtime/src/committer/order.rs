//! Who may go now: commits that touch the same keys keep their order, all others are free.
//!
//! Every key has a line (and may share it with another one, see [`Line`](super::footprint::Line)). A commit stands in the lines of all its keys from the moment it is taken up until its verdict:
//! those who compare share the head of a line, who writes has it alone. A commit at the head of all its lines is free to
//! go; so any set of free commits may share a transaction or be in flight together. As commits enter all their lines at
//! once, two can never wait for each other.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::footprint::{Access, Footprint, Line};

/// Number of a commit, ascending.
pub(super) type Number = u64;

/// The lines of all keys that are touched now. The maps are looked up, never iterated.
#[derive(Debug, Default)]
pub(super) struct Order {
    lines: FxHashMap<Line, Queue>,
    /// In how many lines a commit that is not free still waits.
    waits: FxHashMap<Number, usize>,
}

/// Who is at the head of a line, and who waits.
#[derive(Debug, Default)]
struct Queue {
    comparing: usize,
    writing: bool,
    waiting: VecDeque<(Number, Access)>,
}

/// Whether a commit is free to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// Nothing before it touches its keys.
    Free,
    /// It waits for an earlier one; [`Order::leave`] will name it.
    Waits,
}

impl Order {
    /// Takes a commit into the lines of its keys.
    pub(super) fn enter(&mut self, number: Number, footprint: &Footprint) -> Entry {
        let mut waits = 0;
        for (line, access) in footprint.lines() {
            let queue = self.lines.entry(*line).or_default();
            if queue.waiting.is_empty() && queue.admits(*access) {
                queue.admit(*access);
            } else {
                queue.waiting.push_back((number, *access));
                waits += 1;
            }
        }
        if waits == 0 {
            return Entry::Free;
        }
        self.waits.insert(number, waits);
        Entry::Waits
    }

    /// Takes a commit that was free out of its lines, and calls `freed` with every commit that this sets free.
    pub(super) fn leave(&mut self, footprint: &Footprint, mut freed: impl FnMut(Number)) {
        for (line, access) in footprint.lines() {
            let queue = self.lines.get_mut(line).expect("a commit stands in the lines of its keys");
            queue.release(*access);
            while let Some(&(number, access)) = queue.waiting.front() {
                if !queue.admits(access) {
                    break;
                }
                queue.admit(access);
                queue.waiting.pop_front();
                let waits = self.waits.get_mut(&number).expect("who waits is counted");
                *waits -= 1;
                if *waits == 0 {
                    self.waits.remove(&number);
                    freed(number);
                }
            }
            if queue.is_empty() {
                self.lines.remove(line);
            }
        }
    }
}

impl Queue {
    fn admits(&self, access: Access) -> bool {
        match access {
            Access::Compares => !self.writing,
            Access::Writes => !self.writing && self.comparing == 0,
        }
    }

    fn admit(&mut self, access: Access) {
        match access {
            Access::Compares => self.comparing += 1,
            Access::Writes => self.writing = true,
        }
    }

    fn release(&mut self, access: Access) {
        match access {
            Access::Compares => self.comparing -= 1,
            Access::Writes => self.writing = false,
        }
    }

    fn is_empty(&self) -> bool {
        !self.writing && self.comparing == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use lochness_kv::{Compare, Op, Txn};
    use proptest::prelude::*;

    use super::*;

    fn footprint(compares: &[&'static str], writes: &[&'static str]) -> Footprint {
        let compares = compares.iter().map(|key| Compare::absent(*key)).collect();
        let writes = writes.iter().map(|key| Op::put(*key, "")).collect();
        Footprint::of(&Txn { compares, success: writes, failure: Vec::new() }).unwrap()
    }

    fn leave(order: &mut Order, footprint: &Footprint) -> Vec<Number> {
        let mut freed = Vec::new();
        order.leave(footprint, |number| freed.push(number));
        freed
    }

    #[test]
    fn comparing_is_shared_and_writing_is_alone() {
        let mut order = Order::default();
        let (reads, writes) = (footprint(&["a"], &[]), footprint(&[], &["a"]));
        assert_eq!(order.enter(1, &reads), Entry::Free);
        assert_eq!(order.enter(2, &reads), Entry::Free);
        assert_eq!(order.enter(3, &writes), Entry::Waits);
        assert_eq!(order.enter(4, &reads), Entry::Waits, "it must not overtake the writer");
        assert!(leave(&mut order, &reads).is_empty());
        assert_eq!(leave(&mut order, &reads), [3]);
        assert_eq!(leave(&mut order, &writes), [4]);
        assert!(leave(&mut order, &reads).is_empty());
        assert!(order.lines.is_empty() && order.waits.is_empty());
    }

    #[test]
    fn who_waits_for_two_keys_goes_when_both_are_free() {
        let mut order = Order::default();
        let (a, b, both) =
            (footprint(&[], &["a"]), footprint(&[], &["b"]), footprint(&["a"], &["b"]));
        order.enter(1, &a);
        order.enter(2, &b);
        assert_eq!(order.enter(3, &both), Entry::Waits);
        assert!(leave(&mut order, &b).is_empty());
        assert_eq!(leave(&mut order, &a), [3]);
    }

    const KEYS: [&str; 4] = ["a", "b", "c", "d"];

    proptest! {
        /// Whatever is free at the same time shares no written key; all go in the end, and rivals go in order.
        #[test]
        fn rivals_keep_their_order_and_nobody_waits_for_ever(
            commits in prop::collection::vec((0_u8..16, 0_u8..16), 1..40),
            choices in prop::collection::vec(any::<prop::sample::Index>(), 40),
        ) {
            let pick = |mask: u8| KEYS.iter().enumerate().filter(move |(i, _)| mask >> i & 1 == 1)
                .map(|(_, key)| *key).collect::<Vec<_>>();
            let footprints: Vec<_> = commits.iter()
                .map(|(compares, writes)| footprint(&pick(*compares), &pick(*writes))).collect();
            let rivals = |one: usize, other: usize| {
                let ((c1, w1), (c2, w2)) = (commits[one], commits[other]);
                w1 & (c2 | w2) != 0 || w2 & (c1 | w1) != 0
            };
            let mut order = Order::default();
            let mut free = Vec::new();
            for (number, footprint) in footprints.iter().enumerate() {
                if order.enter(number as u64, footprint) == Entry::Free {
                    free.push(number);
                }
            }
            let mut gone: Vec<usize> = Vec::new();
            for choice in choices.iter().take(commits.len()) {
                for (at, one) in free.iter().enumerate() {
                    prop_assert!(free[..at].iter().all(|other| !rivals(*one, *other)));
                }
                prop_assert!(!free.is_empty(), "all wait: {gone:?} gone of {commits:?}");
                let number = free.remove(choice.index(free.len()));
                prop_assert!((0..number).all(|earlier| !rivals(earlier, number) || gone.contains(&earlier)));
                gone.push(number);
                order.leave(&footprints[number], |freed| free.push(usize::try_from(freed).unwrap()));
            }
            prop_assert!(order.lines.is_empty() && order.waits.is_empty());
        }
    }
}
