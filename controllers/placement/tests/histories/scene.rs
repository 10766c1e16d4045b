//! The world of a history: a store whose transactions land when the history says so, and the loops that plan.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use lochness_api::keys::Key;
use lochness_api::{GuestId, HypervisorId, Prefix, SubnetId};
use lochness_kv::{Compare, Event, KeyValue, Kv, MemoryKv, Op, RangeRequest, Txn};
use lochness_runtime::committer::Commit;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::watcher::ViewSink;
use serde_json::{Value, json};

use super::documents::{document, guest_id, subnet_document, subnet_id};
use crate::context::Context;
use crate::placement::claims::ClaimGuard;
use crate::placement::{PlacementReconciler, Step};
use crate::reports::Reports;
use crate::subnet::SubnetReconciler;
use crate::testing::{id, report};
use crate::world::{Change, World, WorldCell, WorldSink};

/// Longer than any grace and any quarantine.
const LONG: Duration = Duration::from_secs(301);

/// One thing that happens.
#[derive(Debug, Clone)]
pub(super) enum Act {
    /// A guest is declared, or edited, with the wish of this number.
    Declare(u8, u8),
    /// Its document goes.
    Undeclare(u8),
    /// The placement loop plans a guest and hands its commit in.
    Plan(u8),
    /// An open commit reaches the store.
    Land(u8),
    /// An open commit never does.
    Lose(u8),
    /// The view comes so many revisions nearer to the store.
    See(u8),
    /// A placed guest runs from now on.
    Start(u8),
    /// A guest without a document is gone from its host, and its keys go.
    Release(u8),
    /// A subnet's range becomes the one of this number.
    Resize(u8, u8),
    /// The subnet loop looks.
    Look(u8),
    /// Time passes.
    Pass,
    /// Somebody writes a reservation where there is none.
    Plant(u8, u8, u8),
    /// All quarantines end.
    Expire,
    /// The leader dies; of its open commits those land whose bit is set. Another one begins with a list.
    Crash(u64),
}

/// A commit whose outcome the view does not show yet.
pub(super) struct Open {
    guest: Option<GuestId>,
    subnet: Option<SubnetId>,
    commit: Commit,
    /// Stands until the view shows what became of the commit.
    _claim: Option<ClaimGuard>,
    /// At which revision the store answered; `None` while the commit is under way.
    answered: Option<i64>,
}

pub(super) struct Scene {
    kv: Arc<MemoryKv>,
    pub(super) context: Context,
    sink: WorldSink<fn(&World, &[Change])>,
    placement: PlacementReconciler,
    subnets: SubnetReconciler,
    pub(super) open: Vec<Open>,
    /// What the view has not seen, by revision.
    pub(super) unseen: BTreeMap<i64, Vec<Event>>,
    pub(super) running: BTreeMap<GuestId, (HypervisorId, SubnetId, IpAddr)>,
}

impl Scene {
    pub(super) async fn new(context: Context) -> Self {
        let world = WorldCell::new(World::new(Prefix::default()));
        let reports = Arc::new(Reports::default());
        let context = Context { world: Arc::clone(&world), reports, ..context };
        let sink = WorldSink::new(world, nobody as fn(&World, &[Change]));
        let mut scene = Self {
            kv: Arc::new(MemoryKv::new()),
            placement: PlacementReconciler::new(context.clone()),
            subnets: SubnetReconciler::new(context.clone(), &Metrics::new()),
            context,
            sink,
            open: Vec::new(),
            unseen: BTreeMap::new(),
            running: BTreeMap::new(),
        };
        let flavor = json!({"image": id::<()>(4), "memory": 1, "disk": 1, "cpu": 1});
        scene.put(&Key::Network(id(1)), &json!({})).await;
        scene.put(&Key::Flavor(id(3)), &flavor).await;
        for host in [10, 11] {
            let host: HypervisorId = id(host);
            let resources = json!({"memory": 9, "disk": 9, "cpu": 9});
            scene.put(&Key::Hypervisor(host), &json!({"total_resources": resources})).await;
            scene.put(&Key::Heartbeat(host), &json!("alive")).await;
            for subnet in 0..2 {
                scene.put(&Key::HypervisorSubnet(host, subnet_id(subnet)), &json!("br0")).await;
            }
        }
        for subnet in 0..2 {
            scene.happen(Act::Resize(subnet, 0)).await;
        }
        scene.list().await;
        scene
    }

