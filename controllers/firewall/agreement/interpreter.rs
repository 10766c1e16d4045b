//! What nft would do with a ruleset: the few words of its language that the compiler writes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnetwork::IpNetwork;

use super::{Body, Carried, Packet, Tag, Verdict};

/// A ruleset as nft reads it: sets and maps with their elements, and chains with their lines.
#[derive(Debug, Default)]
pub(in crate::firewall) struct Rules {
    sets: BTreeMap<String, BTreeSet<String>>,
    chains: BTreeMap<String, Vec<String>>,
}

impl Rules {
    pub(in crate::firewall) fn parse(text: &str) -> Self {
        let mut rules = Self::default();
        let mut lines = text.lines().map(str::trim);
        while let Some(line) = lines.next() {
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["set" | "map", name, "{"] => {
                    let elements = elements_of(&mut lines);
                    assert!(rules.sets.insert((*name).to_owned(), elements).is_none(), "{name}");
                }
                ["chain", name, "{"] => {
                    let body = lines.by_ref().take_while(|line| *line != "}").map(str::to_owned);
                    let body = body.collect();
                    assert!(rules.chains.insert((*name).to_owned(), body).is_none(), "{name}");
                }
                _ => {}
            }
        }
        rules
    }

    /// The elements of every set and map.
    pub(in crate::firewall) fn elements(self) -> BTreeMap<String, BTreeSet<String>> {
        self.sets
    }

    pub(super) fn run(&self, packet: &Packet) -> Verdict {
        match self.chain("ln_prerouting", packet) {
            Some(Verdict::Dropped) => return Verdict::Dropped,
            Some(verdict @ Verdict::Rejected) => panic!("a bridge does not say {verdict:?}"),
            Some(Verdict::Passed) | None => {}
        }
        match packet.body {
            Body::Ip { .. } => self.chain("ln_forward", packet).unwrap_or(Verdict::Passed),
            Body::Arp { .. } | Body::Other => Verdict::Passed,
        }
    }

    /// What a chain says; `None` when it comes to its end.
    fn chain(&self, name: &str, packet: &Packet) -> Option<Verdict> {
        for line in &self.chains[name] {
            let words: Vec<&str> = line.split_whitespace().collect();
            if words.first() == Some(&"type") {
                continue;
            }
            let Some(rest) = self.matched(&words, packet) else { continue };
            match rest.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["accept"] => return Some(Verdict::Passed),
                ["drop"] => return Some(Verdict::Dropped),
                ["reject", "with", ..] => return Some(Verdict::Rejected),
                ["return"] => return None,
                ["goto", chain] => return self.chain(chain, packet),
                ["jump", chain] => {
                    if let Some(verdict) = self.chain(chain, packet) {
                        return Some(verdict);
                    }
                }
                other => panic!("{other:?} of {line}"),
            }
        }
        None
    }

    /// The verdict of a line whose conditions all hold.
    fn matched(&self, words: &[&str], packet: &Packet) -> Option<Vec<String>> {
        let mut words = words;
        loop {
            if ["accept", "drop", "reject", "return", "goto", "jump"].contains(&words[0]) {
                return Some(words.iter().map(|word| (*word).to_owned()).collect());
            }
            let mut values = Vec::new();
            loop {
                let (value, used) = field(words, packet);
                values.push(value);
                words = &words[used..];
                if words[0] != "." {
                    break;
                }
                words = &words[1..];
            }
            // What the packet does not have matches nothing, not even "not".
            let value = values.into_iter().collect::<Option<Vec<_>>>()?.join(" . ");
            if words[0] == "vmap" {
                let map = &self.sets[words[1].trim_start_matches('@')];
                let element = map.iter().find_map(|element| {
                    let (key, verdict) = element.split_once(" : ")?;
                    (unquoted(key) == value).then(|| verdict.to_owned())
                })?;
                return Some(element.split_whitespace().map(str::to_owned).collect());
            }
            let negated = words[0] == "!=";
            words = &words[usize::from(negated)..];
            let holds = match words[0] {
                "{" => {
                    let end = words.iter().position(|word| *word == "}").unwrap();
                    let all = words[1..end].iter().map(|word| word.trim_end_matches(','));
                    let holds = all.into_iter().any(|one| one == value);
                    words = &words[end..];
                    holds
                }
                set if set.starts_with('@') => {
                    self.sets[&set[1..]].iter().any(|element| is_in(&value, element))
                }
                list => list.split(',').any(|one| is_in(&value, one)),
            };
            words = &words[1..];
            if holds == negated {
                return None;
            }
        }
    }
}

