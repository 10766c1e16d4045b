//! How a loop writes: one transaction that says what it was based on, and an answer only when the view shows it.
//!
//! Guarantees: while [`Commits::commit`] runs, its outcome is open, and whatever the caller claimed for it (resources, an
//! address) stays claimed; when it returns, the view is at or above the commit or the conflict, so that the next plan of
//! the same key is made on what became of this one (DESIGN.md, *Consistency* 3). A commit whose answer was lost is handed
//! in again, unchanged: as it compares a revision that it changes, it happens at most once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use lochness_kv::{Kv, KvError, Txn};
use lochness_runtime::committer::{Commit, CommitLoop, Committer, CommitterOptions, Verdict};
use lochness_runtime::controller::ReconcileError;
use lochness_runtime::leader::Term;
use lochness_runtime::metrics::Metrics;
use tokio::time::timeout;
use tracing::debug;

use crate::world::WorldCell;

/// The first wait before a commit without an answer is handed in again; doubles up to [`LAST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest such wait: the backoff cap for etcd.
const LAST_RETRY: Duration = Duration::from_secs(5);
/// After a conflict the view is waited for so long at most: what moved the store on may lie outside the prefix, and then
/// nothing brings the view to that revision.
const CONFLICT_PATIENCE: Duration = Duration::from_secs(1);

/// Where the loops hand in their commits, during one term.
#[derive(Clone)]
pub struct Commits {
    committer: Committer,
    world: Arc<WorldCell>,
    term: Term,
    newest: Arc<AtomicI64>,
}

impl Commits {
    /// Commits for one term, and the loop that sends them.
    pub fn new(
        kv: Arc<dyn Kv>,
        world: Arc<WorldCell>,
        term: Term,
        metrics: &Metrics,
    ) -> (Self, CommitLoop) {
        let newest = Arc::new(AtomicI64::new(0));
        let (highest, position) = (Arc::clone(&newest), world.position());
        let (cell, life) = (Arc::clone(&world), AtomicU64::new(world.life()));
        let lag = Arc::new(move || {
            // Another store, or an earlier life of this one, counts from elsewhere.
            let now = cell.life();
            if life.swap(now, Ordering::Relaxed) != now {
                highest.store(0, Ordering::Relaxed);
            }
            let behind = highest.load(Ordering::Relaxed) - position.borrow().revision;
            u64::try_from(behind).unwrap_or(0)
        });
        let options = CommitterOptions::default();
        let (committer, sender) = Committer::new(kv, term.fence(), options, lag, metrics);
        (Self { committer, world, term, newest }, sender)
    }

    /// Commits, and returns the revision once the view shows it.
    ///
    /// # Errors
    /// [`ReconcileError::Conflict`] when the view that the plan was made on was old, once the view has caught up;
    /// otherwise why it did not happen. A commit that once got no answer stays open until there is one: that the store
    /// cannot be reached later says nothing of it.
    pub async fn commit(&self, commit: Commit) -> Result<i64, ReconcileError> {
        debug_assert!(is_anchored(&commit), "a commit compares a key that it writes: {commit:?}");
        let commit = Arc::<Txn>::from(commit);
        let mut wait = FIRST_RETRY;
        let mut may_have_happened = false;
        loop {
            match self.committer.commit(Arc::clone(&commit)).await {
                Verdict::Committed { revision } => {
                    self.newest.fetch_max(revision, Ordering::Relaxed);
                    self.world.wait_for(revision).await;
                    return Ok(revision);
                }
                Verdict::Conflict { revision } if may_have_happened => {
                    // What it conflicts with may be itself: only the view tells, and it will, for that is under the prefix.
                    self.world.wait_for(revision).await;
                    return Err(ReconcileError::Conflict);
                }
                Verdict::Conflict { revision } => {
                    // A view that does not get there in time makes the next plan conflict again, and no more than that.
                    let _ = timeout(CONFLICT_PATIENCE, self.world.wait_for(revision)).await;
                    return Err(ReconcileError::Conflict);
                }
                Verdict::Fenced => {
                    self.term.abdicate("a commit was fenced: another operator leads");
                    return Err(ReconcileError::failed("Fenced", "another operator leads"));
                }
                Verdict::Unknown(error) => {
                    may_have_happened = true;
                    // Hundreds of them may be open when the store goes away: what ails it is said once, by its probe.
                    debug!(%error, retry_in = ?wait, "a commit got no answer, handing it in again");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LAST_RETRY);
                }
                Verdict::Rejected(error @ (KvError::Unavailable(_) | KvError::NoSpace))
                    if may_have_happened =>
                {
                    debug!(%error, retry_in = ?wait, "nobody says yet what became of a commit");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(LAST_RETRY);
                }
                Verdict::Rejected(error) => {
                    return Err(ReconcileError::failed(reason_of(&error), error.to_string()));
                }
            }
        }
    }
}

