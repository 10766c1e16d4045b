//! How many guests may be torn down without a person's word. Judged by level, not by a window: however slowly the documents
//! went away, what counts is how many guests wait to be torn down now.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_api::document::ClusterConfig;
use lochness_mutant::Mutant;
use tokio::time::Instant;

use crate::world::World;

/// At most a budget's worth of teardowns begins within this time.
const WINDOW: Duration = Duration::from_secs(60);

/// Whether a guest whose document is gone may be torn down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeletionBudget {
    /// A person confirmed a revision at or above the one at which its document went.
    Confirmed,
    /// Few enough guests wait.
    Open {
        /// So many more teardowns may begin now.
        left: usize,
    },
    /// More guests wait than the budget allows: none of them is torn down.
    Held {
        /// How many wait without a person's word.
        pending: usize,
        /// How many would be torn down unasked.
        budget: usize,
    },
}

/// What to count for a teardown that is about to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It begins and is free of the budget.
    Free,
    /// It begins and counts.
    Counted,
    /// It does not begin.
    No,
}

/// When teardowns began, as far as this process began them.
#[derive(Debug, Default)]
pub struct Teardowns(Mutex<VecDeque<Instant>>);

/// Whether the guest whose document went at `gone_at` may be torn down, when `begun` teardowns began in the last minute.
///
/// Costs nothing that grows with the guests that wait: each of them asks.
pub fn verdict(world: &World, gone_at: i64, begun: usize) -> DeletionBudget {
    if world.is_confirmed(gone_at) || lochness_mutant::is(Mutant::BudgetIgnored) {
        return DeletionBudget::Confirmed;
    }
    let budget = budget(world.placed(), world.config());
    let pending = world.unconfirmed_teardowns().len();
    if pending > budget {
        return DeletionBudget::Held { pending, budget };
    }
    DeletionBudget::Open { left: budget.saturating_sub(begun) }
}

/// The revision that a person confirms to let go of every guest that waits now; `None` when nobody need be asked.
pub fn revision_to_confirm(world: &World) -> Option<i64> {
    match verdict(world, i64::MAX, 0) {
        DeletionBudget::Held { .. } => {
            let held = world.unconfirmed_teardowns().iter().filter_map(|id| world.guest(*id));
            held.map(|entry| entry.gone_at).max()
        }
        DeletionBudget::Open { .. } | DeletionBudget::Confirmed => None,
    }
}

/// How many guests may be torn down unasked when so many are placed: a share of them, but never less than a few.
fn budget(placed: usize, config: &ClusterConfig) -> usize {
    let share = (placed as u128 * u128::from(config.deletion_budget_percent)) / 100;
    let few = u128::from(config.deletion_budget_min);
    usize::try_from(share.max(few)).unwrap_or(usize::MAX)
}

impl Teardowns {
    /// How many teardowns that count began in the minute before `now`.
    pub fn begun_lately(&self, now: Instant) -> usize {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut begun, now);
        begun.len()
    }

    /// Lets a teardown begin if `decide` says so, which is told how many began lately: two callers never take the same
    /// one. `true` when it begins.
    pub fn take(&self, now: Instant, decide: impl FnOnce(usize) -> Taken) -> bool {
        let mut begun = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut begun, now);
        match decide(begun.len()) {
            Taken::Free => true,
            Taken::Counted => {
                begun.push_back(now);
                true
            }
            Taken::No => false,
        }
    }
}

fn forget_old(begun: &mut VecDeque<Instant>, now: Instant) {
    while begun.front().is_some_and(|at| now.saturating_duration_since(*at) >= WINDOW) {
        begun.pop_front();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_world::TestWorld;

    fn after_deleting(deleted: usize, placed: usize) -> TestWorld {
        let mut world = TestWorld::new();
        let host = world.host(1);
        let subnet = world.subnet(1, "10.0.0.0/16");
        for number in 0..placed {
            world.placed(number, host, subnet);
        }
        for number in 0..deleted {
            world.delete_guest(number);
        }
        world
    }

    #[test]
    fn a_few_deletions_are_always_within_the_budget() {
        let world = after_deleting(10, 10);
        assert_eq!(verdict(&world, i64::MAX, 0), DeletionBudget::Open { left: 10 });
        assert_eq!(verdict(&world, i64::MAX, 7), DeletionBudget::Open { left: 3 });
        assert_eq!(verdict(&world, i64::MAX, 12), DeletionBudget::Open { left: 0 });
        assert_eq!(revision_to_confirm(&world), None);
    }

    #[test]
    fn more_than_a_fifth_of_the_placed_guests_all_wait() {
        let world = after_deleting(20, 100);
        assert_eq!(verdict(&world, i64::MAX, 0), DeletionBudget::Open { left: 20 });
        let world = after_deleting(21, 100);
        assert_eq!(verdict(&world, i64::MAX, 0), DeletionBudget::Held { pending: 21, budget: 20 });
    }

    #[test]
    fn a_confirmed_revision_lets_go_of_what_went_up_to_it_and_of_nothing_later() {
        let mut world = after_deleting(30, 100);
        let shown = revision_to_confirm(&world).expect("30 of 100 are held");
        world.config("confirm_deletion", &shown.to_string());
        assert_eq!(verdict(&world, shown, 0), DeletionBudget::Confirmed);
        assert_eq!(revision_to_confirm(&world), None);
        assert_eq!(world.awaiting_teardown().len(), 30);
        assert!(world.unconfirmed_teardowns().is_empty());
        for number in 30..51 {
            world.delete_guest(number);
        }
        assert_eq!(verdict(&world, shown, 0), DeletionBudget::Confirmed);
        assert_eq!(verdict(&world, shown + 1, 0), DeletionBudget::Held { pending: 21, budget: 20 });
        assert!(revision_to_confirm(&world) > Some(shown));
        world.config("confirm_deletion", "");
        assert_eq!(verdict(&world, shown, 0), DeletionBudget::Held { pending: 51, budget: 20 });
    }

    #[tokio::test(start_paused = true)]
    async fn teardowns_count_for_a_minute() {
        let begun = Teardowns::default();
        let start = Instant::now();
        assert!(begun.take(start, |lately| {
            assert_eq!(lately, 0);
            Taken::Counted
        }));
        assert!(begun.take(start, |_| Taken::Free));
        assert!(!begun.take(start, |_| Taken::No));
        assert_eq!(begun.begun_lately(start + WINDOW - Duration::from_millis(1)), 1);
        assert_eq!(begun.begun_lately(start + WINDOW), 0);
    }
}
