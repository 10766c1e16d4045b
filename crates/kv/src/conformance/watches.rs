//! Watches: order, start, fragments, compaction, signs of life.

use futures::FutureExt as _;

use super::{Case, Subject, events};
use crate::{Event, KvError, Op, WatchBatch, WatchRequest};

pub(super) fn all() -> Vec<Case> {
    vec![
        Case {
            name: "a watch brings puts and deletes of its range in order",
            run: |s| order(s).boxed(),
        },
        Case {
            name: "a watch from now on misses nothing that is written after it opened",
            run: |s| from_now(s).boxed(),
        },
        Case {
            name: "a watch from the past brings the history",
            run: |s| from_the_past(s).boxed(),
        },
        Case { name: "a watch from the future waits for it", run: |s| from_the_future(s).boxed() },
        Case { name: "a watch of one key brings no other", run: |s| one_key(s).boxed() },
        Case {
            name: "a watch that starts at a compacted revision ends by saying so",
            run: |s| compacted(s).boxed(),
        },
        Case {
            name: "a message too large is cut and says that more follows",
            run: |s| fragments(s).boxed(),
        },
        Case {
            name: "a request for progress is answered without events",
            run: |s| progress(s).boxed(),
        },
    ]
}

async fn order(s: Subject) {
    let mut watch = s.watch(0).await;
    let first = s.put("a", "1").await;
    let second = s.put("a", "2").await;
    let third = s.write(vec![s.put_op("c", "1"), Op::delete(s.key("a")), s.put_op("b", "1")]).await;
    let events = events(watch.as_mut(), 5).await;
    let Event::Put(created) = &events[0] else { panic!("{events:?}") };
    assert_eq!((created.create_revision, created.mod_revision, created.version), (first, first, 1));
    let Event::Put(changed) = &events[1] else { panic!("{events:?}") };
    assert_eq!(
        (changed.create_revision, changed.mod_revision, changed.version),
        (first, second, 2)
    );
    assert_eq!(changed.value, "2");
    let last: Vec<_> =
        events[2..].iter().map(|event| (event.key().clone(), event.revision())).collect();
    let expected = ["c", "a", "b"].map(|name| (s.key(name), third));
    assert_eq!(last, expected, "in the order in which they were written");
    assert_eq!(events[3], Event::Delete { key: s.key("a"), mod_revision: third });
}

async fn from_now(s: Subject) {
    s.put("before", "1").await;
    let mut watch = s.watch(0).await;
    let revision = s.put("after", "1").await;
    let events = events(watch.as_mut(), 1).await;
    assert_eq!(events[0].key(), &s.key("after"));
    assert_eq!(events[0].revision(), revision);
}

async fn from_the_past(s: Subject) {
    let first = s.put("a", "0").await;
    for n in 1..20 {
        s.put("a", &n.to_string()).await;
    }
    let mut watch = s.watch(first).await;
    let live = s.put("a", "live").await;
    let events = events(watch.as_mut(), 21).await;
    assert_eq!(events[0].revision(), first);
    assert_eq!(events[20].revision(), live);
    let mut later = s.watch(first + 5).await;
    assert_eq!(super::events(later.as_mut(), 1).await[0].revision(), first + 5);
}

async fn from_the_future(s: Subject) {
    let now = s.put("a", "1").await;
    let mut watch = s.watch(now + 3).await;
    for n in 2..=4 {
        s.put("a", &n.to_string()).await;
    }
    assert_eq!(events(watch.as_mut(), 1).await[0].revision(), now + 3);
}

async fn one_key(s: Subject) {
    let request = WatchRequest { key: s.key("a"), end: "".into(), start_revision: 0 };
    let mut watch = s.kv.watch(request).await.expect("it is legal");
    s.put("a/b", "1").await;
    s.put("a", "1").await;
    assert_eq!(events(watch.as_mut(), 1).await[0].key(), &s.key("a"));
}

async fn compacted(s: Subject) {
    s.put("a", "1").await;
    let deleted = s.delete("a").await;
    let after = s.put("b", "1").await;
    (s.compact)(deleted).await.expect("the revision is there");
    for start in [deleted - 1, deleted] {
        let request = WatchRequest::prefix(s.prefix.clone(), start);
        let error = match s.kv.watch(request).await {
            Ok(mut watch) => watch.next().await.expect_err("the start is gone"),
            Err(error) => error,
        };
        assert!(matches!(error, KvError::Compacted(_)), "{error:?}");
    }
    let mut watch = s.watch(after).await;
    assert_eq!(events(watch.as_mut(), 1).await[0].revision(), after);
}

async fn fragments(s: Subject) {
    let value = "x".repeat(100_000);
    let mut first = 0;
    for name in ["0", "1", "2"] {
        let puts = (0..10).map(|n| s.put_op(&format!("{name}/{n}"), &value)).collect();
        let revision = s.write(puts).await;
        first = if first == 0 { revision } else { first };
    }
    let mut watch = s.watch(first).await;
    let mut batches: Vec<WatchBatch> = Vec::new();
    while batches.iter().map(|batch| batch.events.len()).sum::<usize>() < 30 {
        batches.push(watch.next().await.expect("the watch lives"));
    }
    let (last, cut) = batches.split_last().expect("there are events");
    assert!(!cut.is_empty() && cut.iter().all(|batch| batch.fragment), "3 MB in one message");
    assert!(!last.fragment, "the last message says that it is the last");
    let events: Vec<_> = batches.iter().flat_map(|batch| &batch.events).collect();
    assert_eq!(events.len(), 30);
    assert!(events.is_sorted_by_key(|event| event.revision()));
}

async fn progress(s: Subject) {
    let revision = s.put("a", "1").await;
    let mut watch = s.watch(0).await;
    watch.request_progress().await.expect("the watch lives");
    let batch = watch.next().await.expect("the watch lives");
    assert!(batch.events.is_empty());
    assert!(batch.header.revision >= revision && batch.header.cluster_id != 0);
}
