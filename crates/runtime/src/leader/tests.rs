//! Elections against the store in memory, on paused time.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::Poll;

use lochness_kv::{Compare, Fault, Kv, MemoryKv, Op, OpInfo, OpKind, RangeRequest, Txn};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::metrics::Metrics;
use crate::tap::{Flow, Tap, delete, locked, put};

const KEY: &str = "operator/leader";
const LEASE: Duration = Duration::from_secs(15);
const PATIENCE: Duration = Duration::from_secs(300);

/// What happened in all processes, in order.
type Diary = Arc<Mutex<Vec<(usize, &'static str, Instant)>>>;

/// One candidate with a connection of its own.
struct Process {
    tap: Arc<Tap>,
    term: watch::Receiver<Option<Term>>,
    token: CancellationToken,
    running: JoinSet<()>,
    metrics: Metrics,
}

impl Process {
    fn start(store: &MemoryKv, number: usize, diary: &Diary) -> Self {
        let (tap, metrics) = (Tap::new(store), Metrics::new());
        let backoff = BackoffOptions { seed: number as u64, ..BackoffOptions::default() };
        let options = ElectorOptions { backoff, ..ElectorOptions::new(KEY, format!("p{number}")) };
        let elector = Elector::new(Arc::<Tap>::clone(&tap), options, &metrics);
        let (sender, term) = watch::channel(None);
        let (token, diary) = (CancellationToken::new(), Arc::clone(diary));
        let mut running = JoinSet::new();
        let lead = move |term: Term| {
            let (sender, diary) = (sender.clone(), Arc::clone(&diary));
            async move {
                locked(&diary).push((number, "begins", Instant::now()));
                sender.send_replace(Some(term.clone()));
                term.lost().cancelled().await;
                locked(&diary).push((number, "ends", Instant::now()));
                sender.send_replace(None);
            }
        };
        running.spawn(elector.run(token.clone(), lead));
        Self { tap, term, token, running, metrics }
    }

    async fn leads(&mut self) -> Term {
        let term = timeout(PATIENCE, self.term.wait_for(Option::is_some)).await;
        term.expect("leads in time").unwrap().clone().expect("waited for")
    }

    fn status(&self) -> bool {
        let text = self.metrics.gather_text();
        text.contains(&format!("leader_election_master_status{{name=\"{KEY}\"}} 1"))
    }
}

fn three(store: &MemoryKv) -> (Vec<Process>, Diary) {
    let diary = Diary::default();
    let processes = (0..3).map(|number| Process::start(store, number, &diary)).collect();
    (processes, diary)
}

/// Waits until one of them leads.
async fn leader(processes: &mut [Process]) -> (usize, Term) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let leading = processes.iter().position(|process| process.term.borrow().is_some());
        if let Some(leading) = leading {
            let term = processes[leading].leads().await;
            return (leading, term);
        }
        assert!(Instant::now() < deadline, "nobody leads");
        sleep(Duration::from_millis(1)).await;
    }
}

/// No term begins before the one before it has ended.
fn check_alone(diary: &Diary) {
    let diary = locked(diary);
    for pair in diary.windows(2) {
        assert_ne!(pair[0].1, pair[1].1, "two at a time: {diary:?}");
    }
}

async fn holder(store: &MemoryKv) -> Option<String> {
    let answer = store.range(RangeRequest::key(KEY)).await.unwrap();
    answer.kvs.first().map(|kv| String::from_utf8(kv.value.to_vec()).unwrap())
}

async fn lost(term: &Term) {
    timeout(PATIENCE, term.lost().cancelled()).await.expect("lost in time");
}

