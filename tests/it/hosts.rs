//! Hosts that fall silent, lose things, or lie.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::server::{EffectKind, Event, Faults, ReplyFault};
use lochness_agent::wire::{AgentGuest, Nic};
use lochness_agent::{AgentClient, HttpOptions, HttpTransport, Ticket};
use lochness_api::status::{ConditionStatus, ConditionType, GuestStatus, Phase};
use lochness_api::{GuestId, JobId, Key};
use serde_json::json;
use uuid::Uuid;

use crate::harness::{
    FLAVOR, HostOptions, OperatorOptions, SUBNET, Stage, condition, eventually, flavor, guest_id,
    stays, subnet,
};

/// Effects of one kind on a host.
fn count(stage: &Stage, host: usize, kind: EffectKind) -> usize {
    stage.hosts[host].history().iter().filter(|effect| effect.kind == kind).count()
}

fn is_unknown(status: &GuestStatus) -> Option<()> {
    let ready = condition(&status.conditions, ConditionType::Ready)?;
    (ready.status == ConditionStatus::Unknown).then_some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_of_a_silent_host_are_unknown_and_are_not_made_elsewhere() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.agent("host-1", Duration::ZERO).await;
    stage.operator("one").await;
    let guests = stage.put_guests(0..3).await;
    stage.all_run(&guests).await;
    stage.host(&HostOptions::new("host-2")).await;
    stage.agents[0].kill();
    stage.reach(&guests, Phase::Unknown).await;
    let elsewhere = stage.put_guests(10..12).await;
    stage.all_run_on(&elsewhere, stage.hosts[0].id()).await;
    stage.agents[0].restart().await;
    stage.all_run(&guests).await;
    let history = stage.agents[0].history().await;
    let jobs = stage.store.below("jobs/").await;
    assert_eq!(jobs.len(), 5, "one create a guest: {jobs:?}\n{history:#?}");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_heartbeat_lives_while_its_agent_hangs_is_unreachable_and_gets_nothing() {
    let stage = Stage::with_hosts(2).await;
    let pinned = json!({ "hypervisor": stage.hosts[0].id() });
    let here = stage.put_guest(0, pinned).await;
    stage.all_run(&[here]).await;
    stage.hosts[0].set_faults(Faults { reply: Some(ReplyFault::Hang), ..Faults::default() });
    stage.status(here, "it is not known", is_unknown).await;
    let others = stage.put_guests(1..6).await;
    stage.all_run_on(&others, stage.hosts[1].id()).await;
    stage.hosts[0].set_faults(Faults::default());
    stage.all_run(&[here]).await;
    assert_eq!(count(&stage, 0, EffectKind::Created), 1);
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_suddenly_empty_is_not_believed_at_once() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.host(&HostOptions::new("host-1")).await;
    let tuning = "vanish_confirmation = \"60s\"".to_owned();
    stage.operator_with("one", &OperatorOptions { tuning, ..OperatorOptions::default() }).await;
    let guests = stage.put_guests(0..8).await;
    stage.all_run(&guests).await;
    let mutations = stage.mutations();
    stage.hosts[0].set_faults(Faults { empty_list: true, ..Faults::default() });
    // Makes the agent answer its list anew.
    stage.hosts[0].happen(Event::CrashGuest(guests[0]));
    stays(Duration::from_secs(4), "nothing is made again", async || {
        match stage.mutations() - mutations {
            0 => Ok(()),
            more => Err(format!("{more} changes")),
        }
    })
    .await;
    stage.hosts[0].set_faults(Faults::default());
    stage.hosts[0].happen(Event::CrashGuest(guests[1]));
    eventually("the crashed ones run again", async || {
        let started = count(&stage, 0, EffectKind::Started);
        if started == 10 { Ok(()) } else { Err(format!("{started} starts")) }
    })
    .await;
    stage.all_run(&guests).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_their_host_lost_are_made_again_in_their_places() {
    let stage = Stage::with_hosts(2).await;
    let guests = stage.put_guests(0..8).await;
    let before = stage.all_run(&guests).await;
    stage.hosts[0].happen(Event::RebootEmpty);
    stage.hosts[1].happen(Event::LoseGuest(
        *guests.iter().find(|id| stage.hosts[1].runs(**id)).expect("guests are spread"),
    ));
    eventually("every lost guest was made again", async || {
        let made = count(&stage, 0, EffectKind::Created) + count(&stage, 1, EffectKind::Created);
        let lost = count(&stage, 0, EffectKind::Lost) + count(&stage, 1, EffectKind::Lost);
        if made == lost + guests.len() { Ok(()) } else { Err(format!("{made} for {lost} lost")) }
    })
    .await;
    let after = stage.all_run(&guests).await;
    for id in &guests {
        assert_eq!(after[id].placement, before[id].placement);
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_whose_agent_lost_its_memory_gets_its_guests_again() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..5).await;
    stage.all_run(&guests).await;
    stage.hosts[0].happen(Event::Wipe);
    eventually("every guest was made again", async || {
        let running = guests.iter().filter(|id| stage.hosts[0].runs(**id)).count();
        if running == guests.len() { Ok(()) } else { Err(format!("{running} run")) }
    })
    .await;
    stage.all_run(&guests).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edits_and_deletions_of_what_a_guest_was_made_from_do_not_disturb_it() {
    let stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..2).await;
    let before = stage.all_run(&guests).await;
    let mutations = stage.mutations();
    let mut larger = flavor();
    larger["memory"] = json!(4096);
    stage.store.put(&Key::Flavor(FLAVOR), &larger).await;
    stage.store.delete(&Key::Subnet(SUBNET)).await;
    let waiting = stage.put_guest(5, json!({})).await;
    stage.status(waiting, "it waits", |it| (it.phase == Phase::Pending).then_some(())).await;
    stage.store.delete(&Key::Flavor(FLAVOR)).await;
    let crashed = guests[0];
    stage.hosts[0].happen(Event::CrashGuest(crashed));
    eventually("it is started again all the same", async || {
        if count(&stage, 0, EffectKind::Started) == 3 { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let after = stage.all_run(&guests).await;
    for id in &guests {
        assert_eq!(after[id].placement, before[id].placement);
    }
    assert_eq!(stage.mutations() - mutations, 1, "one start and nothing else");
    stage.store.put(&Key::Subnet(SUBNET), &subnet()).await;
    stage.store.put(&Key::Flavor(FLAVOR), &flavor()).await;
    stage.all_run(&[waiting]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_declared_is_counted_its_address_is_taken_and_it_is_not_touched() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.host(&HostOptions::mistify("host-1")).await;
    stage.operator("one").await;
    let first = stage.put_guests(0..1).await;
    let ip = stage.all_run(&first).await[&first[0]].placement.as_ref().map(|it| it.ip.to_string());
    assert_eq!(ip.as_deref(), Some("10.1.0.10"), "the lowest address goes first");
    let stranger = GuestId::new(Uuid::from_u128(0x57a));
    stage.checker.expect_foreign(stranger);
    let transport = HttpTransport::new(HttpOptions::default()).expect("plain HTTP needs nothing");
    let host = &stage.hosts[0];
    let client = AgentClient::new(Arc::new(transport), host.address().to_string(), None);
    let nic = Nic { name: "eth0".into(), address: "10.1.0.11".into(), ..Nic::default() };
    let record = AgentGuest { nics: vec![nic], memory: 64, ..AgentGuest::new(stranger) };
    let job = JobId::new(Uuid::from_u128(1));
    let ticket = Ticket { job, order: None, ruleset: None, budget: Duration::from_secs(5) };
    client.create(&record, &ticket).await.expect("the agent takes it");
    eventually("it is counted", async || {
        let status = stage.store.host(host.id()).await.ok_or("no status")?;
        if status.undeclared == 1 { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let more = stage.put_guests(1..4).await;
    for status in stage.all_run(&more).await.values() {
        let ip = status.placement.as_ref().map(|it| it.ip.to_string());
        assert_ne!(ip.as_deref(), Some("10.1.0.11"));
    }
    assert!(stage.hosts[0].runs(stranger));
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_the_first_ones_and_the_second_is_told_so() {
    let stage = Stage::with_hosts(1).await;
    let named = json!({ "metadata": { "name": "web" } });
    let first = stage.put_guest(0, named.clone()).await;
    stage.all_run(&[first]).await;
    let second = stage.put_guest(1, named).await;
    let said = stage
        .status(second, "it is told", |status| {
            let valid = condition(&status.conditions, ConditionType::Valid)?;
            (valid.status == ConditionStatus::False).then(|| valid.message.clone())
        })
        .await;
    assert!(said.contains(&guest_id(0).to_string()), "{said}");
    stage.store.delete(&Key::Guest(first)).await;
    stage.all_run(&[second]).await;
    stage.finish().await;
}
