//! The watcher's course: list, watch, and what to do when either fails.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use lochness_kv::{
    Event, Header, KeyValue, Kv, KvError, RangeRequest, RangeResponse, WatchRequest, WatchStream,
};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::assemble::{Assembler, Revisions};
use super::list::{Listing, PageSize, list, owned};
use super::reader::{End, Pace, Reader, Relist, Waiting, ended};
use super::{StoreChange, ViewSink, Watcher, WatcherOptions};
use crate::backoff::Backoff;
use crate::metrics::WatchMetrics;

/// So many reads, one after the other, must find the store older than it was before that is believed: some may come from
/// a member that lags (etcd 3.4 after a pause). What is believed holds everything until a person has looked.
const ROLLBACK_READS: u32 = 10;
/// The pause between two of them; all together they take longer than a member lags that is not cut off.
const ROLLBACK_PAUSE: Duration = Duration::from_millis(300);
/// Events of revisions that wait are handed on together, in portions of about so many.
const PORTION: usize = 10_000;

impl Watcher {
    /// Keeps `sink` up to date until `token` is cancelled.
    pub async fn run(self, mut sink: impl ViewSink, token: CancellationToken) {
        let Self { kv, prefix, options, metrics } = self;
        let mut course = Course {
            page: PageSize::new(&options),
            backoff: Backoff::new(options.backoff),
            failures: 0,
            connection: Connection::New,
            view: None,
            newest: None,
            gone: None,
            kv,
            prefix,
            options,
            metrics,
        };
        tokio::select! {
            biased;
            () = token.cancelled() => {}
            never = course.follow(&mut sink) => match never {},
        }
    }
}

/// A watcher at work.
struct Course {
    kv: Arc<dyn Kv>,
    prefix: Bytes,
    options: WatcherOptions,
    metrics: WatchMetrics,
    page: PageSize,
    backoff: Backoff,
    failures: u32,
    connection: Connection,
    /// What was seen of the store; nothing before the first list.
    view: Option<View>,
    /// The newest put that was seen: it is so in this life of the store, and hardly in another.
    newest: Option<KeyValue>,
    /// The newest deletion that was seen, if it is newer than that: the key, and the revision.
    gone: Option<(Bytes, i64)>,
}

/// What the sink was given, and what the store was seen to be.
#[derive(Debug, Clone, Copy)]
struct View {
    cluster: u64,
    /// The last whole revision that the sink has.
    last: i64,
    /// The highest revision of the store that any read has shown: at least `last`.
    seen: i64,
}

/// What a read of the past has found.
enum Found {
    /// What was there then.
    Then(Option<KeyValue>),
    /// What is there now: what was then is compacted.
    Now(Option<KeyValue>),
}

/// What the sink was told of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Connection {
    New,
    Live,
    Interrupted,
}

impl Course {
    async fn follow(&mut self, sink: &mut impl ViewSink) -> Infallible {
        let mut relist = Some(Relist::Start);
        loop {
            let (view, pace) = match (self.view, relist) {
                (Some(view), None) => (view, Pace::CaughtUp),
                (_, reason) => {
                    let reason = reason.unwrap_or(Relist::Start);
                    (self.list(sink, reason).await, Pace::CatchingUp)
                }
            };
            let opened = Instant::now();
            let end = self.watch(sink, view, pace).await;
            if opened.elapsed() >= self.options.backoff.max {
                self.failures = 0;
            }
            let reason;
            (relist, reason) = match end {
                End::Resume(reason) => (None, reason),
                End::Relist(why) => (Some(why), why.name().to_owned()),
                End::Changed(what) => {
                    self.store_changed(sink, what);
                    (Some(Relist::StoreChanged), "another cluster answers".to_owned())
                }
            };
            self.pause(sink, &reason).await;
        }
    }

    /// Lists until it works, and hands the list on.
    async fn list(&mut self, sink: &mut impl ViewSink, reason: Relist) -> View {
        loop {
            let kv = Arc::clone(&self.kv);
            let page_timeout = self.options.request_timeout;
            match list(&*kv, &self.prefix, &mut self.page, page_timeout, sink).await {
                Ok(listing) => {
                    if let Some(view) = self.replace(sink, listing, reason).await {
                        return view;
                    }
                    self.pause(sink, "an old answer to a list").await;
                }
                Err(error) => self.pause(sink, &format!("list: {error}")).await,
            }
        }
    }

