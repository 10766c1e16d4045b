//! One process's way to the store: the model, with the faults of the history, a line in the trace for every operation,
//! and a chance to crash before and after each.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use lochness_api::{Key, Prefix};
use lochness_kv::{
    Compare, Fault, Kv, KvError, LeaseId, MemoryKv, OpInfo, OpKind, RangeRequest, RangeResponse,
    ServerStatus, Txn, TxnResponse, WatchBatch, WatchRequest, WatchStream,
};
use tokio::time::{Instant, sleep, sleep_until};

use crate::course::Course;
use crate::faults::Fault as Class;
use crate::judge::Judge;
use crate::machine::Machine;
use crate::points::{Occasion, Points, Strike};
use crate::replica::Life;

/// A transaction that lands late does so within this time.
const LATEST_LANDING: Duration = Duration::from_secs(12);
/// One that a sweep lets land late does so when another operator leads.
const LANDS_AFTER: Duration = Duration::from_secs(20);
/// A slow store takes up to this.
const SLOWEST: Duration = Duration::from_secs(8);
/// A watch that is slow gets what has come meanwhile in one message.
const SLOWEST_WATCH: Duration = Duration::from_secs(3);
/// Who has no connection is told after this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// While there is no space the user tries again so often.
const NO_SPACE_RETRY: Duration = Duration::from_millis(500);
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
    pub(crate) points: Arc<Points>,
    asking: Arc<Mutex<Who>>,
    /// Nobody but the user reaches the store until then.
    down: Mutex<Option<Instant>>,
}

impl Shop {
    pub(crate) fn new(kv: MemoryKv, course: Arc<Course>, judge: Arc<Judge>) -> Arc<Self> {
        let asking = Arc::new(Mutex::new(Who::User));
        let points = Arc::new(Points::default());
        let (who, drawn, planned) = (Arc::clone(&asking), Arc::clone(&course), Arc::clone(&points));
        kv.set_fault(Box::new(move |info| {
            let who = *who.lock().unwrap_or_else(PoisonError::into_inner);
            struck(&planned, who, info).unwrap_or_else(|| draw(&drawn, who, info))
        }));
        if course.profile.store.fragment_bytes > 0 {
            let bytes = usize::try_from(course.profile.store.fragment_bytes);
            kv.set_fragment_bytes(bytes.expect("it is small"));
        }
        Arc::new(Self { kv, course, judge, points, asking, down: Mutex::default() })
    }

    /// The store has no quorum for so long.
    pub(crate) fn falls(&self, lasting: Duration) {
        self.course.disturb(lasting);
        *self.down.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + lasting);
    }

    /// Somebody ends a lease.
    pub(crate) async fn revoke(&self, lease: LeaseId) -> Result<(), KvError> {
        self.asks(Who::User);
        self.kv.lease_revoke(lease).await
    }

    fn down_until(&self) -> Option<Instant> {
        let down = *self.down.lock().unwrap_or_else(PoisonError::into_inner);
        down.filter(|until| *until > Instant::now())
    }

    fn asks(&self, who: Who) {
        *self.asking.lock().unwrap_or_else(PoisonError::into_inner) = who;
    }
}

/// What a plan does to an operation.
fn struck(points: &Points, who: Who, info: &OpInfo) -> Option<Fault> {
    let occasion = match (who, info.kind) {
        (Who::Replica(_), OpKind::Range) => Occasion::Read,
        (Who::Replica(_), OpKind::Txn) => Occasion::Write,
        _ => return None,
    };
    match points.meets(occasion)? {
        Strike::Stale(_, back) => Some(Fault::StaleRead(back)),
        Strike::LandLate(_) => Some(Fault::LandLate(LANDS_AFTER)),
        _ => None,
    }
}

