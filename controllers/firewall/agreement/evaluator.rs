//! What the documents say of a packet, as a person would read them.

#![allow(clippy::match_same_arms, reason = "every line is a rule of its own")]

use std::collections::BTreeSet;
use std::net::IpAddr;

use lochness_api::document::{Action, Protocol, Rule};
use lochness_api::{FwGroupId, Mac};

use super::{Body, Carried, Packet, Tag, Verdict};
use crate::firewall::compile::port_name;
use crate::firewall::facts::Facts;
use crate::firewall::input::LocalGuest;
use crate::firewall::nft::is_interface_name;

/// What the documents say of a packet.
pub(super) fn judge(facts: &Facts, packet: &Packet) -> Verdict {
    let with = |mac: Mac| facts.guests.iter().filter(move |guest| guest.mac == mac);
    let (senders, targets): (Vec<_>, Vec<_>) =
        (with(packet.from).collect(), with(packet.to).collect());
    let is_its_port = |guest: &&LocalGuest| port_name(guest.mac) == packet.port;
    if packet.port.starts_with("lng") && !senders.iter().any(is_its_port) {
        return Verdict::Dropped;
    }
    for guests in [&senders, &targets] {
        if !guests.is_empty() && !tag_is_theirs(packet.tag, guests) {
            return Verdict::Dropped;
        }
    }
    if !senders.is_empty() && !may_send(&packet.body, &senders) {
        return Verdict::Dropped;
    }
    if targets.iter().any(|guest| guest.fwgroup.is_some()) && !may_reach(&packet.body, &targets) {
        return Verdict::Dropped;
    }
    let Body::Ip { source, destination, carried } = packet.body else { return Verdict::Passed };
    let finds_neighbours =
        matches!(carried, Carried::Icmpv6("nd-neighbor-solicit" | "nd-neighbor-advert"));
    if packet.established || finds_neighbours || is_dhcp_answer(carried) {
        return Verdict::Passed;
    }
    match groups_of(facts, destination, &packet.bridge) {
        Judges::NoGuest | Judges::Open => Verdict::Passed,
        Judges::Unclear => Verdict::Rejected,
        Judges::Group(group) => by_rules(facts, &facts.groups[&group], source, carried),
    }
}

fn tag_is_theirs(tag: Option<Tag>, guests: &[&LocalGuest]) -> bool {
    match tag {
        None => true,
        Some(Tag::Service) => false,
        Some(Tag::Customer(tag)) => guests.iter().any(|guest| guest.vlans.contains(&tag)),
    }
}

/// A guest sends from its own address, or what it takes to find one.
fn may_send(body: &Body, senders: &[&LocalGuest]) -> bool {
    let is_own = |ip: IpAddr| senders.iter().any(|guest| guest.ip == ip);
    match *body {
        Body::Arp { sender } => is_own(sender) || sender.is_unspecified(),
        Body::Other => false,
        Body::Ip { source, carried, .. } => {
            let finds = match carried {
                Carried::Udp { from: 68, to: 67 } => source.is_ipv4() && source.is_unspecified(),
                Carried::Udp { from: 546, to: 547 } => is_link_local(source),
                Carried::Icmpv6(
                    "nd-neighbor-solicit" | "nd-router-solicit" | "mld2-listener-report",
                ) => source == IpAddr::from([0_u16; 8]) || is_link_local(source),
                Carried::Icmpv6("nd-neighbor-advert") => is_link_local(source),
                _ => false,
            };
            is_own(source) || finds
        }
    }
}

/// A guest with a group is reached at its own address, where its group judges, or by what it takes to live on a link.
fn may_reach(body: &Body, targets: &[&LocalGuest]) -> bool {
    match *body {
        Body::Arp { .. } => true,
        Body::Other => false,
        Body::Ip { source, destination, carried } => {
            let serves_link = match carried {
                Carried::Icmpv6(word) => word.starts_with("nd-") && word != "nd-router-solicit",
                Carried::Udp { from: 547, to: 546 } => is_link_local(source),
                _ => is_dhcp_answer(carried),
            };
            serves_link || targets.iter().any(|guest| guest.ip == destination)
        }
    }
}

fn is_dhcp_answer(carried: Carried) -> bool {
    carried == Carried::Udp { from: 67, to: 68 }
}

fn is_link_local(ip: IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

enum Judges {
    NoGuest,
    Open,
    Group(FwGroupId),
    Unclear,
}

/// Who judges what is for an address: the group of the guest that has it, or, of several, of the one on the bridge.
fn groups_of(facts: &Facts, ip: IpAddr, bridge: &str) -> Judges {
    let all: Vec<_> = facts.guests.iter().filter(|guest| guest.ip == ip).collect();
    let one = |guests: &[&LocalGuest]| {
        let groups: BTreeSet<_> = guests.iter().map(|guest| guest.fwgroup).collect();
        (groups.len() == 1).then(|| groups.into_iter().next().unwrap())
    };
    let here: Vec<_> = all.iter().copied().filter(|guest| guest.bridge == bridge).collect();
    match one(&all).or_else(|| one(&here).filter(|_| is_interface_name(bridge))) {
        _ if all.is_empty() => Judges::NoGuest,
        Some(Some(group)) => Judges::Group(group),
        Some(None) => Judges::Open,
        None => Judges::Unclear,
    }
}

/// The first rule that matches decides; what none matches is rejected.
fn by_rules(facts: &Facts, rules: &[Rule], source: IpAddr, carried: Carried) -> Verdict {
    for rule in rules {
        let from = rule.source.is_none_or(|range| range.contains(source));
        let member = rule.group.is_none_or(|group| {
            facts.members.get(&group).is_some_and(|members| members.contains(&source))
        });
        let fits = match (rule.protocol, carried) {
            (None, _) => true,
            (Some(Protocol::Tcp), Carried::Tcp { to })
            | (Some(Protocol::Udp), Carried::Udp { to, .. }) => {
                rule.ports.is_none_or(|ports| ports.start <= to && to <= ports.end)
            }
            (Some(Protocol::Icmp), Carried::Icmp)
            | (Some(Protocol::Icmpv6), Carried::Icmpv6(_)) => true,
            (Some(_), _) => false,
        };
        if from && member && fits {
            return match rule.action {
                Action::Accept => Verdict::Passed,
                Action::Deny => Verdict::Dropped,
                Action::Reject => Verdict::Rejected,
            };
        }
    }
    Verdict::Rejected
}
