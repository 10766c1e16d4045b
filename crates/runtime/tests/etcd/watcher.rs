//! Lists, fragments, compaction and restarts of a real etcd.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lochness_kv::test_support::EtcdProcess;
use lochness_kv::{
    EtcdKv, Event, Header, KeyValue, Kv, KvError, LeaseId, Op, RangeRequest, RangeResponse,
    ServerStatus, Txn, TxnResponse, WatchRequest, WatchStream,
};
use lochness_runtime::Metrics;
use lochness_runtime::watcher::{PageReader, StoreChange, ViewSink, Watcher, WatcherOptions};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::{etcd, put, write};

const PATIENCE: Duration = Duration::from_secs(60);

/// What the sink was given.
#[derive(Debug, Default)]
struct Seen {
    view: BTreeMap<Bytes, i64>,
    revision: i64,
    live: bool,
    replaced: usize,
    /// Events of each revision.
    events: BTreeMap<i64, usize>,
}

struct Recorder {
    seen: watch::Sender<Seen>,
    listed: Vec<KeyValue>,
}

impl ViewSink for Recorder {
    type Page = Vec<KeyValue>;

    fn reader(&self) -> PageReader<Self::Page> {
        Arc::new(|kvs| kvs)
    }

    fn begin(&mut self) {
        self.listed.clear();
    }

    fn page(&mut self, page: Self::Page) {
        self.listed.extend(page);
    }

    fn replace(&mut self, header: Header) {
        let kvs = std::mem::take(&mut self.listed);
        self.seen.send_modify(|seen| {
            seen.view = kvs.into_iter().map(|kv| (kv.key, kv.mod_revision)).collect();
            seen.revision = header.revision;
            seen.replaced += 1;
        });
    }

    fn apply(&mut self, events: Vec<Event>, revision: i64) {
        self.seen.send_modify(|seen| {
            for event in events {
                assert!(event.revision() > seen.revision, "again: {event:?}");
                *seen.events.entry(event.revision()).or_default() += 1;
                match event {
                    Event::Put(kv) => seen.view.insert(kv.key, kv.mod_revision),
                    Event::Delete { key, .. } => seen.view.remove(&key),
                };
            }
            seen.revision = revision;
        });
    }

    fn interrupted(&mut self, _: &str) {
        self.seen.send_modify(|seen| seen.live = false);
    }

    fn live(&mut self) {
        self.seen.send_modify(|seen| seen.live = true);
    }

    fn store_changed(&mut self, what: StoreChange) {
        panic!("it is the same store: {what:?}");
    }
}

/// A connection on which watches can be refused.
struct Gate {
    kv: Arc<EtcdKv>,
    shut: AtomicBool,
}

#[async_trait]
impl Kv for Gate {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        self.kv.range(request).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, KvError> {
        self.kv.txn(txn).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError> {
        if self.shut.load(Ordering::Acquire) {
            return Err(KvError::Unavailable("the gate is shut".to_owned()));
        }
        self.kv.watch(request).await
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), KvError> {
        self.kv.lease_grant(ttl).await
    }

    async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        self.kv.lease_keepalive(lease).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), KvError> {
        self.kv.lease_revoke(lease).await
    }

    async fn status(&self) -> Result<ServerStatus, KvError> {
        self.kv.status().await
    }
}

struct Fixture {
    process: EtcdProcess,
    kv: Arc<EtcdKv>,
    gate: Arc<Gate>,
    seen: watch::Receiver<Seen>,
    _running: JoinSet<()>,
}

impl Fixture {
    async fn start(options: WatcherOptions, keys: usize) -> Self {
        let (process, kv) = etcd().await;
        for chunk in (0..keys).collect::<Vec<_>>().chunks(100) {
            let puts = chunk.iter().map(|key| Op::put(format!("p/{key:05}"), vec![b'x'; 300]));
            write(&kv, puts.collect()).await;
        }
        let gate = Arc::new(Gate { kv: Arc::clone(&kv), shut: AtomicBool::new(false) });
        let prefix = Bytes::from_static(b"p/");
        let watcher = Watcher::new(Arc::<Gate>::clone(&gate), prefix, options, &Metrics::new());
        let (sender, seen) = watch::channel(Seen::default());
        let mut running = JoinSet::new();
        running.spawn(
            watcher.run(Recorder { seen: sender, listed: Vec::new() }, CancellationToken::new()),
        );
        let mut fixture = Self { process, kv, gate, seen, _running: running };
        fixture.until("live", |seen| seen.live).await;
        fixture
    }

    async fn until(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) {
        let found = timeout(PATIENCE, self.seen.wait_for(condition)).await.is_ok();
        assert!(found, "never {what}, at {}", self.seen.borrow().revision);
    }

