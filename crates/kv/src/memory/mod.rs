//! The store in memory: a model of etcd that is linearizable, deterministic, and can be told to fail.
//!
//! It is held to etcd's semantics by the conformance suite: revisions, nested transactions, compares, refusals, leases,
//! watches from the past, compaction. Time is tokio's, so with paused time leases end when the test says so. Nothing
//! runs in the background: what is due by time happens before the next operation or watch message. Every operation
//! yields once before and once after it happens, so that others come between as they do over a network.
//!
//! Deliberately not modelled: authentication, members, and replies out of an old member unless a [`Fault`] says so.

mod check;
mod fault;
mod lease;
mod store;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::Notify;
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};

pub use fault::{Fault, OpInfo, OpKind};

use crate::{
    Event, Kv, KvError, LeaseId, RangeRequest, RangeResponse, ServerStatus, Txn, TxnResponse,
    WatchRequest, WatchStream,
};
use fault::{FaultHook, Faults, written_keys};
use store::Store;
use watch::MemoryWatch;

/// The id of a store that was not told another one.
const CLUSTER_ID: u64 = 0x010c_4e55;
/// What it says of its version: none of etcd's.
const VERSION: &str = "memory";
/// etcd cuts watch messages at its request limit and 512 KiB.
const FRAGMENT_BYTES: usize = 2 * 1024 * 1024;

/// The store in memory. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct MemoryKv {
    shared: Arc<Shared>,
}

/// The content of a [`MemoryKv`] at one moment, as `etcdctl snapshot save` keeps it.
#[derive(Clone)]
pub struct MemorySnapshot(Store);

type LateOperation = Box<dyn FnOnce(&mut State) + Send>;

struct Shared {
    state: Mutex<State>,
    faults: Mutex<Faults>,
    changed: Notify,
}

struct State {
    store: Store,
    /// How often all watches were cut.
    cuts: u64,
    /// Operations that land later, by when.
    late: BTreeMap<(Instant, u64), LateOperation>,
    late_so_far: u64,
    quota_bytes: Option<u64>,
    no_space: bool,
    fragment_bytes: usize,
}

impl MemoryKv {
    /// An empty store at revision 1.
    pub fn new() -> Self {
        let state = State {
            store: Store::new(CLUSTER_ID),
            cuts: 0,
            late: BTreeMap::new(),
            late_so_far: 0,
            quota_bytes: None,
            no_space: false,
            fragment_bytes: FRAGMENT_BYTES,
        };
        let shared =
            Shared { state: Mutex::new(state), faults: Mutex::default(), changed: Notify::new() };
        Self { shared: Arc::new(shared) }
    }

    /// Asks `hook` before every operation what shall happen to it.
    pub fn set_fault(&self, hook: Box<dyn FnMut(&OpInfo) -> Fault + Send>) {
        self.replace_fault(Some(hook));
    }

    /// From now on nothing fails.
    pub fn clear_fault(&self) {
        self.replace_fault(None);
    }

    /// Ends every open watch with [`KvError::Unavailable`].
    pub fn cut_watches(&self) {
        self.shared.with(|state| state.cuts += 1);
    }

    /// Forgets what was overwritten or deleted at or before `revision`. A watch that has not read so far ends.
    ///
    /// # Errors
    /// [`KvError::Compacted`] for one that is compacted already, [`KvError::Invalid`] for one still to come.
    pub fn compact(&self, revision: i64) -> Result<(), KvError> {
        self.shared.with(|state| state.store.compact(revision))
    }

    /// Once the store holds more than `bytes`, it raises its `NOSPACE` alarm; `None` for no limit.
    pub fn set_quota(&self, bytes: Option<u64>) {
        self.shared.with(|state| state.quota_bytes = bytes);
    }

    /// Raises the `NOSPACE` alarm. As in etcd it stays until [`MemoryKv::disarm`].
    pub fn raise_no_space(&self) {
        self.shared.with(|state| state.no_space = true);
    }

    /// Takes the `NOSPACE` alarm back; over its quota the store raises it again.
    pub fn disarm(&self) {
        self.shared.with(|state| state.no_space = false);
    }

    /// Cuts watch messages at so many bytes, of keys and values and 32 an event.
    pub fn set_fragment_bytes(&self, bytes: usize) {
        self.shared.with(|state| state.fragment_bytes = bytes);
    }

    /// The newest revision, without an operation that could fail.
    pub fn revision(&self) -> i64 {
        self.shared.with(|state| state.store.revision())
    }

    /// The changes of one revision, without an operation that could fail: for checkers that look at every one.
    /// `None` if it is compacted or still to come.
    pub fn changes(&self, revision: i64) -> Option<Vec<Event>> {
        self.shared.with(|state| state.store.changes(revision).map(<[Event]>::to_vec))
    }

    /// Keeps the content for a [`MemoryKv::restore`].
    pub fn snapshot(&self) -> MemorySnapshot {
        self.shared.with(|state| MemorySnapshot(state.store.clone()))
    }

    /// Rolls the store back. As in etcd the cluster's id stays, the revision goes back, watches end, and leases begin
    /// anew.
    pub fn restore(&self, snapshot: MemorySnapshot) {
        self.shared.with(|state| {
            let leases = &state.store.leases;
            let mut restored = snapshot.0;
            restored.leases.restart_after(leases, Instant::now());
            state.store = restored;
            state.late.clear();
            state.cuts += 1;
        });
    }

    /// From now on it answers as another cluster.
    pub fn set_cluster_id(&self, cluster_id: u64) {
        self.shared.with(|state| state.store.cluster_id = cluster_id);
    }

    fn replace_fault(&self, hook: Option<FaultHook>) {
        lock(&self.shared.faults).set(hook);
    }

