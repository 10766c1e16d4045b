//! That our way to count is etcd's.

use std::sync::Arc;

use futures::future::join_all;
use lochness_kv::{Compare, EtcdKv, Kv, KvError, LeaseId, Op, Txn};
use lochness_runtime::Metrics;
use lochness_runtime::committer::{Commit, Committer, CommitterOptions, Verdict};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{etcd, put, write};

const LEADER: &str = "leader";

/// A committer at work; the set ends it when dropped.
async fn start(kv: &Arc<EtcdKv>, options: CommitterOptions) -> (Committer, JoinSet<()>) {
    let term = put(kv, LEADER, "me").await;
    let fence = Compare::CreateRevision(LEADER.into(), term);
    let kv: Arc<dyn Kv> = Arc::<EtcdKv>::clone(kv);
    let (committer, work) = Committer::new(kv, fence, options, Arc::new(|| 0), &Metrics::new());
    let mut running = JoinSet::new();
    running.spawn(work.run(CancellationToken::new()));
    (committer, running)
}

fn one_by_one() -> CommitterOptions {
    CommitterOptions { in_flight: 1, max_in_flight: 1, ..CommitterOptions::default() }
}

async fn commit(committer: &Committer, commits: impl IntoIterator<Item = Commit>) -> Vec<Verdict> {
    join_all(commits.into_iter().map(|commit| committer.commit(commit))).await
}

/// The revision at which all were committed together.
fn together(verdicts: &[Verdict]) -> i64 {
    let Verdict::Committed { revision } = verdicts[0] else { panic!("{:?}", verdicts[0]) };
    assert!(verdicts.iter().all(|verdict| *verdict == verdicts[0]), "{verdicts:?}");
    revision
}

/// As many compares as puts.
fn wide(name: usize, operations: usize) -> Commit {
    let key = |number: usize| format!("w/{name}/{number}");
    let compares = (0..operations).map(|number| Compare::absent(key(number))).collect();
    let writes = (0..operations).map(|number| Op::put(key(number), "value")).collect();
    Commit { compares, writes }
}

#[tokio::test]
async fn a_group_at_the_exact_limit_of_operations_is_taken_and_one_above_it_is_not() {
    for (commits, operations) in [(64, 64), (127, 1), (1, 127)] {
        let (_process, kv) = etcd().await;
        let (committer, _running) = start(&kv, one_by_one()).await;
        let group = (0..commits).map(|name| wide(name, operations));
        let revision = together(&commit(&committer, group).await);
        assert_eq!(revision, 3, "{commits} of {operations} at once");

        // The same with one commit more, past the committer.
        let child = |name| {
            let Commit { compares, writes } = wide(name, operations);
            Op::Txn(Txn { compares, success: writes, failure: Vec::new() }.into())
        };
        let success = (1_000..=1_000 + commits).map(child).collect();
        let refused = kv.txn(Txn { success, ..Txn::default() }).await;
        assert!(matches!(refused, Err(KvError::TooLarge(_))), "{commits}: {refused:?}");
    }
}

#[tokio::test]
async fn a_commit_at_the_exact_limit_of_bytes_is_taken_and_one_above_it_is_not_sent() {
    let (_process, kv) = etcd().await;
    let (committer, _running) = start(&kv, one_by_one()).await;
    let of = |bytes: usize| Commit {
        writes: vec![Op::put("big", vec![b'x'; bytes])],
        ..Commit::default()
    };
    let verdict = committer.commit(of(1 << 20)).await;
    let Verdict::Rejected(KvError::TooLarge(reason)) = verdict else { panic!("{verdict:?}") };
    // It tells what it weighs and what it may; beside the value that is the same for all values.
    let numbers: Vec<usize> =
        reason.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect();
    let [weighs, may] = numbers[..] else { panic!("{reason}") };
    let largest = (1 << 20) - (weighs - may);
    let verdict = committer.commit(of(largest + 1)).await;
    assert!(matches!(verdict, Verdict::Rejected(KvError::TooLarge(_))), "{verdict:?}");
    assert_eq!(together(&[committer.commit(of(largest)).await]), 3);
}

#[tokio::test]
async fn a_group_that_etcd_finds_too_large_is_cut_in_halves() {
    let (_process, kv) = etcd().await;
    let options = CommitterOptions { max_bytes: 64 << 20, ..one_by_one() };
    let (committer, _running) = start(&kv, options).await;
    let heavy = |name: usize| Commit {
        writes: vec![Op::put(format!("heavy/{name}"), vec![b'x'; 700_000])],
        ..Commit::default()
    };
    for verdict in commit(&committer, (0..5).map(heavy)).await {
        assert!(matches!(verdict, Verdict::Committed { .. }), "{verdict:?}");
    }
}

#[tokio::test]
async fn every_commit_of_a_group_gets_its_own_verdict() {
    let (_process, kv) = etcd().await;
    let (committer, _running) = start(&kv, one_by_one()).await;
    let gone = Op::put_leased("leased", "", LeaseId(4_711));
    let verdicts = commit(
        &committer,
        [
            wide(1, 4),
            Commit { compares: vec![Compare::ModRevision("x".into(), 9)], ..wide(2, 1) },
            Commit { writes: vec![gone], ..Commit::default() },
            wide(3, 4),
        ],
    )
    .await;
    assert!(matches!(verdicts[0], Verdict::Committed { .. }), "{verdicts:?}");
    assert!(matches!(verdicts[1], Verdict::Conflict { .. }), "{verdicts:?}");
    assert_eq!(verdicts[2], Verdict::Rejected(KvError::LeaseNotFound));
    assert!(matches!(verdicts[3], Verdict::Committed { .. }), "{verdicts:?}");
}

#[tokio::test]
async fn a_leader_whose_key_was_made_anew_is_fenced() {
    let (_process, kv) = etcd().await;
    let (committer, _running) = start(&kv, one_by_one()).await;
    write(&kv, vec![Op::delete(LEADER)]).await;
    let revision = put(&kv, LEADER, "me").await;
    assert_eq!(
        commit(&committer, [wide(1, 1), wide(2, 2)]).await,
        [Verdict::Fenced, Verdict::Fenced]
    );
    assert_eq!(kv.status().await.unwrap().header.revision, revision);
}

#[tokio::test]
async fn an_etcd_that_hangs_makes_outcomes_unknown_and_one_that_is_back_is_used_again() {
    let (process, kv) = etcd().await;
    let timeout = std::time::Duration::from_millis(300);
    let options = CommitterOptions { timeout, ..CommitterOptions::default() };
    let (committer, _running) = start(&kv, options).await;
    process.pause();
    let verdict = committer.commit(wide(1, 1)).await;
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
    process.resume();
    let verdict = committer.commit(wide(2, 1)).await;
    assert!(matches!(verdict, Verdict::Committed { .. }), "{verdict:?}");
}
