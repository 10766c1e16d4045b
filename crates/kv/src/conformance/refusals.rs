//! What a store refuses, and that nothing of it happened.

use futures::FutureExt as _;

use super::{Case, Subject};
use crate::{Compare, KvError, LeaseId, Op, RangeRequest, Txn};

/// etcd's `--max-txn-ops`.
const MAX_OPERATIONS: usize = 128;

pub(super) fn all() -> Vec<Case> {
    vec![
        Case {
            name: "one key put twice in one transaction is refused",
            run: |s| duplicates(s).boxed(),
        },
        Case {
            name: "a put and a delete of one key are refused unless the put is an earlier child's",
            run: |s| put_and_delete(s).boxed(),
        },
        Case { name: "both branches may put the same key", run: |s| both_branches(s).boxed() },
        Case {
            name: "operations are counted along each path of children",
            run: |s| operations(s).boxed(),
        },
        Case { name: "a request beyond the limit is too large", run: |s| bytes(s).boxed() },
        Case { name: "an empty key is refused", run: |s| empty_keys(s).boxed() },
        Case {
            name: "a put under an unknown lease fails whole",
            run: |s| unknown_leases(s).boxed(),
        },
    ]
}

async fn refuse(s: &Subject, ops: Vec<Op>) {
    let text = format!("{ops:?}");
    let answer = s.try_txn(Vec::new(), ops).await;
    assert!(matches!(answer, Err(KvError::Invalid(_))), "{text} gave {answer:?}");
    assert!(s.all().await.kvs.is_empty(), "{text} left something");
}

async fn duplicates(s: Subject) {
    let put = || s.put_op("a", "1");
    refuse(&s, vec![put(), put()]).await;
    refuse(&s, vec![put(), Subject::child(vec![put()])]).await;
    refuse(&s, vec![Subject::child(vec![put()]), Subject::child(vec![put()])]).await;
    let never = Txn {
        compares: vec![Compare::ModRevision(s.key("x"), 7)],
        success: vec![put()],
        failure: Vec::new(),
    };
    refuse(&s, vec![put(), Op::Txn(never.into())]).await;
}

async fn put_and_delete(s: Subject) {
    let put = || s.put_op("a", "1");
    let delete = || Op::delete(s.key("a"));
    let range = || Op::Delete { key: s.key("A"), end: s.key("b") };
    refuse(&s, vec![put(), delete()]).await;
    refuse(&s, vec![delete(), put()]).await;
    refuse(&s, vec![range(), put()]).await;
    refuse(&s, vec![delete(), Subject::child(vec![put()])]).await;
    refuse(&s, vec![Subject::child(vec![put()]), delete()]).await;
    refuse(&s, vec![Subject::child(vec![delete()]), put()]).await;
    refuse(&s, vec![Subject::child(vec![delete()]), Subject::child(vec![put()])]).await;
    s.write(vec![delete(), range(), Subject::child(vec![delete()])]).await;
    s.write(vec![Subject::child(vec![put()]), Subject::child(vec![delete()])]).await;
    assert!(s.all().await.kvs.is_empty(), "the later child had the last word");
}

async fn both_branches(s: Subject) {
    let child = Txn {
        compares: vec![Compare::absent(s.key("x"))],
        success: vec![s.put_op("a", "success")],
        failure: vec![s.put_op("a", "failure")],
    };
    s.write(vec![Op::Txn(child.into())]).await;
    assert_eq!(s.value("a").await, Some("success".into()));
}

async fn operations(s: Subject) {
    let puts = |from: usize, count: usize| -> Vec<Op> {
        (from..from + count).map(|n| s.put_op(&n.to_string(), "v")).collect()
    };
    let is_too_large = |answer| matches!(answer, Err(KvError::TooLarge(_)));
    s.write(puts(0, MAX_OPERATIONS)).await;
    assert!(is_too_large(s.try_txn(Vec::new(), puts(0, MAX_OPERATIONS + 1)).await));
    let compares = vec![Compare::absent(s.key("x")); MAX_OPERATIONS + 1];
    assert!(is_too_large(s.try_txn(compares, Vec::new()).await));
    let children = |count: usize, size: usize| -> Vec<Op> {
        (0..count).map(|n| Subject::child(puts(n * size, size))).collect()
    };
    s.write(children(32, MAX_OPERATIONS - 32)).await;
    assert!(is_too_large(s.try_txn(Vec::new(), children(32, MAX_OPERATIONS - 31)).await));
}

async fn bytes(s: Subject) {
    let value = "x".repeat(1_600_000);
    let answer = s.try_txn(Vec::new(), vec![s.put_op("a", &value)]).await;
    assert!(matches!(answer, Err(KvError::TooLarge(_))), "{answer:?}");
    let huge = "x".repeat(3_000_000);
    let answer = s.try_txn(Vec::new(), vec![s.put_op("a", &huge)]).await;
    assert!(matches!(answer, Err(KvError::TooLarge(_))), "{answer:?}");
    s.put("a", &value[..1_500_000]).await;
}

async fn empty_keys(s: Subject) {
    let range = s.kv.range(RangeRequest::key("")).await;
    assert!(matches!(range, Err(KvError::Invalid(_))), "{range:?}");
    refuse(&s, vec![Op::put("", "v")]).await;
    refuse(&s, vec![Op::delete("")]).await;
    refuse(&s, vec![Subject::child(vec![Op::Range(RangeRequest::key(""))])]).await;
    let compare = s.try_txn(vec![Compare::absent("")], Vec::new()).await;
    assert!(matches!(compare, Err(KvError::Invalid(_))), "{compare:?}");
}

async fn unknown_leases(s: Subject) {
    let unknown = Op::put_leased(s.key("b"), "v", LeaseId(0x0bad));
    let answer = s.try_txn(Vec::new(), vec![s.put_op("a", "v"), unknown.clone()]).await;
    assert_eq!(answer, Err(KvError::LeaseNotFound));
    assert!(s.all().await.kvs.is_empty());
    let not_taken = Txn {
        compares: vec![Compare::ModRevision(s.key("x"), 7)],
        success: vec![unknown],
        failure: Vec::new(),
    };
    let answer = s.kv.txn(not_taken).await.expect("the branch is not taken");
    assert!(!answer.succeeded);
}
