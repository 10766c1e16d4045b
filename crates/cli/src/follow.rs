//! A live copy of a few ranges of keys: listed once, then kept by watches.
//!
//! Guarantees: the copy only moves forward; after a broken stream or a compaction it is listed anew, so nothing is missed
//! for good. What depends on it must look at the copy, never at which event woke it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::select_all;
use lochness_kv::{Event, KeyValue, Kv, KvError, WatchBatch, WatchRequest, WatchStream};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::session::list_range;

/// How long to wait before listing again after the store failed.
const PAUSE: Duration = Duration::from_millis(300);

/// A first and an end key.
pub(crate) type Range = (Bytes, Bytes);

/// The copy and the watches that keep it.
pub(crate) struct Follow<'a> {
    kv: &'a dyn Kv,
    ranges: Vec<Range>,
    state: BTreeMap<Bytes, KeyValue>,
    streams: Vec<Box<dyn WatchStream>>,
}

/// What became of waiting for a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// These keys may have changed.
    Keys(Vec<Bytes>),
    /// The whole copy was read again.
    All,
    /// The deadline passed.
    Nothing,
}

impl<'a> Follow<'a> {
    /// Lists the ranges and opens their watches.
    ///
    /// # Errors
    /// When the store fails at the beginning: that is most likely a wrong address, and waiting would hide it.
    pub(crate) async fn open(kv: &'a dyn Kv, ranges: Vec<Range>) -> Result<Self, KvError> {
        let mut follow = Self { kv, ranges, state: BTreeMap::new(), streams: Vec::new() };
        follow.list().await?;
        Ok(follow)
    }

    /// The value of a key in the copy.
    pub(crate) fn get(&self, key: &[u8]) -> Option<&KeyValue> {
        self.state.get(key)
    }

    /// Everything in the copy, in order of keys.
    pub(crate) fn all(&self) -> impl Iterator<Item = &KeyValue> {
        self.state.values()
    }

    /// Waits until the copy has changed, or until the deadline.
    ///
    /// # Errors
    /// Only those that no patience heals: access refused, or a request that the store will never take.
    pub(crate) async fn changed(&mut self, deadline: Option<Instant>) -> Result<Change, KvError> {
        loop {
            let batch = match deadline {
                Some(deadline) => timeout_at(deadline, self.next()).await,
                None => Ok(self.next().await),
            };
            match batch {
                Err(_) => return Ok(Change::Nothing),
                Ok(Ok(batch)) if batch.events.is_empty() => {}
                Ok(Ok(batch)) => return Ok(Change::Keys(self.apply(batch))),
                Ok(Err(error)) => return self.recover(error, deadline).await,
            }
        }
    }

    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        let (batch, ..) = select_all(self.streams.iter_mut().map(|stream| stream.next())).await;
        batch
    }

    fn apply(&mut self, batch: WatchBatch) -> Vec<Bytes> {
        let mut keys = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            let key = event.key().clone();
            match event {
                Event::Put(kv) => {
                    self.state.insert(key.clone(), kv);
                }
                Event::Delete { .. } => {
                    self.state.remove(&key);
                }
            }
            keys.push(key);
        }
        keys
    }

    async fn recover(
        &mut self,
        mut error: KvError,
        deadline: Option<Instant>,
    ) -> Result<Change, KvError> {
        loop {
            if is_final(&error) {
                return Err(error);
            }
            let again = Instant::now() + PAUSE;
            if deadline.is_some_and(|deadline| deadline <= again) {
                return Ok(Change::Nothing);
            }
            sleep_until(again).await;
            match self.list().await {
                Ok(()) => return Ok(Change::All),
                Err(next) => error = next,
            }
        }
    }

    async fn list(&mut self) -> Result<(), KvError> {
        let mut state = BTreeMap::new();
        let mut streams = Vec::with_capacity(self.ranges.len());
        for (start, end) in &self.ranges {
            let (revision, kvs) = list_range(self.kv, start.clone(), end.clone()).await?;
            let request =
                WatchRequest { key: start.clone(), end: end.clone(), start_revision: revision + 1 };
            streams.push(self.kv.watch(request).await?);
            state.extend(kvs.into_iter().map(|kv| (kv.key.clone(), kv)));
        }
        self.state = state;
        self.streams = streams;
        Ok(())
    }
}

fn is_final(error: &KvError) -> bool {
    match error {
        KvError::PermissionDenied(_) | KvError::Invalid(_) | KvError::TooLarge(_) => true,
        KvError::Unknown(_)
        | KvError::Unavailable(_)
        | KvError::Compacted(_)
        | KvError::NoSpace
        | KvError::LeaseNotFound => false,
    }
}

#[cfg(test)]
mod tests {
    use lochness_kv::{MemoryKv, Op, Txn, prefix_end};

    use super::*;

    async fn write(kv: &MemoryKv, op: Op) {
        let txn = Txn { success: vec![op], ..Txn::default() };
        assert!(kv.txn(txn).await.unwrap().succeeded);
    }

    fn prefix(text: &'static str) -> Range {
        (Bytes::from_static(text.as_bytes()), prefix_end(text.as_bytes()))
    }

    #[tokio::test]
    async fn the_copy_follows_puts_and_deletes_of_all_its_ranges() {
        let kv = MemoryKv::new();
        write(&kv, Op::put("a/1", "old")).await;
        let mut follow = Follow::open(&kv, vec![prefix("a/"), prefix("b/")]).await.unwrap();
        assert_eq!(follow.get(b"a/1").unwrap().value, "old");
        write(&kv, Op::put("b/1", "new")).await;
        assert_eq!(follow.changed(None).await, Ok(Change::Keys(vec!["b/1".into()])));
        write(&kv, Op::delete("a/1")).await;
        assert_eq!(follow.changed(None).await, Ok(Change::Keys(vec!["a/1".into()])));
        let left: Vec<_> = follow.all().map(|kv| kv.key.clone()).collect();
        assert_eq!(left, [Bytes::from_static(b"b/1")]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_watch_is_healed_by_listing_anew() {
        let kv = MemoryKv::new();
        let mut follow = Follow::open(&kv, vec![prefix("a/")]).await.unwrap();
        kv.cut_watches();
        write(&kv, Op::put("a/1", "while nobody looked")).await;
        assert_eq!(follow.changed(None).await, Ok(Change::All));
        assert!(follow.get(b"a/1").is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_at_the_deadline() {
        let kv = MemoryKv::new();
        let mut follow = Follow::open(&kv, vec![prefix("a/")]).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        assert_eq!(follow.changed(Some(deadline)).await, Ok(Change::Nothing));
    }
}
