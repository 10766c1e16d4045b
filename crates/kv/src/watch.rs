//! Watches: changes of a range, in the order of their revisions.

use async_trait::async_trait;
use bytes::Bytes;

use crate::operation::prefix_range;
use crate::{Header, KeyValue, KvError};

/// What to watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WatchRequest {
    /// First key.
    pub key: Bytes,
    /// First key that is no longer meant.
    pub end: Bytes,
    /// First revision to report; 0 for "from now on".
    pub start_revision: i64,
}

impl WatchRequest {
    /// Every key that begins with `prefix`; with an empty one, every key.
    pub fn prefix(prefix: impl Into<Bytes>, start_revision: i64) -> Self {
        let (key, end) = prefix_range(prefix.into());
        Self { key, end, start_revision }
    }
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The key was put; its create revision says whether it is new.
    Put(KeyValue),
    /// The key was deleted, or its lease ended, at this revision.
    Delete {
        /// The whole key.
        key: Bytes,
        /// The revision of the deletion.
        mod_revision: i64,
    },
}

impl Event {
    /// The key that changed.
    pub fn key(&self) -> &Bytes {
        match self {
            Self::Put(kv) => &kv.key,
            Self::Delete { key, .. } => key,
        }
    }

    /// The revision of the change.
    pub fn revision(&self) -> i64 {
        match self {
            Self::Put(kv) => kv.mod_revision,
            Self::Delete { mod_revision, .. } => *mod_revision,
        }
    }
}

/// What one message of the stream brings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WatchBatch {
    /// Where the message comes from. With no events it is a sign of life only, never a promise that the view is at
    /// `header.revision` (etcd 15220).
    pub header: Header,
    /// Changes in ascending revision. The last revision may be incomplete: see `fragment`.
    pub events: Vec<Event>,
    /// Whether more events of the last revision may follow in the next message.
    pub fragment: bool,
}

/// An open watch. Dropping it cancels it.
#[async_trait]
pub trait WatchStream: Send {
    /// The next message. Cancel-safe.
    ///
    /// # Errors
    /// [`KvError::Compacted`] when the start lies before the oldest kept revision; [`KvError::Unavailable`] when the
    /// stream ended or was cancelled by the server. After an error the stream is over.
    async fn next(&mut self) -> Result<WatchBatch, KvError>;

    /// Asks the server for a sign of life; the answer arrives as a message without events. A watcher that gets none
    /// in time knows that its stream is dead.
    async fn request_progress(&mut self) -> Result<(), KvError>;
}
