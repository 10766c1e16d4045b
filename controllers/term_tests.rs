//! A term of leadership, from the process's start to its end.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::RouterTransport;
use lochness_api::Prefix;
use lochness_api::keys::Key;
use lochness_kv::{Kv, MemoryKv, Op, RangeRequest, Txn};
use lochness_runtime::clock::PausedClock;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::tasks::Tasks;
use serde_json::json;
use tokio::time::{Instant, sleep, timeout};

use crate::loops::Operator;
use crate::settings::Settings;
use crate::test_world::id;

/// A condition that is not met for so long never will be.
const PATIENCE: Duration = Duration::from_secs(100);

fn operator(kv: &Arc<MemoryKv>) -> Operator {
    Operator {
        kv: Arc::clone(kv) as _,
        keeper: None,
        transport: Arc::new(RouterTransport::new()),
        clock: Arc::new(PausedClock::new(1_800_000_000_000)),
        prefix: Prefix::default(),
        identity: "one".to_owned(),
        lease: Duration::from_secs(15),
        settings: Arc::new(Settings::default()),
        metrics: Metrics::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_told_to_stop_gives_its_term_back_at_once() {
    let (kv, tasks) = (Arc::new(MemoryKv::new()), Tasks::new());
    let operator = operator(&kv);
    let placing = operator.settings.startup_grace;
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

/// How long a guest waits for the first word on its place, under the first leader after all had stood still. Its only host
/// has not registered again.
async fn first_word(host_was_alive: bool) -> Duration {
    let (kv, tasks) = (Arc::new(MemoryKv::new()), Tasks::new());
    let key = |key: &Key| Prefix::default().key(key);
    let was_alive = json!({"alive": host_was_alive});
    let found = [
        (Key::Hypervisor(id(1)), json!({"ip": "192.0.2.1"})),
        (Key::HypervisorStatus(id(1)), was_alive),
        (Key::Guest(id(2)), json!({"flavor": id::<()>(3)})),
    ];
    let puts = found.map(|(at, value)| Op::put(key(&at), value.to_string()));
    kv.txn(Txn { success: puts.to_vec(), ..Txn::default() }).await.unwrap();
    let begun = Instant::now();
    let _health = operator(&kv).start(&tasks);
    let status = RangeRequest::key(key(&Key::GuestStatus(id(2))));
    let told = async {
        while kv.range(status.clone()).await.unwrap().kvs.is_empty() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, told).await.expect("it is told");
    let waited = begun.elapsed();
    tasks.shutdown().await;
    waited
}

#[tokio::test(start_paused = true)]
async fn the_first_leader_hears_hosts_that_lived_before_it_places_and_waits_for_no_other() {
    let grace = Settings::default().startup_grace;
    let waited = first_word(true).await;
    assert!(waited >= grace && waited < grace * 2, "{waited:?}");
    let waited = first_word(false).await;
    assert!(waited < grace / 2, "{waited:?}");
}
