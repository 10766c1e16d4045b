//! The host's document and its heartbeat.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::{
    AgentServer, Compat, EffectKind, Event, Host, HostConfig, MemoryDisk, Registrar, Storage,
};
use lochness_agent::wire::{AgentGuest, CAPABILITY_ORDER};
use lochness_agent::{AgentClient, RouterTransport};
use lochness_api::document::{Document, Heartbeat, Hypervisor, Resources};
use lochness_api::{Key, Prefix};
use lochness_kv::test_support::EtcdProcess;
use lochness_kv::{EtcdKv, KeyValue, Kv, Op, RangeRequest, Txn};

use crate::fixture::{AUTHORITY, clock, config, guest, host_id, ticket};

struct Registered {
    server: AgentServer,
    host: Host,
    address: SocketAddr,
    kv: Arc<dyn Kv>,
    _etcd: EtcdProcess,
}

impl Registered {
    async fn new(config: HostConfig, lease: Duration) -> Self {
        let etcd = EtcdProcess::start();
        let kv: Arc<dyn Kv> = Arc::new(EtcdKv::connect(etcd.config()).await.unwrap());
        let host = Host::open(config, Storage::memory(&MemoryDisk::default()), clock()).unwrap();
        let mut server = AgentServer::new();
        let address = server.serve(host.clone(), "127.0.0.1:0".parse().unwrap()).await.unwrap();
        server.register(&Arc::new(Registrar::new(kv.clone(), Prefix::default(), lease)));
        Self { server, host, address, kv, _etcd: etcd }
    }

    async fn get(&self, key: Key) -> Option<KeyValue> {
        let key = Prefix::default().key(&key);
        self.kv.range(RangeRequest::key(key)).await.unwrap().kvs.pop()
    }

    async fn heartbeat_where(&self, what: &str, wanted: impl Fn(&KeyValue) -> bool) -> KeyValue {
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(kv) = self.get(Key::Heartbeat(host_id())).await.filter(&wanted) {
                return kv;
            }
            assert!(tokio::time::Instant::now() < deadline, "no heartbeat {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn put(&self, key: Key, value: &'static str) {
        let op = Op::put(Prefix::default().key(&key), value);
        self.kv.txn(Txn { success: vec![op], ..Txn::default() }).await.unwrap();
    }
}

#[tokio::test]
async fn a_host_registers_once_and_beats_without_writing() {
    let total_resources = Resources { memory: 1024, disk: 2048, cpu: 4 };
    let config = HostConfig { total_resources, self_fence_seconds: Some(300), ..config() };
    let one = Registered::new(config, Duration::from_secs(2)).await;
    let kv = one.heartbeat_where("at all", |_| true).await;
    let heartbeat = Heartbeat::parse(&kv.value);
    assert_eq!((heartbeat.id, heartbeat.port), (Some(host_id()), Some(one.address.port())));
    assert_eq!(heartbeat.boot_id, Some(one.host.boot_id()));
    assert!(heartbeat.capabilities.iter().any(|word| word == CAPABILITY_ORDER));
    assert_eq!(heartbeat.self_fence_seconds, Some(300));
    let document = one.get(Key::Hypervisor(host_id())).await.unwrap();
    let host = Hypervisor::parse(&host_id().to_string(), &document.value).unwrap();
    assert_eq!((host.total_resources, host.ip), (total_resources, Some(one.address.ip())));
    assert_eq!(host.metadata.name(), Some("host-01"));
    assert!(kv.lease.is_some() && document.lease.is_none());

    // Longer than the lease: only keepalives can have kept it, and they write nothing.
    let revision = |kv: &KeyValue| kv.mod_revision;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let later = one.get(Key::Heartbeat(host_id())).await.expect("the lease lives");
    assert_eq!(revision(&later), revision(&kv));
    one.server.shutdown().await;
}

#[tokio::test]
async fn a_lost_lease_is_granted_anew_and_a_deleted_heartbeat_is_put_again() {
    let one = Registered::new(config(), Duration::from_secs(2)).await;
    let first = one.heartbeat_where("at all", |_| true).await;
    one.kv.lease_revoke(first.lease.unwrap()).await.unwrap();
    let second = one.heartbeat_where("of a new lease", |kv| kv.lease != first.lease).await;
    let key = Prefix::default().key(&Key::Heartbeat(host_id()));
    let delete = Txn { success: vec![Op::delete(key)], ..Txn::default() };
    one.kv.txn(delete).await.unwrap();
    one.heartbeat_where("put again", |kv| kv.mod_revision > second.mod_revision).await;
    one.server.shutdown().await;
}

#[tokio::test]
async fn a_document_that_is_there_is_never_written_and_a_boot_is_announced() {
    let one = Registered::new(config(), Duration::from_secs(2)).await;
    let first = one.heartbeat_where("at all", |_| true).await;
    one.put(Key::Hypervisor(host_id()), "{\"edited\":true}").await;
    let boot_id = one.host.boot_id();
    one.host.happen(Event::Reboot).unwrap();
    let second = one.heartbeat_where("of the new boot", |kv| kv.value != first.value).await;
    let announced = Heartbeat::parse(&second.value).boot_id;
    assert!(announced.is_some() && announced != Some(boot_id));
    let document = one.get(Key::Hypervisor(host_id())).await.unwrap();
    assert_eq!(document.value, "{\"edited\":true}");
    one.server.shutdown().await;
}

#[tokio::test]
async fn the_original_beats_with_its_id_as_plain_text() {
    let config = HostConfig { compat: Compat::Mistify, ..config() };
    let one = Registered::new(config, Duration::from_secs(2)).await;
    let kv = one.heartbeat_where("at all", |_| true).await;
    assert_eq!(kv.value, host_id().to_string());
    one.server.shutdown().await;
}

#[tokio::test]
async fn without_its_store_a_host_serves_on_and_stops_only_what_may_be_placed_anew() {
    let config = HostConfig { self_fence_seconds: Some(3), ..config() };
    let one = Registered::new(config, Duration::from_secs(2)).await;
    one.heartbeat_where("at all", |_| true).await;
    let network = RouterTransport::new();
    network.insert(AUTHORITY, lochness_agent::server::router(one.host.clone()));
    let client = AgentClient::new(Arc::new(network), AUTHORITY.into(), None);
    let metadata = [("evacuate".to_owned(), "recreate".to_owned())].into();
    let evacuated = AgentGuest { metadata, ..guest(1) };
    client.create(&evacuated, &ticket(1)).await.unwrap();
    client.create(&guest(2), &ticket(2)).await.unwrap();
    let Registered { server, host, _etcd: etcd, .. } = one;
    crate::fixture::until("both run", || host.history().len() == 4).await;
    drop(etcd);
    crate::fixture::until("one is stopped", || host.history().len() == 5).await;
    let stopped = host.history().pop().unwrap();
    assert_eq!((stopped.kind, stopped.guest), (EffectKind::Stopped, Some(evacuated.id)));
    client.act(evacuated.id, lochness_api::job::JobAction::Start, &ticket(3)).await.unwrap();
    crate::fixture::until("the start is over", || host.stats().jobs_accepted == 3).await;
    assert_eq!(host.history().len(), 5, "and may not start");
    server.shutdown().await;
}
