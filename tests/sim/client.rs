//! One process's way to the store: the model, with the faults of the history, a line in the trace for every operation,
//! and a chance to crash before and after each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lochness_kv::{
    Fault, Kv, KvError, LeaseId, MemoryKv, OpInfo, OpKind, RangeRequest, RangeResponse,
    ServerStatus, Txn, TxnResponse, WatchBatch, WatchRequest, WatchStream,
};
use tokio::time::{Instant, sleep_until};

use crate::course::Course;
use crate::judge::Judge;
use crate::replica::Life;

/// A transaction that lands late does so within this time.
const LATEST_LANDING: Duration = Duration::from_secs(12);
/// A slow store takes up to this.
const SLOWEST: Duration = Duration::from_secs(8);
/// A healthy one up to this.
const USUAL: Duration = Duration::from_millis(5);

/// Who asks the store, by which faults are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    /// The user and the script: they never fail, so that what was wished is known.
    User,
    /// The hosts' registration.
    Agents,
    /// An operator.
    Replica(&'static str),
}

/// The store of a history.
pub(crate) struct Shop {
    pub(crate) kv: MemoryKv,
    pub(crate) course: Arc<Course>,
    pub(crate) judge: Arc<Judge>,
    asking: Arc<Mutex<Who>>,
}

impl Shop {
    pub(crate) fn new(kv: MemoryKv, course: Arc<Course>, judge: Arc<Judge>) -> Arc<Self> {
        let asking = Arc::new(Mutex::new(Who::User));
        let (who, drawn) = (Arc::clone(&asking), Arc::clone(&course));
        kv.set_fault(Box::new(move |info| {
            let who = *who.lock().unwrap_or_else(PoisonError::into_inner);
            draw(&drawn, who, info)
        }));
        Arc::new(Self { kv, course, judge, asking })
    }

    fn asks(&self, who: Who) {
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = who;
    }
}

/// What happens to an operation.
fn draw(course: &Course, who: Who, info: &OpInfo) -> Fault {
    if who == Who::User {
        return Fault::None;
    }
    let profile = &course.profile;
    let first = info.keys.first().map(|key| String::from_utf8_lossy(key).into_owned());
    let what = format!("{who:?} {:?} {}", info.kind, first.unwrap_or_default());
    let strikes = |class, permille| {
        let struck = course.strikes(permille);
        if struck {
            course.fault(class, &what);
        }
        struck
    };
    if strikes("store fails before", profile.fail_before) {
        return Fault::FailBefore;
    }
    if strikes("store fails after", profile.fail_after) {
        return Fault::FailAfter;
    }
    if strikes("store loses", profile.lose) {
        return Fault::Lose;
    }
    let may_land_late = info.kind == OpKind::Txn && who != Who::Agents;
    if may_land_late && strikes("store lands late", profile.land_late) {
        return Fault::LandLate(course.between(Duration::from_millis(1), LATEST_LANDING));
    }
    if info.kind == OpKind::Range && strikes("stale read", profile.stale_read) {
        return Fault::StaleRead(i64::try_from(course.below(30)).unwrap_or(0) + 1);
    }
    if strikes("slow store", profile.slow_store) {
        return Fault::Delay(course.between(USUAL, SLOWEST));
    }
    Fault::Delay(course.between(Duration::from_micros(0), USUAL))
}

/// One process's client.
pub(crate) struct Client {
    pub(crate) shop: Arc<Shop>,
    pub(crate) who: Who,
    /// The life of the process that asks, if it can end.
    pub(crate) life: Option<Arc<Life>>,
}

impl Client {
    async fn run<T>(
        &self,
        kind: OpKind,
        act: impl Future<Output = Result<T, KvError>>,
    ) -> Result<T, KvError> {
        if let Some(life) = &self.life {
            life.step("before the store").await;
            if let Some(until) = life.store_is_cut_until() {
                sleep_until(until.min(Instant::now() + Duration::from_secs(5))).await;
                return Err(KvError::Unavailable("no connection".to_owned()));
            }
        }
        // The fault is drawn at the first poll, which nothing can come before.
        self.shop.asks(self.who);
        let answer = act.await;
        self.shop.judge.catch_up();
        let verdict = match &answer {
            Ok(_) => "ok",
            Err(KvError::Unknown(_)) => "unknown",
            Err(_) => "failed",
        };
        self.shop.course.note(&format!("{:?} {kind:?} {verdict}", self.who));
        if let Some(life) = &self.life {
            life.step("after the store").await;
        }
        answer
    }
}

#[async_trait]
impl Kv for Client {
    async fn range(&self, request: RangeRequest) -> Result<RangeResponse, KvError> {
        self.run(OpKind::Range, self.shop.kv.range(request)).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, KvError> {
        self.run(OpKind::Txn, self.shop.kv.txn(txn)).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError> {
        let inner = self.run(OpKind::Watch, self.shop.kv.watch(request)).await?;
        Ok(Box::new(Stream { inner, life: self.life.clone(), is_broken: false }))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), KvError> {
        self.run(OpKind::LeaseGrant, self.shop.kv.lease_grant(ttl)).await
    }

    async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        self.run(OpKind::LeaseKeepalive, self.shop.kv.lease_keepalive(lease)).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), KvError> {
        self.run(OpKind::LeaseRevoke, self.shop.kv.lease_revoke(lease)).await
    }

    async fn status(&self) -> Result<ServerStatus, KvError> {
        self.run(OpKind::Status, self.shop.kv.status()).await
    }
}

/// A watch that is silent while its process is cut from the store, and dead afterwards.
struct Stream {
    inner: Box<dyn WatchStream>,
    life: Option<Arc<Life>>,
    is_broken: bool,
}

impl Stream {
    fn cut_until(&mut self) -> Option<Instant> {
        let until = self.life.as_ref().and_then(|life| life.store_is_cut_until());
        self.is_broken |= until.is_some();
        until
    }
}

#[async_trait]
impl WatchStream for Stream {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        let mut batch = None;
        if self.cut_until().is_none() && !self.is_broken {
            batch = Some(self.inner.next().await);
        }
        while let Some(until) = self.cut_until() {
            sleep_until(until).await;
        }
        match batch {
            Some(batch) if !self.is_broken => batch,
            _ => Err(KvError::Unavailable("the connection broke".to_owned())),
        }
    }

    async fn request_progress(&mut self) -> Result<(), KvError> {
        match self.cut_until() {
            Some(_) => Ok(()),
            None => self.inner.request_progress().await,
        }
    }
}

/// A user's write, which never fails; answers its revision.
pub(crate) async fn write(shop: &Shop, key: String, value: Option<Bytes>) -> i64 {
    let op = match value {
        Some(value) => lochness_kv::Op::put(key, value),
        None => lochness_kv::Op::delete(key),
    };
    shop.asks(Who::User);
    let txn = Txn { success: vec![op], ..Txn::default() };
    let answer = shop.kv.txn(txn).await.expect("the user's writes do not fail");
    shop.judge.users(answer.header.revision);
    shop.judge.catch_up();
    answer.header.revision
}