    pub(super) async fn happen(&mut self, act: Act) {
        match act {
            Act::Declare(guest, wish) => {
                self.put(&Key::Guest(guest_id(guest)), &document(wish)).await;
            }
            Act::Undeclare(guest) => {
                self.write(vec![], vec![Op::delete(self.key(&Key::Guest(guest_id(guest))))]).await;
            }
            Act::Plan(guest) => self.plan(guest_id(guest)),
            Act::Land(number) => {
                if let Some(index) = self.under_way(number) {
                    self.land(index).await;
                }
            }
            Act::Lose(number) => {
                if let Some(index) = self.under_way(number) {
                    self.open.remove(index);
                }
            }
            Act::See(revisions) => self.see(revisions.into()),
            Act::Start(guest) => {
                let guest = guest_id(guest);
                if let Some((_, it)) = self.placed().await.remove(&guest) {
                    self.running.insert(guest, (it.hypervisor, it.subnet, it.ip));
                    self.report();
                }
            }
            Act::Release(guest) => self.release(guest_id(guest)).await,
            Act::Resize(subnet, range) => {
                let key = Key::Subnet(subnet_id(subnet));
                match subnet_document(subnet, range) {
                    Some(document) => self.put(&key, &document).await,
                    None => self.write(vec![], vec![Op::delete(self.key(&key))]).await,
                };
            }
            Act::Look(subnet) => self.look(subnet_id(subnet)),
            Act::Pass => {
                tokio::time::advance(LONG).await;
                self.report();
            }
            Act::Plant(subnet, low, by) => self.plant(subnet_id(subnet), low, by).await,
            Act::Expire => {
                let ends = |kv: &KeyValue| kv.lease.is_some();
                let keys: Vec<_> = self.all().await.into_iter().filter(ends).collect();
                for kv in keys {
                    self.write(vec![], vec![Op::delete(kv.key)]).await;
                }
            }
            Act::Crash(landed) => self.crash(landed).await,
        }
    }

    pub(super) fn plan(&mut self, guest: GuestId) {
        if self.open.iter().any(|open| open.guest == Some(guest)) {
            return;
        }
        if let Step::Commit { commit, claim, .. } = self.placement.step(guest) {
            let guest = Some(guest);
            self.open.push(Open { guest, subnet: None, commit, _claim: claim, answered: None });
        }
    }

    pub(super) fn look(&mut self, subnet: SubnetId) {
        if self.open.iter().any(|open| open.subnet == Some(subnet)) {
            return;
        }
        for commit in self.subnets.repairs_now(subnet) {
            let (guest, subnet) = (None, Some(subnet));
            self.open.push(Open { guest, subnet, commit, _claim: None, answered: None });
        }
    }

    pub(super) fn under_way(&self, number: u8) -> Option<usize> {
        let under_way: Vec<_> =
            (0..self.open.len()).filter(|index| self.open[*index].answered.is_none()).collect();
        let count = under_way.len();
        (count > 0).then(|| under_way[usize::from(number) % count])
    }

    pub(super) async fn land(&mut self, index: usize) {
        let Commit { compares, writes } = self.open[index].commit.clone();
        let revision = self.write(compares, writes).await;
        self.open[index].answered = Some(revision);
        self.see(0);
    }

    /// The view comes nearer, and commits return whose outcome it shows.
    pub(super) fn see(&mut self, revisions: usize) {
        for _ in 0..revisions {
            if let Some((revision, events)) = self.unseen.pop_first() {
                self.sink.apply(events, revision);
            }
        }
        let unseen = self.unseen.first_key_value().map_or(i64::MAX, |(revision, _)| *revision);
        self.open.retain(|open| open.answered.is_none_or(|revision| revision >= unseen));
    }

