//! How many commits a second the committer gets into an etcd of its own, and what each costs this process.
//!
//! `cargo run --release -p lochness-runtime --example commit_rate -- [commits] [planners]`

use std::error::Error;
use std::sync::Arc;

use bytes::Bytes;
use lochness_kv::test_support::EtcdProcess;
use lochness_kv::{Compare, EtcdKv, Kv, Op, Txn};
use lochness_runtime::Metrics;
use lochness_runtime::committer::{Commit, Committer, CommitterOptions, Verdict};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Like a placement: four absent keys become four values of some hundred bytes.
fn placement(number: usize, value: &Bytes) -> Commit {
    let key = |part: usize| Bytes::from(format!("rate/{part}/{number:08}"));
    Commit {
        compares: (0..4).map(|part| Compare::absent(key(part))).collect(),
        writes: (0..4).map(|part| Op::put(key(part), value.clone())).collect(),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let commits: usize = arguments.next().map_or(Ok(20_000), |text| text.parse())?;
    let planners: usize = arguments.next().map_or(Ok(512), |text| text.parse())?;
    let etcd = EtcdProcess::start();
    let kv: Arc<dyn Kv> = Arc::new(EtcdKv::connect(etcd.config()).await?);
    let lead = Txn { success: vec![Op::put("leader", "me")], ..Txn::default() };
    let fence = Compare::CreateRevision("leader".into(), kv.txn(lead).await?.header.revision);
    let (metrics, token) = (Metrics::new(), CancellationToken::new());
    let options = CommitterOptions::default();
    let (committer, work) = Committer::new(kv, fence, options, Arc::new(|| 0), &metrics);
    let mut running = JoinSet::new();
    running.spawn(work.run(token.clone()));

    let started = Instant::now();
    let value = Bytes::from(vec![b'x'; 400]);
    let mut planning = JoinSet::new();
    for planner in 0..planners {
        let (committer, value) = (committer.clone(), value.clone());
        planning.spawn(async move {
            let mut done = 0_usize;
            for number in (planner..commits).step_by(planners) {
                let verdict = committer.commit(placement(number, &value)).await;
                done += usize::from(matches!(verdict, Verdict::Committed { .. }));
            }
            done
        });
    }
    let done: usize = planning.join_all().await.into_iter().sum();
    let seconds = started.elapsed().as_secs_f64();
    token.cancel();
    running.join_all().await;
    let rate = f64::from(u32::try_from(done)?) / seconds;
    println!("{done} of {commits} committed in {seconds:.2} s: {rate:.0} a second");
    for line in metrics.gather_text().lines().filter(|line| line.starts_with("lochness_commit")) {
        println!("{line}");
    }
    Ok(())
}