/// The lines of a declaration up to its end, and the elements among them.
fn elements_of<'a>(lines: &mut impl Iterator<Item = &'a str>) -> BTreeSet<String> {
    let mut elements = BTreeSet::new();
    let mut inside = false;
    for line in lines {
        match line {
            "}" if inside => inside = false,
            "}" => return elements,
            "elements = {" => inside = true,
            element if inside => {
                let new = elements.insert(element.trim_end_matches(',').to_owned());
                assert!(new, "{element} twice");
            }
            _ => {}
        }
    }
    panic!("a declaration has an end");
}

fn unquoted(text: &str) -> String {
    text.replace('"', "")
}

/// Whether a value is what is written: itself, or in a range of addresses, ports or names.
fn is_in(value: &str, written: &str) -> bool {
    let written = unquoted(written);
    if let Some(beginning) = written.strip_suffix('*') {
        return value.starts_with(beginning);
    }
    if let (Ok(ip), Ok(range)) = (value.parse::<IpAddr>(), written.parse::<IpNetwork>()) {
        return range.contains(ip);
    }
    if let (Ok(port), Some((start, end))) = (value.parse::<u16>(), written.split_once('-')) {
        return (start.parse().unwrap()..=end.parse().unwrap()).contains(&port);
    }
    value == written
}

/// A field of a packet, if it has it, and how many words name it.
fn field(words: &[&str], packet: &Packet) -> (Option<String>, usize) {
    let (source, destination, carried) = match &packet.body {
        Body::Ip { source, destination, carried } => {
            (Some(*source), Some(*destination), Some(*carried))
        }
        Body::Arp { .. } | Body::Other => (None, None, None),
    };
    let of =
        |ip: Option<IpAddr>, v4: bool| ip.filter(|ip| ip.is_ipv4() == v4).map(|ip| ip.to_string());
    let value = match words {
        ["iifname", ..] => return (Some(packet.port.clone()), 1),
        ["oifname", ..] => return (Some(packet.bridge.clone()), 1),
        ["arp", "saddr", "ip", ..] => {
            let sender = match packet.body {
                Body::Arp { sender } => Some(sender.to_string()),
                Body::Ip { .. } | Body::Other => None,
            };
            return (sender, 3);
        }
        ["ether", "saddr", ..] => Some(packet.from.to_string()),
        ["ether", "daddr", ..] => Some(packet.to.to_string()),
        ["ether", "type", ..] => Some(match (packet.tag, &packet.body) {
            (Some(Tag::Customer(_)), _) => "8021q".to_owned(),
            (Some(Tag::Service), _) => "8021ad".to_owned(),
            (None, body) => format!("{body:?}"),
        }),
        ["vlan", "id", ..] => match packet.tag {
            Some(Tag::Customer(tag)) => Some(tag.to_string()),
            Some(Tag::Service) | None => None,
        },
        ["ip", "saddr", ..] => of(source, true),
        ["ip", "daddr", ..] => of(destination, true),
        ["ip6", "saddr", ..] => of(source, false),
        ["ip6", "daddr", ..] => of(destination, false),
        ["tcp", "dport", ..] => match carried {
            Some(Carried::Tcp { to }) => Some(to.to_string()),
            _ => None,
        },
        ["udp", side, ..] => match carried {
            Some(Carried::Udp { from, to }) => {
                Some(if *side == "sport" { from } else { to }.to_string())
            }
            _ => None,
        },
        ["icmpv6", "type", ..] => match carried {
            Some(Carried::Icmpv6(word)) => Some(word.to_owned()),
            _ => None,
        },
        ["meta", "protocol", ..] => {
            Some(if matches!(packet.body, Body::Arp { .. }) { "arp" } else { "other" }.to_owned())
        }
        ["meta", "nfproto", ..] => {
            source.map(|ip| if ip.is_ipv4() { "ipv4" } else { "ipv6" }.to_owned())
        }
        ["meta", "l4proto", ..] => carried.map(|carried| {
            let word = match carried {
                Carried::Tcp { .. } => "tcp",
                Carried::Udp { .. } => "udp",
                Carried::Icmp => "icmp",
                Carried::Icmpv6(_) => "ipv6-icmp",
                Carried::Other => "sctp",
            };
            word.to_owned()
        }),
        ["ct", "state", ..] => {
            Some(if packet.established { "established" } else { "new" }.to_owned())
        }
        other => panic!("no field: {other:?}"),
    };
    (value, 2)
}