    /// What the guest loop does once the guest is gone from its host.
    async fn release(&mut self, guest: GuestId) {
        let is_declared = self.get(&Key::Guest(guest)).await.is_some();
        let Some((revision, it)) = self.placed().await.remove(&guest).filter(|_| !is_declared)
        else {
            return;
        };
        self.running.remove(&guest);
        self.report();
        let (status, address) = (Key::GuestStatus(guest), Key::Address(it.subnet, it.ip));
        let held = self.get(&address).await.expect("a placed guest's address is reserved");
        let (lease, _) = self.kv.lease_grant(Duration::from_secs(1 << 30)).await.unwrap();
        let compares = vec![
            Compare::ModRevision(self.key(&status).into(), revision),
            Compare::ModRevision(self.key(&address).into(), held.mod_revision),
        ];
        let writes = vec![
            Op::put_leased(self.key(&address), format!("quarantine:{guest}"), lease),
            Op::delete(self.key(&Key::Placement(it.hypervisor, guest))),
            Op::delete(self.key(&status)),
        ];
        self.write(compares, writes).await;
    }

    async fn plant(&mut self, subnet: SubnetId, low: u8, by: u8) {
        let words = match by {
            7 => "quarantine:nobody".to_owned(),
            8.. => id::<()>(900).to_string(),
            guest => guest_id(guest).to_string(),
        };
        let key = self.key(&Key::Address(subnet, [10, 0, 0, low].into()));
        let absent = vec![Compare::absent(key.clone())];
        self.write(absent, vec![Op::put(key, words)]).await;
    }

    async fn crash(&mut self, landed: u64) {
        let count = self.open.len();
        for index in (0..count).filter(|index| landed >> (index % 64) & 1 == 1) {
            if self.open[index].answered.is_none() {
                self.land_for_good(index).await;
            }
        }
        self.open.clear();
        self.list().await;
        self.placement = PlacementReconciler::new(self.context.clone());
        self.subnets = SubnetReconciler::new(self.context.clone(), &Metrics::new());
    }

    async fn land_for_good(&mut self, index: usize) {
        let Commit { compares, writes } = self.open[index].commit.clone();
        self.write(compares, writes).await;
    }

    async fn list(&mut self) {
        self.unseen.clear();
        let all = self.kv.range(RangeRequest::prefix("")).await.unwrap();
        let page = self.sink.reader()(all.kvs);
        self.sink.begin();
        self.sink.page(page);
        self.sink.replace(all.header);
        self.sink.live();
        self.report();
    }

    /// Every host has just told what it runs.
    fn report(&self) {
        for host in [id(10), id(11)] {
            let addresses: BTreeMap<_, _> = self
                .running
                .iter()
                .filter(|(_, (on, _, _))| *on == host)
                .map(|(guest, (_, _, ip))| (*guest, ip.to_string()))
                .collect();
            let guests: Vec<_> =
                addresses.iter().map(|(guest, ip)| (*guest, "running", ip.as_str())).collect();
            self.context.reports.change(host, |former| *former = report(host, &guests));
        }
    }

    pub(super) async fn all(&self) -> Vec<KeyValue> {
        self.kv.range(RangeRequest::prefix("")).await.unwrap().kvs
    }

    pub(super) async fn get(&self, key: &Key) -> Option<KeyValue> {
        self.kv.range(RangeRequest::key(self.key(key))).await.unwrap().kvs.pop()
    }

    async fn put(&mut self, key: &Key, value: &Value) -> i64 {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        self.write(vec![], vec![Op::put(self.key(key), text)]).await
    }

    fn key(&self, key: &Key) -> String {
        self.context.key(key)
    }

    /// A transaction, and the events that the view will see some time.
    async fn write(&mut self, compares: Vec<Compare>, success: Vec<Op>) -> i64 {
        let before = self.all().await;
        let txn = Txn { compares, success: success.clone(), failure: Vec::new() };
        let answer = self.kv.txn(txn).await.unwrap();
        let revision = answer.header.revision;
        let mut events = Vec::new();
        for op in success.into_iter().filter(|_| answer.succeeded) {
            match op {
                Op::Put { key, .. } => {
                    let found = self.kv.range(RangeRequest::key(key)).await.unwrap().kvs.pop();
                    events.push(Event::Put(found.expect("it was just put")));
                }
                Op::Delete { key, .. } if before.iter().any(|kv| kv.key == key) => {
                    events.push(Event::Delete { key, mod_revision: revision });
                }
                Op::Delete { .. } | Op::Range(_) | Op::Txn(_) => {}
            }
        }
        if !events.is_empty() {
            self.unseen.insert(revision, events);
        }
        revision
    }
}

fn nobody(_: &World, _: &[Change]) {}
