//! The watcher against the store in memory, on paused time.

mod fixture;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use lochness_kv::{Fault, Kv, MemoryKv, Op, OpInfo, OpKind, Txn};
use tokio::time::{Instant, timeout};

use super::*;
use crate::tap::{Tap, delete, locked, put};
use fixture::{Call, Fixture, PATIENCE, text};

const PREFIX: &str = "p/";

fn small_pages() -> WatcherOptions {
    WatcherOptions { first_page: 2, page_limit: 2, ..WatcherOptions::default() }
}

fn txn(success: Vec<Op>) -> Txn {
    Txn { success, ..Txn::default() }
}

async fn filled(keys: usize) -> MemoryKv {
    let store = MemoryKv::new();
    for key in 0..keys {
        put(&store, &format!("{PREFIX}{key}"), "old").await;
    }
    store
}

#[tokio::test(start_paused = true)]
async fn a_list_is_paged_at_one_revision_and_a_write_between_pages_is_neither_lost_nor_early() {
    let store = filled(7).await;
    let pinned = store.revision();
    let tap = Tap::new(&store);
    locked(&tap.between_reads).push_back(txn(vec![
        Op::put("p/0", "new"),
        Op::put("p/6", "new"),
        Op::put("p/9", "new"),
        Op::delete("p/4"),
    ]));
    let mut fixture = Fixture::with(&store, tap, small_pages());
    let seen = fixture.until_revision(pinned + 1).await;
    assert_eq!(seen.calls[0], Call::Replace { keys: 7, revision: pinned });
    let expected = ["0", "1", "2", "3", "5", "6", "9"].map(|key| {
        let value = if ["0", "6", "9"].contains(&key) { "new" } else { "old" };
        (format!("p/{key}"), value.to_owned())
    });
    assert_eq!(seen.view, BTreeMap::from(expected));
    let pages: Vec<i64> = locked(&fixture.tap.ranges).iter().map(|page| page.revision).collect();
    assert_eq!(pages[..4], [0, pinned, pinned, pinned]);
}

#[tokio::test(start_paused = true)]
async fn a_revision_that_comes_in_fragments_is_handed_on_whole() {
    let store = filled(1).await;
    store.set_fragment_bytes(64);
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    let puts = (0..50).map(|key| Op::put(format!("p/many/{key}"), "value")).collect();
    let revision = store.txn(txn(puts)).await.unwrap().header.revision;
    let seen = fixture.until_revision(revision).await;
    assert_eq!(seen.calls.last(), Some(&Call::Apply { events: 50, revision }));
}

#[tokio::test(start_paused = true)]
async fn what_happened_while_the_stream_was_cut_follows_without_a_list() {
    let store = filled(3).await;
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    fixture.disconnect().await;
    delete(&store, "p/1").await;
    put(&store, "p/1", "again").await;
    let revision = put(&store, "p/2", "new").await;
    store.clear_fault();
    let seen = fixture.until_revision(revision).await;
    assert_eq!(
        seen.calls[2..],
        [Call::Interrupted, Call::Live, Call::Apply { events: 3, revision }]
    );
    assert_eq!(seen.view["p/1"], "again");
}

#[tokio::test(start_paused = true)]
async fn a_compaction_during_a_disconnect_lists_again_and_replaces() {
    let store = filled(3).await;
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    fixture.disconnect().await;
    delete(&store, "p/1").await;
    let revision = put(&store, "p/2", "new").await;
    store.compact(revision).unwrap();
    store.clear_fault();
    let seen = fixture.until_revision(revision).await;
    assert_eq!(seen.calls.last(), Some(&Call::Replace { keys: 2, revision }));
    assert_eq!(seen.view.keys().collect::<Vec<_>>(), ["p/0", "p/2"]);
    assert!(fixture.relists("compacted"));
}

#[tokio::test(start_paused = true)]
async fn a_compaction_in_the_middle_of_a_list_starts_it_over() {
    let store = filled(7).await;
    let last = store.revision();
    let tap = Tap::new(&store);
    locked(&tap.between_reads).push_back(txn(vec![Op::put("p/0", "new")]));
    let compact = {
        let store = store.clone();
        move |op: &OpInfo| {
            // Possible once, after the write that follows the first page.
            if op.kind == OpKind::Range {
                let _too_early_or_done = store.compact(last + 1);
            }
            Fault::None
        }
    };
    store.set_fault(Box::new(compact));
    let mut fixture = Fixture::with(&store, tap, small_pages());
    let seen = fixture.until_revision(last + 1).await;
    assert_eq!(seen.calls, [Call::Interrupted, Call::Replace { keys: 7, revision: last + 1 }]);
    assert_eq!(seen.view["p/0"], "new");
}

