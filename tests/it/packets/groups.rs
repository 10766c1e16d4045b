//! Firewall groups: what reaches a guest.

use std::net::IpAddr;
use std::time::Duration;

use lochness_api::{FwGroupId, Key};
use serde_json::json;
use uuid::Uuid;

use super::sandbox::sandboxed;
use super::talking::{Answer, ask, connect, datagram, knock, ping, serve_tcp, serve_udp};
use super::world::{FAMILIES, Family, World, in_group};
use crate::harness::{eventually, eventually_within};

const OPEN: FwGroupId = FwGroupId::new(Uuid::from_u128(0xf901));
const CLOSED: FwGroupId = FwGroupId::new(Uuid::from_u128(0xf902));
const FRIENDS: FwGroupId = FwGroupId::new(Uuid::from_u128(0xf903));

#[test]
fn what_a_group_allows_connects_and_the_rest_is_rejected() {
    sandboxed(what_a_group_allows_connects_and_the_rest_is_rejected, async {
        let mut world = World::new().await;
        let rules = json!([
            {"action": "deny", "protocol": "tcp", "portStart": 81, "portEnd": 81},
            {"protocol": "tcp", "portStart": 80, "portEnd": 90},
            {"action": "reject", "protocol": "tcp", "portStart": 100, "portEnd": 100},
            {"protocol": "tcp", "portStart": 100, "portEnd": 110},
            {"source": "10.1.0.2/32", "protocol": "tcp", "portStart": 200, "portEnd": 200},
            {"source": "fd00:1::2/128", "protocol": "tcp", "portStart": 200, "portEnd": 200},
            {"protocol": "udp", "portStart": 53, "portEnd": 53},
            {"protocol": "icmp"},
            {"protocol": "icmpv6"},
        ]);
        world.put_group(OPEN, rules).await;
        world.put_group(CLOSED, json!([])).await;
        for family in FAMILIES {
            judge(&mut world, family).await;
        }
        world.finish().await;
    });
}

/// A guest with rules on one host, asked by one on the other which nobody may reach.
async fn judge(world: &mut World, family: Family) {
    let server = world.guest(1, family, json!(in_group(OPEN))).await;
    let client = world.guest(0, family, json!(in_group(CLOSED))).await;
    let free = world.guest(1, family, json!({})).await;
    let (there, from) = (&server.namespace, &client.namespace);
    for port in [22, 80, 81, 90, 91, 100, 105, 200] {
        serve_tcp(there, server.ip(), port);
    }
    for port in [53, 54] {
        serve_udp(there, server.ip(), port);
    }
    let at = |port| (server.ip(), port);

    let mut connection = connect(from, at(80)).expect("port 80 is allowed");
    assert!(
        connection.still_carries(),
        "{family:?}: answers pass, though nobody may reach the client"
    );
    for port in [90, 105] {
        assert!(
            connect(from, at(port)).is_ok(),
            "{family:?}: {port} lies in a range that is allowed"
        );
    }
    assert_eq!(
        knock(from, at(81)),
        Answer::Silence,
        "{family:?}: the first rule that matches denies"
    );
    assert_eq!(
        ask(from, at(100)),
        Answer::Refused,
        "{family:?}: the first rule that matches rejects"
    );
    for port in [22, 91] {
        assert_eq!(ask(from, at(port)), Answer::Refused, "{family:?}: no rule is about {port}");
    }
    assert_eq!(ask(from, at(200)), Answer::Refused, "{family:?}: the rule is about another source");
    let host = &world.hosts[0].namespace;
    assert!(connect(host, at(200)).is_ok(), "{family:?}: it comes from the source of the rule");

    assert_eq!(datagram(from, at(53)), Answer::Open, "{family:?}");
    assert_eq!(datagram(from, at(54)), Answer::Refused, "{family:?}");
    assert_eq!(ping(from, server.ip()), Answer::Open, "{family:?}");
    assert_eq!(ping(there, client.ip()), Answer::Silence, "{family:?}: its group lets nothing in");
    serve_tcp(from, client.ip(), 80);
    assert_eq!(
        ask(there, (client.ip(), 80)),
        Answer::Refused,
        "{family:?}: its group has no rules"
    );

    serve_tcp(&free.namespace, free.ip(), 12345);
    assert!(
        connect(from, (free.ip(), 12345)).is_ok(),
        "{family:?}: a guest without a group is open"
    );
    assert!(connection.still_carries(), "{family:?}: what stands, stands");
}

#[test]
fn the_members_of_a_group_that_is_a_source_come_and_go_within_two_seconds() {
    sandboxed(the_members_of_a_group_that_is_a_source_come_and_go_within_two_seconds, async {
        let mut world = World::new().await;
        let rules = json!([{"group": FRIENDS, "protocol": "tcp", "portStart": 80, "portEnd": 80}]);
        world.put_group(OPEN, rules).await;
        world.put_group(FRIENDS, json!([])).await;
        for family in FAMILIES {
            follow(&mut world, family).await;
        }
        world.finish().await;
    });
}

async fn follow(world: &mut World, family: Family) {
    const SOON: Duration = Duration::from_secs(2);
    let server = world.guest(1, family, json!(in_group(OPEN))).await;
    serve_tcp(&server.namespace, server.ip(), 80);
    let at = (server.ip(), 80);
    let stranger = world.guest(0, family, json!({})).await;
    assert_eq!(ask(&stranger.namespace, at), Answer::Refused, "{family:?}: it is in no group");

    let as_applied = table_handle(world);
    let friend = world.guest(0, family, json!(in_group(FRIENDS))).await;
    eventually_within(SOON, "a member that joined connects", async || {
        connect(&friend.namespace, at).map(drop).map_err(|answer| format!("{answer:?}"))
    })
    .await;
    assert!(knows(world, friend.ip()), "{family:?}: members stand in the tables of the other host");

    world.stage.store.delete(&Key::Guest(friend.id)).await;
    // Counted from when the operator has let go of it: what takes longer is the agent's deletion.
    world.stage.gone(&[friend.id]).await;
    eventually_within(SOON, "a member that left is forgotten", async || {
        if knows(world, friend.ip()) { Err("it is known yet".to_owned()) } else { Ok(()) }
    })
    .await;
    assert_ne!(knock(&friend.namespace, at), Answer::Open, "{family:?}");
    assert_eq!(
        table_handle(world),
        as_applied,
        "{family:?}: patches changed the tables there were"
    );
    eventually("the stranger is still refused", async || {
        let answer = ask(&stranger.namespace, at);
        if answer == Answer::Refused { Ok(()) } else { Err(format!("{answer:?}")) }
    })
    .await;
}

/// What the kernel calls the second host's table; another name is another table.
fn table_handle(world: &World) -> String {
    let listed = world.hosts[1].namespace.nft("-a list table inet lochness");
    listed.expect("it is there").lines().next().unwrap_or_default().to_owned()
}

/// Whether the second host's tables name the address.
fn knows(world: &World, ip: IpAddr) -> bool {
    let tables = world.hosts[1].tables().expect("they are there");
    tables.split([' ', ',', '\n', '\t']).any(|word| word == ip.to_string())
}
