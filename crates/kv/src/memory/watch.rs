//! Watches of the model: a position in the log, read when asked.
//!
//! Nothing is queued for a watch, so a slow one costs nothing and gets what it missed in few large messages, as a slow
//! watcher of etcd does. An answer to a progress request comes before the events that wait: legal, and the worst that
//! etcd does (15220).

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::{Instant, sleep_until};

use super::store::{Store, contains};
use super::{Shared, State};
use crate::{Event, KvError, WatchBatch, WatchRequest, WatchStream};

/// etcd gives a watcher that catches up at most so many revisions at once.
const REVISIONS_AT_ONCE: i64 = 1000;
/// What one event costs on the wire besides its key and value, roughly.
const EVENT_OVERHEAD_BYTES: usize = 32;

pub(super) struct MemoryWatch {
    shared: Arc<Shared>,
    request: WatchRequest,
    /// Which cut of all watches it was opened after.
    cuts: u64,
    /// The first revision that was not handed out completely.
    next_revision: i64,
    /// How many changes of that revision were looked at.
    skip: usize,
    progress: VecDeque<WatchBatch>,
    ended: Option<KvError>,
}

impl MemoryWatch {
    pub(super) fn open(
        shared: &Arc<Shared>,
        request: WatchRequest,
        state: &State,
    ) -> Result<Self, KvError> {
        let store = &state.store;
        let next_revision = match request.start_revision {
            ..=0 => store.revision() + 1,
            start if start <= store.compacted() => {
                return Err(KvError::Compacted(store.compacted()));
            }
            start => start,
        };
        Ok(Self {
            shared: Arc::clone(shared),
            request,
            cuts: state.cuts,
            next_revision,
            skip: 0,
            progress: VecDeque::new(),
            ended: None,
        })
    }

    /// What can be handed out now, if anything.
    fn poll(&mut self, state: &State) -> Option<Result<WatchBatch, KvError>> {
        let store = &state.store;
        if self.ended.is_none() && self.cuts != state.cuts {
            self.ended = Some(KvError::Unavailable("the watch was cut".into()));
        }
        if self.ended.is_none() && self.next_revision <= store.compacted() {
            self.ended = Some(KvError::Compacted(store.compacted()));
        }
        if let Some(error) = &self.ended {
            return Some(Err(error.clone()));
        }
        if let Some(progress) = self.progress.pop_front() {
            return Some(Ok(progress));
        }
        let (events, fragment) = self.collect(store, state.fragment_bytes);
        let batch = WatchBatch { header: store.header(), events, fragment };
        (!batch.events.is_empty()).then_some(Ok(batch))
    }

    /// Takes changes of the range until the message is full; then more of the same revision may follow.
    fn collect(&mut self, store: &Store, limit: usize) -> (Vec<Event>, bool) {
        let mut events = Vec::new();
        let mut bytes = 0;
        let stop = store.revision().min(self.next_revision + REVISIONS_AT_ONCE - 1);
        while self.next_revision <= stop {
            let changes = store.changes(self.next_revision).unwrap_or_default();
            for event in &changes[self.skip..] {
                if contains(&self.request.key, &self.request.end, event.key()) {
                    bytes += size(event);
                    if bytes > limit && !events.is_empty() {
                        return (events, true);
                    }
                    events.push(event.clone());
                }
                self.skip += 1;
            }
            self.next_revision += 1;
            self.skip = 0;
        }
        (events, false)
    }
}

#[async_trait]
impl WatchStream for MemoryWatch {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        let shared = Arc::clone(&self.shared);
        loop {
            let mut changed = std::pin::pin!(shared.changed.notified());
            changed.as_mut().enable();
            let (answer, wake) = shared.with(|state| {
                // A range without changes is passed a thousand revisions at a time.
                let answer = loop {
                    let answer = self.poll(state);
                    if answer.is_some() || self.next_revision > state.store.revision() {
                        break answer;
                    }
                };
                (answer, state.next_change_by_time())
            });
            if let Some(answer) = answer {
                return answer;
            }
            wait(changed, wake).await;
        }
    }

    async fn request_progress(&mut self) -> Result<(), KvError> {
        let header = self.shared.with(|state| state.store.header());
        self.progress.push_back(WatchBatch { header, ..WatchBatch::default() });
        Ok(())
    }
}

/// Waits for a change, or for the time at which one is due.
async fn wait(changed: impl Future<Output = ()>, wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::select! {
            biased;
            () = changed => {}
            () = sleep_until(at) => {}
        },
        None => changed.await,
    }
}

fn size(event: &Event) -> usize {
    EVENT_OVERHEAD_BYTES
        + match event {
            Event::Put(kv) => kv.key.len() + kv.value.len(),
            Event::Delete { key, .. } => key.len(),
        }
}
