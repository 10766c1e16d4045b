//! Drains one stream into memory, and notices when it is dead or hopeless.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use lochness_kv::{KvError, WatchBatch, WatchStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::StoreChange;
use super::assemble::{Assembler, Revisions};
use crate::metrics::WatchMetrics;

/// Why a prefix is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relist {
    /// The first time.
    Start,
    /// The revision to go on from is gone.
    Compacted,
    /// The store is so far ahead that a list is faster than a replay.
    Behind,
    /// More events waited than may.
    Overflowed,
    /// The stream went back.
    Disordered,
    /// The store is another one.
    StoreChanged,
}

impl Relist {
    /// A word for metrics and logs.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Compacted => "compacted",
            Self::Behind => "behind",
            Self::Overflowed => "overflowed",
            Self::Disordered => "disordered",
            Self::StoreChanged => "store_changed",
        }
    }
}

/// How a stream ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// What came so far holds; go on after it. With the reason, for people.
    Resume(String),
    /// What was not handed on yet is not needed: list.
    Relist(Relist),
    /// Another cluster answers.
    Changed(StoreChange),
}

/// Whether a stream has been near the store's newest revision. Right after a list it need not be: to list again because
/// much was written during the list would never end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// Still on its way there.
    CatchingUp,
    /// There, and expected to stay.
    CaughtUp,
}

/// How many events wait for the sink.
pub(super) type Waiting = Arc<AtomicUsize>;

/// The reading end of a stream.
pub(super) struct Reader {
    pub(super) stream: Box<dyn WatchStream>,
    pub(super) assembler: Assembler,
    pub(super) pace: Pace,
    pub(super) cluster: u64,
    pub(super) idle_timeout: Duration,
    pub(super) behind_limit: i64,
    pub(super) lag_limit: usize,
    /// Unbounded, for `waiting` bounds it: by events, which is what costs memory.
    pub(super) revisions: mpsc::UnboundedSender<Revisions>,
    pub(super) waiting: Waiting,
    pub(super) metrics: WatchMetrics,
}

impl Reader {
    /// Reads until the stream ends, dies or is given up.
    pub(super) async fn run(mut self) -> End {
        loop {
            let batch = match self.next().await {
                Ok(batch) => batch,
                Err(end) => return end,
            };
            self.metrics.message_received();
            if let Err(end) = self.take(batch) {
                return end;
            }
        }
    }

    /// The next message, asked for if it does not come by itself.
    async fn next(&mut self) -> Result<WatchBatch, End> {
        if let Ok(message) = timeout(self.idle_timeout, self.stream.next()).await {
            return message.map_err(|error| ended(&error));
        }
        let idle = self.idle_timeout;
        let answer = timeout(idle, async {
            self.stream.request_progress().await?;
            self.stream.next().await
        });
        match answer.await {
            Ok(message) => message.map_err(|error| ended(&error)),
            Err(_) => Err(End::Resume(format!("no sign of life for {:?}", idle * 2))),
        }
    }

    fn take(&mut self, batch: WatchBatch) -> Result<(), End> {
        let header = batch.header;
        if header.cluster_id != self.cluster {
            let (was, now) = (self.cluster, header.cluster_id);
            return Err(End::Changed(StoreChange::Cluster { was, now }));
        }
        // Of messages without events nothing can be concluded: the prefix may simply be quiet.
        if let Some(last) = batch.events.last() {
            let behind = header.revision - last.revision();
            match self.pace {
                _ if behind <= self.behind_limit => self.pace = Pace::CaughtUp,
                Pace::CatchingUp => {}
                Pace::CaughtUp => return Err(End::Relist(Relist::Behind)),
            }
        }
        let whole = self.assembler.take(batch).map_err(|_| End::Relist(Relist::Disordered))?;
        let Some(whole) = whole else { return Ok(()) };
        let added = whole.events.len();
        if self.waiting.fetch_add(added, Ordering::AcqRel) + added > self.lag_limit {
            return Err(End::Relist(Relist::Overflowed));
        }
        // Whoever handed out the stream waits for the end of this task: the other end is there.
        self.revisions.send(whole).map_err(|_| End::Resume("nobody reads".to_owned()))
    }
}

/// What the end of a stream means.
pub(super) fn ended(error: &KvError) -> End {
    match error {
        KvError::Compacted(_) => End::Relist(Relist::Compacted),
        KvError::Unknown(_)
        | KvError::Unavailable(_)
        | KvError::NoSpace
        | KvError::TooLarge(_)
        | KvError::LeaseNotFound
        | KvError::PermissionDenied(_)
        | KvError::Invalid(_) => End::Resume(error.to_string()),
    }
}
