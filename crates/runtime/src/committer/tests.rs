//! The committer against the store in memory, on paused time.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;

use futures::future::join_all;
use lochness_kv::{Event, Fault, LeaseId, MemoryKv, OpKind};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tap::{Flow, Tap, delete, locked, put};

const LEADER: &str = "leader";

struct Fixture {
    store: MemoryKv,
    tap: Arc<Tap>,
    committer: Committer,
    lag: Arc<AtomicU64>,
    token: CancellationToken,
    running: JoinSet<()>,
    metrics: Metrics,
}

impl Fixture {
    async fn start(options: CommitterOptions) -> Self {
        let store = MemoryKv::new();
        let term = put(&store, LEADER, "me").await;
        let tap = Tap::new(&store);
        let lag = Arc::new(AtomicU64::new(0));
        let (metrics, token) = (Metrics::new(), CancellationToken::new());
        let asked = Arc::clone(&lag);
        let (committer, work) = Committer::new(
            Arc::<Tap>::clone(&tap),
            Compare::CreateRevision(LEADER.into(), term),
            options,
            Arc::new(move || asked.load(Ordering::Relaxed)),
            &metrics,
        );
        let mut running = JoinSet::new();
        running.spawn(work.run(token.clone()));
        Self { store, tap, committer, lag, token, running, metrics }
    }

    /// Hands all in at once and waits for all verdicts.
    async fn commit(&self, commits: impl IntoIterator<Item = Commit>) -> Vec<Verdict> {
        join_all(commits.into_iter().map(|commit| self.committer.commit(commit))).await
    }

    /// Hands all in at once without waiting for verdicts.
    fn spawn(&self, commits: impl IntoIterator<Item = Commit>) -> JoinSet<Verdict> {
        let mut verdicts = JoinSet::new();
        for commit in commits {
            let committer = self.committer.clone();
            verdicts.spawn(async move { committer.commit(commit).await });
        }
        verdicts
    }
}

/// One transaction in flight at a time, so that groups form.
fn one_by_one() -> CommitterOptions {
    CommitterOptions { in_flight: 1, max_in_flight: 1, ..CommitterOptions::default() }
}

fn puts(key: &str) -> Commit {
    Commit { compares: Vec::new(), writes: vec![Op::put(key.to_owned(), "value")] }
}

fn wide(name: &str, writes: usize) -> Commit {
    let writes = (0..writes).map(|key| Op::put(format!("{name}/{key}"), "value")).collect();
    Commit { compares: Vec::new(), writes }
}

fn committed(verdict: &Verdict) -> i64 {
    let Verdict::Committed { revision } = verdict else { panic!("not committed: {verdict:?}") };
    *revision
}

fn check_committed<'a>(verdicts: impl IntoIterator<Item = &'a Verdict>) {
    for verdict in verdicts {
        committed(verdict);
    }
}

