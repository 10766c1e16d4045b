//! The model conforms, and does what etcd does with random transactions.

use std::sync::Arc;

use bytes::Bytes;
use lochness_kv::test_support::EtcdProcess;
use lochness_kv::{
    Compare, EtcdKv, Event, Kv, KvError, MemoryKv, Op, OpResponse, RangeRequest, Txn, WatchRequest,
    conformance,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

#[tokio::test(start_paused = true)]
async fn the_model_conforms() {
    let kv = MemoryKv::new();
    let store = kv.clone();
    let compact: conformance::Compact = Arc::new(move |revision| {
        let store = store.clone();
        Box::pin(async move { store.compact(revision) })
    });
    conformance::run_all(Arc::new(kv), compact, "conformance/").await;
}

/// How many random transactions go to both stores.
const TRANSACTIONS: usize = 600;

#[tokio::test]
async fn random_transactions_have_the_same_answers_and_history_in_etcd_and_in_the_model() {
    let etcd = EtcdProcess::start();
    let real = EtcdKv::connect(etcd.config()).await.expect("etcd runs");
    let model = MemoryKv::new();
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut revision = 1;
    for number in 0..TRANSACTIONS {
        let txn = txn(revision).new_tree(&mut runner).expect("it is generated").current();
        let expected = real.txn(txn.clone()).await.map(|answer| {
            revision = answer.header.revision;
            (answer.header.revision, answer.succeeded, without_headers(answer.responses))
        });
        let modelled = model.txn(txn.clone()).await.map(|answer| {
            (answer.header.revision, answer.succeeded, without_headers(answer.responses))
        });
        assert_eq!(
            modelled.as_ref().map_err(kind),
            expected.as_ref().map_err(kind),
            "transaction {number} at revision {revision}: {txn:#?}"
        );
    }
    assert!(revision > 100, "most transactions were refused");
    assert_eq!(history(&model, revision).await, history(&real, revision).await);
}

fn kind(error: &KvError) -> std::mem::Discriminant<KvError> {
    std::mem::discriminant(error)
}

fn without_headers(responses: Vec<OpResponse>) -> Vec<OpResponse> {
    let strip = |response| match response {
        OpResponse::Range(mut range) => {
            range.header = lochness_kv::Header::default();
            OpResponse::Range(range)
        }
        OpResponse::Txn(mut child) => {
            child.header = lochness_kv::Header::default();
            child.responses = without_headers(child.responses);
            OpResponse::Txn(child)
        }
        other @ (OpResponse::Put | OpResponse::Delete(_)) => other,
    };
    responses.into_iter().map(strip).collect()
}

async fn history(kv: &dyn Kv, last: i64) -> Vec<Event> {
    let mut watch = kv.watch(WatchRequest::prefix("", 2)).await.expect("nothing is compacted");
    let mut events: Vec<Event> = Vec::new();
    loop {
        let batch = watch.next().await.expect("the watch lives");
        events.extend(batch.events);
        if !batch.fragment && events.last().is_some_and(|event| event.revision() >= last) {
            return events;
        }
    }
}

fn key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "b/1", "b/2", "c", "d"]).prop_map(Bytes::from)
}

fn txn(revision: i64) -> impl Strategy<Value = Txn> {
    let leaf = level(revision, op(revision).boxed());
    let inner = level(revision, prop_oneof![4 => op(revision), 1 => leaf.prop_map(nested)].boxed());
    level(revision, prop_oneof![2 => op(revision), 1 => inner.prop_map(nested)].boxed())
}

fn nested(child: Txn) -> Op {
    Op::Txn(child.into())
}

fn level(revision: i64, op: BoxedStrategy<Op>) -> BoxedStrategy<Txn> {
    let compares = prop::collection::vec(compare(revision), 0..3);
    let success = prop::collection::vec(op.clone(), 0..5);
    let failure = prop::collection::vec(op, 0..3);
    (compares, success, failure)
        .prop_map(|(compares, success, failure)| Txn { compares, success, failure })
        .boxed()
}

fn compare(revision: i64) -> impl Strategy<Value = Compare> {
    let recent = (revision - 5).max(0)..=revision;
    prop_oneof![
        3 => key().prop_map(Compare::absent),
        1 => (key(), recent.clone()).prop_map(|(key, at)| Compare::ModRevision(key, at)),
        1 => (key(), recent).prop_map(|(key, at)| Compare::CreateRevision(key, at)),
        2 => (key(), value()).prop_map(|(key, value)| Compare::Value(key, value)),
    ]
}

fn value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2"]).prop_map(Bytes::from)
}

fn end() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "", "", "c", "\0", "a"]).prop_map(Bytes::from)
}

fn op(revision: i64) -> impl Strategy<Value = Op> {
    let pinned = prop_oneof![3 => Just(0), 1 => 1..=revision + 1];
    let range = (key(), end(), pinned, 0..3_i64, any::<bool>(), any::<bool>()).prop_map(
        |(key, end, revision, limit, keys_only, count_only)| {
            Op::Range(RangeRequest { key, end, revision, limit, keys_only, count_only })
        },
    );
    prop_oneof![
        5 => (key(), value()).prop_map(|(key, value)| Op::put(key, value)),
        2 => (key(), end()).prop_map(|(key, end)| Op::Delete { key, end }),
        2 => range,
    ]
}
