//! What one step of the operator costs by itself: a placement decision, a document that is decoded, a ruleset that is
//! compiled, a key that goes through a queue. `make bench-micro`; docs/performance.md has the figures.

use std::hint::black_box;
use std::net::Ipv4Addr;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use lochness_api::document::{Guest, Resources};
use lochness_api::keys::Key;
use lochness_api::status::{GuestStatus, Phase, Placement};
use lochness_api::{Document as _, FwGroupId, GuestId, HypervisorId, Id, Mac, Prefix};
use lochness_controllers::firewall::compile::compile;
use lochness_controllers::firewall::input::input;
use lochness_controllers::placement::foresee;
use lochness_controllers::reports::{Contact, GuestReport, HostReport, Reports};
use lochness_controllers::world::World;
use lochness_kv::{Event, Header, KeyValue};
use lochness_runtime::BackoffOptions;
use lochness_runtime::metrics::Metrics;
use lochness_runtime::queue::Queue;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde_json::json;
use tokio::time::Instant;
use uuid::Uuid;

/// Guests on each host.
const GUESTS: u32 = 10;
/// Keys that go through a queue.
const KEYS: u64 = 10_000;

fn id<K>(family: u32, number: u32) -> Id<K> {
    Id::new(Uuid::from_u128(u128::from(family) << 64 | u128::from(number)))
}

fn host(number: u32) -> HypervisorId {
    id(1, number)
}

fn guest(number: u32) -> GuestId {
    id(2, number)
}

fn group() -> FwGroupId {
    id(7, 0)
}

fn kv(key: &Key, value: impl Into<Vec<u8>>) -> KeyValue {
    let key = Prefix::default().key(key).into();
    let value = value.into().into();
    KeyValue { key, value, create_revision: 2, mod_revision: 2, version: 1, lease: None }
}

fn document() -> Vec<u8> {
    let document = json!({ "flavor": id::<()>(4, 0), "network": id::<()>(3, 0),
        "fwgroup": group(), "metadata": { "name": "web-1", "label/tier": "front" } });
    document.to_string().into_bytes()
}

/// The status of a guest that runs on its host.
fn status(number: u32) -> Vec<u8> {
    let placement = Placement {
        hypervisor: host(number / GUESTS),
        subnet: id(5, 0),
        network: Some(id(3, 0)),
        ip: Ipv4Addr::from_bits(0x0a00_0100 + number).into(),
        cidr: "10.0.0.0/8".parse().expect("it is a range"),
        gateway: None,
        mac: Mac::of_guest(guest(number)),
        bridge: "br0".to_owned(),
        vlans: Vec::new(),
        fwgroup: Some(group()),
        image: None,
        resources: Resources { memory: 1024, disk: 10, cpu: 1 },
    };
    let status =
        GuestStatus { phase: Phase::Running, placement: Some(placement), ..GuestStatus::default() };
    serde_json::to_vec(&status).expect("a status is JSON")
}

/// So many hosts, each with [`GUESTS`] guests, and one guest more that waits for a place.
fn fleet(hosts: u32) -> (World, Reports, GuestId) {
    let waiting = guest(hosts * GUESTS);
    let text = |value: serde_json::Value| value.to_string().into_bytes();
    let subnet = json!({ "network": id::<()>(3, 0), "cidr": "10.0.0.0/8", "gateway": "10.0.0.1" });
    let flavor = json!({ "image": id::<()>(6, 0), "memory": 1024, "disk": 10, "cpu": 1 });
    let total = json!({ "total_resources": { "memory": 65_536, "disk": 10_000, "cpu": 16 } });
    let mut kvs = vec![
        kv(&Key::Network(id(3, 0)), "{}"),
        kv(&Key::Subnet(id(5, 0)), text(subnet)),
        kv(&Key::Flavor(id(4, 0)), text(flavor)),
        kv(
            &Key::FwGroup(group()),
            text(json!({ "rules": [{ "group": group(), "protocol": "tcp" }] })),
        ),
        kv(
            &Key::Guest(waiting),
            text(json!({ "flavor": id::<()>(4, 0), "network": id::<()>(3, 0) })),
        ),
    ];
    for number in 0..hosts {
        kvs.push(kv(&Key::Hypervisor(host(number)), text(total.clone())));
        kvs.push(kv(&Key::Heartbeat(host(number)), "alive"));
        kvs.push(kv(&Key::HypervisorSubnet(host(number), id(5, 0)), "br0"));
    }
    for number in 0..hosts * GUESTS {
        kvs.push(kv(&Key::Guest(guest(number)), document()));
        kvs.push(kv(&Key::GuestStatus(guest(number)), status(number)));
        kvs.push(kv(
            &Key::Placement(host(number / GUESTS), guest(number)),
            guest(number).to_string(),
        ));
    }
    let header = Header { cluster_id: 1, revision: 2 };
    let world = World::from_list(&World::new(Prefix::default()), &kvs, header);
    let reports = Reports::default();
    for number in 0..hosts {
        reports.change(host(number), |report| {
            let asked_at = Instant::now();
            let guests = GuestReport { guests: [].into(), asked_at, sequence: 1 };
            *report = HostReport {
                contact: Contact::Answered(asked_at),
                guests: Some(guests.into()),
                ..HostReport::default()
            };
        });
    }
    (world, reports, waiting)
}

fn decisions(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("placement decision");
    for hosts in [100, 1_000, 10_000] {
        let (world, reports, waiting) = fleet(hosts);
        let mut random = SmallRng::seed_from_u64(1);
        group.bench_function(BenchmarkId::from_parameter(hosts), |bench| {
            bench.iter(|| {
                let reports = reports.read();
                foresee(&world, &reports, black_box(waiting), &mut random).expect("it fits")
            });
        });
    }
}

fn decoding(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("decode");
    let (document, status) = (document(), status(1));
    let name = guest(1).to_string();
    group.throughput(Throughput::Bytes(document.len() as u64));
    group.bench_function("guest", |bench| bench.iter(|| Guest::parse(&name, black_box(&document))));
    group.throughput(Throughput::Bytes(status.len() as u64));
    group.bench_function("status", |bench| {
        bench
            .iter(|| serde_json::from_slice::<GuestStatus>(black_box(&status)).expect("it is one"));
    });
}

fn rulesets(bench: &mut Criterion) {
    let (world, ..) = fleet(100);
    let entry = world.host(host(7)).expect("it is there");
    bench.bench_function("compile a ruleset of 10 guests", |bench| {
        bench.iter(|| compile(&input(black_box(&world), entry)));
    });
}

fn applying(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("apply a status");
    for hosts in [100, 1_000] {
        let (mut world, ..) = fleet(hosts);
        let event = Event::Put(kv(&Key::GuestStatus(guest(70)), status(70)));
        let mut changes = Vec::new();
        group.bench_function(BenchmarkId::from_parameter(hosts), |bench| {
            bench.iter(|| {
                changes.clear();
                world.apply(std::slice::from_ref(&event), 2, &mut changes);
                changes.len()
            });
        });
    }
}

fn queueing(bench: &mut Criterion) {
    let mut group = bench.benchmark_group("queue");
    group.throughput(Throughput::Elements(KEYS));
    group.bench_function("add, take, done", |bench| {
        bench.iter(|| {
            let queue = Queue::new("bench", BackoffOptions::default(), &Metrics::new());
            queue.add_all(0..KEYS);
            while let Some(key) = queue.try_next() {
                queue.done(&key);
            }
            queue.len()
        });
    });
}

criterion_group!(benches, decisions, decoding, rulesets, applying, queueing);
criterion_main!(benches);
