//! The firewall group document: what may reach its guests.
//!
//! Documents of the original mean what they meant there: every rule accepts, a port of 0 is none, and an end without a
//! start begins at the lowest port. What the original could not load either, such as ports without a protocol, is a fault.

use std::fmt;

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, Fields, parse_object};
use super::{Document, Invalid, Kind, Metadata};
use crate::FwGroupId;
use crate::text::quote;

/// Rules for what may reach its guests, judged in their order: the first that matches decides, and what none matches is rejected.
#[derive(Debug, Clone, PartialEq)]
pub struct FwGroup {
    /// The key's id.
    pub id: FwGroupId,
    /// Name, labels and what else the user keeps there.
    pub metadata: Metadata,
    /// In the order in which they are judged.
    pub rules: Vec<Rule>,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

/// One rule. What is not given matches everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Where the traffic comes from. With a group, both must match.
    pub source: Option<IpNetwork>,
    /// The group whose guests the traffic comes from.
    pub group: Option<FwGroupId>,
    /// Ports at the guest; only with TCP or UDP.
    pub ports: Option<PortRange>,
    /// What is carried.
    pub protocol: Option<Protocol>,
    /// What happens.
    pub action: Action,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

/// Ports from `start` to `end`, both included; 1 ≤ start ≤ end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRange {
    /// The first.
    pub start: u16,
    /// The last.
    pub end: u16,
}

/// What an IP packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of IPv4.
    Icmp,
    /// ICMP of IPv6.
    Icmpv6,
}

/// What happens to what a rule matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Action {
    /// Let through.
    #[default]
    Accept,
    /// Drop silently.
    Deny,
    /// Drop and tell the sender.
    Reject,
}

impl Protocol {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
        }
    }

    /// Whether it has ports.
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp)
    }

    fn parse(text: &str) -> Result<Self, String> {
        [Self::Tcp, Self::Udp, Self::Icmp, Self::Icmpv6]
            .into_iter()
            .find(|protocol| text.eq_ignore_ascii_case(protocol.as_str()))
            .ok_or_else(|| {
                format!("must be tcp, udp, icmp, icmpv6 or not given, is {}", quote(text))
            })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Action {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accept => "accept",
            Self::Deny => "deny",
            Self::Reject => "reject",
        }
    }

    /// Reads a word; `allow` and `drop` are what the original's tools and nftables say for the first two.
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "accept" | "allow" => Ok(Self::Accept),
            "deny" | "drop" => Ok(Self::Deny),
            "reject" => Ok(Self::Reject),
            _ => Err(format!("must be accept, deny, reject or not given, is {}", quote(text))),
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Document for FwGroup {
    const KIND: Kind = Kind::FwGroup;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.metadata(&mut faults);
        let rules = fields.objects("rules", &mut faults);
        let rules = rules.into_iter().map(|fields| Rule::parse(fields, &mut faults)).collect();
        match id {
            Some(id) if faults.is_empty() => {
                Ok(Self { id, metadata, rules, other: fields.into_rest() })
            }
            _ => Err(faults.into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.metadata(&self.metadata);
        if !self.rules.is_empty() {
            writer.put("rules", self.rules.iter().map(Rule::to_json).collect::<Vec<_>>());
        }
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }
}

impl Rule {
    fn parse(mut fields: Fields<'_>, faults: &mut Faults) -> Self {
        let source = fields.range("source", faults);
        let group = fields.id("group", faults);
        let named = fields.text("protocol", faults);
        let protocol = named.as_deref().and_then(|text| match Protocol::parse(text) {
            Ok(protocol) => Some(protocol),
            Err(reason) => {
                faults.push(fields.path("protocol"), reason);
                None
            }
        });
        let ports = PortRange::parse(&mut fields, faults);
        match protocol {
            _ if ports.is_none() => {}
            Some(protocol) if protocol.has_ports() => {}
            Some(protocol) => {
                let reason = format!("{protocol} has no ports; leave portStart and portEnd out");
                faults.push(fields.path("protocol"), reason);
            }
            None if named.is_some() => {}
            None => faults.push(fields.path("protocol"), "ports need a protocol, tcp or udp"),
        }
        let action = fields.parsed("action", faults, Action::parse).unwrap_or_default();
        Self { source, group, ports, protocol, action, other: fields.into_rest() }
    }

    /// The rule as documents have it.
    pub(crate) fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.text("source", self.source);
        writer.text("group", self.group);
        if let Some(ports) = self.ports {
            writer.put("portStart", ports.start);
            writer.put("portEnd", ports.end);
        }
        writer.text("protocol", self.protocol);
        // Always written, so that no rule is an empty object that a reader takes for none.
        writer.put("action", self.action.as_str());
        writer.finish()
    }
}

impl PortRange {
    /// 0 is not given, as the original wrote it; an end that is not given is the start, and a start that is not given is
    /// the lowest port.
    fn parse(fields: &mut Fields<'_>, faults: &mut Faults) -> Option<Self> {
        let mut port = |name| {
            let number = fields.number(name, u64::from(u16::MAX), faults)?;
            u16::try_from(number).ok().filter(|port| *port > 0)
        };
        let (start, end) = (port("portStart"), port("portEnd"));
        match (start, end) {
            (None, None) => None,
            (Some(start), None) => Some(Self { start, end: start }),
            (Some(start), Some(end)) if start <= end => Some(Self { start, end }),
            (Some(start), Some(end)) => {
                faults.push(fields.path("portEnd"), format!("{end} lies before portStart {start}"));
                None
            }
            (None, Some(end)) => Some(Self { start: 1, end }),
        }
    }
}