#[tokio::test(start_paused = true)]
async fn an_idle_stream_that_is_dead_is_noticed() {
    let store = filled(1).await;
    let tap = Tap::new(&store);
    tap.mute.store(true, Ordering::Relaxed);
    let mut fixture = Fixture::with(&store, tap, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    fixture.tap.mute.store(false, Ordering::Relaxed);
    let revision = put(&store, "p/0", "new").await;
    let seen = fixture.until_revision(revision).await;
    assert_eq!(
        seen.calls[1..],
        [Call::Live, Call::Interrupted, Call::Live, Call::Apply { events: 1, revision }]
    );
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_only_quiet_stays_open() {
    let store = filled(1).await;
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(fixture.seen.borrow().calls.len(), 2, "{:?}", fixture.seen.borrow().calls);
    assert_eq!(fixture.tap.watches.load(Ordering::Relaxed), 1);
}

#[tokio::test(start_paused = true)]
async fn another_cluster_behind_the_same_address_is_reported_before_its_view() {
    let store = filled(2).await;
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    let was = store.status().await.unwrap().header.cluster_id;
    store.set_cluster_id(77);
    let revision = put(&store, "p/9", "new").await;
    let seen = fixture.until("replaced", |seen| seen.view.contains_key("p/9")).await;
    let changed = Call::Changed(StoreChange::Cluster { was, now: 77 });
    let at = seen.calls.iter().position(|call| *call == changed).expect("reported");
    assert!(seen.calls[at..].contains(&Call::Replace { keys: 3, revision }), "{:?}", seen.calls);
    assert!(!seen.calls[..at].contains(&Call::Apply { events: 1, revision }));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_rolled_back_is_reported_before_its_view() {
    let store = filled(2).await;
    let snapshot = store.snapshot();
    let now = store.revision();
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    put(&store, "p/later", "1").await;
    let revision = put(&store, "elsewhere", "1").await;
    fixture.until("later", |seen| seen.view.contains_key("p/later")).await;
    store.restore(snapshot);
    let seen = fixture.until("replaced", |seen| !seen.view.contains_key("p/later")).await;
    let (before, end) = seen.calls.split_at(seen.calls.len() - 2);
    assert!(before.contains(&Call::Interrupted));
    let Call::Changed(StoreChange::RolledBack { seen: highest, now: found }) = end[0] else {
        panic!("not reported: {:?}", seen.calls)
    };
    assert!(found == now && highest > now && highest <= revision);
    assert_eq!(end[1], Call::Replace { keys: 2, revision: now });
    let next = put(&store, "p/next", "1").await;
    fixture.until_revision(next).await;
}

#[tokio::test(start_paused = true)]
async fn a_store_that_went_back_and_has_come_as_far_again_is_reported_before_its_list() {
    for (is_compacted, is_deleted) in [(false, false), (true, false), (false, true), (true, true)] {
        let store = filled(2).await;
        let snapshot = store.snapshot();
        let mut fixture = Fixture::start(&store, WatcherOptions::default());
        fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
        let last =
            if is_deleted { delete(&store, "p/0").await } else { put(&store, "p/0", "lost").await };
        fixture.until_revision(last).await;
        fixture.disconnect().await;
        store.restore(snapshot);
        let mut now = 0;
        while now <= last {
            now = put(&store, "p/other", "1").await;
        }
        if is_compacted {
            store.compact(now).unwrap();
        }
        store.clear_fault();
        let seen = fixture.until("replaced", |seen| seen.view.contains_key("p/other")).await;
        let end = &seen.calls[seen.calls.len() - 2..];
        assert_eq!(end[0], Call::Changed(StoreChange::Rewritten { at: last }));
        assert_eq!(end[1], Call::Replace { keys: 3, revision: now });
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_that_lags_for_two_seconds_is_no_rollback() {
    let store = filled(3).await;
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    let lags_until = Instant::now() + Duration::from_secs(2);
    store.set_fault(Box::new(move |op| {
        let lags = op.kind == OpKind::Range && Instant::now() < lags_until;
        if lags { Fault::StaleRead(2) } else { Fault::None }
    }));
    store.cut_watches();
    let revision = put(&store, "p/0", "new").await;
    let seen = fixture.until_revision(revision).await;
    assert!(!seen.calls.iter().any(|call| matches!(call, Call::Changed(_))), "{:?}", seen.calls);
}

#[tokio::test(start_paused = true)]
async fn what_a_lagging_member_says_of_a_deletion_that_is_compacted_proves_nothing() {
    let store = filled(3).await;
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    let deleted = delete(&store, "p/0").await;
    fixture.until_revision(deleted).await;
    fixture.disconnect().await;
    let last = put(&store, "p/0", "again").await;
    store.compact(last).unwrap();
    let lags_until = Instant::now() + Duration::from_secs(2);
    store.set_fault(Box::new(move |op| {
        let lags = op.kind == OpKind::Range && Instant::now() < lags_until;
        if lags { Fault::StaleRead(2) } else { Fault::None }
    }));
    let seen = fixture.until_revision(last).await;
    assert!(!seen.calls.iter().any(|call| matches!(call, Call::Changed(_))), "{:?}", seen.calls);
}

#[tokio::test(start_paused = true)]
async fn a_view_that_is_far_behind_is_listed_and_not_replayed() {
    let store = filled(1).await;
    let options = WatcherOptions { behind_limit: 20, ..WatcherOptions::default() };
    let mut fixture = Fixture::start(&store, options);
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    fixture.disconnect().await;
    let mut revision = 0;
    for value in 0..30 {
        revision = put(&store, "p/0", &value.to_string()).await;
    }
    store.clear_fault();
    let seen = fixture.until_revision(revision).await;
    assert_eq!(seen.calls.last(), Some(&Call::Replace { keys: 1, revision }));
    assert!(fixture.relists("behind"));
}

#[tokio::test(start_paused = true)]
async fn more_events_than_may_wait_are_thrown_away_for_a_list() {
    let store = filled(1).await;
    let options = WatcherOptions { lag_limit: 10, ..WatcherOptions::default() };
    let mut fixture = Fixture::start(&store, options);
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    let puts = (0..11).map(|key| Op::put(format!("p/many/{key}"), "value")).collect();
    let revision = store.txn(txn(puts)).await.unwrap().header.revision;
    let seen = fixture.until_revision(revision).await;
    assert_eq!(seen.calls.last(), Some(&Call::Replace { keys: 12, revision }));
    assert!(fixture.relists("overflowed"));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_be_reached_is_tried_again_until_it_can() {
    let store = filled(2).await;
    store.set_fault(Box::new(|_| Fault::FailBefore));
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("interrupted", |seen| seen.calls == [Call::Interrupted]).await;
    store.clear_fault();
    let seen = fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    assert_eq!(seen.calls[1], Call::Replace { keys: 2, revision: store.revision() });
}

#[tokio::test(start_paused = true)]
async fn it_ends_when_it_is_told_to() {
    let store = filled(1).await;
    let mut fixture = Fixture::start(&store, WatcherOptions::default());
    fixture.until("live", |seen| seen.calls.contains(&Call::Live)).await;
    fixture.token.cancel();
    timeout(PATIENCE, fixture.running.join_next()).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn whatever_is_cut_delayed_or_compacted_the_view_ends_up_equal_to_the_store() {
    for seed in 0..20_u64 {
        let store = filled(5).await;
        let options = WatcherOptions { behind_limit: 40, ..small_pages() };
        let mut fixture = Fixture::start(&store, options);
        // A small generator of numbers is enough, and the same for ever.
        let mut state = seed;
        let mut draw = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..200 {
            let key = format!("p/{}", draw(8));
            match draw(12) {
                0 => store.cut_watches(),
                1 => drop(store.compact(store.revision())),
                2 => store.set_fault(Box::new(|_| Fault::FailBefore)),
                3 => store.set_fragment_bytes(40),
                4 | 5 => tokio::time::sleep(Duration::from_millis(draw(200))).await,
                6 | 7 => {
                    store.clear_fault();
                    delete(&store, &key).await;
                }
                _ => {
                    store.clear_fault();
                    put(&store, &key, &draw(1_000).to_string()).await;
                }
            }
        }
        store.clear_fault();
        let revision = put(&store, "p/end", "end").await;
        let seen = fixture.until_revision(revision).await;
        let all = store.range(lochness_kv::RangeRequest::prefix(PREFIX)).await.unwrap();
        let all: BTreeMap<_, _> =
            all.kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
        assert_eq!(seen.view, all, "seed {seed}: {:?}", seen.calls);
    }
}
