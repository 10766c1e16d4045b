//! What a large firewall group costs the operator: requests, bytes and processor time.
//!
//! A thousand hosts with ten guests each, all in one group whose rules name it. `cargo run --release -p
//! lochness-controllers --example firewall_cost`; the figures are told in docs/networking.md.

use std::error::Error;
use tokio::time::Instant;

use lochness_agent::wire::{FirewallPatch, FirewallPut, Order};
use lochness_api::document::Resources;
use lochness_api::keys::Key;
use lochness_api::status::{GuestStatus, Phase, Placement};
use lochness_api::{FwGroupId, GuestId, HypervisorId, Mac, Prefix, SubnetId};
use lochness_controllers::firewall::compile::compile;
use lochness_controllers::firewall::content::Content;
use lochness_controllers::firewall::input::input;
use lochness_controllers::firewall::plan::hosts_naming;
use lochness_controllers::world::World;
use lochness_kv::{Event, Header, KeyValue};
use serde_json::json;
use uuid::Uuid;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const HOSTS: u32 = 1_000;
const GUESTS: u32 = 10_000;
/// So many guests join with the processor time taken.
const TIMED: u32 = 50;

fn group() -> FwGroupId {
    FwGroupId::new(Uuid::from_u128(1))
}

fn host(number: u32) -> HypervisorId {
    HypervisorId::new(Uuid::from_u128(0x1000_0000 + u128::from(number)))
}

fn put(key: &Key, value: Vec<u8>, revision: i64) -> KeyValue {
    KeyValue {
        key: Prefix::default().key(key).into(),
        value: value.into(),
        create_revision: revision,
        mod_revision: revision,
        version: 1,
        lease: None,
    }
}

/// A placed guest: hosts get them in turns.
fn guest(number: u32, revision: i64) -> Result<KeyValue> {
    let id = GuestId::new(Uuid::from_u128(0x2000_0000 + u128::from(number)));
    let placement = Placement {
        hypervisor: host(number % HOSTS),
        subnet: SubnetId::new(Uuid::from_u128(3)),
        network: None,
        ip: (0x0a00_0100 + number).to_be_bytes().into(),
        cidr: "10.0.0.0/8".parse()?,
        gateway: None,
        mac: Mac::of_guest(id),
        bridge: "br0".to_owned(),
        vlans: Vec::new(),
        fwgroup: Some(group()),
        image: None,
        resources: Resources::default(),
    };
    let status =
        GuestStatus { phase: Phase::Running, placement: Some(placement), ..GuestStatus::default() };
    Ok(put(&Key::GuestStatus(id), serde_json::to_vec(&status)?, revision))
}

/// What one host's ruleset says now.
fn content(world: &World, number: u32) -> Result<Content> {
    let entry = world.host(host(number)).ok_or("the host has guests")?;
    Ok(compile(&input(world, entry)).content)
}

/// The bytes of the request that takes a host from what it has to what it needs.
fn patch_bytes(world: &World, number: u32, known: &mut Content) -> Result<usize> {
    let now = content(world, number)?;
    let difference = known.difference(&now, |group| world.member_addresses(group));
    let difference = difference.ok_or("only elements differ")?;
    let patch = FirewallPatch {
        base: known.hash.clone(),
        hash: now.hash.clone(),
        revision: Order::new(1, 1),
        add: difference.add,
        remove: difference.remove,
    };
    *known = now;
    Ok(serde_json::to_vec(&patch)?.len())
}

fn put_bytes(world: &World, number: u32) -> Result<usize> {
    let entry = world.host(host(number)).ok_or("the host has guests")?;
    let ruleset = compile(&input(world, entry));
    let text = ruleset.text(|group| world.member_addresses(group));
    let hash = ruleset.content.hash;
    let put = FirewallPut { hash, revision: Order::new(1, 1), ruleset: text };
    Ok(serde_json::to_vec(&put)?.len())
}

fn join(world: &mut World, number: u32) -> Result<()> {
    let revision = i64::from(number) + 10;
    world.apply(&[Event::Put(guest(number, revision)?)], revision, &mut Vec::new());
    Ok(())
}

fn main() -> Result<()> {
    let rules = json!({"rules": [{"group": group().to_string(), "protocol": "tcp"}]});
    let document = put(&Key::FwGroup(group()), rules.to_string().into_bytes(), 1);
    let empty = World::new(Prefix::default());
    let header = Header { cluster_id: 1, revision: 1 };
    let mut world = World::from_list(&empty, &[document], header);

    // One after the other, seen from one host: what each patch is, and what a whole ruleset would be.
    join(&mut world, 0)?;
    let mut known = content(&world, 0)?;
    let (mut patches, mut wholes) = (0, 0);
    for number in 1..GUESTS {
        join(&mut world, number)?;
        let of_others = number % HOSTS != 0;
        patches += patch_bytes(&world, 0, &mut known)?;
        if of_others && number % 1_000 == 999 {
            wholes += put_bytes(&world, 0)? * 1_000;
        }
    }
    let hosts = usize::try_from(HOSTS)?;
    println!("{GUESTS} joined one after the other, {HOSTS} hosts:");
    println!("  by patches   {:>8} MB", patches * hosts / 1_000_000);
    println!(
        "  by rulesets  {:>8} MB, if every change were a whole one",
        wholes * hosts / 1_000_000
    );

    let started = Instant::now();
    let mut bytes = 0;
    for number in 0..HOSTS {
        bytes += put_bytes(&world, number)?;
    }
    println!("all rulesets whole, once: {} MB in {:?}", bytes / 1_000_000, started.elapsed());

    let contents = (0..HOSTS).map(|number| content(&world, number));
    let mut contents: Vec<Content> = contents.collect::<Result<_>>()?;
    let (mut requests, mut bytes) = (0, 0);
    let started = Instant::now();
    for number in GUESTS..GUESTS + TIMED {
        join(&mut world, number)?;
        requests += hosts_naming(&world, group()).count();
        for (number, known) in (0..HOSTS).zip(&mut contents) {
            bytes += patch_bytes(&world, number, known)?;
        }
    }
    let timed = usize::try_from(TIMED)?;
    println!(
        "one that joins the others: {} requests, {} bytes, {:?} of one core",
        requests / timed,
        bytes / timed,
        started.elapsed() / TIMED
    );
    Ok(())
}
