//! The user: writes, edits and deletes documents as the seed has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lochness_api::status::ClusterStatus;
use lochness_api::{Key, Prefix};
use lochness_kv::Op;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::checker::Checker;
use crate::client::{Shop, write, write_all};
use crate::course::Course;
use crate::faults::Fault;
use crate::history::GUESTS;
use crate::wishes::{FWGROUP, basics, excused, fwgroup, guest, guest_id, host_id, references};

/// The pause from one wish to the next.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(6));
/// What somebody deleted is put back after this.
const REGRET: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(20));
/// A mass deletion is looked at for so long before it is confirmed.
const REFLECTION: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(30));
/// Documents that say nothing sensible.
const GARBAGE: [&str; 9] = [
    "",
    "{",
    "[]",
    "null",
    "{\"flavor\": 9223372036854775808}",
    "{\"id\": \"another\"}",
    "{\"flavor\": \"../../config\", \"network\": \"..\"}",
    "{\"type\": \"kvm\", \"type\": \"kvm\", \"flavor\": {}}",
    "\u{0}\u{1}",
];
/// This guest's document is never a good one.
const HOPELESS: u64 = 100;
/// More guests at once than this are torn down only when somebody has confirmed it, where a history deletes many.
pub(crate) const BUDGET: usize = 2;

/// The user, with what they wrote last.
pub(crate) struct User {
    shop: Arc<Shop>,
    hosts: u64,
    guests: BTreeMap<u64, Value>,
}

impl User {
    pub(crate) fn new(shop: Arc<Shop>, hosts: u64) -> Self {
        Self { shop, hosts, guests: BTreeMap::new() }
    }

    /// Writes what every history begins with.
    pub(crate) async fn begin(&self) {
        for (key, value) in basics(self.hosts, self.shop.course.profile.originals) {
            self.put(&key, &value).await;
        }
        if self.shop.course.profile.user.mass_deletion {
            let name = |name: &str| Key::Config(name.to_owned());
            self.put(&name("deletion_budget_min"), &json!(BUDGET.to_string())).await;
            self.put(&name("deletion_budget_percent"), &json!("1")).await;
            self.shop.judge.budget(BUDGET);
        }
    }

    /// Wishes this and that for so long, and then nothing that hinders.
    pub(crate) async fn wish(mut self, lasting: Duration) {
        let course = Arc::clone(&self.shop.course);
        let end = Instant::now() + lasting;
        while Instant::now() < end && course.is_stormy() {
            self.wait_for_acceptance().await;
            course.event();
            self.wish_once().await;
            sleep(course.between(PAUSE.0, PAUSE.1)).await;
        }
        loop {
            self.wait_for_acceptance().await;
            self.wish_for_the_last_time().await;
            self.shop.judge.excuse(excused(&self.guests));
            self.confirm().await;
            // A store without space may have kept a write waiting until a restore had begun, which loses them all.
            if !course.is_awaited() {
                break;
            }
        }
    }

    /// Writes what is to be in the end, and nothing that hinders.
    async fn wish_for_the_last_time(&self) {
        self.put(&Key::Config("pause".to_owned()), &json!("false")).await;
        for host in 1..=self.hosts {
            self.put(&Key::HypervisorConfig(host_id(host), "cordon".to_owned()), &json!("false"))
                .await;
        }
        for (key, value) in basics(self.hosts, self.shop.course.profile.originals) {
            self.put(&key, &value).await;
        }
        if self.shop.course.profile.store.is_restored {
            // What a restore brought back and nobody wants any more.
            for number in (0..GUESTS).filter(|number| !self.guests.contains_key(number)) {
                self.remove(&Key::Guest(guest_id(number))).await;
            }
        }
        for (number, document) in self.guests.clone() {
            self.put(&Key::Guest(guest_id(number)), &document).await;
        }
    }

    /// Waits until a store that is being restored has been accepted.
    async fn wait_for_acceptance(&self) {
        while self.shop.course.is_awaited() {
            sleep(PAUSE.1).await;
        }
    }

    async fn wish_once(&mut self) {
        let course = Arc::clone(&self.shop.course);
        let number = course.below(GUESTS);
        match course.below(22) {
            0..=5 => self.create(number).await,
            6..=8 => self.delete(number).await,
            9 => {
                self.delete(number).await;
                sleep(course.between(Duration::ZERO, Duration::from_secs(2))).await;
                course.fault(Fault::DeletedAndBack, || format!("guest {number}"));
                self.create(number).await;
            }
            10..=12 => {
                let state = course.pick(&["running", "stopped", "suspended"]);
                self.edit(number, "state", json!(state)).await;
            }
            13 | 14 => {
                let token = format!("r{}", course.below(1_000));
                self.edit(number, "reboot", json!(token)).await;
            }
            15 => self.relabel(number).await,
            16 => self.write_nonsense(number).await,
            17 => self.put(&Key::FwGroup(FWGROUP), &fwgroup(course.below(1_000) + 1)).await,
            18 => {
                let host = host_id(course.below(self.hosts) + 1);
                let cordon = if course.below(3) == 0 { "true" } else { "false" };
                let key = Key::HypervisorConfig(host, "cordon".to_owned());
                self.put(&key, &json!(cordon)).await;
            }
            19 => {
                let pause = if course.below(3) == 0 { "true" } else { "false" };
                self.put(&Key::Config("pause".to_owned()), &json!(pause)).await;
            }
            20 => self.remove_reference(&course).await,
            _ => self.delete_all(&course).await,
        }
    }