    /// Hands a list on, unless it turns out to be old.
    async fn replace(
        &mut self,
        sink: &mut impl ViewSink,
        listing: Listing,
        reason: Relist,
    ) -> Option<View> {
        let Listing { keys, newest, header } = listing;
        if let Some(view) = self.view {
            if view.cluster != header.cluster_id {
                let (was, now) = (view.cluster, header.cluster_id);
                self.store_changed(sink, StoreChange::Cluster { was, now });
            } else if header.revision < view.seen {
                if !self.is_rolled_back(view).await {
                    return None;
                }
                let (seen, now) = (view.seen, header.revision);
                self.store_changed(sink, StoreChange::RolledBack { seen, now });
            } else {
                match self.rewritten_at().await {
                    Ok(Some(at)) => self.store_changed(sink, StoreChange::Rewritten { at }),
                    Ok(None) => {}
                    Err(_) => return None,
                }
            }
        }
        let view =
            View { cluster: header.cluster_id, last: header.revision, seen: header.revision };
        self.view = Some(view);
        (self.newest, self.gone) = (newest, None);
        info!(reason = reason.name(), revision = header.revision, keys, "the store was listed");
        self.metrics.relisted(reason.name());
        self.metrics.advanced(0, header.revision);
        sink.replace(header);
        Some(view)
    }

    /// Whether further reads, too, find the store older than it was.
    async fn is_rolled_back(&mut self, view: View) -> bool {
        let mut confirmed = 1;
        while confirmed < ROLLBACK_READS {
            sleep(ROLLBACK_PAUSE).await;
            match self.probe().await {
                Ok(header) if header.cluster_id == view.cluster && header.revision < view.seen => {
                    confirmed += 1;
                }
                Ok(_) => return false,
                Err(error) => warn!(%error, "cannot read the store's revision"),
            }
        }
        true
    }

    fn store_changed(&mut self, sink: &mut impl ViewSink, what: StoreChange) {
        error!(?what, "the store is not the one that was seen before");
        sink.store_changed(what);
        // From here on the new one counts.
        (self.view, self.newest, self.gone) = (None, None, None);
    }

    /// Watches from where the view stands until the stream ends.
    async fn watch(&mut self, sink: &mut impl ViewSink, view: View, pace: Pace) -> End {
        let stream = match self.open(view, pace).await {
            Ok(stream) => stream,
            Err(end) => return end,
        };
        if self.connection == Connection::Interrupted {
            info!(revision = view.last, "the watch goes on");
        }
        self.connection = Connection::Live;
        sink.live();
        let (sender, mut revisions) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        let reader = Reader {
            stream,
            assembler: Assembler::new(view.last),
            pace,
            cluster: view.cluster,
            idle_timeout: self.options.idle_timeout,
            behind_limit: self.options.behind_limit,
            lag_limit: self.options.lag_limit,
            revisions: sender,
            waiting: Arc::clone(&waiting),
            metrics: self.metrics.clone(),
        };
        // A task of its own, for it must read while the sink works; aborted when this future is dropped.
        let mut reading = JoinSet::new();
        reading.spawn(reader.run());
        loop {
            tokio::select! {
                biased;
                Some(end) = reading.join_next() => {
                    let end = end.expect("the reader does not panic, and is not aborted while it is waited for");
                    if matches!(end, End::Resume(_)) {
                        while let Ok(first) = revisions.try_recv() {
                            self.apply(sink, first, &mut revisions, &waiting);
                        }
                    }
                    return end;
                }
                Some(first) = revisions.recv() => self.apply(sink, first, &mut revisions, &waiting),
            }
        }
    }

    /// Opens a stream, and makes sure by a read of its own that it is one of the same store and worth following: a store
    /// that was rolled back would stay silent until it reaches the old revision again.
    async fn open(&mut self, view: View, pace: Pace) -> Result<Box<dyn WatchStream>, End> {
        let request = WatchRequest::prefix(self.prefix.clone(), view.last + 1);
        let opening = timeout(self.options.request_timeout, self.kv.watch(request)).await;
        let stream = opening
            .map_err(|_| End::Resume("the watch could not be opened in time".to_owned()))?
            .map_err(|error| ended(&error))?;
        let header = self.probe().await.map_err(|error| ended(&error))?;
        if header.cluster_id != view.cluster || header.revision < view.seen {
            return Err(End::Relist(Relist::StoreChanged));
        }
        if let Some(at) = self.rewritten_at().await.map_err(|error| ended(&error))? {
            return Err(End::Changed(StoreChange::Rewritten { at }));
        }
        if pace == Pace::CaughtUp && header.revision - view.last > self.options.behind_limit {
            return Err(End::Relist(Relist::Behind));
        }
        self.view = Some(View { seen: header.revision, ..view });
        Ok(stream)
    }