/// What happens to an operation.
fn draw(course: &Course, who: Who, info: &OpInfo) -> Fault {
    if who == Who::User {
        return Fault::None;
    }
    let profile = &course.profile.store;
    let what = || {
        let first = info.keys.first().map(|key| String::from_utf8_lossy(key).into_owned());
        format!("{who:?} {:?} {}", info.kind, first.unwrap_or_default())
    };
    let strikes = |class, permille| course.faults(class, permille, what);
    if strikes(Class::FailBefore, profile.fail_before) {
        return Fault::FailBefore;
    }
    if strikes(Class::FailAfter, profile.fail_after) {
        return Fault::FailAfter;
    }
    if strikes(Class::Lose, profile.lose) {
        return Fault::Lose;
    }
    let may_land_late = info.kind == OpKind::Txn && who != Who::Agents;
    if may_land_late && strikes(Class::LandLate, profile.land_late) {
        return Fault::LandLate(course.between(Duration::from_millis(1), LATEST_LANDING));
    }
    if info.kind == OpKind::Range && strikes(Class::StaleRead, profile.stale_read) {
        return Fault::StaleRead(i64::try_from(course.below(30)).unwrap_or(0) + 1);
    }
    if strikes(Class::StoreSlow, profile.slow) {
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
    /// The host that asks, if it is one.
    pub(crate) machine: Option<Arc<Machine>>,
}

/// How a connection is broken.
enum Broken {
    /// Nothing comes through.
    Cut(Instant),
    /// Requests come through, answers do not.
    Deaf(Instant),
}

impl Client {
    fn broken(&self) -> Option<Broken> {
        let life = self.life.as_ref();
        let cut = life.and_then(|life| life.store_is_cut_until());
        let cut = cut.or_else(|| self.machine.as_ref()?.store_is_cut_until());
        let cut = cut.max(self.shop.down_until());
        let deaf = || life.and_then(|life| life.store_is_deaf_until());
        cut.map(Broken::Cut).or_else(|| deaf().map(Broken::Deaf))
    }

    async fn run<T>(
        &self,
        kind: OpKind,
        act: impl Future<Output = Result<T, KvError>>,
    ) -> Result<T, KvError> {
        if let Some(life) = &self.life {
            life.step("before the store").await;
        }
        let broken = self.broken();
        if let Some(Broken::Cut(until)) = broken {
            sleep_until(until.min(Instant::now() + CONNECT_TIMEOUT)).await;
            return Err(KvError::Unavailable("no connection".to_owned()));
        }
        // The fault is drawn at the first poll, which nothing can come before.
        self.shop.asks(self.who);
        let mut answer = act.await;
        self.shop.judge.catch_up();
        if let Some(Broken::Deaf(until)) = broken {
            sleep_until(until.min(Instant::now() + CONNECT_TIMEOUT)).await;
            answer = Err(KvError::Unknown("no answer".to_owned()));
        }
        self.shop.course.note(|| {
            let verdict = match &answer {
                Ok(_) => "ok",
                Err(KvError::Unknown(_)) => "unknown",
                Err(_) => "failed",
            };
            format!("{:?} {kind:?} {verdict}", self.who)
        });
        if let Some(life) = &self.life {
            life.step("after the store").await;
            if answer.is_ok() {
                life.hears();
            }
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
        if matches!(self.who, Who::Replica(_)) && !is_fenced(&txn) {
            self.shop
                .judge
                .wrong(format!("S7: {:?} sends a transaction without a fence", self.who));
        }
        let load = self.life.as_ref().map(|life| life.load.writes());
        if let Some((_, Some(wrong))) = &load {
            self.shop.judge.wrong(format!("{wrong} of {:?}", self.who));
        }
        self.run(OpKind::Txn, self.shop.kv.txn(txn)).await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError> {
        let is_whole = request.key == Prefix::default().as_str();
        let inner = self.run(OpKind::Watch, self.shop.kv.watch(request)).await?;
        Ok(Box::new(Stream {
            inner,
            is_whole,
            whole: None,
            life: self.life.clone(),
            points: matches!(self.who, Who::Replica(_)).then(|| Arc::clone(&self.shop.points)),
            course: Arc::clone(&self.shop.course),
            again: None,
            is_broken: false,
        }))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), KvError> {
        let granted = self.run(OpKind::LeaseGrant, self.shop.kv.lease_grant(ttl)).await;
        if let (Ok((lease, _)), Some(life)) = (&granted, &self.life) {
            life.granted(*lease);
        }
        granted
    }

    async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        let answer = self.run(OpKind::LeaseKeepalive, self.shop.kv.lease_keepalive(lease)).await;
        let permille = self.shop.course.profile.store.keepalive_lies;
        let lies = || {
            self.shop.course.faults(Class::KeepaliveLies, permille, || format!("{:?}", self.who))
        };
        if matches!(answer, Err(KvError::LeaseNotFound)) && lies() {
            return Ok(Duration::from_secs(15));
        }
        answer
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), KvError> {
        self.run(OpKind::LeaseRevoke, self.shop.kv.lease_revoke(lease)).await
    }

    async fn status(&self) -> Result<ServerStatus, KvError> {
        self.run(OpKind::Status, self.shop.kv.status()).await
    }
}

/// Whether the transaction is one of a leader that happens only while it leads, or a candidate's for the leader's key.
fn is_fenced(txn: &Txn) -> bool {
    let leader = Prefix::default().key(&Key::Leader);
    txn.compares.iter().any(|compare| match compare {
        Compare::CreateRevision(key, _) => *key == leader,
        Compare::ModRevision(..) | Compare::Value(..) => false,
    })
}

/// While it lives, a process watches the whole store.
struct Whole(Arc<Life>);

impl Whole {
    fn begins(life: Arc<Life>) -> Self {
        life.watches(true);
        Self(life)
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        self.0.watches(false);
    }
}

/// A watch that is silent while its process is cut from the store, and dead afterwards.
struct Stream {
    inner: Box<dyn WatchStream>,
    is_whole: bool,
    /// If it is of the whole store, from when the process listens on: before, it asks which store it is that answers.
    whole: Option<Whole>,
    life: Option<Arc<Life>>,
    /// What a plan does to its messages.
    points: Option<Arc<Points>>,
    course: Arc<Course>,
    /// A message that comes twice, before its second time.
    again: Option<WatchBatch>,
    is_broken: bool,
}

impl Stream {
    /// The next message, unless a plan takes it away.
    async fn message(&mut self) -> Result<WatchBatch, KvError> {
        if let Some(batch) = self.again.take() {
            return Ok(batch);
        }
        let profile = &self.course.profile.store;
        if self.points.is_some() && self.course.strikes(profile.events_coalesced) {
            sleep_until(Instant::now() + self.course.between(USUAL, SLOWEST_WATCH)).await;
            let class = Class::EventsCoalesced;
            self.course.fault(class, || "a slow watch".to_owned());
        }
        let batch = self.inner.next().await?;
        if batch.events.is_empty() {
            return Ok(batch);
        }
        let what = || format!("{} events", batch.events.len());
        if self.points.is_some()
            && self.course.faults(Class::EventsDoubled, profile.events_doubled, what)
        {
            self.again = Some(batch.clone());
        }
        let Some(points) = self.points.as_ref() else {
            return Ok(batch);
        };
        match points.meets(Occasion::Message) {
            Some(Strike::Drop(_)) => {
                // It follows the store again when it has connected anew.
                self.course.disturb(Duration::ZERO);
                (self.is_broken, self.whole) = (true, None);
                return Err(KvError::Unavailable("the stream was cut".to_owned()));
            }
            Some(Strike::Double(_)) => self.again = Some(batch.clone()),
            _ => {}
        }
        Ok(batch)
    }

    fn cut_until(&mut self) -> Option<Instant> {
        let until = self.life.as_ref().and_then(|life| life.store_is_cut_until());
        if until.is_some() {
            (self.is_broken, self.whole) = (true, None);
        }
        until
    }
}

#[async_trait]
impl WatchStream for Stream {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        let mut batch = None;
        if self.cut_until().is_none() && !self.is_broken {
            if self.is_whole && self.whole.is_none() {
                self.whole = self.life.clone().map(Whole::begins);
            }
            batch = Some(self.message().await);
        }
        while let Some(until) = self.cut_until() {
            sleep_until(until).await;
        }
        match batch {
            Some(Err(error)) => Err(error),
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
    write_all(shop, vec![op]).await
}

/// The same for several keys at once.
pub(crate) async fn write_all(shop: &Shop, success: Vec<lochness_kv::Op>) -> i64 {
    let txn = Txn { success, ..Txn::default() };
    loop {
        shop.asks(Who::User);
        match shop.kv.txn(txn.clone()).await {
            Ok(answer) => {
                shop.judge.users(answer.header.revision);
                shop.judge.catch_up();
                return answer.header.revision;
            }
            Err(KvError::NoSpace) => sleep(NO_SPACE_RETRY).await,
            Err(error) => panic!("the user's writes do not fail: {error}"),
        }
    }
}