#[tokio::test(start_paused = true)]
async fn independent_commits_share_a_transaction() {
    let fixture = Fixture::start(one_by_one()).await;
    let verdicts = fixture.commit((0..20).map(|key| puts(&format!("k{key}")))).await;
    assert_eq!(fixture.tap.group_sizes(), [20]);
    let revision = fixture.store.revision();
    assert!(verdicts.iter().all(|verdict| committed(verdict) == revision), "{verdicts:?}");
    let text = fixture.metrics.gather_text();
    assert!(text.contains("lochness_commit_total{verdict=\"committed\"} 20"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn what_is_there_when_a_slot_is_free_goes_together() {
    let fixture = Fixture::start(one_by_one()).await;
    fixture.tap.turn(Flow::Shut);
    let first = fixture.spawn([puts("first")]);
    fixture.tap.sent(1).await;
    let rest = fixture.spawn((0..30).map(|key| puts(&format!("k{key}"))));
    tokio::task::yield_now().await;
    fixture.tap.turn(Flow::Open);
    for verdict in first.join_all().await.into_iter().chain(rest.join_all().await) {
        committed(&verdict);
    }
    assert_eq!(fixture.tap.group_sizes(), [1, 30]);
}

#[tokio::test(start_paused = true)]
async fn few_commits_wait_for_an_answer_while_transactions_are_in_flight_and_many_do_not() {
    let fixture = Fixture::start(CommitterOptions::default()).await;
    fixture.tap.turn(Flow::Shut);
    let mut sent = JoinSet::new();
    for (number, expected) in [(1, 1), (2, 2), (3, 2), (4, 2)] {
        let (committer, commit) = (fixture.committer.clone(), puts(&format!("few/{number}")));
        sent.spawn(async move { committer.commit(commit).await });
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert_eq!(fixture.tap.group_sizes().len(), expected, "after {number}");
    }
    let many = fixture.spawn((0..94).map(|key| puts(&format!("many/{key}"))));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(fixture.tap.group_sizes(), [1, 1, 96]);
    fixture.tap.turn(Flow::Open);
    check_committed(&sent.join_all().await);
    check_committed(&many.join_all().await);
}

#[tokio::test(start_paused = true)]
async fn commits_that_share_a_key_never_go_together_and_keep_their_order() {
    let options = CommitterOptions { in_flight: 16, ..CommitterOptions::default() };
    let fixture = Fixture::start(options).await;
    let write = |value: usize| Commit {
        compares: Vec::new(),
        writes: vec![Op::put("shared", value.to_string()), Op::put(format!("own/{value}"), "")],
    };
    let verdicts = fixture.commit((0..10).map(write)).await;
    let revisions: Vec<_> = verdicts.iter().map(committed).collect();
    assert!(revisions.is_sorted_by(|earlier, later| earlier < later), "{revisions:?}");
    assert_eq!(fixture.tap.group_sizes(), [1; 10]);
}

#[tokio::test(start_paused = true)]
async fn who_compares_what_another_writes_waits_for_it() {
    let fixture = Fixture::start(CommitterOptions::default()).await;
    let reader = Commit { compares: vec![Compare::absent("a")], writes: vec![Op::put("b", "")] };
    let verdicts = fixture.commit([puts("a"), reader.clone(), reader]).await;
    let revision = committed(&verdicts[0]);
    assert_eq!(verdicts[1..], [Verdict::Conflict { revision }, Verdict::Conflict { revision }]);
    assert_eq!(fixture.tap.group_sizes(), [1, 1, 1], "the last two write the same key");
}

#[tokio::test(start_paused = true)]
async fn who_compares_the_same_key_goes_together() {
    let fixture = Fixture::start(one_by_one()).await;
    let compares = vec![Compare::absent("a")];
    let reader = |key: usize| Commit { compares: compares.clone(), ..puts(&format!("k{key}")) };
    fixture.commit((0..5).map(reader)).await;
    assert_eq!(fixture.tap.group_sizes(), [5]);
}

#[tokio::test(start_paused = true)]
async fn a_conflict_costs_the_others_in_its_group_nothing() {
    let fixture = Fixture::start(one_by_one()).await;
    let stale = Commit { compares: vec![Compare::ModRevision("x".into(), 99)], ..puts("stale") };
    let verdicts = fixture.commit([puts("a"), stale, puts("b")]).await;
    let revision = fixture.store.revision();
    let done = Verdict::Committed { revision };
    assert_eq!(verdicts, [done.clone(), Verdict::Conflict { revision }, done]);
    assert_eq!(fixture.tap.group_sizes(), [3]);
}

#[tokio::test(start_paused = true)]
async fn once_fenced_nothing_is_written_and_nothing_is_sent() {
    let mut fixture = Fixture::start(one_by_one()).await;
    delete(&fixture.store, LEADER).await;
    let revision = put(&fixture.store, LEADER, "another").await;
    let shared = (0..5).map(|_| puts("shared"));
    let verdicts = fixture.commit(shared.chain([puts("a"), puts("b")])).await;
    assert_eq!(verdicts, vec![Verdict::Fenced; 7]);
    assert_eq!(fixture.tap.group_sizes().len(), 1);
    assert_eq!(fixture.committer.commit(puts("c")).await, Verdict::Fenced);
    assert_eq!(fixture.tap.group_sizes().len(), 1);
    assert_eq!(fixture.store.revision(), revision);
    fixture.running.join_next().await.expect("the loop ends").unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_lost_is_an_unknown_outcome_and_is_not_repeated() {
    let fixture = Fixture::start(one_by_one()).await;
    fixture.store.set_fault(Box::new(|_| Fault::FailAfter));
    let verdicts = fixture.commit([puts("a"), puts("b")]).await;
    assert!(verdicts.iter().all(|verdict| matches!(verdict, Verdict::Unknown(_))), "{verdicts:?}");
    assert_eq!(fixture.tap.group_sizes(), [2]);
}

#[tokio::test(start_paused = true)]
async fn no_answer_in_time_is_an_unknown_outcome() {
    let fixture = Fixture::start(one_by_one()).await;
    fixture.tap.turn(Flow::Shut);
    let verdict = fixture.committer.commit(puts("a")).await;
    assert!(matches!(verdict, Verdict::Unknown(_)), "{verdict:?}");
    fixture.tap.turn(Flow::Open);
    committed(&fixture.committer.commit(puts("a")).await);
}

#[tokio::test(start_paused = true)]
async fn what_the_store_refuses_did_not_happen_and_says_why() {
    let fixture = Fixture::start(one_by_one()).await;
    fixture.store.set_fault(Box::new(|_| Fault::FailBefore));
    let verdict = fixture.committer.commit(puts("a")).await;
    assert!(matches!(verdict, Verdict::Rejected(KvError::Unavailable(_))), "{verdict:?}");
    fixture.store.clear_fault();
    fixture.store.raise_no_space();
    assert_eq!(fixture.committer.commit(puts("a")).await, Verdict::Rejected(KvError::NoSpace));
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_too_large_alone_is_rejected_and_not_sent() {
    let fixture = Fixture::start(one_by_one()).await;
    let heavy = Commit { writes: vec![Op::put("a", vec![0; 1 << 20])], ..Commit::default() };
    for commit in [wide("a", 128), heavy] {
        let verdict = fixture.committer.commit(commit).await;
        assert!(matches!(verdict, Verdict::Rejected(KvError::TooLarge(_))), "{verdict:?}");
    }
    assert!(fixture.tap.group_sizes().is_empty());
    committed(&fixture.committer.commit(wide("a", 127)).await);
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_spoils_its_group_is_found_and_stands_alone() {
    let fixture = Fixture::start(one_by_one()).await;
    let gone = LeaseId(4_711);
    let spoiler = Commit { writes: vec![Op::put_leased("s", "", gone)], ..Commit::default() };
    let commits = (0..9).map(|key| puts(&format!("k{key}"))).chain([spoiler]);
    let verdicts = fixture.commit(commits).await;
    assert_eq!(verdicts[9], Verdict::Rejected(KvError::LeaseNotFound));
    check_committed(&verdicts[..9]);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_while_the_view_lags() {
    let fixture = Fixture::start(CommitterOptions::default()).await;
    fixture.lag.store(1_001, Ordering::Relaxed);
    let verdicts = fixture.spawn([puts("a")]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(fixture.tap.group_sizes().is_empty());
    fixture.lag.store(1_000, Ordering::Relaxed);
    committed(&verdicts.join_all().await[0]);
}

#[tokio::test(start_paused = true)]
async fn transactions_in_flight_are_bounded() {
    let options =
        CommitterOptions { in_flight: 2, max_in_flight: 3, ..CommitterOptions::default() };
    let fixture = Fixture::start(options).await;
    fixture.tap.turn(Flow::Shut);
    let verdicts = fixture.spawn((0..40).map(|name| wide(&format!("w{name}"), 100)));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(fixture.tap.group_sizes().len(), 2, "of up to 28 commits each");
    fixture.tap.turn(Flow::Open);
    check_committed(&verdicts.join_all().await);
    assert!(fixture.tap.group_sizes().iter().all(|size| *size <= 28));
}

#[tokio::test(start_paused = true)]
async fn stopped_it_answers_what_it_did_not_send_and_waits_a_little_for_what_it_did() {
    let mut fixture = Fixture::start(one_by_one()).await;
    fixture.tap.turn(Flow::Shut);
    let sent = fixture.spawn([puts("a")]);
    fixture.tap.sent(1).await;
    let waiting = fixture.spawn([puts("b"), puts("a")]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    fixture.token.cancel();
    for verdict in waiting.join_all().await {
        assert!(matches!(verdict, Verdict::Rejected(KvError::Unavailable(_))), "{verdict:?}");
    }
    fixture.tap.turn(Flow::Open);
    committed(&sent.join_all().await[0]);
    fixture.running.join_next().await.expect("the loop ends").unwrap();
    let late = fixture.committer.commit(puts("c")).await;
    assert!(matches!(late, Verdict::Rejected(KvError::Unavailable(_))), "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn a_commit_whose_planner_is_gone_is_not_sent() {
    let fixture = Fixture::start(one_by_one()).await;
    fixture.tap.turn(Flow::Shut);
    let first = fixture.spawn([puts("a")]);
    fixture.tap.sent(1).await;
    let mut given_up = fixture.spawn([puts("b")]);
    tokio::time::sleep(Duration::from_millis(1)).await;
    given_up.shutdown().await;
    fixture.tap.turn(Flow::Open);
    committed(&first.join_all().await[0]);
    committed(&fixture.committer.commit(puts("b")).await);
    assert_eq!(fixture.tap.group_sizes(), [1, 1]);
}

/// Every key is put with ascending numbers; whatever delays the transactions, its history must ascend too.
#[tokio::test(start_paused = true)]
async fn whatever_is_delayed_every_key_sees_its_commits_in_the_order_they_were_handed_in() {
    let options = CommitterOptions { in_flight: 16, max_ops: 6, ..CommitterOptions::default() };
    let fixture = Fixture::start(options).await;
    fixture.store.set_fault(Box::new(|op| match (op.kind, op.sequence % 7) {
        (OpKind::Txn, late @ 1..) => Fault::Delay(Duration::from_millis(late * 3)),
        _ => Fault::None,
    }));
    let commits = (0..300_usize).map(|number| {
        let mut keys = vec![number % 11, number * number % 13, number % 17];
        keys.sort_unstable();
        keys.dedup();
        let put = |key| Op::put(format!("k{key}"), format!("{number:04}"));
        Commit { compares: Vec::new(), writes: keys.into_iter().map(put).collect() }
    });
    // A task each: in one task, tokio's budget would let some hand in later than their turn.
    let verdicts = fixture.spawn(commits).join_all().await;
    check_committed(&verdicts);
    let mut last = BTreeMap::new();
    for revision in 2..=fixture.store.revision() {
        for event in fixture.store.changes(revision).unwrap() {
            let Event::Put(kv) = event else { panic!("only puts: {event:?}") };
            let before = last.insert(kv.key.clone(), kv.value.clone());
            assert!(before.is_none_or(|before| before < kv.value), "{kv:?} after {last:?}");
        }
    }
    assert!(locked(&fixture.tap.txns).len() > 10);
}
