//! The test's own hand in etcd. It remembers which revisions it made, so that the checker knows the operator's from ours.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use lochness_api::status::{
    ClusterStatus, Condition, ConditionType, GuestStatus, HypervisorStatus, ObjectStatus,
};
use lochness_api::{GuestId, HypervisorId, Key, Kind, Prefix};
use lochness_kv::{EtcdConfig, EtcdKv, Kv, KvError, Op, RangeRequest, Txn, prefix_end};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::eventually;

/// The store, as a user and as an administrator sees it.
#[derive(Clone)]
pub(crate) struct Store {
    kv: Arc<EtcdKv>,
    prefix: Prefix,
    own: Arc<Mutex<BTreeSet<i64>>>,
    /// Others write to the same etcd, under prefixes of their own.
    beside_others: bool,
}

impl Store {
    pub(crate) async fn connect_at(config: EtcdConfig, prefix: Prefix) -> Self {
        let kv = EtcdKv::connect(config).await.expect("etcd answers");
        Self { kv: Arc::new(kv), prefix, own: Arc::default(), beside_others: false }
    }

    /// What lies outside the prefix is others' business.
    pub(crate) fn beside_others(self) -> Self {
        Self { beside_others: true, ..self }
    }

    /// Whether a change of this key is no business of ours.
    pub(crate) fn is_others(&self, key: &[u8]) -> bool {
        self.beside_others && !key.starts_with(self.prefix.as_str().as_bytes())
    }

    pub(crate) fn kv(&self) -> Arc<EtcdKv> {
        Arc::clone(&self.kv)
    }

    pub(crate) fn prefix(&self) -> &Prefix {
        &self.prefix
    }

    /// Whether a write through this hand made the revision.
    pub(crate) fn is_own(&self, revision: i64) -> bool {
        self.own.lock().expect("nobody panics under it").contains(&revision)
    }

    /// Puts a document or a text; a JSON string is put as the text alone.
    pub(crate) async fn put(&self, key: &Key, value: &Value) -> i64 {
        self.put_all([(key.clone(), value.clone())]).await
    }

    /// Puts them all in one revision.
    pub(crate) async fn put_all(&self, entries: impl IntoIterator<Item = (Key, Value)>) -> i64 {
        let text = |value: Value| match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        let put = |(key, value)| Op::put(self.prefix.key(&key), text(value));
        self.write(entries.into_iter().map(put).collect()).await
    }

    /// Puts any bytes.
    pub(crate) async fn put_bytes(&self, key: &Key, value: impl Into<Bytes>) -> i64 {
        self.write(vec![Op::put(self.prefix.key(key), value)]).await
    }

    pub(crate) async fn delete(&self, key: &Key) -> i64 {
        self.write(vec![Op::delete(self.prefix.key(key))]).await
    }

    /// Deletes every key below, as `etcdctl del --prefix` does.
    pub(crate) async fn delete_below(&self, below: &str) -> i64 {
        let key = format!("{}{below}", self.prefix);
        let end = prefix_end(key.as_bytes());
        self.write(vec![Op::Delete { key: key.into(), end }]).await
    }

    async fn write(&self, success: Vec<Op>) -> i64 {
        let txn = Txn { success, ..Txn::default() };
        self.try_write(txn).await.expect("the test writes while etcd serves")
    }

    /// Writes, or says why not. One whose answer is lost is none of ours by the checker's books.
    pub(crate) async fn try_write(&self, txn: Txn) -> Result<i64, KvError> {
        let written = self.kv.txn(txn).await?;
        self.own.lock().expect("nobody panics under it").insert(written.header.revision);
        Ok(written.header.revision)
    }

    /// Owns up to the last write of this key, whose answer was lost.
    pub(crate) async fn claim(&self, key: &str) {
        let read = self.kv.range(RangeRequest::key(key.to_owned())).await.expect("etcd answers");
        let revisions = read.kvs.iter().map(|kv| kv.mod_revision);
        self.own.lock().expect("nobody panics under it").extend(revisions);
    }

    /// Waits until etcd answers what needs a majority.
    pub(crate) async fn serves(&self) {
        eventually("etcd serves", async || {
            let read = self.kv.range(RangeRequest::key("none")).await;
            read.map(drop).map_err(|error| error.to_string())
        })
        .await;
    }

    /// The store's revision now.
    pub(crate) async fn revision(&self) -> i64 {
        let read = self.kv.range(RangeRequest::key("none")).await.expect("etcd answers");
        read.header.revision
    }

    pub(crate) async fn get(&self, key: &Key) -> Option<Bytes> {
        let request = RangeRequest::key(self.prefix.key(key));
        let read = self.kv.range(request).await.expect("etcd answers");
        read.kvs.into_iter().next().map(|kv| kv.value)
    }

    /// Every key below, without the prefix, and its value.
    pub(crate) async fn below(&self, below: &str) -> BTreeMap<String, Bytes> {
        let request = RangeRequest::prefix(format!("{}{below}", self.prefix));
        let read = self.kv.range(request).await.expect("etcd answers");
        let name = |key: &[u8]| {
            let key = String::from_utf8_lossy(key);
            key.strip_prefix(self.prefix.as_str()).unwrap_or(&key).to_owned()
        };
        read.kvs.into_iter().map(|kv| (name(&kv.key), kv.value)).collect()
    }

    pub(crate) async fn guest(&self, id: GuestId) -> Option<GuestStatus> {
        self.read(&Key::GuestStatus(id)).await
    }

    pub(crate) async fn guests(&self) -> BTreeMap<GuestId, GuestStatus> {
        let found = self.below("status/guests/").await;
        let parsed = found.iter().filter_map(|(key, value)| {
            let id = key.rsplit('/').next()?.parse().ok()?;
            Some((id, serde_json::from_slice(value).expect("a status is what the contract says")))
        });
        parsed.collect()
    }

    pub(crate) async fn host(&self, id: HypervisorId) -> Option<HypervisorStatus> {
        self.read(&Key::HypervisorStatus(id)).await
    }

    pub(crate) async fn cluster(&self) -> Option<ClusterStatus> {
        self.read(&Key::ClusterStatus).await
    }

    /// The conditions of any object.
    pub(crate) async fn conditions(&self, kind: Kind, id: &str) -> Vec<Condition> {
        let key = Key::status(kind, id).expect("the id is one of that kind");
        self.read::<ObjectStatus>(&key).await.map_or(Vec::new(), |status| status.conditions)
    }

    async fn read<T: DeserializeOwned>(&self, key: &Key) -> Option<T> {
        let value = self.get(key).await?;
        Some(serde_json::from_slice(&value).expect("a status is what the contract says"))
    }
}

/// The answer to one question about an object.
pub(crate) fn condition(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|condition| condition.kind == kind)
}
