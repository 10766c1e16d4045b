//! Lists a prefix at one revision, page by page.
//!
//! The first page fixes the revision, all others are read at it: a write between pages is not in the list, and the watch
//! from the next revision on brings it. Pages are as large as the server and the decode limit like them.

use std::pin::pin;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use lochness_kv::{Header, KeyValue, Kv, KvError, RangeRequest};
use tokio::time::timeout;

use super::pages::Pages;
use super::{ViewSink, WatcherOptions};

/// Bytes of an answer beside keys and values, for one key.
const KEY_BYTES: usize = 48;
/// A page grows at most so many times over the one before it: the next keys may be heavier.
const GROWTH: i64 = 4;

/// A list that was handed on: every key of the prefix at `header.revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Listing {
    /// How many keys.
    pub(super) keys: usize,
    /// The one that was put last.
    pub(super) newest: Option<KeyValue>,
    /// Which cluster answered, and the revision that all pages were read at.
    pub(super) header: Header,
}

/// How many keys to ask for; learned from the pages so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageSize {
    keys: i64,
    most: i64,
    bytes: usize,
}

impl PageSize {
    /// The first page's.
    pub(super) fn new(options: &WatcherOptions) -> Self {
        let most = options.page_limit.max(1);
        Self { keys: options.first_page.clamp(1, most), most, bytes: options.page_bytes.max(1) }
    }

    /// A page of `keys` keys weighed `bytes`.
    fn learn(&mut self, keys: usize, bytes: usize) {
        let fitting = (keys * self.bytes).checked_div(bytes).unwrap_or(usize::MAX);
        let fitting = i64::try_from(fitting).unwrap_or(i64::MAX);
        let grown = self.keys.saturating_mul(GROWTH);
        self.keys = fitting.min(grown).clamp(1, self.most);
    }

    /// A page was too much; whether a smaller one is possible.
    fn shrink(&mut self) -> Shrunk {
        if self.keys == 1 {
            return Shrunk::AtLeast;
        }
        self.keys = (self.keys / GROWTH).max(1);
        Shrunk::Smaller
    }
}

enum Shrunk {
    Smaller,
    AtLeast,
}

/// Reads all keys that begin with `prefix`, at the newest revision, and hands them to the sink page by page: one page is
/// read and taken in while the next one is on its way.
pub(super) async fn list<S: ViewSink>(
    kv: &dyn Kv,
    prefix: &Bytes,
    page: &mut PageSize,
    page_timeout: Duration,
    sink: &mut S,
) -> Result<Listing, KvError> {
    let mut request = RangeRequest::prefix(prefix.clone());
    let mut listing: Option<Listing> = None;
    let mut pages = Pages::new(sink.reader());
    sink.begin();
    loop {
        request.limit = page.keys;
        let mut asked = pin!(timeout(page_timeout, kv.range(request.clone())));
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut asked => break answer,
                page = pages.next() => sink.page(page),
            }
        };
        let answer = answer.unwrap_or_else(|_| {
            Err(KvError::Unknown(format!("no page of {} keys within {page_timeout:?}", page.keys)))
        });
        let answer = match answer {
            Ok(answer) => answer,
            Err(KvError::TooLarge(reason)) => match page.shrink() {
                Shrunk::Smaller => continue,
                Shrunk::AtLeast => return Err(KvError::TooLarge(reason)),
            },
            Err(error) => {
                page.shrink();
                return Err(error);
            }
        };
        page.learn(answer.kvs.len(), answer.kvs.iter().map(weight).sum());
        let so_far =
            listing.get_or_insert(Listing { keys: 0, newest: None, header: answer.header });
        if answer.header.cluster_id != so_far.header.cluster_id {
            return Err(KvError::Unavailable(
                "another cluster answered in the middle of a list".into(),
            ));
        }
        so_far.keys += answer.kvs.len();
        so_far.newest = newer(so_far.newest.take(), &answer.kvs);
        let rest = answer.kvs.last().filter(|_| answer.more).map(|last| after(&last.key));
        request.revision = so_far.header.revision;
        pages.push(answer.kvs, sink).await;
        match rest {
            Some(key) => request.key = key,
            None => break,
        }
    }
    pages.finish(sink).await;
    listing.ok_or_else(|| KvError::Unavailable("a list without a page".into()))
}

/// What was put last, of what was known and of a page.
fn newer(known: Option<KeyValue>, page: &[KeyValue]) -> Option<KeyValue> {
    let newest = page.iter().max_by_key(|kv| kv.mod_revision);
    let newest =
        newest.filter(|kv| known.as_ref().is_none_or(|it| it.mod_revision < kv.mod_revision));
    newest.map(owned).or(known)
}

/// A copy that does not keep the whole message alive of which it was a part.
pub(super) fn owned(kv: &KeyValue) -> KeyValue {
    let copy = |bytes: &Bytes| Bytes::copy_from_slice(bytes);
    KeyValue { key: copy(&kv.key), value: copy(&kv.value), ..kv.clone() }
}

fn weight(kv: &KeyValue) -> usize {
    KEY_BYTES + kv.key.len() + kv.value.len()
}

/// The first key after `key`.
fn after(key: &Bytes) -> Bytes {
    let mut next = BytesMut::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.put_u8(0);
    next.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(first_page: i64) -> PageSize {
        PageSize::new(&WatcherOptions { first_page, ..WatcherOptions::default() })
    }

    #[test]
    fn pages_of_small_keys_grow_to_the_limit_of_keys() {
        let mut page = page(1_000);
        page.learn(1_000, 100_000);
        assert_eq!(page.keys, 4_000);
        page.learn(4_000, 400_000);
        assert_eq!(page.keys, 10_000);
    }

    #[test]
    fn pages_of_large_keys_shrink_to_the_limit_of_bytes() {
        let mut page = page(1_000);
        page.learn(1_000, 1_000 * 64 * 1024);
        assert_eq!(page.keys, 64);
        page.learn(0, 0);
        assert_eq!(page.keys, 256, "an empty page says nothing against a larger one");
    }
}
