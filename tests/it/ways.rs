//! Bad ways between the processes: cut, silent, slow, dripping, truncating; to etcd and to agents.

use std::time::Duration;

use lochness_api::Key;
use serde_json::json;

use crate::harness::{HostOptions, OperatorOptions, Proxy, Stage, Weather, eventually};

/// All that a way can be, besides fair.
const BAD: [Weather; 6] = [
    Weather::Cut,
    Weather::AnswersLost,
    Weather::Silence,
    Weather::Slow(Duration::from_millis(200)),
    Weather::Trickle,
    Weather::Truncated,
];

async fn bites(proxy: &Proxy, weather: Weather) {
    let before = proxy.bitten();
    proxy.set(weather);
    eventually(&format!("{weather:?} is felt"), async || {
        if proxy.bitten() >= before + 2 { Ok(()) } else { Err("nothing passes".to_owned()) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_bad_way_to_etcd_costs_time_and_nothing_else() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.store.put(&Key::Config("quarantine_seconds".to_owned()), &json!("1")).await;
    stage.host(&HostOptions::new("host-1")).await;
    let endpoint = stage.etcd.endpoint().to_owned();
    let proxy = Proxy::start(endpoint.trim_start_matches("http://")).await;
    stage.operator_at("one", &proxy.endpoint(), &OperatorOptions::default()).await;
    let mut there = stage.put_guests(0..3).await;
    stage.all_run(&there).await;
    for (round, weather) in (1..).zip(BAD) {
        // Half of them are on their way when the weather turns, the others come while it is bad.
        let first = stage.put_guests(round * 10..round * 10 + 2).await;
        bites(&proxy, weather).await;
        let second = stage.put_guests(round * 10 + 2..round * 10 + 4).await;
        let gone = there.remove(0);
        stage.store.delete(&Key::Guest(gone)).await;
        proxy.set(Weather::Fair);
        there.extend(first.into_iter().chain(second));
        stage.all_run(&there).await;
        stage.gone(&[gone]).await;
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_kind_of_bad_way_to_an_agent_doubles_nothing_and_loses_nothing() {
    for options in [HostOptions::new("host-1"), HostOptions::mistify("host-1")] {
        let mut stage = Stage::empty().await;
        stage.put_network().await;
        stage.store.put(&Key::Config("quarantine_seconds".to_owned()), &json!("1")).await;
        let host = stage.host(&options).await;
        let (id, address) = (stage.hosts[host].id(), stage.hosts[host].address());
        let proxy = Proxy::start_at(address.ip(), &address.to_string()).await;
        let port = Key::HypervisorConfig(id, "agent_port".to_owned());
        stage.store.put(&port, &json!(proxy.port())).await;
        stage.operator("one").await;
        let mut there = stage.put_guests(0..2).await;
        stage.all_run(&there).await;
        for (round, weather) in (1..).zip(BAD) {
            let new = stage.put_guests(round * 10..round * 10 + 2).await;
            let gone = there.remove(0);
            stage.store.delete(&Key::Guest(gone)).await;
            bites(&proxy, weather).await;
            proxy.set(Weather::Fair);
            there.extend(new);
            stage.all_run(&there).await;
            stage.gone(&[gone]).await;
        }
        stage.finish().await;
    }
}
