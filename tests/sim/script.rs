//! The user: writes, edits and deletes documents as the seed has it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use lochness_api::{Key, Prefix};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::client::{Shop, write};
use crate::history::GUESTS;
use crate::wishes::{FLAVOR, FWGROUP, NETWORK, basics, fwgroup, guest_id, host_id};

/// The pause from one wish to the next.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(6));
/// Documents that say nothing sensible.
const GARBAGE: [&str; 6] =
    ["", "{", "[]", "null", "{\"flavor\": 9223372036854775808}", "{\"id\": \"another\"}"];
/// This guest's document is never a good one.
const HOPELESS: u64 = 100;

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
        for (key, value) in basics(self.hosts) {
            self.put(&key, &value).await;
        }
    }

    /// Wishes this and that for so long, and then nothing that hinders.
    pub(crate) async fn wish(mut self, lasting: Duration) {
        let course = Arc::clone(&self.shop.course);
        let end = tokio::time::Instant::now() + lasting;
        while tokio::time::Instant::now() < end {
            self.wish_once().await;
            sleep(course.between(PAUSE.0, PAUSE.1)).await;
        }
        self.put(&Key::Config("pause".to_owned()), &json!("false")).await;
        for host in 1..=self.hosts {
            self.put(&Key::HypervisorConfig(host_id(host), "cordon".to_owned()), &json!("false"))
                .await;
        }
        for (number, document) in self.guests.clone() {
            self.put(&Key::Guest(guest_id(number)), &document).await;
        }
    }

    async fn wish_once(&mut self) {
        let course = Arc::clone(&self.shop.course);
        let number = course.below(GUESTS);
        match course.below(20) {
            0..=5 => self.create(number).await,
            6..=8 => self.delete(number).await,
            9 => {
                self.delete(number).await;
                sleep(course.between(Duration::ZERO, Duration::from_secs(2))).await;
                self.create(number).await;
            }
            10..=12 => {
                let states = ["running", "stopped", "suspended"];
                let state = states[usize::try_from(course.below(3)).unwrap_or(0)];
                self.edit(number, "state", json!(state)).await;
            }
            13 | 14 => {
                let token = format!("r{}", course.below(1_000));
                self.edit(number, "reboot", json!(token)).await;
            }
            15 => {
                let label = json!({ "label/turn": course.below(1_000).to_string() });
                self.edit(number, "metadata", label).await;
            }
            16 => {
                let text = GARBAGE[usize::try_from(course.below(6)).unwrap_or(0)];
                let number = if course.below(2) == 0 { number } else { HOPELESS };
                if number == HOPELESS || self.guests.contains_key(&number) {
                    self.put_text(&Key::Guest(guest_id(number)), text).await;
                }
            }
            17 => self.put(&Key::FwGroup(FWGROUP), &fwgroup(course.below(1_000) + 1)).await,
            18 => {
                let host = host_id(course.below(self.hosts) + 1);
                let cordon = if course.below(3) == 0 { "true" } else { "false" };
                let key = Key::HypervisorConfig(host, "cordon".to_owned());
                self.put(&key, &json!(cordon)).await;
            }
            _ => {
                let pause = if course.below(3) == 0 { "true" } else { "false" };
                self.put(&Key::Config("pause".to_owned()), &json!(pause)).await;
            }
        }
    }

    async fn create(&mut self, number: u64) {
        let mut document = json!({ "type": "kvm", "flavor": FLAVOR, "network": NETWORK });
        if number.is_multiple_of(2) {
            document["fwgroup"] = json!(FWGROUP);
        }
        let document = self.guests.entry(number).or_insert(document).clone();
        self.put(&Key::Guest(guest_id(number)), &document).await;
    }

    async fn edit(&mut self, number: u64, field: &str, value: Value) {
        let Some(document) = self.guests.get_mut(&number) else { return };
        document[field] = value;
        let document = document.clone();
        self.put(&Key::Guest(guest_id(number)), &document).await;
    }

    async fn delete(&mut self, number: u64) {
        if self.guests.remove(&number).is_some() {
            self.shop.course.note(&format!("USER deletes guest {number}"));
            write(&self.shop, Prefix::default().key(&Key::Guest(guest_id(number))), None).await;
        }
    }

    async fn put(&self, key: &Key, value: &Value) {
        let text = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
        self.put_text(key, &text).await;
    }

    async fn put_text(&self, key: &Key, text: &str) {
        let key = Prefix::default().key(key);
        self.shop.course.note(&format!("USER puts {key} {text}"));
        write(&self.shop, key, Some(Bytes::from(text.to_owned()))).await;
    }
}
