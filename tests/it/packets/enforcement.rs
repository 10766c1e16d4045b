//! Rules stay in force: over the ends of the agent, over those of the host, and against other hands.

use std::time::Duration;

use lochness_api::status::{Condition, ConditionStatus, ConditionType, Phase};
use lochness_api::{FwGroupId, Key};
use serde_json::json;
use uuid::Uuid;

use super::sandbox::sandboxed;
use super::talking::{Answer, ask, connect, knock, serve_tcp};
use super::world::{Family, Plugged, Spoiled, World, in_group};
use crate::harness::{condition, eventually, eventually_within, guest_id, stays};

const GROUP: FwGroupId = FwGroupId::new(Uuid::from_u128(0xf921));
/// Within this, whatever somebody else did is put right.
const SOON: Duration = Duration::from_secs(2);

/// A guest on the second host that lets in port 80 alone, and one on the first without a group.
async fn server_and_client(world: &mut World) -> (Plugged, Plugged) {
    let rules = json!([{"protocol": "tcp", "portStart": 80, "portEnd": 80}]);
    world.put_group(GROUP, rules).await;
    let server = world.guest(1, Family::V4, json!(in_group(GROUP))).await;
    let client = world.guest(0, Family::V4, json!({})).await;
    for port in [80, 81] {
        serve_tcp(&server.namespace, server.ip(), port);
    }
    (server, client)
}

/// Port 80 connects, and nothing else does.
fn holds(server: &Plugged, client: &Plugged) {
    assert!(connect(&client.namespace, (server.ip(), 80)).is_ok());
    assert_eq!(ask(&client.namespace, (server.ip(), 81)), Answer::Refused);
}

#[test]
fn what_other_hands_do_to_our_tables_is_put_right_and_theirs_are_left_alone() {
    sandboxed(what_other_hands_do_to_our_tables_is_put_right_and_theirs_are_left_alone, async {
        let mut world = World::new().await;
        let host = world.hosts[1].namespace.clone();
        host.nft("add table inet theirs").expect("a host has tables of its own");
        host.nft("add chain inet theirs input { type filter hook input priority 0; }").expect("so");
        host.nft("add rule inet theirs input tcp dport 2222 accept").expect("so");
        let theirs = || host.nft("-a list table inet theirs").expect("it is there");
        let before = theirs();
        let (server, client) = server_and_client(&mut world).await;
        holds(&server, &client);
        serve_tcp(&host, "10.1.0.3".parse().expect("an address"), 2222);
        let to_host = ("10.1.0.3".parse().expect("an address"), 2222);
        assert!(connect(&client.namespace, to_host).is_ok(), "the host itself is untouched");
        assert_eq!(theirs(), before);

        let ours = world.hosts[1].tables().expect("they are there");
        let handles = || host.nft("-a list table inet lochness").expect("it is there");
        let as_applied = handles();
        host.nft("add element inet theirs nothing { 1.2.3.4 }").expect_err("there is no such set");
        host.nft("add rule inet theirs input tcp dport 2223 accept").expect("it is theirs");
        stays(Duration::from_millis(600), "our tables are not applied again", async || {
            if handles() == as_applied { Ok(()) } else { Err(handles()) }
        })
        .await;

        let edited = "delete element inet lochness ln_guests4";
        host.nft(&format!("{edited} {{ {} }}", server.ip())).expect("somebody may");
        is_repaired(&world, &ours, 1).await;
        holds(&server, &client);
        host.nft("delete table inet lochness").expect("somebody may");
        is_repaired(&world, &ours, 2).await;
        holds(&server, &client);
        host.nft("flush ruleset").expect("somebody may");
        is_repaired(&world, &ours, 3).await;
        holds(&server, &client);
        world.finish().await;
    });
}

