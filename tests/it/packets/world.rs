//! Two hosts with bridges that a cable joins, a store, an operator, and guests that are plugged in where the operator
//! placed them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use lochness_agent::wire::FirewallState;
use lochness_api::status::{Phase, Placement};
use lochness_api::{FwGroupId, GuestId, HypervisorId, Key, Mac, NetworkId, SubnetId};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use super::namespace::{Namespace, cable};
use crate::harness::{RealNetwork, Stage, guest_id, host_id};

const NETWORK6: NetworkId = NetworkId::new(Uuid::from_u128(0x2e70_0000_0006));
const SUBNET6: SubnetId = SubnetId::new(Uuid::from_u128(0x5b2e_0000_0006));

/// Of which addresses a guest gets one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Both, for what must be the same in both.
pub(super) const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// A host: its network, and its place among the stage's agents.
pub(super) struct RealHost {
    pub(super) namespace: Namespace,
    pub(super) id: HypervisorId,
    agent: usize,
    programs: TempDir,
}

/// A guest that is plugged in.
pub(super) struct Plugged {
    pub(super) id: GuestId,
    pub(super) namespace: Namespace,
    pub(super) placement: Placement,
}

/// All of it.
pub(super) struct World {
    pub(super) stage: Stage,
    pub(super) hosts: Vec<RealHost>,
    guests: u32,
}

impl World {
    pub(super) async fn new() -> Self {
        let mut world = Self { stage: Stage::empty().await, hosts: Vec::new(), guests: 0 };
        world.stage.put_network().await;
        let subnet = json!({ "network": NETWORK6, "cidr": "fd00:1::/64", "gateway": "fd00:1::1",
            "start": "fd00:1::10", "end": "fd00:1::ff" });
        let network = json!({ "metadata": { "name": "net6" } });
        let entries = [(Key::Network(NETWORK6), network), (Key::Subnet(SUBNET6), subnet)];
        world.stage.store.put_all(entries).await;
        world.host("one", 2).await;
        world.host("two", 3).await;
        let [one, two] = world.hosts.as_slice() else { panic!("there are two hosts") };
        cable((&one.namespace, "up0"), (&two.namespace, "up0"));
        for host in &world.hosts {
            host.namespace.ip("link set up0 master br0 up");
        }
        world.stage.operator("operator").await;
        world
    }

    async fn host(&mut self, name: &str, number: u8) {
        let namespace = Namespace::new(&format!("host-{name}"));
        namespace.ip("link add br0 type bridge forward_delay 0 mcast_snooping 0");
        namespace.ip("link set br0 up");
        // A host needs a way to its guests for telling them that something is refused.
        namespace.ip(&format!("addr add 10.1.0.{number}/24 dev br0"));
        namespace.ip(&format!("addr add fd00:1::{number}/64 dev br0 nodad"));
        let (id, programs) = (host_id(name), treacherous_nft());
        self.stage.store.put(&Key::HypervisorSubnet(id, SUBNET6), &json!("br0")).await;
        let network = RealNetwork {
            namespace: namespace.name().to_owned(),
            programs: programs.path().to_owned(),
        };
        let agent = self.stage.real_agent(name, network).await;
        self.hosts.push(RealHost { namespace, id, agent, programs });
    }

    /// The rules of a group, from now on.
    pub(super) async fn put_group(&self, group: FwGroupId, rules: Value) {
        self.stage.store.put(&Key::FwGroup(group), &json!({ "rules": rules })).await;
    }

    /// A guest on the host with this number that runs and is plugged in, with these fields over the usual ones.
    pub(super) async fn guest(&mut self, host: usize, family: Family, fields: Value) -> Plugged {
        let number = self.declare(host, family, fields).await;
        self.plug(number).await
    }

    /// Puts the document of a guest, and says its number.
    pub(super) async fn declare(&mut self, host: usize, family: Family, fields: Value) -> u32 {
        self.guests += 1;
        let mut document = json!({ "hypervisor": self.hosts[host].id });
        if family == Family::V6 {
            document["network"] = json!(NETWORK6);
        }
        for (name, value) in fields.as_object().expect("fields are an object") {
            document[name] = value.clone();
        }
        self.stage.put_guest(self.guests, document).await;
        self.guests
    }

