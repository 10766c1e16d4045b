//! Elections in a real etcd.

use std::sync::Arc;
use std::time::Duration;

use lochness_kv::{EtcdKv, Kv, Op, RangeRequest};
use lochness_runtime::leader::{Elector, ElectorOptions, Term};
use lochness_runtime::{BackoffOptions, Metrics};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::{etcd, write};

const KEY: &str = "operator/leader";
const LEASE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(60);

struct Candidate {
    term: watch::Receiver<Option<Term>>,
    token: CancellationToken,
    running: JoinSet<()>,
}

impl Candidate {
    fn start(kv: &Arc<EtcdKv>, number: u64) -> Self {
        let kv: Arc<dyn Kv> = Arc::<EtcdKv>::clone(kv);
        let backoff = BackoffOptions { seed: number, ..BackoffOptions::default() };
        let options = ElectorOptions { lease: LEASE, backoff, ..ElectorOptions::new(KEY, "me") };
        let elector = Elector::new(kv, options, &Metrics::new());
        let (sender, term) = watch::channel(None);
        let token = CancellationToken::new();
        let mut running = JoinSet::new();
        running.spawn(elector.run(token.clone(), move |term: Term| {
            let sender = sender.clone();
            async move {
                sender.send_replace(Some(term.clone()));
                term.lost().cancelled().await;
                sender.send_replace(None);
            }
        }));
        Self { term, token, running }
    }

    async fn leads(&mut self) -> Term {
        let term = timeout(PATIENCE, self.term.wait_for(Option::is_some)).await;
        term.expect("leads in time").expect("its sender lives").clone().expect("waited for")
    }
}

#[tokio::test]
async fn who_resigns_hands_over_at_once_and_who_crashes_when_its_lease_ends() {
    let (_process, kv) = etcd().await;
    let mut first = Candidate::start(&kv, 1);
    let one = first.leads().await;
    let (mut second, mut third) = (Candidate::start(&kv, 2), Candidate::start(&kv, 3));
    let asked = Instant::now();
    first.token.cancel();
    first.running.join_next().await.expect("it runs").unwrap();
    let (leader, standby) = tokio::select! {
        _ = second.leads() => (&mut second, &mut third),
        _ = third.leads() => (&mut third, &mut second),
    };
    assert!(asked.elapsed() < LEASE / 2, "{:?}", asked.elapsed());
    let two = leader.leads().await;
    assert!(two.revision() > one.revision());
    assert!(standby.term.borrow().is_none());

    leader.running.abort_all();
    let crashed = Instant::now();
    let three = standby.leads().await;
    assert!(three.revision() > two.revision());
    assert!(crashed.elapsed() > LEASE / 2, "{:?}", crashed.elapsed());
    assert!(crashed.elapsed() < LEASE + Duration::from_secs(5), "{:?}", crashed.elapsed());
}

#[tokio::test]
async fn a_leader_outlives_its_lease_by_keepalives_and_is_demoted_when_its_key_is_deleted() {
    let (_process, kv) = etcd().await;
    let mut candidate = Candidate::start(&kv, 1);
    let term = candidate.leads().await;
    let still = timeout(LEASE * 2, term.lost().cancelled()).await;
    assert!(still.is_err(), "lost without a reason");
    assert!(term.mutation_budget().is_some());
    let deleted = Instant::now();
    write(&kv, vec![Op::delete(KEY)]).await;
    timeout(PATIENCE, term.lost().cancelled()).await.expect("demoted");
    assert!(deleted.elapsed() < LEASE / 3, "{:?}", deleted.elapsed());
}

#[tokio::test]
async fn a_leader_whose_etcd_hangs_demotes_itself_within_its_lease() {
    let (process, kv) = etcd().await;
    let mut candidate = Candidate::start(&kv, 1);
    let term = candidate.leads().await;
    process.pause();
    let paused = Instant::now();
    timeout(PATIENCE, term.lost().cancelled()).await.expect("demoted");
    assert!(paused.elapsed() <= LEASE + Duration::from_millis(500), "{:?}", paused.elapsed());
    process.resume();
    candidate.term.wait_for(Option::is_none).await.unwrap();
    let next = candidate.leads().await;
    assert!(next.revision() > term.revision());
    candidate.token.cancel();
    candidate.running.join_next().await.expect("it runs").unwrap();
    let left = kv.range(RangeRequest::key(KEY)).await.unwrap();
    assert!(left.kvs.is_empty(), "{left:?}");
}