async fn is_repaired(world: &World, ours: &str, repairs: u64) {
    eventually_within(SOON, "our tables are as they were", async || {
        let found = world.hosts[1].tables()?;
        if found == ours { Ok(()) } else { Err(found) }
    })
    .await;
    eventually("the agent counts it", async || {
        let told = world.firewall(1).await?;
        if told.repairs == repairs { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
}

#[test]
fn rules_outlive_the_agent_and_come_back_after_a_boot_before_any_guest_starts() {
    sandboxed(rules_outlive_the_agent_and_come_back_after_a_boot_before_any_guest_starts, async {
        let mut world = World::new().await;
        let (server, client) = server_and_client(&mut world).await;
        let ours = world.hosts[1].tables().expect("they are there");
        world.kill_agent(1);
        assert_eq!(world.hosts[1].tables().as_ref(), Ok(&ours), "they never left");
        holds(&server, &client);
        world.restart_agent(1).await;
        assert_eq!(world.hosts[1].tables().as_ref(), Ok(&ours));
        holds(&server, &client);

        // The host boots: tables are gone before the agent runs, and first it cannot bring them back.
        world.kill_agent(1);
        world.hosts[1].namespace.nft("flush ruleset").expect("a boot does");
        assert!(connect(&client.namespace, (server.ip(), 81)).is_ok(), "nothing is in force");
        world.hosts[1].spoil_rulesets(Spoiled::Yes);
        let late = world.declare(1, Family::V4, json!(in_group(GROUP))).await;
        world.restart_agent(1).await;
        let told = world.firewall(1).await.expect("it answers");
        assert_eq!((told.hash, told.revision), (None, None), "nothing is said to be in force");
        let words = told.error.expect("it says why");
        assert!(words.contains("no_such_chain"), "{words}");
        stays(Duration::from_secs(1), "no guest is started", async || {
            match world.stage.store.guest(guest_id(late)).await {
                Some(status) if status.phase == Phase::Running => Err(format!("{status:?}")),
                _ => Ok(()),
            }
        })
        .await;
        world.hosts[1].spoil_rulesets(Spoiled::No);
        world.stage.reach(&[guest_id(late)], Phase::Running).await;
        holds(&server, &client);
        world.finish().await;
    });
}

#[test]
fn a_ruleset_that_nft_refuses_leaves_the_old_one_in_force_and_nfts_words_in_the_status() {
    sandboxed(
        a_ruleset_that_nft_refuses_leaves_the_old_one_in_force_and_nfts_words_in_the_status,
        async {
            let mut world = World::new().await;
            let (server, client) = server_and_client(&mut world).await;
            let ours = world.hosts[1].tables().expect("they are there");
            world.hosts[1].spoil_rulesets(Spoiled::Yes);
            let rules =
                json!([{"action": "deny", "protocol": "tcp", "portStart": 81, "portEnd": 81}]);
            world.put_group(GROUP, rules).await;
            let told = eventually("the host's status quotes nft", async || {
                let told = host_firewall(&world).await.ok_or("no condition")?;
                let is_quoted = told.message.contains("no_such_chain");
                if told.status == ConditionStatus::False && is_quoted {
                    Ok(told)
                } else {
                    Err(format!("{told:?}"))
                }
            })
            .await;
            assert!(!told.message.contains('\n'), "{told:?}");
            assert_eq!(world.hosts[1].tables().as_ref(), Ok(&ours));
            holds(&server, &client);

            world.hosts[1].spoil_rulesets(Spoiled::No);
            eventually("the new rules are in force", async || {
                let answer = knock(&client.namespace, (server.ip(), 81));
                if answer == Answer::Silence { Ok(()) } else { Err(format!("{answer:?}")) }
            })
            .await;
            assert_eq!(ask(&client.namespace, (server.ip(), 80)), Answer::Refused);
            world.stage.store.delete(&Key::FwGroup(GROUP)).await;
            world.finish().await;
        },
    );
}

#[test]
fn a_host_that_cannot_put_its_rules_right_says_so_in_its_status_until_it_can() {
    sandboxed(a_host_that_cannot_put_its_rules_right_says_so_in_its_status_until_it_can, async {
        let mut world = World::new().await;
        let (server, client) = server_and_client(&mut world).await;
        eventually("the host says that all is in force", async || {
            is_told(&world, ConditionStatus::True, "").await
        })
        .await;
        world.hosts[1].spoil_rulesets(Spoiled::Yes);
        world.hosts[1].namespace.nft("delete table inet lochness").expect("somebody may");
        eventually("the host's status says why nothing is in force", async || {
            is_told(&world, ConditionStatus::False, "no_such_chain").await
        })
        .await;
        world.hosts[1].spoil_rulesets(Spoiled::No);
        eventually_within(Duration::from_secs(45), "all is in force again", async || {
            is_told(&world, ConditionStatus::True, "").await
        })
        .await;
        holds(&server, &client);
        world.finish().await;
    });
}

async fn is_told(world: &World, status: ConditionStatus, words: &str) -> Result<(), String> {
    let told = host_firewall(world).await.ok_or("no condition")?;
    let is_so = told.status == status && told.message.contains(words);
    if is_so { Ok(()) } else { Err(format!("{told:?}")) }
}

async fn host_firewall(world: &World) -> Option<Condition> {
    let status = world.stage.store.host(world.hosts[1].id).await?;
    condition(&status.conditions, ConditionType::FirewallApplied).cloned()
}
