//! A store that the original wrote, on hosts where its guests run.

use std::sync::Arc;

use lochness_agent::server::EffectKind;
use lochness_agent::wire::{AgentGuest, Disk, Nic};
use lochness_agent::{AgentClient, HttpOptions, HttpTransport, Ticket};
use lochness_api::{GuestId, Key, Mac};
use serde_json::json;

use crate::harness::{
    FLAVOR, HostOptions, IMAGE, NETWORK, SUBNET, SimulatedHost, Stage, eventually, flavor,
    guest_id, network, subnet,
};

/// Creates a guest as the original's worker did: its own record, no order, no epoch.
async fn create_as_the_original(host: &SimulatedHost, id: GuestId, ip: &str) {
    let transport = HttpTransport::new(HttpOptions::default()).expect("plain HTTP needs nothing");
    let client = AgentClient::new(Arc::new(transport), host.address().to_string(), None);
    let record = AgentGuest {
        guest_type: Some("kvm".to_owned()),
        image: IMAGE.to_string(),
        nics: vec![Nic {
            name: "eth0".to_owned(),
            network: "br0".to_owned(),
            model: "virtio".to_owned(),
            mac: Mac::of_guest(id).to_string(),
            address: ip.to_owned(),
            netmask: "ffffff00".to_owned(),
            gateway: "10.1.0.1".to_owned(),
            vlans: vec![1],
            ..Nic::default()
        }],
        disks: vec![Disk {
            size: 1024,
            image: IMAGE.to_string(),
            source: IMAGE.to_string(),
            ..Disk::default()
        }],
        memory: 512,
        cpu: 1,
        ..AgentGuest::new(id)
    };
    let ticket = Ticket {
        job: lochness_api::JobId::new(uuid::Uuid::new_v4()),
        order: None,
        ruleset: None,
        budget: std::time::Duration::from_secs(5),
    };
    client.create(&record, &ticket).await.expect("the agent takes it");
    eventually("it runs", async || if host.runs(id) { Ok(()) } else { Err("not yet".to_owned()) })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_the_original_is_adopted_as_it_is() {
    let mut stage = Stage::empty().await;
    let entries = [
        (Key::Flavor(FLAVOR), flavor()),
        (Key::Network(NETWORK), network()),
        (Key::Subnet(SUBNET), subnet()),
    ];
    stage.store.put_all(entries).await;
    for name in ["host-1", "host-2"] {
        stage.host(&HostOptions::mistify(name)).await;
    }
    let mut guests = Vec::new();
    for number in 0..6 {
        let id = guest_id(number);
        let host = &stage.hosts[number as usize % 2];
        let ip = format!("10.1.0.{}", 20 + number);
        create_as_the_original(host, id, &ip).await;
        let document = json!({
            "id": id, "metadata": {}, "type": "kvm", "flavor": FLAVOR, "hypervisor": host.id(),
            "network": NETWORK, "subnet": SUBNET, "fwgroup": "", "vlangroup": "",
            "mac": Mac::of_guest(id), "ip": ip, "bridge": "br0",
        });
        let address = Key::Address(SUBNET, ip.parse().expect("it is an address"));
        let index = Key::Placement(host.id(), id);
        let entries = [
            (Key::Guest(id), document),
            (address, json!(id.to_string())),
            (index, json!(id.to_string())),
        ];
        stage.store.put_all(entries).await;
        stage.checker.expect_foreign(id);
        guests.push((id, host.id(), ip));
    }
    // The last one was reserved and indexed by nobody: what is missing is added.
    let (last, host, ip) = guests.last().expect("there are six").clone();
    stage.store.delete(&Key::Placement(host, last)).await;
    stage.store.delete(&Key::Address(SUBNET, ip.parse().expect("it is an address"))).await;

    stage.operator("one").await;
    let ids: Vec<_> = guests.iter().map(|(id, ..)| *id).collect();
    let statuses = stage.all_run(&ids).await;
    for (id, host, ip) in &guests {
        let placement = statuses[id].placement.as_ref().expect("it is adopted");
        assert_eq!((placement.hypervisor, placement.ip.to_string()), (*host, ip.clone()));
        assert_eq!(placement.mac, Mac::of_guest(*id));
    }
    assert_eq!(stage.store.below(&format!("subnets/{SUBNET}/addresses/")).await.len(), 6);
    assert!(stage.store.below("jobs/").await.is_empty(), "adopting needs no job");
    for host in &stage.hosts {
        let history = host.history();
        let effects: Vec<_> = history.iter().map(|effect| effect.kind).collect();
        let made = effects.iter().filter(|kind| **kind == EffectKind::Created).count();
        assert_eq!((made, effects.len()), (3, 6), "{effects:?}");
    }
    stage.finish().await;
}
