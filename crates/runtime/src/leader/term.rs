//! One term of leadership: what its holder may rely on, and until when.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lochness_kv::{Compare, LeaseId};
use lochness_mutant::Mutant;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// No mutation of the outside world may take longer.
const LONGEST_MUTATION: Duration = Duration::from_secs(10);
/// A mutation ends so long before the lease can, or a third of the lease where that is less.
const MARGIN: Duration = Duration::from_secs(1);

/// One term of leadership, from winning the key to losing it. Cheap to clone; all clones are the same term.
#[derive(Clone)]
pub struct Term {
    inner: Arc<Inner>,
}

struct Inner {
    key: Bytes,
    revision: i64,
    lease_id: LeaseId,
    lease: Duration,
    /// Until when the lease holds for certain, by our own monotonic clock.
    deadline: Mutex<Instant>,
    lost: CancellationToken,
}

/// What a won election gave.
#[derive(Debug, Clone)]
pub(super) struct Won {
    /// The key of the election.
    pub(super) key: Bytes,
    /// Its create revision.
    pub(super) revision: i64,
    /// What it hangs on.
    pub(super) lease_id: LeaseId,
    /// How long the lease lives without keepalive.
    pub(super) lease: Duration,
    /// When the lease was asked for.
    pub(super) asked: Instant,
}

impl Term {
    pub(super) fn new(won: Won) -> Self {
        let Won { key, revision, lease_id, lease, asked } = won;
        let deadline = Mutex::new(asked + lease);
        let lost = CancellationToken::new();
        Self { inner: Arc::new(Inner { key, revision, lease_id, lease, deadline, lost }) }
    }

    /// The compare that holds during this term and never after it. It belongs in every transaction of the leader.
    pub fn fence(&self) -> Compare {
        Compare::CreateRevision(self.inner.key.clone(), self.inner.revision)
    }

    /// The revision at which this term began: above that of every earlier one.
    pub fn revision(&self) -> i64 {
        self.inner.revision
    }

    /// How long the store waits for a keepalive.
    pub fn lease(&self) -> Duration {
        self.inner.lease
    }

    /// How long the lease holds for certain, counted from sending the last keepalive that was answered. Zero when the
    /// term is lost; finding the time run out loses it, so that a process that was paused learns it from the first look.
    pub fn remaining(&self) -> Duration {
        if self.inner.lost.is_cancelled() {
            return Duration::ZERO;
        }
        let remaining = self.deadline().saturating_duration_since(Instant::now());
        if remaining.is_zero() {
            self.lose("the lease ran out");
        }
        remaining
    }

    /// How long a mutation of the outside world that starts now may take; `None` when none may start: the term is lost,
    /// or in the last third of its lease.
    pub fn mutation_budget(&self) -> Option<Duration> {
        let (remaining, third) = (self.remaining(), self.inner.lease / 3);
        if remaining <= third {
            return None;
        }
        Some(LONGEST_MUTATION.min(remaining.saturating_sub(third.min(MARGIN))))
    }

    /// Cancelled when the term is over, however it ended.
    pub fn lost(&self) -> &CancellationToken {
        &self.inner.lost
    }

    /// Gives the term up: called when a commit was fenced.
    pub fn abdicate(&self, reason: &str) {
        self.lose(reason);
    }

    pub(super) fn key(&self) -> &Bytes {
        &self.inner.key
    }

    pub(super) fn lease_id(&self) -> LeaseId {
        self.inner.lease_id
    }

    /// Until when the lease holds for certain.
    pub(super) fn deadline(&self) -> Instant {
        if lochness_mutant::is(Mutant::LeaseUncounted) {
            return Instant::now() + self.inner.lease;
        }
        *self.inner.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A keepalive sent at `asked` was answered with a time to live of `ttl`.
    pub(super) fn renewed(&self, asked: Instant, ttl: Duration) {
        let until = asked + ttl.min(self.inner.lease);
        let mut deadline = self.inner.deadline.lock().unwrap_or_else(PoisonError::into_inner);
        *deadline = until.max(*deadline);
    }

    /// Ends the term without a word: it was resigned.
    pub(super) fn resign(&self) {
        self.inner.lost.cancel();
    }

    /// Ends the term, unless it has ended.
    pub(super) fn lose(&self, reason: &str) {
        if !self.inner.lost.is_cancelled() {
            warn!(revision = self.inner.revision, reason, "leads no more");
            self.inner.lost.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn term(lease: Duration) -> Term {
        let key = Bytes::from_static(b"leader");
        Term::new(Won { key, revision: 9, lease_id: LeaseId(1), lease, asked: Instant::now() })
    }

    #[tokio::test(start_paused = true)]
    async fn in_the_last_third_of_the_lease_no_mutation_starts() {
        for lease in [3, 15].map(Duration::from_secs) {
            let term = term(lease);
            advance((lease * 2 / 3).saturating_sub(Duration::from_millis(1))).await;
            let budget = term.mutation_budget().expect("two thirds are not over");
            assert!(budget < term.remaining(), "{lease:?}: {budget:?}");
            advance(Duration::from_millis(1)).await;
            assert_eq!(term.mutation_budget(), None, "{lease:?}");
            assert!(!term.lost().is_cancelled());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_mutation_ends_a_second_before_the_lease_and_takes_ten_at_most() {
        let long = term(Duration::from_secs(15));
        assert_eq!(long.mutation_budget(), Some(Duration::from_secs(10)));
        advance(Duration::from_secs(8)).await;
        assert_eq!(long.mutation_budget(), Some(Duration::from_secs(6)));
        let short = term(Duration::from_millis(1_500));
        assert_eq!(short.mutation_budget(), Some(Duration::from_secs(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_after_the_lease_ran_out_loses_the_term() {
        let term = term(Duration::from_secs(3));
        advance(Duration::from_secs(3)).await;
        assert_eq!(term.mutation_budget(), None);
        assert!(term.lost().is_cancelled());
        term.renewed(Instant::now(), Duration::from_secs(3));
        assert_eq!(term.remaining(), Duration::ZERO, "a late keepalive does not bring it back");
    }

    #[tokio::test(start_paused = true)]
    async fn time_counts_from_sending_the_keepalive() {
        let term = term(Duration::from_secs(3));
        let sent = Instant::now();
        advance(Duration::from_secs(1)).await;
        term.renewed(sent, Duration::from_secs(60));
        assert_eq!(term.remaining(), Duration::from_secs(2));
    }
}
