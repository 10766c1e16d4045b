//! From what a host's firewall depends on to one nftables ruleset. Pure.
//!
//! ```text
//!   table bridge lochness                          table inet lochness
//!   ln_prerouting                                  ln_forward
//!     a guest's port sends as that guest alone       what belongs to a flow that was let in: accept
//!     a guest's tagged frames bear its own tags      neighbour discovery, answers of DHCP:   accept
//!     a frame of a guest's hardware address          the destination is a guest's address:   its group's chain
//!     goes to ln_source, where only that             anything else is none of our business
//!     guest's addresses come through               ln_group_<id>
//!     a frame to a guest with a group goes to        the group's rules, the first that matches
//!     ln_target, where only what ln_forward          then ln_rest: reject
//!     judges comes through
//! ```
//!
//! Guarantees: the same input gives the same bytes, in whatever order it comes; names begin with `ln_`, in tables of our
//! own, which are replaced whole, and no name is in both; nothing that a user writes as text reaches the ruleset unless it
//! is a plain interface name. What the host itself sends and receives is not touched.
//!
//! Everything that comes and goes with guests is an element of a set or a map. The rest, the skeleton, depends on the rules
//! alone, and on which groups the host has guests of.

use std::collections::{BTreeMap, BTreeSet};

use ipnetwork::IpNetwork;
use lochness_api::document::{Action, PortRange, Protocol, Rule};
use lochness_api::{FwGroupId, Mac};

use super::content::Ruleset;
use super::input::{Input, LocalGuest};
use super::nft::{Skeleton, is_interface_name};
use crate::world::{Family, SetDigest};

/// What the names of guests' ports begin with, where the agent names them by their hardware address.
pub const PORT_PREFIX: &str = "lng";

/// The elements of the host's own sets, by their names.
type Own = BTreeMap<String, BTreeSet<String>>;

/// Compiles a host's ruleset.
pub fn compile(input: &Input<'_>) -> Ruleset {
    let mut text = Skeleton::default();
    for table in ["bridge lochness", "inet lochness"] {
        // The first line makes the second one work where there is no such table yet.
        text.line(format_args!("table {table}"));
        text.line(format_args!("delete table {table}"));
    }
    text.open(format_args!("table bridge lochness"));
    write_bridge(&mut text);
    text.close();
    text.open(format_args!("table inet lochness"));
    let members = write_members(&mut text, input);
    text.chain(
        "ln_rest",
        ["meta l4proto tcp reject with tcp reset", "reject with icmpx admin-prohibited"],
    );
    for (group, rules) in &input.groups {
        write_group(&mut text, *group, rules, input);
    }
    write_forward(&mut text);
    text.close();
    Ruleset::new(text.finish(), own_elements(&input.guests), members)
}

