//! From what a host's firewall depends on to one nftables ruleset. Pure.
//!
//! ```text
//!   table bridge lochness                          table inet lochness
//!   ln_prerouting                                  ln_forward
//!     a frame of a guest's hardware address          what belongs to a flow that was let in: accept
//!     goes to ln_source, where only that             neighbour discovery:                    accept
//!     guest's addresses come through                 the destination is a guest's address:   its group's chain
//!                                                    anything else is none of our business
//!                                                  ln_group_<id>
//!                                                    the group's rules, the first that matches
//!                                                    then ln_rest: reject
//! ```
//!
//! Guarantees: the same input gives the same bytes, in whatever order it comes; names begin with `ln_`, in tables of our
//! own, which are replaced whole; nothing that a user writes as text reaches the ruleset unless it is a plain interface
//! name. What the host itself sends and receives is not touched.
//!
//! Members of groups are named sets, so that members come and go without a change of rules. Sources of neighbouring rules
//! that say the same are one set.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use lochness_api::FwGroupId;
use lochness_api::document::{Action, PortRange, Protocol, Rule};
use sha2::{Digest as _, Sha256};

use super::input::{Input, LocalGuest};
use super::nft::{Family, Text, is_interface_name};

/// A ruleset and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// In nft's own language.
    pub text: String,
    /// SHA-256 of the text, in hex.
    pub hash: String,
}

/// Compiles a host's ruleset.
pub fn compile(input: &Input) -> Ruleset {
    let mut guests: Vec<&LocalGuest> = input.guests.iter().collect();
    guests.sort_unstable();
    let mut text = Text::default();
    for table in ["bridge lochness", "inet lochness"] {
        // The first line makes the second one work where there is no such table yet.
        text.line(format_args!("table {table}"));
        text.line(format_args!("delete table {table}"));
    }
    text.open(format_args!("table bridge lochness"));
    write_sources(&mut text, &guests);
    text.close();
    text.open(format_args!("table inet lochness"));
    write_members(&mut text, input);
    write_rest(&mut text);
    for (group, rules) in &input.groups {
        write_group(&mut text, *group, rules, &input.members);
    }
    write_forward(&mut text, &guests);
    text.close();
    let text = text.into_string();
    let hash = Sha256::digest(&text).iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    });
    Ruleset { text, hash }
}

/// Which frames of guests come through: those with an address of their own, and what finding one takes.
fn write_sources(text: &mut Text, guests: &[&LocalGuest]) {
    let macs: BTreeSet<_> = guests.iter().map(|guest| guest.mac.to_string()).collect();
    text.set("ln_macs", "ether_addr", "", macs);
    for family in Family::BOTH {
        let own = guests.iter().filter(|guest| family.has(guest.ip));
        let pairs: BTreeSet<_> = own.map(|guest| format!("{} . {}", guest.mac, guest.ip)).collect();
        let name = format!("ln_source{}", family.digit());
        text.set(&name, &format!("ether_addr . {}", family.set_type()), "", pairs);
    }
    text.chain(
        "ln_source",
        [
            "ether saddr . ip saddr @ln_source4 return",
            "ether saddr . arp saddr ip @ln_source4 return",
            "ether saddr . ip6 saddr @ln_source6 return",
            // Asking for an address, or whether it is free, happens without one.
            "ip saddr 0.0.0.0 udp sport 68 udp dport 67 return",
            "arp saddr ip 0.0.0.0 return",
            "ip6 saddr :: icmpv6 type { nd-neighbor-solicit, nd-router-solicit, mld2-listener-report } return",
            // Link-local addresses serve the link alone; a guest is no router.
            "ip6 saddr fe80::/10 icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld2-listener-report } return",
            "ip6 saddr fe80::/10 udp sport 546 udp dport 547 return",
            "drop",
        ],
    );
    text.chain(
        "ln_prerouting",
        [
            "type filter hook prerouting priority -300; policy accept;",
            "ether saddr @ln_macs jump ln_source",
        ],
    );
}

