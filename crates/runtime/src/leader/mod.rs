//! Elects one leader among many processes, and fences what it writes.
//!
//! ```text
//!                 key absent, own put won
//!   campaigning ────────────────────────────> leading (a Term)
//!        ^                                        │
//!        └────────────────────────────────────────┘
//!     lease not found or run out, key deleted or made anew, fenced, or `lead` returned
//! ```
//!
//! Guarantees:
//! - One key, put under the candidate's lease by a transaction that compares it absent. Losers put nothing and hold no
//!   lease: they watch the key, and read it now and then in case the watch is silent.
//! - [`Term::fence`] fails for good once the term is over: its compare is on the revision at which the key was created.
//! - A leader that cannot reach the store demotes itself on its own monotonic clock before its lease can have expired
//!   there: time counts from sending the last keepalive that was answered.
//! - Where keepalives have [a runtime of their own](Keeper), they do not wait for the work of `lead`, however much that is; and
//!   a process whose work does not get on at all gives its term up.
//! - `lead` ends before its successor begins: a term given up is deleted only when `lead` has returned or was dropped.
//!
//! Deliberately not here: what a leader does, and any trust in the wall clock.

mod campaign;
mod elector;
mod keeper;
mod pulse;
mod term;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lochness_kv::Kv;
use tokio::runtime::Handle;

use crate::backoff::BackoffOptions;

pub use elector::Elector;
pub use term::Term;

/// How a process campaigns.
#[derive(Debug, Clone, PartialEq)]
pub struct ElectorOptions {
    /// The one key of the election.
    pub key: Bytes,
    /// Its value while this process leads: for people.
    pub identity: String,
    /// How long a leader that is silent keeps its term. Keepalives go out five times as often.
    pub lease: Duration,
    /// How long `lead` may take to return when its term is over, before it is dropped.
    pub grace: Duration,
    /// Pauses between attempts that failed.
    pub backoff: BackoffOptions,
}

/// What keepalives run on apart from everything else.
#[derive(Clone)]
pub struct Keeper {
    /// A way to the store that is served there.
    pub kv: Arc<dyn Kv>,
    /// A runtime with at least one thread of its own.
    pub runtime: Handle,
}

impl ElectorOptions {
    /// The usual: a lease of 15 s, 5 s to wind up.
    pub fn new(key: impl Into<Bytes>, identity: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            identity: identity.into(),
            lease: Duration::from_secs(15),
            grace: Duration::from_secs(5),
            backoff: BackoffOptions::default(),
        }
    }
}