/// Which frames of guests come through: those with a port, tags and an address of their own, and what finding one takes.
fn write_bridge(text: &mut Skeleton) {
    text.place("set", "ln_macs", "type ether_addr");
    text.place("set", "ln_closed", "type ether_addr");
    for family in Family::BOTH {
        let of = format!("type ether_addr . {}", family.set_type());
        text.place("set", &format!("ln_source{}", family.digit()), &of);
    }
    text.place("set", "ln_vlans", "typeof ether saddr . vlan id");
    text.place("set", "ln_ports", "typeof iifname . ether saddr");
    text.chain(
        "ln_source",
        [
            // The kernel takes a tag off before it looks further, so these are about tagged frames as well.
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
        "ln_target",
        [
            "ether daddr . ip daddr @ln_source4 return",
            "ether daddr . ip6 daddr @ln_source6 return",
            "meta protocol arp return",
            "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert, nd-redirect } return",
            "udp sport 67 udp dport 68 return",
            "ip6 saddr fe80::/10 udp sport 547 udp dport 546 return",
            "drop",
        ],
    );
    text.chain(
        "ln_prerouting",
        [
            "type filter hook prerouting priority -300; policy accept;".to_owned(),
            format!("iifname \"{PORT_PREFIX}*\" iifname . ether saddr != @ln_ports drop"),
            "ether type 8021ad ether saddr @ln_macs drop".to_owned(),
            "ether type 8021ad ether daddr @ln_macs drop".to_owned(),
            "ether type 8021q ether saddr @ln_macs ether saddr . vlan id != @ln_vlans drop"
                .to_owned(),
            "ether type 8021q ether daddr @ln_macs ether daddr . vlan id != @ln_vlans drop"
                .to_owned(),
            "ether saddr @ln_macs jump ln_source".to_owned(),
            "ether daddr @ln_closed jump ln_target".to_owned(),
        ],
    );
}

/// Sets of the members of the groups that rules name.
fn write_members(
    text: &mut Skeleton,
    input: &Input<'_>,
) -> BTreeMap<String, (FwGroupId, Family, SetDigest)> {
    let mut sets = BTreeMap::new();
    for (group, members) in &input.members {
        for family in Family::BOTH {
            let name = members_set(*group, family);
            text.place("set", &name, &format!("type {}", family.set_type()));
            let digest = members.map(|members| members.digest(family)).unwrap_or_default();
            sets.insert(name, (*group, family, digest));
        }
    }
    sets
}

fn write_group(text: &mut Skeleton, group: FwGroupId, rules: &[Rule], input: &Input<'_>) {
    let mut lines = Vec::new();
    for (number, merged) in merge(rules).into_iter().enumerate() {
        let from_group = match merged.rule.group {
            // A rule about a group that does not exist is about nobody.
            Some(named) if !input.members.contains_key(&named) => continue,
            named => named,
        };
        let sources = merged.sources.map(|sources| {
            Family::BOTH.map(|family| write_source_set(text, group, number, family, &sources))
        });
        let end = end_of(merged.rule);
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
    text.chain(&chain_of(group), lines);
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
    text: &mut Skeleton,
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
    let of = format!("type {}; flags interval", family.set_type());
    text.fixed_set(&name, &of, &sources.iter().map(IpNetwork::to_string).collect());
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

fn chain_of(group: FwGroupId) -> String {
    format!("ln_group_{}", group.uuid().simple())
}

/// Sends what is for a guest to the chain of its group.
fn write_forward(text: &mut Skeleton) {
    let mut lines = vec![
        "type filter hook forward priority 0; policy accept;".to_owned(),
        "ct state established,related accept".to_owned(),
        "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept".to_owned(),
        // A guest that has no address yet has asked, which no flow remembers.
        "udp sport 67 udp dport 68 accept".to_owned(),
    ];
    for family in Family::BOTH {
        let (digit, word, of) = (family.digit(), family.word(), family.set_type());
        text.place("map", &format!("ln_shared{digit}"), &format!("type ifname . {of} : verdict"));
        text.place("map", &format!("ln_guests{digit}"), &format!("type {of} : verdict"));
        lines.push(format!("oifname . {word} daddr vmap @ln_shared{digit}"));
        lines.push(format!("{word} daddr vmap @ln_guests{digit}"));
    }
    text.chain("ln_forward", lines);
}

/// The elements that the host's own guests are.
fn own_elements(guests: &[LocalGuest]) -> Own {
    let (mut macs, mut closed, mut vlans, mut ports) = (vec![], vec![], vec![], vec![]);
    let mut pairs = [vec![], vec![]];
    for LocalGuest { ip, mac, vlans: tags, fwgroup, .. } in guests {
        let text = mac.to_string();
        pairs[usize::from(ip.is_ipv6())].push(format!("{text} . {ip}"));
        ports.push(format!("\"{}\" . {text}", port_name(*mac)));
        vlans.extend(tags.iter().map(|tag| format!("{text} . {tag}")));
        if fwgroup.is_some() {
            closed.push(text.clone());
        }
        macs.push(text);
    }
    let [source4, source6] = pairs;
    let Verdicts { shared: [shared4, shared6], guests: [guests4, guests6] } = verdicts(guests);
    let own = [
        ("ln_macs", macs),
        ("ln_closed", closed),
        ("ln_source4", source4),
        ("ln_source6", source6),
        ("ln_vlans", vlans),
        ("ln_ports", ports),
        ("ln_shared4", shared4),
        ("ln_shared6", shared6),
        ("ln_guests4", guests4),
        ("ln_guests6", guests6),
    ];
    // Collected once each: that sorts, and then builds from left to right.
    let collected = own.into_iter().map(|(name, all)| (name.to_owned(), all.into_iter().collect()));
    collected.collect()
}

/// Which chain judges what is for which address; IPv4 first.
#[derive(Default)]
struct Verdicts {
    /// By bridge and address.
    shared: [Vec<String>; 2],
    /// By address alone.
    guests: [Vec<String>; 2],
}

fn verdicts(guests: &[LocalGuest]) -> Verdicts {
    let mut verdicts = Verdicts::default();
    let mut sorted: Vec<&LocalGuest> = guests.iter().collect();
    sorted.sort_unstable();
    sorted.dedup();
    for guests in sorted.chunk_by(|one, other| one.ip == other.ip) {
        let ip = guests[0].ip;
        let family = usize::from(ip.is_ipv6());
        let target = guests[0].fwgroup;
        if guests.iter().all(|guest| guest.fwgroup == target) {
            let verdict = target.map(|group| format!("{ip} : goto {}", chain_of(group)));
            verdicts.guests[family].extend(verdict);
            continue;
        }
        // Guests of different networks may have one address: then the bridge tells them apart. Where that cannot be,
        // nothing new reaches either.
        verdicts.guests[family].push(format!("{ip} : goto ln_rest"));
        let mut by_bridge: BTreeMap<&str, BTreeSet<Option<FwGroupId>>> = BTreeMap::new();
        for guest in guests.iter().filter(|guest| is_interface_name(&guest.bridge)) {
            by_bridge.entry(&guest.bridge).or_default().insert(guest.fwgroup);
        }
        for (bridge, targets) in by_bridge {
            let mut targets = targets.into_iter();
            let verdict = match (targets.next(), targets.next()) {
                (Some(Some(group)), None) => format!("goto {}", chain_of(group)),
                (Some(None), None) => "accept".to_owned(),
                (_, _) => "goto ln_rest".to_owned(),
            };
            verdicts.shared[family].push(format!("\"{bridge}\" . {ip} : {verdict}"));
        }
    }
    verdicts
}

/// What the port of a guest is called, where the agent names it so: all that an interface's name has room for.
pub fn port_name(mac: Mac) -> String {
    format!("{PORT_PREFIX}{}", mac.to_string().replace(':', ""))
}