    /// Runs one operation under the fault that is drawn for it. `act` gets how many revisions a stale read goes back.
    async fn run<T: Send>(
        &self,
        kind: OpKind,
        keys: impl FnOnce() -> Vec<Bytes> + Send,
        act: impl FnOnce(&mut State, i64) -> Result<T, KvError> + Send + 'static,
    ) -> Result<T, KvError> {
        let fault = lock(&self.shared.faults).draw(kind, keys);
        yield_now().await;
        let answer = match fault {
            Fault::None => self.shared.with(|state| act(state, 0)),
            Fault::FailBefore => Err(KvError::Unavailable("injected, it did not happen".into())),
            Fault::Lose => Err(lost()),
            Fault::LandLate(delay) => {
                let land = |state: &mut State| drop(act(state, 0));
                self.shared.with(|state| state.land_late(delay, Box::new(land)));
                Err(lost())
            }
            Fault::FailAfter => {
                let _answer_lost = self.shared.with(|state| act(state, 0));
                Err(lost())
            }
            Fault::Delay(delay) => {
                sleep(delay).await;
                self.shared.with(|state| act(state, 0))
            }
            Fault::StaleRead(back) => self.shared.with(|state| act(state, back)),
        };
        yield_now().await;
        answer
    }
}

impl Default for MemoryKv {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Kv for MemoryKv {
    async fn range(&self, mut request: RangeRequest) -> Result<RangeResponse, KvError> {
        let key = request.key.clone();
        self.run(
            OpKind::Range,
            || vec![key],
            move |state, back| {
                let mut stale = None;
                if back > 0 && request.revision == 0 {
                    let oldest = state.store.compacted().max(1);
                    request.revision = (state.store.revision() - back).max(oldest);
                    stale = Some(request.revision);
                }
                let mut response = state.store.range(&request)?;
                response.header.revision = stale.unwrap_or(response.header.revision);
                Ok(response)
            },
        )
        .await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnResponse, KvError> {
        let keys = written_keys(&txn);
        self.run(
            OpKind::Txn,
            || keys,
            move |state, _| {
                state.refuse_without_space()?;
                let response = state.store.txn(&txn);
                state.check_quota();
                response
            },
        )
        .await
    }

    async fn watch(&self, request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError> {
        let shared = Arc::clone(&self.shared);
        let key = request.key.clone();
        let watch = self
            .run(
                OpKind::Watch,
                || vec![key],
                move |state, _| MemoryWatch::open(&shared, request, state),
            )
            .await?;
        Ok(Box::new(watch))
    }

    async fn lease_grant(&self, ttl: Duration) -> Result<(LeaseId, Duration), KvError> {
        let act = move |state: &mut State, _| {
            state.refuse_without_space()?;
            Ok(state.store.leases.grant(ttl, Instant::now()))
        };
        self.run(OpKind::LeaseGrant, Vec::new, act).await
    }

    async fn lease_keepalive(&self, lease: LeaseId) -> Result<Duration, KvError> {
        let act = move |state: &mut State, _| state.store.leases.renew(lease, Instant::now());
        self.run(OpKind::LeaseKeepalive, Vec::new, act).await
    }

    async fn lease_revoke(&self, lease: LeaseId) -> Result<(), KvError> {
        let act = move |state: &mut State, _| state.store.revoke(lease);
        self.run(OpKind::LeaseRevoke, Vec::new, act).await
    }

    async fn status(&self) -> Result<ServerStatus, KvError> {
        let act = |state: &mut State, _| {
            Ok(ServerStatus {
                version: VERSION.to_owned(),
                db_size: i64::try_from(state.store.bytes()).unwrap_or(i64::MAX),
                no_space: state.no_space,
                header: state.store.header(),
            })
        };
        self.run(OpKind::Status, Vec::new, act).await
    }
}

impl Shared {
    /// Does what was due by time, then `act`, at one moment; then wakes the watches if anything moved.
    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let mut state = lock(&self.state);
        let before = state.stamp();
        state.advance(Instant::now());
        let answer = act(&mut state);
        if state.stamp() != before {
            self.changed.notify_waiters();
        }
        answer
    }
}

impl State {
    /// What a waiting watch has to hear of, when it changes.
    fn stamp(&self) -> (i64, u64, Option<Instant>) {
        (self.store.revision(), self.cuts, self.next_change_by_time())
    }

    /// When something happens next without being asked.
    fn next_change_by_time(&self) -> Option<Instant> {
        let lease = self.store.leases.next_removal().map(|(at, _)| at);
        let late = self.late.first_key_value().map(|((at, _), _)| *at);
        [lease, late].into_iter().flatten().min()
    }

    /// Does what is due at `now`, in the order of its times.
    fn advance(&mut self, now: Instant) {
        while let Some(entry) = self.late.first_entry()
            && entry.key().0 <= now
        {
            let ((at, _), land) = entry.remove_entry();
            self.store.remove_ended_leases(at);
            land(self);
        }
        self.store.remove_ended_leases(now);
    }

    fn land_late(&mut self, delay: Duration, land: LateOperation) {
        self.late_so_far += 1;
        self.late.insert((Instant::now() + delay, self.late_so_far), land);
    }

    /// Under the alarm etcd 3.4 refuses puts, transactions and new leases; it renews and revokes leases.
    fn refuse_without_space(&mut self) -> Result<(), KvError> {
        self.check_quota();
        if self.no_space { Err(KvError::NoSpace) } else { Ok(()) }
    }

    fn check_quota(&mut self) {
        self.no_space |= self.quota_bytes.is_some_and(|quota| self.store.bytes() > quota);
    }
}

fn lost() -> KvError {
    KvError::Unknown("injected, the answer is lost".into())
}

/// A panic of a test while it holds the lock leaves the data whole: every change is made by one call.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
