//! A term of leadership, from the process's start to its end.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::RouterTransport;
use lochness_api::Prefix;
use lochness_api::keys::Key;
use lochness_kv::{Kv, MemoryKv, RangeRequest};
use lochness_runtime::clock::PausedClock;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::tasks::Tasks;
use tokio::time::{Instant, sleep, timeout};

use crate::loops::Operator;
use crate::settings::Settings;

/// A condition that is not met for so long never will be.
const PATIENCE: Duration = Duration::from_secs(100);

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_told_to_stop_gives_its_term_back_at_once() {
    let (kv, tasks) = (Arc::new(MemoryKv::new()), Tasks::new());
    let settings = Settings::default();
    let placing = settings.startup_grace;
    let operator = Operator {
        kv: Arc::clone(&kv) as _,
        keeper: None,
        transport: Arc::new(RouterTransport::new()),
        clock: Arc::new(PausedClock::new(1_800_000_000_000)),
        prefix: Prefix::default(),
        identity: "one".to_owned(),
        lease: Duration::from_secs(15),
        settings: Arc::new(settings),
        metrics: Metrics::new(),
    };
    let health = operator.start(&tasks);
    let leads = async {
        while !health.is_leading() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, leads).await.expect("it leads");
    // All tasks of the term have begun.
    sleep(placing).await;
    let told = Instant::now();
    tasks.shutdown().await;
    assert!(told.elapsed() < Duration::from_secs(1), "it took {:?}", told.elapsed());
    let leader = RangeRequest::key(Prefix::default().key(&Key::Leader));
    assert!(kv.range(leader).await.unwrap().kvs.is_empty(), "the key is given back");
}