    /// Waits until it runs, and makes it: a namespace at the end of a cable from its host's bridge.
    pub(super) async fn plug(&self, number: u32) -> Plugged {
        let id = guest_id(number);
        self.stage.reach(&[id], Phase::Running).await;
        let status = self.stage.store.guest(id).await.expect("it runs");
        let placement = status.placement.expect("it runs somewhere");
        let host = self.hosts.iter().find(|host| host.id == placement.hypervisor);
        let host = &host.expect("it runs on a host of ours").namespace;
        let namespace = Namespace::new(&format!("guest-{number}"));
        let Placement { mac, ip, cidr, bridge, .. } = &placement;
        let port = port_name(*mac);
        cable((&namespace, "eth0"), (host, &port));
        namespace.ip(&format!("link set eth0 address {mac} up"));
        let checked = if ip.is_ipv6() { " nodad" } else { "" };
        namespace.ip(&format!("addr add {ip}/{} dev eth0{checked}", cidr.prefix()));
        host.ip(&format!("link set {port} master {bridge} up"));
        Plugged { id, namespace, placement }
    }

    /// Makes the port of the next guest before it is there, as whoever makes real guests does.
    pub(super) fn port_of_next(&self, host: usize) {
        let host = &self.hosts[host].namespace;
        let port = port_name(Mac::of_guest(guest_id(self.guests + 1)));
        host.ip(&format!("link add {port} type veth peer name early"));
        host.ip(&format!("link set {port} master br0 up"));
    }

    pub(super) fn agent_log(&self, host: usize) -> String {
        self.stage.agents[self.hosts[host].agent].log()
    }

    /// What the agent of a host says of its firewall.
    pub(super) async fn firewall(&self, host: usize) -> Result<FirewallState, String> {
        self.stage.agents[self.hosts[host].agent].firewall().await
    }

    pub(super) fn kill_agent(&mut self, host: usize) {
        self.stage.agents[self.hosts[host].agent].kill();
    }

    pub(super) async fn restart_agent(&mut self, host: usize) {
        self.stage.agents[self.hosts[host].agent].restart().await;
    }

    pub(super) async fn finish(self) {
        self.stage.finish().await;
    }
}

impl RealHost {
    /// From now on every ruleset of this host has an error in it, or none more.
    pub(super) fn spoil_rulesets(&self, spoiled: Spoiled) {
        let mark = self.programs.path().join("spoil");
        match spoiled {
            Spoiled::Yes => std::fs::write(mark, "").expect("the directory is ours"),
            Spoiled::No => std::fs::remove_file(mark).expect("it was spoiled"),
        }
    }

    /// Our tables as nft lists them, or why not.
    pub(super) fn tables(&self) -> Result<String, String> {
        let tables = ["inet", "bridge"].map(|family| format!("-s list table {family} lochness"));
        let [inet, bridge] = tables.map(|words| self.namespace.nft(&words));
        Ok(inet? + &bridge?)
    }
}

impl Plugged {
    pub(super) fn ip(&self) -> IpAddr {
        self.placement.ip
    }
}

/// What the agent calls the port of this hardware address.
fn port_name(mac: Mac) -> String {
    format!("lng{}", mac.to_string().replace(':', ""))
}

/// Whether rulesets arrive with an error in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spoiled {
    Yes,
    No,
}

/// A directory with an nft that adds a line to rulesets which the real one refuses, while it is told to.
fn treacherous_nft() -> TempDir {
    let directory = TempDir::with_prefix("lochness-it-nft-").expect("a directory can be made");
    let (path, mark) = (directory.path().join("nft"), directory.path().join("spoil"));
    let script = format!(
        "#!/bin/sh\nif [ -e {} ] && [ \"$1\" = -f ]; then\n\
         {{ cat; echo 'add rule inet lochness no_such_chain drop'; }} | {real} -f -\nelse\n\
         exec {real} \"$@\"\nfi\n",
        mark.display(),
        real = real_nft().display()
    );
    std::fs::write(&path, script).expect("the directory is ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
    directory
}

fn real_nft() -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut found = path.split(':').map(|folder| PathBuf::from(folder).join("nft"));
    found.find(|path| path.exists()).expect("nft is installed")
}

/// The fields of a guest in this group.
pub(super) fn in_group(group: FwGroupId) -> BTreeMap<&'static str, FwGroupId> {
    BTreeMap::from([("fwgroup", group)])
}
