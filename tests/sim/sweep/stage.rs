//! The stage of a sweep: a small world in which nothing fails by chance, and a user who goes on when it has settled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use lochness_agent::server::{Delays, HostConfig};
use lochness_api::document::Resources;
use lochness_api::status::ClusterStatus;
use lochness_api::{GuestId, Key, Prefix};
use lochness_controllers::settings::Settings;
use lochness_kv::{Event, MemoryKv, Op};
use lochness_runtime::clock::PausedClock;
use lochness_runtime::tasks::Tasks;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::client::{Shop, write, write_all};
use crate::clock::WallClock;
use crate::course::Course;
use crate::history::Plan;
use crate::judge::Judge;
use crate::machine::Machine;
use crate::network::Network;
use crate::onlooker::look_at;
use crate::points::Strike;
use crate::profile::Profile;
use crate::replica::{Life, Replica};
use crate::wishes::{FLAVOR, FWGROUP, NETWORK, SUBNET, guest_id, host_id, references};

/// Hosts, each with room for [`ROOM`] guests.
pub(crate) const HOSTS: u64 = 3;
/// Guests of the one flavor that fit on a host.
const ROOM: u64 = 2;
/// The one flavor's memory.
const MEMORY_MB: u64 = 512;
/// Three of these are awaited in silence.
pub(crate) const RESCAN: Duration = Duration::from_secs(10);
/// The world comes to what the documents say within this time; see `BOUND` of the random histories.
const BOUND: Duration = Duration::from_secs(210);
/// Nothing was written for so long: then nothing is under way, no quarantine either.
const QUIET: Duration = Duration::from_secs(6);
const POLL: Duration = Duration::from_millis(500);
const BEGINNING_MILLIS: i64 = 1_800_000_000_000;
/// All worlds of a sweep begin with the same chance.
const SEED: u64 = 1;

/// What users keep in documents, and what nobody else may learn (S15).
pub(crate) const SECRET: &str = "c0nfidential";

/// The world of one run.
pub(crate) struct Stage {
    pub(crate) shop: Arc<Shop>,
    pub(crate) judge: Arc<Judge>,
    pub(crate) machines: Vec<Arc<Machine>>,
    pub(crate) replicas: Vec<Arc<Replica>>,
    tasks: Tasks,
    plan: Vec<Strike>,
    documents: Mutex<BTreeMap<u64, Value>>,
}

impl Stage {
    /// A world whose operators have started.
    pub(crate) async fn set(plan: &[Strike], traced: bool) -> Self {
        let profile = Profile { replicas: 2, ..Profile::default() };
        let course = Course::new(&Plan { seed: SEED, cut: None, traced, profile: Some(profile) });
        let clock = PausedClock::new(BEGINNING_MILLIS);
        let kv = MemoryKv::new();
        let judge = Judge::new(kv.clone(), Arc::clone(&course), clock);
        let shop = Shop::new(kv, Arc::clone(&course), Arc::clone(&judge));
        let tasks = Tasks::new();
        let network = Network::new(course, Arc::clone(&judge), &tasks);
        let machine =
            |number| Machine::start_as(config(number), number, &shop, &network, clock, &tasks);
        let machines = (1..=HOSTS).map(machine).collect();
        let settings = Settings { rescan: RESCAN, ..Settings::default() };
        let replicas = ["one", "two"].map(|name| {
            let (shop, network) = (Arc::clone(&shop), Arc::clone(&network));
            Replica::new(name, shop, network, WallClock::new(clock), settings.clone())
        });
        let stage = Self {
            shop,
            judge,
            machines,
            replicas: replicas.to_vec(),
            tasks,
            plan: plan.to_vec(),
            documents: Mutex::default(),
        };
        for (key, value) in references() {
            stage.put(&key, &value).await;
        }
        for number in 1..=HOSTS {
            stage.put(&Key::HypervisorSubnet(host_id(number), SUBNET), &json!("br0")).await;
        }
        stage.put(&Key::Config("quarantine_seconds".to_owned()), &json!(2)).await;
        for replica in &stage.replicas {
            stage.tasks.spawn("replica", Arc::clone(replica).run());
        }
        let looks = look_at(stage.replicas.clone(), Arc::clone(&stage.judge));
        stage.tasks.spawn("onlooker", looks);
        stage
    }

    /// What the plan strikes comes from here on.
    pub(crate) fn begin(&self) {
        self.shop.course.note(|| "BEGIN".to_owned());
        self.shop.points.begin(&self.plan);
    }

    /// S15: only the user's own keys hold what users keep in them.
    pub(crate) fn check_secrets(&self) {
        for event in (2..).map_while(|revision| self.shop.kv.changes(revision)).flatten() {
            let Event::Put(kv) = event else { continue };
            let key = String::from_utf8_lossy(&kv.key);
            let is_users = key.starts_with("lochness/guests/");
            if !is_users && String::from_utf8_lossy(&kv.value).contains(SECRET) {
                self.judge.wrong(format!("S15: {key} holds what a user keeps in a document"));
            }
        }
        for life in self.replicas.iter().filter_map(|replica| replica.life()) {
            if life.metrics().contains(SECRET) {
                self.judge.wrong("S15: a metric holds what a user keeps in a document".to_owned());
            }
        }
    }

    /// Everything of it ends.
    pub(crate) async fn strike_down(&self) {
        self.tasks.abort();
        for machine in &self.machines {
            machine.host.shutdown().await;
        }
    }

    /// Writes a guest's document as it was last, or a first one.
    pub(crate) async fn create(&self, number: u64) {
        let document = {
            let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
            documents.entry(number).or_insert_with(|| first_document(number)).clone()
        };
        self.put(&Key::Guest(guest_id(number)), &document).await;
    }