    /// Ends the stream, and lets no other be opened.
    async fn disconnect(&mut self) {
        self.gate.shut.store(true, Ordering::Release);
        self.process.restart();
        self.until("interrupted", |seen| !seen.live).await;
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while self.kv.status().await.is_err() {
            assert!(tokio::time::Instant::now() < deadline, "etcd does not come back");
        }
    }

    async fn check_equal(&self) {
        let all = self.kv.range(RangeRequest::prefix("p/")).await.expect("etcd answers");
        let all: BTreeMap<_, _> = all.kvs.into_iter().map(|kv| (kv.key, kv.mod_revision)).collect();
        assert!(self.seen.borrow().view == all, "the view differs from etcd");
    }
}

#[tokio::test]
async fn a_list_in_pages_and_the_watch_after_it_give_what_etcd_holds() {
    let pages = WatcherOptions { first_page: 100, page_limit: 300, ..WatcherOptions::default() };
    let mut fixture = Fixture::start(pages, 2_000).await;
    fixture.check_equal().await;
    write(&fixture.kv, vec![Op::delete("p/00007"), Op::put("p/new", "1")]).await;
    put(&fixture.kv, "elsewhere", "1").await;
    let revision = put(&fixture.kv, "p/new", "2").await;
    fixture.until("there", |seen| seen.revision == revision).await;
    fixture.check_equal().await;
    assert_eq!(fixture.seen.borrow().replaced, 1);
}

#[tokio::test]
async fn pages_above_the_limit_of_a_message_are_asked_for_again_in_smaller_ones() {
    let (process, kv) = etcd().await;
    for key in 0..40 {
        put(&kv, &format!("p/{key}"), vec![b'x'; 1 << 20]).await;
    }
    let metrics = Metrics::new();
    let watcher = Watcher::new(kv, Bytes::from_static(b"p/"), WatcherOptions::default(), &metrics);
    let (sender, mut seen) = watch::channel(Seen::default());
    let mut running = JoinSet::new();
    running.spawn(
        watcher.run(Recorder { seen: sender, listed: Vec::new() }, CancellationToken::new()),
    );
    let listed = timeout(PATIENCE, seen.wait_for(|seen| seen.live)).await;
    assert_eq!(listed.expect("in time").unwrap().view.len(), 40);
    drop(process);
}

#[tokio::test]
async fn revisions_that_etcd_cuts_into_fragments_arrive_whole() {
    let mut fixture = Fixture::start(WatcherOptions::default(), 10).await;
    fixture.disconnect().await;
    let mut revision = 0;
    for _ in 0..8 {
        let puts = (0..100).map(|key| Op::put(format!("p/{key:05}"), vec![b'y'; 10_000]));
        revision = write(&fixture.kv, puts.collect()).await;
    }
    fixture.gate.shut.store(false, Ordering::Release);
    fixture.until("there", |seen| seen.revision == revision).await;
    fixture.check_equal().await;
    let seen = fixture.seen.borrow();
    assert!(seen.events.values().all(|events| *events == 100), "{:?}", seen.events);
    assert_eq!((seen.events.len(), seen.replaced), (8, 1));
}

#[tokio::test]
async fn a_compaction_during_a_disconnect_lists_again() {
    let mut fixture = Fixture::start(WatcherOptions::default(), 10).await;
    fixture.disconnect().await;
    write(&fixture.kv, vec![Op::delete("p/00003")]).await;
    let revision = put(&fixture.kv, "p/new", "1").await;
    let compact = Command::new("etcdctl")
        .args(["--endpoints", fixture.process.endpoint(), "compact", &revision.to_string()])
        .env("ETCDCTL_API", "3")
        .output()
        .expect("etcdctl is installed");
    assert!(compact.status.success(), "{compact:?}");
    fixture.gate.shut.store(false, Ordering::Release);
    fixture.until("there", |seen| seen.revision == revision && seen.live).await;
    fixture.check_equal().await;
    assert_eq!(fixture.seen.borrow().replaced, 2);
}

#[tokio::test]
async fn an_etcd_that_is_stopped_without_ending_is_noticed_and_found_again() {
    let idle_timeout = Duration::from_millis(200);
    let options = WatcherOptions { idle_timeout, ..WatcherOptions::default() };
    let mut fixture = Fixture::start(options, 10).await;
    fixture.process.pause();
    fixture.until("interrupted", |seen| !seen.live).await;
    fixture.process.resume();
    fixture.until("live", |seen| seen.live).await;
    let revision = put(&fixture.kv, "p/new", "1").await;
    fixture.until("there", |seen| seen.revision == revision).await;
    assert_eq!(fixture.seen.borrow().replaced, 1);
}