/// A lease that the commit wanted to use is gone.
pub(crate) const LEASE_EXPIRED: &str = "LeaseExpired";

/// The word for a failed commit, out of a closed set.
fn reason_of(error: &KvError) -> &'static str {
    match error {
        KvError::NoSpace => "StoreOutOfSpace",
        KvError::TooLarge(_) => "CommitTooLarge",
        KvError::PermissionDenied(_) => "StorePermissionDenied",
        KvError::LeaseNotFound => LEASE_EXPIRED,
        KvError::Unknown(_) | KvError::Unavailable(_) => "StoreUnavailable",
        KvError::Compacted(_) | KvError::Invalid(_) => "StoreRefused",
    }
}

/// Whether the commit can happen at most once: it changes a revision that it compares.
fn is_anchored(commit: &Commit) -> bool {
    commit.compares.iter().any(|compare| {
        commit.writes.iter().any(|write| match write {
            lochness_kv::Op::Put { key, .. } | lochness_kv::Op::Delete { key, .. } => {
                key == compare.key()
            }
            lochness_kv::Op::Range(_) | lochness_kv::Op::Txn(_) => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use lochness_api::keys::Key;
    use lochness_kv::{Compare, Fault, Kv, Op, OpKind, Txn};
    use lochness_runtime::committer::Commit;
    use lochness_runtime::controller::ReconcileError;
    use tokio::time::timeout;

    use crate::agents::bench::Bench;
    use crate::test_world::id;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A commit that is based on a status of that revision.
    fn commit(bench: &Bench, revision: i64) -> Commit {
        let key = bench.context.key(&Key::GuestStatus(id(1)));
        let compares = vec![Compare::ModRevision(key.clone().into(), revision)];
        Commit { compares, writes: vec![Op::put(key, "{}")] }
    }

    #[tokio::test(start_paused = true)]
    async fn a_commit_without_an_answer_stays_open_while_the_store_is_out_of_reach() {
        let bench = Bench::new().await;
        let key = bytes::Bytes::from(bench.context.key(&Key::GuestStatus(id(1))));
        let mut faults = [Fault::FailAfter, Fault::FailBefore, Fault::FailBefore].into_iter();
        bench.kv.set_fault(Box::new(move |operation| {
            let ours = operation.kind == OpKind::Txn && operation.keys.contains(&key);
            if ours { faults.next().unwrap_or(Fault::None) } else { Fault::None }
        }));
        let end = bench.context.commits.commit(commit(&bench, 0)).await;
        assert_eq!(end, Err(ReconcileError::Conflict), "it conflicts with itself");
        let is_seen = bench.context.world.read().guest(id(1)).is_some();
        assert!(is_seen, "its claims stand until the view shows it");
        bench.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_is_told_although_the_store_moved_on_outside_the_prefix() {
        let bench = Bench::new().await;
        let success = vec![Op::put("somebody/elses", "key")];
        bench.kv.txn(Txn { success, ..Txn::default() }).await.unwrap();
        let end = timeout(PATIENCE, bench.context.commits.commit(commit(&bench, 7))).await;
        assert_eq!(end, Ok(Err(ReconcileError::Conflict)));
        bench.end().await;
    }
}
