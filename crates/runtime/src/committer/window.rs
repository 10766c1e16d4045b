//! How many transactions to keep in flight: as many as the store takes without getting slower.
//!
//! Compared with the lowest latency seen lately: while it stays near and commits wait, one more may be in flight; well
//! above it, one less. A transaction that failed halves it. Fewer in flight means larger groups, not less work done.

use std::time::Duration;

/// Latencies below it are all the same: differences there are noise of scheduling.
const NOISE: Duration = Duration::from_millis(2);
/// Up to so many times the floor the store counts as not yet busy.
const NEAR: u32 = 2;
/// From so many times the floor on the store counts as overloaded.
const FAR: u32 = 6;
/// By which part of the difference the floor follows latencies above it, so that it forgets in some hundred answers.
const FORGET: u32 = 64;

/// What waits while a transaction is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// Nothing: a wider window would change nothing.
    Met,
    /// Commits wait for a slot.
    Waiting,
}

/// The number of transactions that may be in flight, from 1 to a maximum.
#[derive(Debug)]
pub(super) struct Window {
    limit: usize,
    max: usize,
    /// Answers that spoke for a wider window since it was last changed; the wider it is, the more it takes.
    credit: usize,
    floor: Option<Duration>,
}

impl Window {
    /// Starts with `limit`.
    pub(super) fn new(limit: usize, max: usize) -> Self {
        let max = max.max(1);
        Self { limit: limit.clamp(1, max), max, credit: 0, floor: None }
    }

    /// The number now.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// A transaction was answered.
    pub(super) fn answered(&mut self, latency: Duration, demand: Demand) {
        let latency = latency.max(NOISE);
        let floor = self.floor.map_or(latency, |floor| {
            if latency < floor { latency } else { floor + latency.saturating_sub(floor) / FORGET }
        });
        self.floor = Some(floor);
        if latency >= floor * FAR {
            self.limit = (self.limit - 1).max(1);
            self.credit = 0;
        } else if latency <= floor * NEAR && demand == Demand::Waiting {
            self.credit += 1;
            if self.credit >= self.limit {
                self.limit = (self.limit + 1).min(self.max);
                self.credit = 0;
            }
        }
    }

    /// A transaction got no answer, or the store has no room for it.
    pub(super) fn failed(&mut self) {
        self.limit = (self.limit / 2).max(1);
        self.credit = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(3);
    const SLOW: Duration = Duration::from_millis(60);

    fn answer(window: &mut Window, times: usize, latency: Duration, demand: Demand) {
        for _ in 0..times {
            window.answered(latency, demand);
        }
    }

    #[test]
    fn it_widens_only_while_commits_wait_and_the_store_stays_fast() {
        let mut window = Window::new(4, 16);
        answer(&mut window, 1_000, FAST, Demand::Met);
        assert_eq!(window.limit(), 4);
        answer(&mut window, 4, FAST, Demand::Waiting);
        assert_eq!(window.limit(), 5);
        answer(&mut window, 1_000, FAST, Demand::Waiting);
        assert_eq!(window.limit(), 16);
    }

    #[test]
    fn it_narrows_when_the_store_slows_down_and_never_below_one() {
        let mut window = Window::new(4, 16);
        answer(&mut window, 10, FAST, Demand::Met);
        answer(&mut window, 10, SLOW, Demand::Waiting);
        assert_eq!(window.limit(), 1);
        window.failed();
        assert_eq!(window.limit(), 1);
    }

    #[test]
    fn it_gets_used_to_a_store_that_is_slower_now() {
        let mut window = Window::new(4, 16);
        answer(&mut window, 10, FAST, Demand::Met);
        answer(&mut window, 1_000, SLOW, Demand::Waiting);
        assert_eq!(window.limit(), 16);
    }

    #[test]
    fn a_failure_halves_it() {
        let mut window = Window::new(8, 16);
        window.failed();
        assert_eq!(window.limit(), 4);
    }
}
