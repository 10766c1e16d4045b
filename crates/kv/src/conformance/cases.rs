//! Keys, versions, revisions, ranges, compaction.

use futures::FutureExt as _;

use super::{Case, Subject};
use crate::{KvError, Op, RangeRequest};

pub(super) fn all() -> Vec<Case> {
    vec![
        Case { name: "a key counts its versions from its creation", run: |s| versions(s).boxed() },
        Case {
            name: "a change takes one revision and nothing takes none",
            run: |s| revisions(s).boxed(),
        },
        Case { name: "a range is ascending and stops before its end", run: |s| ranges(s).boxed() },
        Case { name: "a limit cuts the keys and not the count", run: |s| limits(s).boxed() },
        Case {
            name: "keys only and count only leave out what they say",
            run: |s| partial(s).boxed(),
        },
        Case { name: "a read at a revision shows the store as it was", run: |s| pinned(s).boxed() },
        Case {
            name: "a compacted revision is refused and its successor is not",
            run: |s| compacted(s).boxed(),
        },
    ]
}

async fn versions(s: Subject) {
    let first = s.put("a", "1").await;
    let second = s.put("a", "2").await;
    let kv = s.all().await.kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (first, second, 2));
    s.delete("a").await;
    let again = s.put("a", "3").await;
    let kv = s.all().await.kvs.remove(0);
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (again, again, 1));
}

async fn revisions(s: Subject) {
    let before = s.all().await.header.revision;
    assert_eq!(s.put("a", "1").await, before + 1);
    assert_eq!(s.put("a", "1").await, before + 2, "the same value is a change too");
    assert_eq!(s.delete("absent").await, before + 2, "nothing was deleted");
    let both = vec![s.put_op("b", "1"), s.put_op("c", "1"), Op::delete(s.key("a"))];
    assert_eq!(s.write(both).await, before + 3);
    assert_eq!(s.write(Vec::new()).await, before + 3);
    assert_eq!(s.all().await.header.revision, before + 3);
}

async fn ranges(s: Subject) {
    for name in ["b", "a", "c/x", "c", "d"] {
        s.put(name, name).await;
    }
    let names = |response: crate::RangeResponse| -> Vec<_> {
        response.kvs.into_iter().map(|kv| kv.value).collect()
    };
    assert_eq!(names(s.all().await), ["a", "b", "c", "c/x", "d"]);
    let request = RangeRequest { end: s.key("c/x"), ..RangeRequest::key(s.key("b")) };
    assert_eq!(names(s.get(request).await), ["b", "c"]);
    let reversed = RangeRequest { end: s.key("a"), ..RangeRequest::key(s.key("b")) };
    assert!(s.get(reversed).await.kvs.is_empty());
    let endless = RangeRequest { end: "\0".into(), ..RangeRequest::key(s.key("d")) };
    assert_eq!(names(s.get(endless).await)[0], "d");
    let everything = s.get(RangeRequest::prefix("")).await;
    assert!(everything.count >= 5);
}

async fn limits(s: Subject) {
    for name in ["a", "b", "c"] {
        s.put(name, "v").await;
    }
    let limited = |limit| RangeRequest { limit, ..RangeRequest::prefix(s.prefix.clone()) };
    let cut = s.get(limited(2)).await;
    assert_eq!((cut.kvs.len(), cut.more, cut.count), (2, true, 3));
    let whole = s.get(limited(3)).await;
    assert_eq!((whole.kvs.len(), whole.more, whole.count), (3, false, 3));
}

async fn partial(s: Subject) {
    s.put("a", "value").await;
    let prefix = RangeRequest::prefix(s.prefix.clone());
    let keys = s.get(RangeRequest { keys_only: true, ..prefix.clone() }).await;
    assert_eq!(keys.kvs[0].key, s.key("a"));
    assert!(keys.kvs[0].value.is_empty());
    let count = s.get(RangeRequest { count_only: true, ..prefix }).await;
    assert_eq!((count.kvs.len(), count.count, count.more), (0, 1, false));
}

async fn pinned(s: Subject) {
    let one = s.put("a", "1").await;
    let two = s.put("a", "2").await;
    let three = s.delete("a").await;
    let at = |revision| RangeRequest { revision, ..RangeRequest::key(s.key("a")) };
    assert!(s.get(at(one - 1)).await.kvs.is_empty());
    assert_eq!(s.get(at(one)).await.kvs[0].value, "1");
    let second = s.get(at(two)).await;
    assert_eq!(second.kvs[0].value, "2");
    assert_eq!(second.header.revision, three, "the header is of the newest revision");
    assert!(s.get(at(three)).await.kvs.is_empty());
    let future = s.kv.range(at(three + 10)).await;
    assert!(matches!(future, Err(KvError::Invalid(_))), "{future:?}");
}

async fn compacted(s: Subject) {
    s.put("a", "1").await;
    let two = s.put("a", "2").await;
    s.put("a", "3").await;
    (s.compact)(two).await.expect("the revision is there");
    let at = |revision| RangeRequest { revision, ..RangeRequest::key(s.key("a")) };
    assert_eq!(s.get(at(two)).await.kvs[0].value, "2");
    let gone = s.kv.range(at(two - 1)).await;
    assert!(matches!(gone, Err(KvError::Compacted(_))), "{gone:?}");
    let again = (s.compact)(two).await;
    assert!(matches!(again, Err(KvError::Compacted(_))), "{again:?}");
    let future = (s.compact)(two + 100).await;
    assert!(matches!(future, Err(KvError::Invalid(_))), "{future:?}");
}
