//! The firewall: whole or not at all, never backwards.

use std::collections::BTreeMap;
use std::time::Duration;

use lochness_agent::client::{AgentError, GuestList, PatchOutcome, Wait};
use lochness_agent::server::{Delays, EffectKind, Event, Faults, FirewallConfig, HostConfig, Nft};
use lochness_agent::wire::{
    AgentJobStatus, CAPABILITY_FIREWALL, FirewallPatch, FirewallPut, FirewallState, Order,
};
use lochness_api::job::JobAction;

use crate::fixture::{Fixture, config};

const BUDGET: Duration = Duration::from_secs(5);

fn put(revision: u64) -> FirewallPut {
    FirewallPut {
        hash: format!("h{revision}"),
        revision: Order::new(1, revision),
        ruleset: "table inet lochness { set web { type ipv4_addr; } }".into(),
    }
}

fn patch(base: &str, revision: u64, set: &str) -> FirewallPatch {
    FirewallPatch {
        base: base.into(),
        hash: format!("h{revision}"),
        revision: Order::new(1, revision),
        add: BTreeMap::from([(set.to_owned(), vec!["10.0.0.1".to_owned()])]),
        remove: BTreeMap::new(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_ruleset_is_acknowledged_once_it_is_in_force() {
    let agent = Fixture::new(config());
    assert_eq!(agent.client.firewall().await.unwrap(), FirewallState::default());
    let state = agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    assert_eq!((state.hash.as_deref(), state.revision), (Some("h5"), Some(Order::new(1, 5))));
    assert_eq!(agent.client.firewall().await.unwrap(), state);
}

#[tokio::test(start_paused = true)]
async fn a_late_ruleset_never_brings_back_a_rule_that_was_removed() {
    let agent = Fixture::new(config());
    agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    let late = agent.client.put_firewall(&put(4), BUDGET).await;
    assert!(matches!(late, Err(AgentError::Fenced(_))), "{late:?}");
    let late = agent.client.patch_firewall(&patch("h5", 4, "web"), BUDGET).await;
    assert!(matches!(late, Err(AgentError::Fenced(_))), "{late:?}");
    assert_eq!(agent.client.firewall().await.unwrap().hash.as_deref(), Some("h5"));
}

#[tokio::test(start_paused = true)]
async fn a_patch_of_another_base_says_what_is_in_force() {
    let agent = Fixture::new(config());
    let none = agent.client.patch_firewall(&patch("h1", 2, "web"), BUDGET).await.unwrap();
    assert_eq!(none, PatchOutcome::WrongBase { current: None });
    agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    let wrong = agent.client.patch_firewall(&patch("h1", 6, "web"), BUDGET).await.unwrap();
    assert_eq!(wrong, PatchOutcome::WrongBase { current: Some("h5".into()) });
    let right = agent.client.patch_firewall(&patch("h5", 6, "web"), BUDGET).await.unwrap();
    let PatchOutcome::Applied(state) = right else { panic!("{right:?}") };
    assert_eq!(state.hash.as_deref(), Some("h6"));
    let unknown = agent.client.patch_firewall(&patch("h6", 7, "db"), BUDGET).await;
    assert!(matches!(unknown, Err(AgentError::Refused { code: 422, .. })), "{unknown:?}");
}

#[tokio::test(start_paused = true)]
async fn a_ruleset_that_fails_leaves_the_former_one_in_force() {
    let agent = Fixture::new(config());
    agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    let faults = Faults { broken_firewall: Some("no such table".into()), ..Faults::default() };
    agent.host.set_faults(faults, None);
    let failed = agent.client.put_firewall(&put(6), BUDGET).await;
    assert!(matches!(failed, Err(AgentError::Refused { code: 422, .. })), "{failed:?}");
    let state = agent.client.firewall().await.unwrap();
    assert_eq!(state.revision, Some(Order::new(1, 5)));
    assert_eq!(state.error.as_deref(), Some("no such table"));
}

#[tokio::test(start_paused = true)]
async fn the_stored_ruleset_is_in_force_again_after_a_boot_and_every_start_tells_its_revision() {
    let agent = Fixture::new(config());
    agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    agent.create(1, 1).await;
    agent.host.happen(Event::Reboot).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    let history = agent.host.history();
    let revision = Some(Order::new(1, 5));
    let started = history.iter().find(|effect| effect.kind == EffectKind::Started).unwrap();
    assert_eq!(started.firewall, revision);
    let last = history.last().unwrap();
    assert_eq!((last.kind, last.firewall), (EffectKind::FirewallApplied, revision));
    assert_eq!(agent.client.firewall().await.unwrap().revision, revision);
}

#[tokio::test(start_paused = true)]
async fn a_ruleset_that_concerns_more_than_our_tables_is_refused_and_the_former_one_stays() {
    let agent = Fixture::new(config());
    agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    for hostile in ["flush ruleset", "table inet filter { }", "include \"/etc/passwd\""] {
        let ruleset = format!("{}\n{hostile}\n", put(6).ruleset);
        let refused = agent.client.put_firewall(&FirewallPut { ruleset, ..put(6) }, BUDGET).await;
        let Err(AgentError::Refused { code: 422, message }) = refused else {
            panic!("{hostile}: {refused:?}")
        };
        assert!(message.contains("line 2"), "{message}");
    }
    let state = agent.client.firewall().await.unwrap();
    assert_eq!((state.hash.as_deref(), state.error), (Some("h5"), None));
}

#[tokio::test(start_paused = true)]
async fn a_host_without_a_firewall_offers_none() {
    let agent = Fixture::new(HostConfig { firewall: FirewallConfig::None, ..config() });
    let capabilities = agent.client.capabilities().await.unwrap().unwrap();
    assert!(!capabilities.has(CAPABILITY_FIREWALL), "{capabilities:?}");
    assert!(agent.client.put_firewall(&put(5), BUDGET).await.is_err());
    agent.create(1, 1).await;
    assert_eq!(agent.state(1).await.as_deref(), Some("running"), "guests need none");
}

#[tokio::test(start_paused = true)]
async fn patches_are_in_force_again_after_a_restart_with_what_they_were_made_for() {
    let agent = Fixture::new(config());
    agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    for revision in 6..60 {
        let base = format!("h{}", revision - 1);
        agent.client.patch_firewall(&patch(&base, revision, "web"), BUDGET).await.unwrap();
    }
    agent.host.shutdown().await;
    let agent = Fixture::on(config(), agent.disk);
    let state = agent.client.firewall().await.unwrap();
    assert_eq!((state.hash.as_deref(), state.revision), (Some("h59"), Some(Order::new(1, 59))));
    let next = agent.client.patch_firewall(&patch("h59", 60, "web"), BUDGET).await.unwrap();
    assert!(matches!(next, PatchOutcome::Applied(_)), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_change_that_waits_for_its_turn_does_not_outlast_its_leader_and_one_that_is_made_is_told_the_next()
 {
    let delays = Delays { firewall: Duration::from_secs(2), ..Delays::default() };
    let agent = Fixture::new(HostConfig { delays, ..config() });
    let (old, new) = (agent.client_of(1), agent.client_of(2));
    let (first, second) = (put(5), put(6));
    let takes_over = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let seen = new.firewall().await.unwrap();
        assert_eq!(seen.hash, None, "the first is still being made");
        let list = new.list_guests(None).await.unwrap();
        let GuestList::Complete { tag: Some(tag), firewall_moves: 0, .. } = list else {
            panic!("{list:?}")
        };
        let wait = Wait { at_most: Duration::from_secs(30), tag: Some(&tag) };
        new.list_guests(Some(wait)).await.unwrap()
    };
    let began = tokio::time::Instant::now();
    let (made, late, told) = tokio::join!(
        old.put_firewall(&first, BUDGET),
        old.put_firewall(&second, BUDGET),
        takes_over
    );
    assert_eq!(made.unwrap().hash.as_deref(), Some("h5"));
    assert!(matches!(late, Err(AgentError::Fenced(_))), "{late:?}");
    assert!(matches!(told, GuestList::Complete { firewall_moves: 1, .. }), "{told:?}");
    assert_eq!(began.elapsed(), Duration::from_secs(2), "it is told at once");
    assert_eq!(new.firewall().await.unwrap().hash.as_deref(), Some("h5"));
}

#[tokio::test]
async fn a_host_whose_nft_cannot_be_used_says_what_is_missing_and_starts_no_guest_without_its_rules()
 {
    let broken = || async { Nft::open(Some("lochness-there-is-no-such-namespace")).await };
    assert!(!broken().await.missing().is_empty());
    let firewall = FirewallConfig::Nft(broken().await);
    let agent = Fixture::new(HostConfig { firewall, ..config() });
    let capabilities = agent.client.capabilities().await.unwrap().unwrap();
    assert!(!capabilities.has(CAPABILITY_FIREWALL), "{capabilities:?}");
    agent.create(1, 1).await;
    assert_eq!(agent.state(1).await.as_deref(), Some("running"), "there are no rules to wait for");

    let agent = Fixture::new(config());
    agent.client.put_firewall(&put(5), BUDGET).await.unwrap();
    agent.create(1, 1).await;
    agent.host.shutdown().await;
    let firewall = FirewallConfig::Nft(broken().await);
    let agent = Fixture::on(HostConfig { firewall, ..config() }, agent.disk);
    let state = agent.client.firewall().await.unwrap();
    assert_eq!((state.hash, state.revision), (None, None));
    assert!(state.error.is_some());
    let failed = agent.act(1, JobAction::Restart, 2).await;
    assert!(failed.message.contains("firewall is not in force"), "{failed:?}");
    let stopped = agent.act(1, JobAction::Poweroff, 3).await;
    assert_eq!(stopped.status, AgentJobStatus::Complete, "what starts nothing works");
}