    /// The revision at which this store proves to be another life of the one that was seen: what was put or deleted then is
    /// otherwise now. A member that lags cannot answer so.
    async fn rewritten_at(&self) -> Result<Option<i64>, KvError> {
        if let Some(newest) = &self.newest {
            let at = newest.mod_revision;
            let is_other = match self.then_or_now(&newest.key, at).await? {
                Found::Then(kv) => kv.as_ref() != Some(newest),
                // If it is still there, it has only become newer.
                Found::Now(kv) => kv.is_some_and(|kv| kv.mod_revision < at),
            };
            if is_other {
                return Ok(Some(at));
            }
        }
        let Some((key, at)) = &self.gone else { return Ok(None) };
        let is_other = match self.then_or_now(key, *at).await? {
            Found::Then(kv) => kv.is_some(),
            // If it is there, it was created since.
            Found::Now(kv) => kv.is_some_and(|kv| kv.create_revision < *at),
        };
        Ok(is_other.then_some(*at))
    }

    /// What a key was at a revision, or is now when that is forgotten; `Err` when a member that lags answers.
    async fn then_or_now(&self, key: &Bytes, revision: i64) -> Result<Found, KvError> {
        let now = RangeRequest::key(key.clone());
        match self.read(RangeRequest { revision, ..now.clone() }).await {
            Ok(answer) => Ok(Found::Then(answer.kvs.into_iter().next())),
            Err(KvError::Compacted(_)) => {
                let answer = self.read(now).await?;
                if answer.header.revision < revision {
                    return Err(KvError::Unavailable("an old answer to a read".into()));
                }
                Ok(Found::Now(answer.kvs.into_iter().next()))
            }
            Err(error) => Err(error),
        }
    }

    async fn read(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        match timeout(self.options.request_timeout, self.kv.range(request)).await {
            Ok(answer) => answer,
            Err(_) => Err(KvError::Unknown("no answer to a read in time".to_owned())),
        }
    }

    /// Asks the store which one it is and at which revision.
    async fn probe(&self) -> Result<Header, KvError> {
        let all = RangeRequest::prefix(self.prefix.clone());
        let request = RangeRequest { limit: 1, keys_only: true, ..all };
        self.read(request).await.map(|answer| answer.header)
    }

    /// Hands on what waits, up to a portion.
    fn apply(
        &mut self,
        sink: &mut impl ViewSink,
        first: Revisions,
        more: &mut mpsc::UnboundedReceiver<Revisions>,
        waiting: &Waiting,
    ) {
        let Revisions { mut events, mut revision } = first;
        while events.len() < PORTION
            && let Ok(next) = more.try_recv()
        {
            events.extend(next.events);
            revision = next.revision;
        }
        waiting.fetch_sub(events.len(), Ordering::AcqRel);
        self.remember(&events);
        if let Some(view) = &mut self.view {
            view.last = revision;
            view.seen = view.seen.max(revision);
        }
        self.metrics.advanced(events.len(), revision);
        sink.apply(events, revision);
    }

    /// Keeps the newest put, and the newest deletion if that is newer.
    fn remember(&mut self, events: &[Event]) {
        for event in events.iter().rev() {
            match event {
                Event::Put(kv) => {
                    self.newest = Some(owned(kv));
                    self.gone.take_if(|(_, at)| *at < kv.mod_revision);
                    return;
                }
                Event::Delete { key, mod_revision } => {
                    if self.gone.as_ref().is_none_or(|(_, at)| at < mod_revision) {
                        self.gone = Some((Bytes::copy_from_slice(key), *mod_revision));
                    }
                }
            }
        }
    }

    /// Tells the sink once that there is no stream, and waits before the next attempt.
    async fn pause(&mut self, sink: &mut impl ViewSink, reason: &str) {
        if self.connection != Connection::Interrupted {
            warn!(reason, "the watch is interrupted: the view of the store may be old, will retry");
            self.connection = Connection::Interrupted;
            sink.interrupted(reason);
        }
        let delay = self.backoff.delay(self.failures);
        self.failures = self.failures.saturating_add(1);
        sleep(delay).await;
    }
}
