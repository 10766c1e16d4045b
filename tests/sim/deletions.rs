//! S10: more deletions than the budget allows are held until somebody confirms them.
//!
//! What an operator knew when it began a teardown lies between two revisions: that at which the guest's document went,
//! and that of the teardown. If too many waited at all of them, it knew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lochness_api::status::Phase;
use lochness_api::{GuestId, Key};
use lochness_kv::Event;
use tokio::time::Instant;

use crate::checker::Checker;

/// A commit is under way for so long at most.
const UNDER_WAY: Duration = Duration::from_secs(10);

/// Who waits to be torn down, and since when there are too many.
#[derive(Default)]
pub(crate) struct Deletions {
    /// At most so many go unasked; `None` is not judged.
    budget: Option<usize>,
    confirmed: i64,
    /// Guests whose document is gone, and the revision at which it went.
    gone: BTreeMap<GuestId, i64>,
    deleting: BTreeSet<GuestId>,
    /// Since this revision too many wait.
    over_since: Option<i64>,
    /// The last revision at which not too many waited.
    calm_at: i64,
    /// Guests whose document was put back lately and that could have been torn down before: a teardown that was planned
    /// then finds the document absent if it is deleted once more before it lands.
    planned: BTreeMap<GuestId, Instant>,
}

impl Deletions {
    /// From now on at most so many are torn down unasked.
    pub(crate) fn limit(&mut self, budget: usize) {
        self.budget = Some(budget);
    }

    /// Somebody confirms everything up to this revision.
    pub(crate) fn confirm(&mut self, revision: i64) {
        self.confirmed = self.confirmed.max(revision);
    }

    /// Takes a revision in, which the checker has seen; what is wrong with it.
    pub(crate) fn take(
        &mut self,
        events: &[Event],
        checker: &Checker,
    ) -> Vec<(Option<GuestId>, String)> {
        let mut found = Vec::new();
        let Some(budget) = self.budget else { return found };
        let revision = events[0].revision();
        let deleting = |guest: &GuestId| {
            checker.status(*guest).is_some_and(|status| status.phase == Phase::Deleting)
        };
        let now: BTreeSet<_> = checker.guests().into_iter().filter(deleting).collect();
        for guest in now.difference(&self.deleting) {
            let since = self
                .over_since
                .filter(|_| self.gone.get(guest).is_none_or(|at| *at > self.confirmed));
            if let (Some(since), Some(gone)) = (since, self.gone.get(guest))
                && *gone >= since
                && self.planned.get(guest).is_none_or(|at| at.elapsed() > UNDER_WAY)
            {
                found.push((
                    Some(*guest),
                    format!(
                        "S10: {guest} was torn down while more than {budget} waited since r{since}"
                    ),
                ));
            }
        }
        self.deleting = now;
        for guest in checker.guests() {
            if checker.value(&Key::Guest(guest)).is_some() {
                if self.gone.remove(&guest).is_some_and(|at| at <= self.calm_at) {
                    self.planned.insert(guest, Instant::now());
                }
            } else {
                self.gone.entry(guest).or_insert(revision);
            }
        }
        let waits = |(guest, at): &(&GuestId, &i64)| {
            let placed = checker.status(**guest).is_some_and(|it| it.placement.is_some());
            placed && !self.deleting.contains(guest) && **at > self.confirmed
        };
        let too_many = self.gone.iter().filter(waits).count() > budget;
        if !too_many {
            self.calm_at = revision;
        }
        self.over_since = too_many.then(|| self.over_since.unwrap_or(revision));
        found
    }
}