    /// Changes a field of a guest's document, and writes it.
    pub(crate) async fn edit(&self, number: u64, field: &str, value: Value) {
        {
            let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
            documents.entry(number).or_insert_with(|| first_document(number))[field] = value;
        }
        self.create(number).await;
    }

    /// Deletes a guest's document.
    pub(crate) async fn delete(&self, number: u64) {
        self.remove(&Key::Guest(guest_id(number))).await;
    }

    /// Deletes keys at one revision.
    pub(crate) async fn remove_all(&self, keys: impl IntoIterator<Item = Key>) {
        let delete = |key| Op::delete(Prefix::default().key(&key));
        write_all(&self.shop, keys.into_iter().map(delete).collect()).await;
    }

    /// Deletes a key.
    pub(crate) async fn remove(&self, key: &Key) {
        self.shop.course.note(|| format!("USER deletes {}", Prefix::default().key(key)));
        write(&self.shop, Prefix::default().key(key), None).await;
    }

    /// Writes a key.
    pub(crate) async fn put(&self, key: &Key, value: &Value) {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        self.put_text(key, &text).await;
    }

    /// The same, as it is.
    pub(crate) async fn put_text(&self, key: &Key, text: &str) {
        let key = Prefix::default().key(key);
        self.shop.course.note(|| format!("USER puts {key} {text}"));
        write(&self.shop, key, Some(Bytes::from(text.to_owned()))).await;
    }

    /// Lets the one subnet have so many addresses.
    pub(crate) async fn addresses(&self, count: u64) {
        let end = format!("10.1.0.{}", 9 + count);
        let subnet = json!({ "network": NETWORK, "cidr": "10.1.0.0/24", "gateway": "10.1.0.1",
            "start": "10.1.0.10", "end": end });
        self.put(&Key::Subnet(SUBNET), &subnet).await;
    }

    /// The process that leads now.
    pub(crate) fn leader(&self) -> Option<Arc<Life>> {
        let name = self.judge.look(|checker| {
            let name = checker.value(&Key::Leader)?;
            Some(String::from_utf8_lossy(name).into_owned())
        });
        let leads = |replica: &&Arc<Replica>| Some(replica.name) == name.as_deref();
        self.replicas.iter().find(leads)?.life()
    }

    /// Whether the cluster's status asks a person to confirm deletions.
    pub(crate) fn asks_to_confirm(&self) -> bool {
        self.judge.look(|checker| {
            let status = checker.value(&Key::ClusterStatus);
            let status = status.and_then(|it| serde_json::from_slice::<ClusterStatus>(it).ok());
            status.is_some_and(|status| status.confirm_revision.is_some())
        })
    }

    /// Waits until the world is as the documents say; `waiting` are guests that cannot be.
    pub(crate) async fn settle(&self, waiting: &[u64]) {
        let waiting: BTreeSet<GuestId> = waiting.iter().map(|number| guest_id(*number)).collect();
        let is_unmet = |(guest, _): &(Option<GuestId>, String)| {
            guest.is_none_or(|guest| !waiting.contains(&guest))
        };
        let deadline = Instant::now() + BOUND;
        loop {
            sleep(POLL).await;
            self.judge.catch_up();
            let now = Instant::now();
            let quiet = now.duration_since(self.judge.stir().0) >= QUIET;
            if (!quiet || self.shop.points.has_aftermath()) && now < deadline {
                continue;
            }
            let mut unmet = self.judge.amiss();
            unmet.retain(is_unmet);
            if now >= deadline {
                for (_, what) in unmet {
                    self.judge.wrong(what);
                }
                if !quiet {
                    self.judge.wrong("L1: the store is still being written".to_owned());
                }
                return;
            }
            if unmet.is_empty() {
                self.shop.course.note(|| "SETTLED".to_owned());
                return;
            }
        }
    }

    /// Lets the user do something at the step that the plan names, or else when the world has settled.
    pub(crate) async fn at_the_named_step(&self, act: impl Future<Output = ()>) {
        let points = &self.shop.points;
        if !points.has_act() {
            self.settle(&[]).await;
            return act.await;
        }
        tokio::select! {
            biased;
            () = points.act() => {}
            () = self.settle(&[]) => {}
        }
        act.await;
        points.acted();
    }

    /// Three rescans in which nothing is written, and no agent asked for a change.
    pub(crate) async fn is_silent(&self) {
        let since = Instant::now();
        let (_, asked) = self.judge.stir();
        sleep(RESCAN * 3 + POLL).await;
        self.judge.catch_up();
        let (written, asked_since) = self.judge.stir();
        if written > since {
            self.judge.wrong("L1: the store was written although nothing was to do".to_owned());
        }
        if asked_since > asked {
            self.judge.wrong("L1: agents were asked for changes although nothing was to do".into());
        }
    }
}

fn first_document(number: u64) -> Value {
    let mut document = json!({ "type": "kvm", "flavor": FLAVOR, "network": NETWORK,
        "metadata": { "user_data": SECRET, "ssh_keys": SECRET } });
    if number.is_multiple_of(2) {
        document["fwgroup"] = json!(FWGROUP);
    }
    document
}

fn config(number: u64) -> HostConfig {
    let delays = Delays {
        create: Duration::from_millis(800),
        start: Duration::from_millis(300),
        shutdown: Duration::from_secs(2),
        delete: Duration::from_millis(500),
        image: Duration::from_secs(1),
        firewall: Duration::from_millis(50),
        reply: Duration::from_millis(2),
        jitter: Duration::ZERO,
    };
    HostConfig {
        total_resources: Resources { memory: ROOM * MEMORY_MB, disk: 100_000, cpu: 8 },
        delays,
        seed: number,
        ..HostConfig::new(host_id(number), format!("host-{number}"))
    }
}