    async fn create(&mut self, number: u64) {
        let course = &self.shop.course;
        let document = self.guests.entry(number).or_insert_with(|| guest(course, number)).clone();
        self.put(&Key::Guest(guest_id(number)), &document).await;
    }

    async fn edit(&mut self, number: u64, field: &str, value: Value) {
        let Some(document) = self.guests.get_mut(&number) else { return };
        document[field] = value;
        let document = document.clone();
        self.put(&Key::Guest(guest_id(number)), &document).await;
    }

    async fn relabel(&mut self, number: u64) {
        let Some(document) = self.guests.get(&number) else { return };
        let mut metadata = document["metadata"].as_object().cloned().unwrap_or_default();
        let turn = self.shop.course.below(1_000).to_string();
        metadata.insert("label/turn".to_owned(), json!(turn));
        self.edit(number, "metadata", json!(metadata)).await;
    }

    async fn delete(&mut self, number: u64) {
        if self.guests.remove(&number).is_some() {
            self.remove(&Key::Guest(guest_id(number))).await;
        }
    }

    async fn write_nonsense(&self, number: u64) {
        let course = &self.shop.course;
        if !course.profile.user.garbage {
            return;
        }
        let text = course.pick(&GARBAGE);
        let number = if course.below(2) == 0 { number } else { HOPELESS };
        if number == HOPELESS || self.guests.contains_key(&number) {
            course.fault(Fault::Garbage, || format!("guest {number}"));
            self.put_text(&Key::Guest(guest_id(number)), text).await;
        }
    }

    /// Deletes what guests name, and puts it back.
    async fn remove_reference(&self, course: &Course) {
        if !course.profile.user.references_gone {
            return;
        }
        let references = references();
        let (key, value) =
            &references[usize::try_from(course.below(references.len() as u64)).unwrap_or(0)];
        course.fault(Fault::ReferenceGone, || format!("{key:?}"));
        self.remove(key).await;
        sleep(course.between(REGRET.0, REGRET.1)).await;
        self.put(key, value).await;
    }

    /// `del --prefix guests/`: nothing is torn down until somebody has confirmed it, or put the documents back.
    async fn delete_all(&mut self, course: &Course) {
        if !course.profile.user.mass_deletion || self.guests.len() <= BUDGET {
            return;
        }
        course.fault(Fault::MassDeletion, || format!("of {} guests", self.guests.len()));
        let key = |number: &u64| Prefix::default().key(&Key::Guest(guest_id(*number)));
        write_all(&self.shop, self.guests.keys().map(|number| Op::delete(key(number))).collect())
            .await;
        sleep(course.between(REFLECTION.0, REFLECTION.1)).await;
        if course.below(2) == 0 {
            for (number, document) in self.guests.clone() {
                self.put(&Key::Guest(guest_id(number)), &document).await;
            }
        } else {
            self.guests.clear();
            self.confirm().await;
        }
    }

    /// Confirms every deletion so far.
    async fn confirm(&self) {
        if self.shop.course.profile.user.mass_deletion {
            confirm(&self.shop, self.shop.kv.revision()).await;
        }
    }

    async fn put(&self, key: &Key, value: &Value) {
        put(&self.shop, key, value).await;
    }

    async fn put_text(&self, key: &Key, text: &str) {
        put_text(&self.shop, key, text).await;
    }

    async fn remove(&self, key: &Key) {
        let key = Prefix::default().key(key);
        self.shop.course.note(|| format!("USER deletes {key}"));
        write(&self.shop, key, None).await;
    }
}

/// A person looks at what is held, and confirms what the cluster's status shows. A process that reads the store only after
/// a confirmation cannot know whether a document went before it or after, and asks again when it leads: at most once a
/// process.
pub(crate) async fn confirm_what_is_shown(shop: Arc<Shop>, processes: usize) {
    for _ in 0..processes {
        let revision = loop {
            sleep(REFLECTION.0).await;
            shop.judge.catch_up();
            if let Some(revision) = shop.judge.look(revision_to_confirm) {
                break revision;
            }
        };
        confirm(&shop, revision).await;
    }
}

/// The revision that the cluster's status shows, unless it was confirmed and only nobody leads who could say so.
fn revision_to_confirm(checker: &Checker) -> Option<i64> {
    let status = serde_json::from_slice::<ClusterStatus>(checker.value(&Key::ClusterStatus)?).ok();
    let confirmed = checker.value(&Key::Config("confirm_deletion".to_owned()));
    let confirmed = confirmed.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    status?.confirm_revision.filter(|shown| Some(*shown) > confirmed)
}

async fn confirm(shop: &Shop, revision: i64) {
    shop.judge.confirmed(revision);
    put(shop, &Key::Config("confirm_deletion".to_owned()), &json!(revision.to_string())).await;
}

/// A person puts a document.
pub(crate) async fn put(shop: &Shop, key: &Key, value: &Value) {
    let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
    put_text(shop, key, &text).await;
}

async fn put_text(shop: &Shop, key: &Key, text: &str) {
    let key = Prefix::default().key(key);
    shop.course.note(|| format!("USER puts {key} {text}"));
    write(shop, key, Some(Bytes::from(text.to_owned()))).await;
}
