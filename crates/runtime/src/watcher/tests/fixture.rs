//! A watcher of the store in memory, and a sink that keeps what it was told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lochness_kv::{Event, Fault, Header, KeyValue, MemoryKv, OpInfo, OpKind};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::tap::Tap;
use crate::watcher::{PageReader, StoreChange, ViewSink, Watcher, WatcherOptions};

/// How long anything may take that is waited for.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// What a sink was told, and the view that it makes of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    pub(super) view: BTreeMap<String, String>,
    pub(super) revision: i64,
    pub(super) calls: Vec<Call>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Call {
    Replace { keys: usize, revision: i64 },
    Apply { events: usize, revision: i64 },
    Interrupted,
    Live,
    Changed(StoreChange),
}

struct Recorder {
    seen: watch::Sender<Seen>,
    listed: Vec<KeyValue>,
}

pub(super) fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

impl Recorder {
    fn note(&self, call: Call, change: impl FnOnce(&mut Seen)) {
        self.seen.send_modify(|seen| {
            seen.calls.push(call);
            change(seen);
        });
    }
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
        assert!(kvs.is_sorted_by(|one, next| one.key < next.key), "pages out of order");
        let (keys, revision) = (kvs.len(), header.revision);
        self.note(Call::Replace { keys, revision }, |seen| {
            let told = matches!(seen.calls.iter().rev().nth(1), Some(Call::Changed(_)));
            assert!(revision >= seen.revision || told, "went back silently: {:?}", seen.calls);
            assert!(kvs.iter().all(|kv| kv.mod_revision <= revision), "too new for {revision}");
            seen.view = kvs.iter().map(|kv| (text(&kv.key), text(&kv.value))).collect();
            seen.revision = revision;
        });
    }

    fn apply(&mut self, events: Vec<Event>, revision: i64) {
        self.note(Call::Apply { events: events.len(), revision }, |seen| {
            assert!(events.is_sorted_by_key(Event::revision));
            assert!(events[0].revision() > seen.revision, "again: {events:?}");
            assert_eq!(events.last().map(Event::revision), Some(revision));
            for event in &events {
                match event {
                    Event::Put(kv) => seen.view.insert(text(&kv.key), text(&kv.value)),
                    Event::Delete { key, .. } => seen.view.remove(&text(key)),
                };
            }
            seen.revision = revision;
        });
    }

    fn interrupted(&mut self, _: &str) {
        self.note(Call::Interrupted, |_| ());
    }

    fn live(&mut self) {
        self.note(Call::Live, |_| ());
    }

    fn store_changed(&mut self, what: StoreChange) {
        self.note(Call::Changed(what), |_| ());
    }
}

/// A watcher at work; dropping it ends it.
pub(super) struct Fixture {
    pub(super) store: MemoryKv,
    pub(super) tap: Arc<Tap>,
    pub(super) seen: watch::Receiver<Seen>,
    pub(super) metrics: Metrics,
    pub(super) token: CancellationToken,
    pub(super) running: JoinSet<()>,
}

impl Fixture {
    pub(super) fn start(store: &MemoryKv, options: WatcherOptions) -> Self {
        Self::with(store, Tap::new(store), options)
    }

    pub(super) fn with(store: &MemoryKv, tap: Arc<Tap>, options: WatcherOptions) -> Self {
        let metrics = Metrics::new();
        let token = CancellationToken::new();
        let (sender, seen) = watch::channel(Seen::default());
        let watcher =
            Watcher::new(Arc::<Tap>::clone(&tap), Bytes::from_static(b"p/"), options, &metrics);
        let mut running = JoinSet::new();
        running.spawn(watcher.run(Recorder { seen: sender, listed: Vec::new() }, token.clone()));
        Self { store: store.clone(), tap, seen, metrics, token, running }
    }

    pub(super) async fn until(&mut self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let found = timeout(PATIENCE, self.seen.wait_for(condition))
            .await
            .map(|seen| seen.unwrap().clone());
        found.unwrap_or_else(|_| panic!("never {what}: {:?}", *self.seen.borrow()))
    }

    pub(super) async fn until_revision(&mut self, revision: i64) -> Seen {
        self.until(&format!("at {revision}"), |seen| seen.revision >= revision).await
    }

    /// Fails the opening of watches until `clear_fault`, and ends the one that is open.
    pub(super) async fn disconnect(&mut self) {
        let fail = |op: &OpInfo| {
            if op.kind == OpKind::Watch { Fault::FailBefore } else { Fault::None }
        };
        self.store.set_fault(Box::new(fail));
        self.store.cut_watches();
        self.until("interrupted", |seen| seen.calls.last() == Some(&Call::Interrupted)).await;
    }

    pub(super) fn relists(&self, reason: &str) -> bool {
        let sample = format!("lochness_watch_relists_total{{reason=\"{reason}\"}}");
        self.metrics.gather_text().contains(&sample)
    }
}