fn write_members(text: &mut Text, input: &Input) {
    for (group, members) in &input.members {
        for family in Family::BOTH {
            let own = members.iter().filter(|ip| family.has(**ip));
            let elements = own.map(IpAddr::to_string).collect::<Vec<_>>();
            text.set(&members_set(*group, family), family.set_type(), "", elements);
        }
    }
}

fn write_rest(text: &mut Text) {
    text.chain(
        "ln_rest",
        ["meta l4proto tcp reject with tcp reset", "reject with icmpx admin-prohibited"],
    );
}

fn write_group(
    text: &mut Text,
    group: FwGroupId,
    rules: &[Rule],
    members: &BTreeMap<FwGroupId, BTreeSet<IpAddr>>,
) {
    let mut lines = Vec::new();
    for (number, merged) in merge(rules).into_iter().enumerate() {
        let sources = merged.sources.map(|sources| {
            Family::BOTH.map(|family| write_source_set(text, group, number, family, &sources))
        });
        let end = end_of(merged.rule);
        let from_group = match merged.rule.group {
            // A rule about a group that does not exist is about nobody.
            Some(named) if !members.contains_key(&named) => continue,
            named => named,
        };
        if sources.is_none() && from_group.is_none() {
            lines.push(end);
            continue;
        }
        for (index, family) in Family::BOTH.into_iter().enumerate() {
            let source = match &sources {
                None => String::new(),
                Some(of_families) => match &of_families[index] {
                    None => continue,
                    Some(condition) => format!("{condition} "),
                },
            };
            let member = from_group.map_or_else(String::new, |named| {
                format!("{} saddr @{} ", family.word(), members_set(named, family))
            });
            lines.push(format!("{source}{member}{end}"));
        }
    }
    lines.push("goto ln_rest".to_owned());
    text.chain(&format!("ln_group_{}", group.uuid().simple()), lines);
}

/// Neighbouring rules that differ in their source alone.
struct Merged<'a> {
    rule: &'a Rule,
    sources: Option<Vec<IpNetwork>>,
}

fn merge(rules: &[Rule]) -> Vec<Merged<'_>> {
    let mut merged: Vec<Merged<'_>> = Vec::new();
    for rule in rules {
        let same = |former: &Rule| {
            (former.group, former.ports, former.protocol, former.action)
                == (rule.group, rule.ports, rule.protocol, rule.action)
        };
        if let Some(source) = rule.source
            && let Some(Merged { rule: former, sources: Some(sources) }) = merged.last_mut()
            && same(former)
        {
            sources.push(source);
            continue;
        }
        merged.push(Merged { rule, sources: rule.source.map(|source| vec![source]) });
    }
    merged
}

/// The condition that a packet of this family comes from one of the sources; `None` when none is of the family.
fn write_source_set(
    text: &mut Text,
    group: FwGroupId,
    number: usize,
    family: Family,
    sources: &[IpNetwork],
) -> Option<String> {
    let sources = disjoint(sources.iter().copied().filter(|source| family.has(source.ip())));
    if sources.is_empty() {
        return None;
    }
    if sources.iter().any(|source| source.prefix() == 0) {
        return Some(format!("meta nfproto {}", family.nfproto()));
    }
    let name = format!("ln_from{}_{}_{number}", family.digit(), group.uuid().simple());
    text.set(&name, family.set_type(), "interval", sources.iter().map(IpNetwork::to_string));
    Some(format!("{} saddr @{name}", family.word()))
}

/// The same addresses without ranges that lie in others: nft takes no overlapping ones.
fn disjoint(sources: impl Iterator<Item = IpNetwork>) -> Vec<IpNetwork> {
    let mut sources: Vec<_> = sources.collect();
    // A range comes right before those that lie in it.
    sources.sort_unstable_by_key(|source| (source.network(), source.prefix()));
    let mut kept: Vec<IpNetwork> = Vec::new();
    for source in sources {
        if !kept.last().is_some_and(|last| last.contains(source.network())) {
            kept.push(source);
        }
    }
    kept
}

