//! The model fails when and how it is told to, and its time is the test's.

use std::time::Duration;

use lochness_kv::{
    Compare, Fault, Kv, KvError, MemoryKv, Op, OpKind, RangeRequest, Txn, WatchRequest,
};
use tokio::time::{Instant, sleep};

fn put(key: &str, value: &str) -> Txn {
    Txn { success: vec![Op::put(key.to_owned(), value.to_owned())], ..Txn::default() }
}

async fn value(kv: &MemoryKv, key: &str) -> Option<bytes::Bytes> {
    let request = RangeRequest::key(key.to_owned());
    kv.range(request).await.expect("the read is legal").kvs.pop().map(|kv| kv.value)
}

/// Faults transactions, and nothing else.
fn fault_writes(kv: &MemoryKv, fault: Fault) {
    kv.set_fault(Box::new(move |op| if op.kind == OpKind::Txn { fault } else { Fault::None }));
}

#[tokio::test(start_paused = true)]
async fn a_fault_before_is_known_not_to_have_happened() {
    let kv = MemoryKv::new();
    fault_writes(&kv, Fault::FailBefore);
    assert!(matches!(kv.txn(put("a", "1")).await, Err(KvError::Unavailable(_))));
    assert_eq!(value(&kv, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_hides_whether_it_happened() {
    for (fault, happened) in [(Fault::FailAfter, true), (Fault::Lose, false)] {
        let kv = MemoryKv::new();
        fault_writes(&kv, fault);
        assert!(kv.txn(put("a", "1")).await.is_err_and(|error| error.is_unknown_outcome()));
        assert_eq!(value(&kv, "a").await.is_some(), happened, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_write_lands_after_a_read_that_did_not_show_it() {
    let kv = MemoryKv::new();
    fault_writes(&kv, Fault::LandLate(Duration::from_secs(3)));
    assert!(kv.txn(put("a", "late")).await.is_err_and(|error| error.is_unknown_outcome()));
    kv.clear_fault();
    assert_eq!(value(&kv, "a").await, None);
    let mut watch = kv.watch(WatchRequest::prefix("", 0)).await.expect("it is legal");
    let before = Instant::now();
    assert_eq!(watch.next().await.expect("it lives").events.len(), 1);
    assert_eq!(before.elapsed().as_secs(), 3);
    assert_eq!(value(&kv, "a").await, Some("late".into()));
}

#[tokio::test(start_paused = true)]
async fn a_late_write_is_judged_when_it_lands() {
    let kv = MemoryKv::new();
    fault_writes(&kv, Fault::LandLate(Duration::from_secs(3)));
    let fenced = Txn { compares: vec![Compare::absent("a")], ..put("a", "late") };
    assert!(kv.txn(fenced).await.is_err());
    kv.clear_fault();
    kv.txn(put("a", "now")).await.expect("it is legal");
    sleep(Duration::from_secs(4)).await;
    assert_eq!(value(&kv, "a").await, Some("now".into()));
}

#[tokio::test(start_paused = true)]
async fn a_delayed_operation_takes_its_time() {
    let kv = MemoryKv::new();
    fault_writes(&kv, Fault::Delay(Duration::from_secs(2)));
    let before = Instant::now();
    kv.txn(put("a", "1")).await.expect("it is legal");
    assert_eq!(before.elapsed(), Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_stale_read_shows_an_older_revision_in_keys_and_header() {
    let kv = MemoryKv::new();
    kv.txn(put("a", "1")).await.expect("it is legal");
    let old = kv.revision();
    kv.txn(put("a", "2")).await.expect("it is legal");
    kv.set_fault(Box::new(|_| Fault::StaleRead(1)));
    let read = kv.range(RangeRequest::key("a")).await.expect("it is legal");
    assert_eq!((read.header.revision, read.kvs[0].value.as_ref()), (old, b"1".as_slice()));
    let pinned = RangeRequest { revision: old + 1, ..RangeRequest::key("a") };
    assert_eq!(kv.range(pinned).await.expect("it is there").kvs[0].value, "2");
}

#[tokio::test(start_paused = true)]
async fn a_fault_is_drawn_once_an_operation_and_knows_its_keys() {
    let kv = MemoryKv::new();
    let (seen, drawn) = std::sync::mpsc::channel();
    kv.set_fault(Box::new(move |op| {
        seen.send((op.sequence, op.kind, op.keys.clone())).expect("the test listens");
        Fault::None
    }));
    let child =
        Txn { success: vec![Op::delete("b")], failure: vec![Op::put("c", "")], ..Txn::default() };
    let txn = Txn { success: vec![Op::put("a", ""), Op::Txn(child.into())], ..Txn::default() };
    kv.txn(txn).await.expect("it is legal");
    kv.status().await.expect("it is there");
    let drawn: Vec<_> = drawn.try_iter().collect();
    let keys = vec!["a".into(), "b".into(), "c".into()];
    assert_eq!(drawn, [(1, OpKind::Txn, keys), (2, OpKind::Status, Vec::new())]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_ends_every_open_watch_and_no_later_one() {
    let kv = MemoryKv::new();
    let mut watch = kv.watch(WatchRequest::prefix("", 0)).await.expect("it is legal");
    kv.cut_watches();
    for _ in 0..2 {
        assert!(matches!(watch.next().await, Err(KvError::Unavailable(_))), "it stays over");
    }
    let mut watch = kv.watch(WatchRequest::prefix("", 0)).await.expect("it is legal");
    kv.txn(put("a", "1")).await.expect("it is legal");
    assert_eq!(watch.next().await.expect("it lives").events.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_on_paused_time_half_a_second_after_it_can_no_longer_be_renewed() {
    let kv = MemoryKv::new();
    let (lease, ttl) = kv.lease_grant(Duration::from_secs(5)).await.expect("granted");
    let txn = Txn { success: vec![Op::put_leased("a", "v", lease)], ..Txn::default() };
    kv.txn(txn).await.expect("it is legal");
    sleep(Duration::from_secs(4)).await;
    assert_eq!(kv.lease_keepalive(lease).await, Ok(ttl));
    sleep(ttl).await;
    assert_eq!(kv.lease_keepalive(lease).await, Err(KvError::LeaseNotFound));
    assert!(value(&kv, "a").await.is_some());
    sleep(Duration::from_millis(500)).await;
    assert_eq!(value(&kv, "a").await, None);
}

#[tokio::test(start_paused = true)]
async fn a_full_store_refuses_writes_until_it_is_disarmed() {
    let kv = MemoryKv::new();
    kv.set_quota(Some(1_000));
    let (lease, _) = kv.lease_grant(Duration::from_secs(60)).await.expect("there is room");
    kv.txn(put("a", &"x".repeat(2_000))).await.expect("the one that fills it is taken");
    assert_eq!(kv.txn(put("b", "1")).await, Err(KvError::NoSpace));
    assert_eq!(kv.lease_grant(Duration::from_secs(60)).await, Err(KvError::NoSpace));
    kv.lease_keepalive(lease).await.expect("renewing needs no room");
    assert!(kv.status().await.expect("it is there").no_space);
    kv.disarm();
    assert_eq!(kv.txn(put("b", "1")).await, Err(KvError::NoSpace), "it is still over its quota");
    kv.set_quota(None);
    kv.disarm();
    kv.txn(put("b", "1")).await.expect("there is room");
}

#[tokio::test(start_paused = true)]
async fn a_restored_store_is_the_same_cluster_at_a_lower_revision() {
    let kv = MemoryKv::new();
    kv.txn(put("a", "1")).await.expect("it is legal");
    let (snapshot, kept) = (kv.snapshot(), kv.status().await.expect("it is there").header);
    kv.txn(put("a", "2")).await.expect("it is legal");
    let mut watch = kv.watch(WatchRequest::prefix("", 0)).await.expect("it is legal");
    kv.restore(snapshot);
    assert!(watch.next().await.is_err());
    assert_eq!(kv.status().await.expect("it is there").header, kept);
    assert_eq!(value(&kv, "a").await, Some("1".into()));
}

#[tokio::test(start_paused = true)]
async fn a_watch_hears_of_a_write_before_its_writer_does() {
    let kv = MemoryKv::new();
    let mut watch = kv.watch(WatchRequest::prefix("", 0)).await.expect("it is legal");
    let mut order = Vec::new();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let told = sender.clone();
    tokio::join!(
        async {
            watch.next().await.expect("it lives");
            sender.send("watch").expect("the test listens");
        },
        async {
            kv.txn(put("a", "1")).await.expect("it is legal");
            told.send("writer").expect("the test listens");
        },
    );
    while let Ok(who) = receiver.try_recv() {
        order.push(who);
    }
    assert_eq!(order, ["watch", "writer"]);
}