#[tokio::test(start_paused = true)]
async fn exactly_one_of_three_leads_and_the_others_hold_nothing() {
    let store = MemoryKv::new();
    let (mut processes, diary) = three(&store);
    let (leading, term) = leader(&mut processes).await;
    sleep(LEASE * 20).await;
    assert_eq!(locked(&diary).len(), 1, "nobody else began");
    assert_eq!(holder(&store).await, Some(format!("p{leading}")));
    let statuses: Vec<_> = processes.iter().map(Process::status).collect();
    assert_eq!(statuses.iter().filter(|status| **status).count(), 1);
    assert!(statuses[leading] && !term.lost().is_cancelled());
    let revision = store.revision();
    assert_eq!(revision, term.revision(), "an election is one write, and leading is none");
    let grants = processes.iter().map(|process| process.tap.grants.load(Ordering::Relaxed));
    assert!(grants.sum::<usize>() <= 3, "a lease a candidacy, not more");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_cut_off_ends_before_its_successor_begins() {
    let store = MemoryKv::new();
    let (mut processes, diary) = three(&store);
    let (first, old) = leader(&mut processes).await;
    sleep(LEASE * 3).await;
    processes[first].tap.turn(Flow::Shut);
    let cut = Instant::now();
    lost(&old).await;
    assert!(cut.elapsed() <= LEASE);
    // It cannot give the key back; the store must find out by itself.
    sleep(Duration::from_millis(10)).await;
    let (second, new) = leader(&mut processes).await;
    assert!(cut.elapsed() <= LEASE + Duration::from_secs(5), "{:?}", cut.elapsed());
    assert!(second != first && new.revision() > old.revision());
    check_alone(&diary);
    let late = Txn {
        compares: vec![old.fence()],
        success: vec![Op::put("late", "")],
        failure: Vec::new(),
    };
    assert!(!store.txn(late).await.unwrap().succeeded, "the old fence holds no more");
    processes[first].tap.turn(Flow::Open);
    sleep(LEASE * 3).await;
    check_alone(&diary);
    assert!(!new.lost().is_cancelled());
}

#[tokio::test(start_paused = true)]
async fn who_resigns_hands_over_at_once() {
    let store = MemoryKv::new();
    let (mut processes, diary) = three(&store);
    let (first, old) = leader(&mut processes).await;
    sleep(LEASE).await;
    let asked = Instant::now();
    processes[first].token.cancel();
    lost(&old).await;
    let process = &mut processes[first];
    process.running.join_next().await.expect("it runs").unwrap();
    assert!(!process.status());
    let (second, _) = leader(&mut processes).await;
    assert!(
        second != first && asked.elapsed() < Duration::from_millis(500),
        "{:?}",
        asked.elapsed()
    );
    check_alone(&diary);
}

#[tokio::test(start_paused = true)]
async fn the_last_to_resign_leaves_nothing_behind() {
    let store = MemoryKv::new();
    let diary = Diary::default();
    let mut process = Process::start(&store, 0, &diary);
    process.leads().await;
    process.token.cancel();
    process.running.join_next().await.expect("it runs").unwrap();
    assert_eq!(holder(&store).await, None);
}

#[tokio::test(start_paused = true)]
async fn who_is_told_to_end_while_it_wins_does_not_lead_and_leaves_nothing() {
    let store = MemoryKv::new();
    let diary = Diary::default();
    let slow = |op: &OpInfo| {
        if op.kind == OpKind::Txn { Fault::Delay(LEASE / 10) } else { Fault::None }
    };
    store.set_fault(Box::new(slow));
    let mut process = Process::start(&store, 0, &diary);
    process.tap.sent(1).await;
    process.token.cancel();
    process.running.join_next().await.expect("it runs").unwrap();
    assert!(locked(&diary).is_empty());
    assert_eq!((holder(&store).await, store.revision()), (None, 3));
}

/// The process is stopped past its lease; when it goes on, what it leads must not run before it knows.
#[tokio::test(start_paused = true)]
async fn a_paused_leader_demotes_itself_before_anything_else() {
    let store = MemoryKv::new();
    let tap = Tap::new(&store);
    let elector =
        Elector::new(Arc::<Tap>::clone(&tap), ElectorOptions::new(KEY, "p"), &Metrics::new());
    let (sender, mut leads) = watch::channel(None);
    let (polls, mut polled) = watch::channel(0);
    let token = CancellationToken::new();
    let lead = move |term: Term| {
        let (sender, polls) = (sender.clone(), polls.clone());
        async move {
            sender.send_replace(Some(term.clone()));
            let mut tick = pin!(sleep(LEASE / 10));
            let began = Instant::now();
            poll_fn(|context| {
                polls.send_modify(|polls| *polls += 1);
                let lost = term.lost().is_cancelled();
                assert!(lost || began.elapsed() < LEASE, "runs {:?} long", began.elapsed());
                if lost { Poll::Ready(()) } else { tick.as_mut().poll(context) }
            })
            .await;
            term.lost().cancelled().await;
        }
    };
    let mut running = JoinSet::new();
    running.spawn(elector.run(token.clone(), lead));
    let term = leads.wait_for(Option::is_some).await.unwrap().clone().expect("waited for");
    polled.wait_for(|polls| *polls > 0).await.unwrap();
    tap.turn(Flow::Shut);
    polled.mark_unchanged();
    advance(LEASE * 2).await;
    // A look at the term would demote it, too: it is looked at only when the leader has run again.
    polled.changed().await.unwrap();
    assert!(term.lost().is_cancelled());
    assert_eq!((term.mutation_budget(), term.remaining()), (None, Duration::ZERO));
    tap.turn(Flow::Open);
    token.cancel();
    running.join_next().await.expect("it runs").unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_keepalive_that_finds_no_lease_demotes_at_once() {
    let store = MemoryKv::new();
    let diary = Diary::default();
    let mut process = Process::start(&store, 0, &diary);
    let term = process.leads().await;
    process.tap.leases_lost.store(true, Ordering::Relaxed);
    let since = Instant::now();
    lost(&term).await;
    assert!(since.elapsed() <= LEASE / 5);
    process.tap.leases_lost.store(false, Ordering::Relaxed);
    process.term.wait_for(Option::is_none).await.unwrap();
    let next = process.leads().await;
    assert!(next.revision() > term.revision(), "it was given back, and won again");
    check_alone(&diary);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_deleted_by_hand_demotes_at_once() {
    let store = MemoryKv::new();
    let (mut processes, diary) = three(&store);
    let (_, term) = leader(&mut processes).await;
    sleep(LEASE).await;
    let deleted = Instant::now();
    delete(&store, KEY).await;
    lost(&term).await;
    assert!(deleted.elapsed() < Duration::from_millis(100), "{:?}", deleted.elapsed());
    sleep(LEASE).await;
    let (_, next) = leader(&mut processes).await;
    assert!(next.revision() > term.revision());
    assert_eq!(locked(&diary).iter().filter(|(_, what, _)| *what == "begins").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_key_that_is_put_by_hand_is_given_up_and_not_left_for_ever() {
    let store = MemoryKv::new();
    let diary = Diary::default();
    let mut process = Process::start(&store, 0, &diary);
    let term = process.leads().await;
    sleep(LEASE).await;
    put(&store, KEY, "mine").await;
    lost(&term).await;
    process.term.wait_for(Option::is_none).await.unwrap();
    process.leads().await;
    assert_eq!(holder(&store).await, Some("p0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_dead_hides_a_deleted_key_for_a_lease_at_most() {
    let store = MemoryKv::new();
    let diary = Diary::default();
    let mut process = Process::start(&store, 0, &diary);
    process.tap.mute.store(true, Ordering::Relaxed);
    let term = process.leads().await;
    sleep(LEASE * 2).await;
    let deleted = Instant::now();
    delete(&store, KEY).await;
    lost(&term).await;
    assert!(deleted.elapsed() <= LEASE + Duration::from_millis(100), "{:?}", deleted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_standby_whose_watch_is_dead_still_finds_the_key_gone() {
    let store = MemoryKv::new();
    put(&store, KEY, "another").await;
    let diary = Diary::default();
    let mut process = Process::start(&store, 0, &diary);
    process.tap.mute.store(true, Ordering::Relaxed);
    sleep(LEASE).await;
    let deleted = Instant::now();
    delete(&store, KEY).await;
    process.leads().await;
    assert!(deleted.elapsed() <= LEASE / 2, "{:?}", deleted.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_election_whose_answer_is_lost_ends_with_a_leader_all_the_same() {
    for fault in [Fault::FailAfter, Fault::Lose, Fault::LandLate(Duration::from_secs(1))] {
        let store = MemoryKv::new();
        let mut failures = 2;
        store.set_fault(Box::new(move |op| {
            if op.kind == OpKind::Txn && failures > 0 {
                failures -= 1;
                return fault;
            }
            Fault::None
        }));
        let (mut processes, diary) = three(&store);
        let (_, term) = leader(&mut processes).await;
        sleep(LEASE * 2).await;
        assert!(!term.lost().is_cancelled(), "{fault:?}");
        check_alone(&diary);
    }
}

#[tokio::test(start_paused = true)]
async fn keepalives_that_fail_for_less_than_the_lease_cost_nothing() {
    let store = MemoryKv::new();
    let diary = Diary::default();
    let mut process = Process::start(&store, 0, &diary);
    let term = process.leads().await;
    sleep(LEASE).await;
    store.set_fault(Box::new(|_| Fault::FailBefore));
    sleep(LEASE / 2).await;
    assert!(term.remaining() < LEASE / 2 + LEASE / 5);
    store.clear_fault();
    sleep(LEASE * 2).await;
    assert!(!term.lost().is_cancelled());
    assert!(term.mutation_budget().is_some());
}

#[tokio::test(start_paused = true)]
async fn who_is_fenced_abdicates_and_campaigns_again() {
    let store = MemoryKv::new();
    let diary = Diary::default();
    let mut process = Process::start(&store, 0, &diary);
    let term = process.leads().await;
    assert_eq!(term.fence(), Compare::CreateRevision(KEY.into(), term.revision()));
    term.abdicate("a commit was fenced");
    assert_eq!(term.remaining(), Duration::ZERO);
    process.term.wait_for(Option::is_none).await.unwrap();
    assert!(process.leads().await.revision() > term.revision());
}

#[tokio::test(start_paused = true)]
async fn work_that_does_not_end_is_dropped_after_its_grace_and_the_key_given_back_then() {
    let store = MemoryKv::new();
    let tap = Tap::new(&store);
    let options = ElectorOptions::new(KEY, "p");
    let grace = options.grace;
    let elector = Elector::new(tap, options, &Metrics::new());
    let token = CancellationToken::new();
    let (sender, mut begun) = watch::channel(false);
    let mut running = JoinSet::new();
    running.spawn(elector.run(token.clone(), move |_| {
        sender.send_replace(true);
        std::future::pending()
    }));
    begun.wait_for(|begun| *begun).await.unwrap();
    let asked = Instant::now();
    token.cancel();
    sleep(grace / 2).await;
    assert!(holder(&store).await.is_some(), "nobody begins before it has ended");
    running.join_next().await.expect("it runs").unwrap();
    assert!(asked.elapsed() >= grace);
    assert_eq!(holder(&store).await, None);
}