/// The part of a rule that follows its source: what is carried, to which port, and what happens.
fn end_of(rule: &Rule) -> String {
    let action = match rule.action {
        Action::Accept => "accept",
        Action::Deny => "drop",
        Action::Reject => "goto ln_rest",
    };
    let matches = match (rule.protocol, rule.ports) {
        (None, _) => return action.to_owned(),
        (Some(Protocol::Tcp), Some(ports)) => format!("tcp dport {}", port_text(ports)),
        (Some(Protocol::Udp), Some(ports)) => format!("udp dport {}", port_text(ports)),
        (Some(Protocol::Tcp), None) => "meta l4proto tcp".to_owned(),
        (Some(Protocol::Udp), None) => "meta l4proto udp".to_owned(),
        (Some(Protocol::Icmp), _) => "meta nfproto ipv4 meta l4proto icmp".to_owned(),
        (Some(Protocol::Icmpv6), _) => "meta nfproto ipv6 meta l4proto ipv6-icmp".to_owned(),
    };
    format!("{matches} {action}")
}

fn port_text(ports: PortRange) -> String {
    if ports.start == ports.end {
        ports.start.to_string()
    } else {
        format!("{}-{}", ports.start, ports.end)
    }
}

fn members_set(group: FwGroupId, family: Family) -> String {
    format!("ln_members{}_{}", family.digit(), group.uuid().simple())
}

/// Sends what is for a guest to the chain of its group.
fn write_forward(text: &mut Text, guests: &[&LocalGuest]) {
    let mut by_address: BTreeMap<IpAddr, Vec<&LocalGuest>> = BTreeMap::new();
    for guest in guests {
        by_address.entry(guest.ip).or_default().push(guest);
    }
    let mut lines = vec![
        "type filter hook forward priority 0; policy accept;".to_owned(),
        "ct state established,related accept".to_owned(),
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned(),
    ];
    for family in Family::BOTH {
        let (mut own, mut shared) = (Vec::new(), BTreeMap::new());
        for (ip, guests) in by_address.iter().filter(|(ip, _)| family.has(**ip)) {
            let mut targets: Vec<_> = guests.iter().map(|guest| target(guest)).collect();
            targets.dedup();
            match targets.as_slice() {
                [None] => {}
                [Some(chain)] => own.push(format!("{ip} : goto {chain}")),
                _ => {
                    // Guests of different networks may have one address: then the bridge tells them apart. Where that
                    // cannot be, nothing new reaches either.
                    own.push(format!("{ip} : goto ln_rest"));
                    for guest in guests.iter().filter(|guest| is_interface_name(&guest.bridge)) {
                        let verdict = target(guest).map(|chain| format!("goto {chain}"));
                        let entry = shared
                            .entry((guest.bridge.as_str(), *ip))
                            .or_insert_with(|| verdict.clone());
                        if *entry != verdict {
                            *entry = Some("goto ln_rest".to_owned());
                        }
                    }
                }
            }
        }
        let shared: Vec<_> = shared
            .into_iter()
            .map(|((bridge, ip), verdict)| {
                format!("\"{bridge}\" . {ip} : {}", verdict.as_deref().unwrap_or("accept"))
            })
            .collect();
        let (digit, word) = (family.digit(), family.word());
        text.map(&format!("ln_shared{digit}"), &format!("ifname . {}", family.set_type()), shared);
        text.map(&format!("ln_guests{digit}"), family.set_type(), own);
        lines.push(format!("oifname . {word} daddr vmap @ln_shared{digit}"));
        lines.push(format!("{word} daddr vmap @ln_guests{digit}"));
    }
    text.chain("ln_forward", lines);
}

/// The chain that judges what reaches a guest.
fn target(guest: &LocalGuest) -> Option<String> {
    guest.fwgroup.map(|group| format!("ln_group_{}", group.uuid().simple()))
}
