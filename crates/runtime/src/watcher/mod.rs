//! Keeps a view of one prefix of the store complete and in order, whatever happens to the connection.
//!
//! ```text
//!            ┌────────── compacted, behind, overflowed, disordered, another store ──────────┐
//!            v                                                                              │
//!   list at one revision ──> replace ──> watch from the next one ──> live ──> apply, apply, …
//!                                            ^                                              │
//!                                            └── backoff <── interrupted <── stream ended ──┘
//! ```
//!
//! Guarantees:
//! - The sink sees whole revisions only, each once and in ascending order; a list is of exactly one revision.
//! - A task of its own drains the stream into memory: a slow sink never lets the server fall behind. What waits there
//!   is bounded; above the bound it is thrown away and the prefix is listed again.
//! - A stream that went silent is noticed: it is asked for a sign of life, and given up if none comes.
//! - The view never goes back silently: another cluster, or a store older than what was seen, is reported first. So is one
//!   that was restored from a snapshot and has come as far again, by the put and the deletion that were seen last: unless it
//!   has been compacted and the key is gone by which that could be told, or all that was lost are deletions of which the
//!   last happened again.
//!
//! Deliberately not here: what the keys mean, and what a difference between two lists means. That is the sink's.

mod assemble;
mod list;
mod pages;
mod reader;
mod run;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lochness_kv::{Event, Header, KeyValue, Kv};

use crate::backoff::BackoffOptions;
use crate::metrics::{Metrics, WatchMetrics};

/// Who keeps the view. Called from one task, never concurrently; it may take its time, the stream does not wait for it.
pub trait ViewSink: Send + 'static {
    /// Keys of a list, read as far as that needs nothing but them.
    type Page: Send + 'static;

    /// How keys of a list are read. Called for several pages at a time, beside the list.
    fn reader(&self) -> PageReader<Self::Page>;

    /// A list begins. What came of one before that was not [complete](Self::replace) is void.
    fn begin(&mut self);

    /// The next keys of the list, ascending.
    fn page(&mut self, page: Self::Page);

    /// The list is complete: the whole prefix at `header.revision`. What the view has and the list lacks is deleted.
    fn replace(&mut self, header: Header);

    /// All changes of one or more whole revisions, in order; the last of them is `revision`.
    fn apply(&mut self, events: Vec<Event>, revision: i64);

    /// There is no live stream now, and the view may be old until [`live`](Self::live).
    fn interrupted(&mut self, reason: &str);

    /// The stream is connected, after the first list or again. Changes that happened meanwhile follow.
    fn live(&mut self);

    /// The store is not the one that was seen before. A [`replace`](Self::replace) with what it holds follows.
    fn store_changed(&mut self, what: StoreChange);
}

/// Reads keys of a list; see [`ViewSink::reader`].
pub type PageReader<P> = Arc<dyn Fn(Vec<KeyValue>) -> P + Send + Sync>;

/// How a store turned out to be another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreChange {
    /// Another cluster answers.
    Cluster {
        /// Id of the cluster so far.
        was: u64,
        /// Id of the one that answers now.
        now: u64,
    },
    /// The same cluster id, but a revision below one that was seen: restored from a snapshot, most likely.
    RolledBack {
        /// The highest revision seen.
        seen: i64,
        /// The revision that it has now.
        now: i64,
    },
    /// The same, but by now it has come as far again: a key is not as it was put at a revision that was seen, or is there
    /// though it was deleted.
    Rewritten {
        /// That revision.
        at: i64,
    },
}

/// In words, for people who must decide what to do about it.
impl fmt::Display for StoreChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { was, now } => {
                write!(f, "another etcd cluster answers: {now:x}, it was {was:x}")
            }
            Self::RolledBack { seen, now } => {
                write!(f, "the store went back to revision {now}, {seen} was seen")
            }
            Self::Rewritten { at } => {
                write!(
                    f,
                    "the store went back and was written since: revision {at} is not what was seen"
                )
            }
        }
    }
}

/// Limits of a [`Watcher`].
#[derive(Debug, Clone, PartialEq)]
pub struct WatcherOptions {
    /// Keys in the first page of a list. Later ones are as large as `page_bytes` allows.
    pub first_page: i64,
    /// Keys in a page at most: the server pays per page.
    pub page_limit: i64,
    /// Pages grow until they weigh about so many bytes, and shrink above it. Well below the decode limit of 16 MiB.
    pub page_bytes: usize,
    /// After so long without a message the server is asked for one; after as long again the stream counts as dead.
    pub idle_timeout: Duration,
    /// A read or the opening of a watch that takes longer is given up.
    pub request_timeout: Duration,
    /// Events that may wait for the sink; above it they are thrown away and the prefix is listed again.
    pub lag_limit: usize,
    /// A stream that is so many revisions behind is given up for a list: the server replays at only 1,000 revisions per
    /// 100 ms.
    pub behind_limit: i64,
    /// Pauses between attempts.
    pub backoff: BackoffOptions,
}

impl Default for WatcherOptions {
    fn default() -> Self {
        Self {
            first_page: 1_000,
            page_limit: 10_000,
            page_bytes: 4 << 20,
            idle_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            lag_limit: 200_000,
            behind_limit: 20_000,
            backoff: BackoffOptions::default(),
        }
    }
}

/// Lists and watches one prefix for a [`ViewSink`].
pub struct Watcher {
    kv: Arc<dyn Kv>,
    prefix: Bytes,
    options: WatcherOptions,
    metrics: WatchMetrics,
}

impl Watcher {
    /// A watcher of every key that begins with `prefix`.
    pub fn new(kv: Arc<dyn Kv>, prefix: Bytes, options: WatcherOptions, metrics: &Metrics) -> Self {
        Self { kv, prefix, options, metrics: metrics.watch() }
    }
}
