//! How a loop writes: one transaction that says what it was based on, and an answer only when the view shows it.
//!
//! Guarantees: while [`Commits::commit`] runs, its outcome is open, and whatever the caller claimed for it (resources, an
//! address) stays claimed; when it returns, the view is at or above the commit or the conflict, so that the next plan of
//! the same key is made on what became of this one (DESIGN.md, *Consistency* 3). A commit whose answer was lost is handed
//! in again, unchanged: as it compares a revision that it changes, it happens at most once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use lochness_kv::{Kv, KvError};
use lochness_runtime::committer::{Commit, CommitLoop, Committer, CommitterOptions, Verdict};
use lochness_runtime::controller::ReconcileError;
use lochness_runtime::leader::Term;
use lochness_runtime::metrics::Metrics;
use tracing::warn;

use crate::world::WorldCell;

/// The first wait before a commit without an answer is handed in again; doubles up to [`LAST_RETRY`].
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest such wait: the backoff cap for etcd.
const LAST_RETRY: Duration = Duration::from_secs(5);

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
        let lag = Arc::new(move || {
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
    /// otherwise why it did not happen.
    pub async fn commit(&self, commit: Commit) -> Result<i64, ReconcileError> {
        debug_assert!(is_anchored(&commit), "a commit compares a key that it writes: {commit:?}");
        let mut wait = FIRST_RETRY;
        loop {
            match self.committer.commit(commit.clone()).await {
                Verdict::Committed { revision } => {
                    self.newest.fetch_max(revision, Ordering::Relaxed);
                    self.world.wait_for(revision).await;
                    return Ok(revision);
                }
                Verdict::Conflict { revision } => {
                    self.world.wait_for(revision).await;
                    return Err(ReconcileError::Conflict);
                }
                Verdict::Fenced => {
                    self.term.abdicate("a commit was fenced: another operator leads");
                    return Err(ReconcileError::failed("Fenced", "another operator leads"));
                }
                Verdict::Unknown(error) => {
                    warn!(%error, retry_in = ?wait, "a commit got no answer, handing it in again");
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

/// The word for a failed commit, out of a closed set.
fn reason_of(error: &KvError) -> &'static str {
    match error {
        KvError::NoSpace => "StoreOutOfSpace",
        KvError::TooLarge(_) => "CommitTooLarge",
        KvError::PermissionDenied(_) => "StorePermissionDenied",
        KvError::LeaseNotFound => "LeaseExpired",
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
