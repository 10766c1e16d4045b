//! What every loop is handed: the view, the reports, the way to write, and the term that allows it.

use std::sync::Arc;

use jiff::Timestamp;
use lochness_agent::wire::Order;
use lochness_api::Prefix;
use lochness_api::keys::Key;
use lochness_kv::{LeaseId, Op};
use lochness_mutant::Mutant;
use lochness_runtime::clock::Clock;
use lochness_runtime::committer::Commit;
use lochness_runtime::controller::ReconcileError;
use lochness_runtime::leader::Term;

use crate::agents::Agents;
use crate::cluster::budget::Teardowns;
use crate::commits::{Commits, LEASE_EXPIRED};
use crate::leases::Leases;
use crate::outcomes::Outcomes;
use crate::queues::Queues;
use crate::reports::Reports;
use crate::settings::Settings;
use crate::world::{Connection, Replacement, World, WorldCell};

/// What every loop is handed, for one term of leadership.
#[derive(Clone)]
pub struct Context {
    /// The store's contents at one complete revision.
    pub world: Arc<WorldCell>,
    /// What the agents report.
    pub reports: Arc<Reports>,
    /// Ends of jobs that are not yet written.
    pub outcomes: Arc<Outcomes>,
    /// The way to write.
    pub commits: Commits,
    /// Shared leases.
    pub leases: Arc<Leases>,
    /// The way to the agents.
    pub agents: Arc<Agents>,
    /// When teardowns began, for the budget of deletions.
    pub deletions: Arc<Teardowns>,
    /// The queues of all loops.
    pub queues: Queues,
    /// The term; nothing is done when it is over.
    pub term: Term,
    /// Leads every epoch and order of this store's life.
    pub incarnation: u64,
    /// For times in documents; never for deciding how long something took.
    pub clock: Arc<dyn Clock>,
    /// Durations and limits.
    pub settings: Arc<Settings>,
    /// Where the keys lie.
    pub prefix: Prefix,
    /// Who this process is, for people.
    pub identity: String,
}

/// Why the operator keeps its hands off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hold {
    /// The store is not the one that was there before, or went back in time.
    StoreReplaced(Replacement),
    /// Something says so, and the store is being asked; or it was accepted, and the next term counts anew. Over in a moment.
    Suspected,
    /// Somebody paused the cluster.
    Paused,
}

impl Context {
    /// Commits what hangs on shared leases: one that turns out to be gone is not handed out again.
    ///
    /// # Errors
    /// As [`Commits::commit`].
    pub async fn commit(&self, commit: Commit) -> Result<i64, ReconcileError> {
        let leases: Vec<_> = commit.writes.iter().filter_map(lease_of).collect();
        let end = self.commits.commit(commit).await;
        if let Err(ReconcileError::Failed { reason: LEASE_EXPIRED, .. }) = &end {
            self.leases.forget(&leases).await;
        }
        end
    }

    /// The wall clock, for documents.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.clock.unix_millis()).unwrap_or_default()
    }

    /// The key's text under the prefix.
    pub fn key(&self, key: &Key) -> String {
        self.prefix.key(key)
    }

    /// The epoch of this term, as agents compare it.
    pub fn epoch(&self) -> Order {
        self.order(self.term.revision())
    }

    /// A revision of this store as a number that never repeats, whatever is restored.
    pub fn order(&self, revision: i64) -> Order {
        Order { incarnation: self.incarnation, revision: u64::try_from(revision).unwrap_or(0) }
    }

    /// Why nothing may be placed, torn down or sent to any agent now, if so.
    pub fn hold(&self, world: &World) -> Option<Hold> {
        if !lochness_mutant::is(Mutant::HoldIgnored) {
            if let Connection::Replaced(what) = self.world.connection() {
                return Some(Hold::StoreReplaced(what));
            }
            if self.world.puts_off() || world.wants_new_incarnation() {
                return Some(Hold::Suspected);
            }
        }
        world.config().pause.then_some(Hold::Paused)
    }
}

fn lease_of(write: &Op) -> Option<LeaseId> {
    match write {
        Op::Put { lease, .. } => *lease,
        Op::Delete { .. } | Op::Range(_) | Op::Txn(_) => None,
    }
}
