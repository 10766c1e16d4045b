//! Rulesets: what reaches which host, and how much of it.

use lochness_agent::server::{Effect, EffectKind, Faults};
use lochness_api::status::{Condition, ConditionStatus, ConditionType, GuestStatus, Reason};
use lochness_api::{FwGroupId, HypervisorId, Key, Kind};
use serde_json::{Value, json};

use crate::harness::{HostOptions, Stage, condition, eventually};

const WEB: FwGroupId = FwGroupId::new(uuid::Uuid::from_u128(0xf1));
const DB: FwGroupId = FwGroupId::new(uuid::Uuid::from_u128(0xf2));

/// A host that answers to one group from members of another.
async fn stage() -> Stage {
    let stage = Stage::with_hosts(2).await;
    let rules = json!([{"group": DB.to_string(), "protocol": "tcp", "portStart": 80}]);
    stage.store.put(&Key::FwGroup(WEB), &json!({ "rules": rules })).await;
    stage.store.put(&Key::FwGroup(DB), &json!({})).await;
    stage
}

fn on(host: HypervisorId, group: FwGroupId) -> Value {
    json!({"hypervisor": host, "fwgroup": group})
}

/// How many requests of this kind an operator made that were answered well.
async fn requests(stage: &Stage, operator: usize, kind: &str) -> u64 {
    let (_, page) = stage.operators[operator].page("/metrics").await.expect("it serves metrics");
    let wanted = format!("\"{kind}\"");
    let lines = page.lines().filter(|line| line.starts_with("lochness_agent_requests_total"));
    let of_kind = lines.filter(|line| line.contains(&wanted));
    of_kind.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

fn applied(history: &[Effect]) -> usize {
    history.iter().filter(|effect| effect.kind == EffectKind::FirewallApplied).count()
}

async fn host_firewall(stage: &Stage, host: HypervisorId) -> Option<Condition> {
    let status = stage.store.host(host).await?;
    condition(&status.conditions, ConditionType::FirewallApplied).cloned()
}

fn guest_firewall(status: &GuestStatus) -> Option<&Condition> {
    condition(&status.conditions, ConditionType::FirewallApplied)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_joins_reaches_the_hosts_that_name_its_group_as_a_patch() {
    let mut stage = stage().await;
    let (naming, other) = (stage.hosts[0].id(), stage.hosts[1].id());
    let web = stage.put_guest(0, on(naming, WEB)).await;
    let db = stage.put_guest(1, on(other, DB)).await;
    stage.all_run(&[web, db]).await;
    eventually("both hosts have what they need", async || {
        let told = [host_firewall(&stage, naming).await, host_firewall(&stage, other).await];
        let all = told.iter().flatten().all(|told| told.status == ConditionStatus::True);
        if all { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    let (puts, patches) =
        (requests(&stage, 0, "put_firewall").await, requests(&stage, 0, "patch_firewall").await);
    let before = applied(&stage.hosts[0].history());
    let joining = stage.put_guest(2, on(other, DB)).await;
    stage.all_run(&[joining]).await;
    eventually("the other host knows the new member", async || {
        let now = applied(&stage.hosts[0].history());
        if now > before { Ok(()) } else { Err(format!("{now} rulesets came in force there")) }
    })
    .await;
    assert_eq!(requests(&stage, 0, "put_firewall").await, puts, "no ruleset was sent whole");
    assert!(requests(&stage, 0, "patch_firewall").await >= patches + 2, "one patch a host");

    // A new leader knows no more than the hash that is in force, and that is enough.
    stage.operators[0].terminate().await;
    let next = stage.operator("two").await;
    eventually("the new one leads", async || stage.operators[next].leads().await).await;
    let last = stage.put_guest(3, on(other, DB)).await;
    stage.all_run(&[last]).await;
    eventually("both hosts are patched", async || {
        let patches = requests(&stage, next, "patch_firewall").await;
        if patches >= 2 { Ok(()) } else { Err(format!("{patches} patches")) }
    })
    .await;
    assert_eq!(requests(&stage, next, "put_firewall").await, 0, "nothing was sent whole");
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ruleset_that_is_refused_leaves_the_former_one_and_its_words_are_told() {
    let stage = stage().await;
    let host = stage.hosts[0].id();
    let first = stage.put_guest(0, on(host, WEB)).await;
    stage.all_run(&[first]).await;
    let before = applied(&stage.hosts[0].history());
    let words = "/dev/stdin:7:3-9: Error: syntax error, unexpected saddr";
    stage.hosts[0]
        .set_faults(Faults { broken_firewall: Some(words.to_owned()), ..Faults::default() });
    stage.store.put(&Key::FwGroup(WEB), &json!({"rules": [{"protocol": "udp"}]})).await;
    eventually("the host says what nft said", async || {
        let told = host_firewall(&stage, host).await;
        let told = told.filter(|told| told.reason == Reason::FirewallFailed);
        told.filter(|told| told.message.contains(words)).map(|_| ()).ok_or("not yet".to_owned())
    })
    .await;
    let second = stage.put_guest(1, on(host, WEB)).await;
    eventually("the guest that waits says it too", async || {
        let status = stage.store.guest(second).await;
        let told = status.as_ref().and_then(guest_firewall);
        let told = told.filter(|told| told.status == ConditionStatus::False);
        told.filter(|told| told.message.contains(words))
            .map(|_| ())
            .ok_or_else(|| format!("{status:?}"))
    })
    .await;
    assert!(!stage.hosts[0].runs(second), "its host has no rules that cover it");
    assert!(stage.hosts[0].runs(first), "what runs goes on");
    assert_eq!(applied(&stage.hosts[0].history()), before, "the former ruleset is in force");
    stage.hosts[0].set_faults(Faults::default());
    stage.all_run(&[second]).await;
    eventually("nothing of it is left", async || {
        let status = stage.store.guest(second).await.ok_or("no status")?;
        let host = host_firewall(&stage, host).await;
        match (guest_firewall(&status), host.map(|told| told.status)) {
            (None, Some(ConditionStatus::True)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_without_a_firewall_takes_guests_with_a_group_only_if_somebody_keeps_it() {
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.store.put(&Key::FwGroup(DB), &json!({})).await;
    stage.host(&HostOptions::mistify("host-1")).await;
    stage.operator("one").await;
    let host = stage.hosts[0].id();
    let open = stage.put_guest(0, json!({})).await;
    let closed = stage.put_guest(1, json!({"fwgroup": DB})).await;
    stage.all_run(&[open]).await;
    eventually("the guest says what is missing", async || {
        let status = stage.store.guest(closed).await;
        let placed =
            status.as_ref().and_then(|status| condition(&status.conditions, ConditionType::Placed));
        let told = placed
            .is_some_and(|placed| placed.message.contains("1 without a firewall for its group"));
        if told { Ok(()) } else { Err(format!("{status:?}")) }
    })
    .await;
    let key = Key::HypervisorConfig(host, "firewall".to_owned());
    stage.store.put_bytes(&key, "external").await;
    stage.all_run(&[closed]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_that_were_understood_outlive_a_broken_document_and_a_leader() {
    let mut stage = stage().await;
    let host = stage.hosts[0].id();
    let guest = stage.put_guest(0, on(host, WEB)).await;
    stage.all_run(&[guest]).await;
    let valid = async |stage: &Stage| {
        let conditions = stage.store.conditions(Kind::FwGroup, &WEB.to_string()).await;
        condition(&conditions, ConditionType::Valid).cloned()
    };
    eventually("its rules are kept", async || {
        let told = valid(&stage).await.is_some_and(|told| told.status == ConditionStatus::True);
        if told { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    let broken = json!({"rules": [{"protocol": "tcp", "portStart": 9, "portEnd": 8}]});
    stage.store.put(&Key::FwGroup(WEB), &broken).await;
    eventually("it says that the former rules hold", async || {
        let told = valid(&stage).await;
        let words = "its rules go on as last understood";
        let told = told.filter(|told| told.message.contains(words)).map(|told| told.message);
        told.filter(|words| words.contains("rules[0].portEnd")).ok_or("not yet".to_owned())
    })
    .await;
    let before = applied(&stage.hosts[0].history());
    stage.operators[0].terminate().await;
    let next = stage.operator("two").await;
    eventually("the new one leads", async || stage.operators[next].leads().await).await;
    let second = stage.put_guest(1, on(host, WEB)).await;
    stage.all_run(&[second]).await;
    assert!(applied(&stage.hosts[0].history()) > before);
    assert_eq!(requests(&stage, next, "put_firewall").await, 0, "the rules are the same as before");
    stage.finish().await;
}
