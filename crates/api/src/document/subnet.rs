//! The subnet document: a range of addresses, and which of them guests may have.
//!
//! Nothing here enumerates addresses: all questions are answered by arithmetic, so that a /64 costs what a /30 does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, parse_object};
use super::{Document, FieldError, Invalid, Kind, Metadata};
use crate::{NetworkId, SubnetId};

/// A range of addresses.
#[derive(Debug, Clone, PartialEq)]
pub struct Subnet {
    /// The key's id.
    pub id: SubnetId,
    /// Name, labels and what else the user keeps there.
    pub metadata: Metadata,
    /// The network that it belongs to. Required.
    pub network: NetworkId,
    /// Never assigned to a guest.
    pub gateway: Option<IpAddr>,
    /// The whole range, its address being the first one. Required.
    pub cidr: IpNetwork,
    /// The first address that a guest may have; the first usable one when not given.
    pub start: IpAddr,
    /// The last address that a guest may have; the last usable one when not given.
    pub end: IpAddr,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

impl Subnet {
    /// Whether a guest may have this address: within `start` and `end`, and assignable.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.in_range(ip) && self.is_assignable(ip)
    }

    /// Whether the address may be a guest's at all: within the range, not the gateway, not the network's or (IPv4) the
    /// broadcast address. Ranges of one or two addresses have neither.
    pub fn is_assignable(&self, ip: IpAddr) -> bool {
        self.cidr.contains(ip) && Some(ip) != self.gateway && !self.reserved().contains(&Some(ip))
    }

    /// How many addresses guests may have.
    pub fn capacity(&self) -> u128 {
        let total = (number(self.end) - number(self.start)).saturating_add(1);
        let mut excluded = [self.reserved()[0], self.reserved()[1], self.gateway];
        excluded.sort_unstable();
        let mut taken = 0;
        for (index, ip) in excluded.iter().enumerate() {
            let doubled = index > 0 && excluded[index - 1] == *ip;
            if !doubled && ip.is_some_and(|ip| self.in_range(ip)) {
                taken += 1;
            }
        }
        total - taken
    }

    /// The mask as the original's agent wants it, such as `ffffff00`; none for IPv6.
    pub fn netmask_hex(&self) -> Option<String> {
        match self.cidr.mask() {
            IpAddr::V4(mask) => Some(format!("{:08x}", mask.to_bits())),
            IpAddr::V6(_) => None,
        }
    }

    /// Whether the two cannot both give addresses in one network: their ranges `cidr` have addresses in common. Two parts
    /// of one and the same `cidr` are no such case while `start` and `end` keep them apart and neither may give the other's
    /// gateway to a guest: that is how one link is shared out.
    pub fn overlaps(&self, other: &Self) -> bool {
        if self.cidr != other.cidr {
            return self.cidr.contains(other.cidr.network())
                || other.cidr.contains(self.cidr.network());
        }
        let gives = |subnet: &Self, gateway: Option<IpAddr>| {
            gateway.is_some_and(|gateway| subnet.contains(gateway))
        };
        (self.start <= other.end && other.start <= self.end)
            || gives(self, other.gateway)
            || gives(other, self.gateway)
    }

    fn in_range(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.start.is_ipv4() && self.start <= ip && ip <= self.end
    }

    fn reserved(&self) -> [Option<IpAddr>; 2] {
        reserved(self.cidr)
    }
}

impl Document for Subnet {
    const KIND: Kind = Kind::Subnet;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.address_metadata(&mut faults);
        let network = fields.id("network", &mut faults);
        fields.require("network", network.as_ref(), &mut faults);
        let cidr = fields.range("cidr", &mut faults);
        fields.require("cidr", cidr.as_ref(), &mut faults);
        let gateway = fields.ip("gateway", &mut faults);
        let start = fields.ip("start", &mut faults);
        let end = fields.ip("end", &mut faults);
        let (Some(id), Some(network), Some(cidr)) = (id, network, cidr) else {
            return Err(faults.into_invalid());
        };
        for (name, ip) in [("gateway", gateway), ("start", start), ("end", end)] {
            if let Some(ip) = ip
                && !cidr.contains(ip)
            {
                faults.push(name, format!("{ip} is not in {cidr}"));
            }
        }
        let (first, last) = usable(cidr);
        let (start, end) = (start.unwrap_or(first), end.unwrap_or(last));
        if faults.is_empty() && start > end {
            faults.push("end", format!("{end} lies before start {start}"));
        }
        if !faults.is_empty() {
            return Err(faults.into_invalid());
        }
        let other = fields.into_rest();
        Ok(Self { id, metadata, network, gateway, cidr, start, end, other })
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.metadata(&self.metadata);
        writer.put("network", self.network.to_string());
        writer.text("gateway", self.gateway);
        writer.put("cidr", self.cidr.to_string());
        writer.put("start", self.start.to_string());
        writer.put("end", self.end.to_string());
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }

    fn doubts(&self) -> Vec<FieldError> {
        self.metadata.parse_priority().err().into_iter().collect()
    }
}

/// The network's own address (in IPv6 that of all its routers, RFC 4291) and IPv4's broadcast address. A range of one or
/// two addresses is a host or a link and has neither (RFC 3021, RFC 6164).
fn reserved(cidr: IpNetwork) -> [Option<IpAddr>; 2] {
    match cidr {
        IpNetwork::V4(v4) if v4.prefix() <= 30 => {
            [Some(cidr.network()), Some(v4.broadcast().into())]
        }
        IpNetwork::V6(v6) if v6.prefix() <= 126 => [Some(cidr.network()), None],
        IpNetwork::V4(_) | IpNetwork::V6(_) => [None, None],
    }
}

/// The first and the last address that is not reserved.
fn usable(cidr: IpNetwork) -> (IpAddr, IpAddr) {
    let [network, broadcast] = reserved(cidr);
    let (first, last) = (cidr.network(), cidr.broadcast());
    (
        network.map_or(first, |_| address(number(first) + 1, first)),
        broadcast.map_or(last, |_| address(number(last) - 1, last)),
    )
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of a number, of the family of `like`.
fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => {
            Ipv4Addr::from_bits(u32::try_from(number).expect("stays within its range")).into()
        }
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const ID: &str = "00000000-0000-4000-8000-000000000001";

    fn parse(mut fields: Value) -> Result<Subnet, String> {
        fields["network"] = "00000000-0000-4000-8000-000000000002".into();
        Subnet::parse(ID, fields.to_string().as_bytes()).map_err(|invalid| invalid.to_string())
    }

    fn check(cidr: &str, start: &str, end: &str, capacity: u128) {
        let subnet = parse(json!({"cidr": cidr})).unwrap();
        let found = (subnet.start.to_string(), subnet.end.to_string(), subnet.capacity());
        assert_eq!(found, (start.to_owned(), end.to_owned(), capacity), "{cidr}");
    }

    #[test]
    fn without_start_and_end_all_usable_addresses_count() {
        check("10.0.0.9/24", "10.0.0.1", "10.0.0.254", 254);
        check("10.0.0.0/30", "10.0.0.1", "10.0.0.2", 2);
        check("10.0.0.0/31", "10.0.0.0", "10.0.0.1", 2);
        check("10.0.0.7/32", "10.0.0.7", "10.0.0.7", 1);
        check("0.0.0.0/0", "0.0.0.1", "255.255.255.254", (1 << 32) - 2);
        check("fd00::/64", "fd00::1", "fd00::ffff:ffff:ffff:ffff", (1 << 64) - 1);
        check("fd00::/127", "fd00::", "fd00::1", 2);
        check("::/0", "::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", u128::MAX);
    }

    #[test]
    fn gateway_network_and_broadcast_are_nobodys() {
        let subnet = parse(json!({
            "cidr": "10.0.0.0/24", "start": "10.0.0.0", "end": "10.0.0.255", "gateway": "::ffff:10.0.0.1",
        }))
        .unwrap();
        let assignable = |text: &str| subnet.contains(text.parse().unwrap());
        assert!(assignable("10.0.0.2") && assignable("10.0.0.254"));
        for text in ["10.0.0.0", "10.0.0.1", "10.0.0.255", "10.0.1.1", "fd00::1"] {
            assert!(!assignable(text), "{text}");
        }
        assert_eq!((subnet.capacity(), subnet.netmask_hex().as_deref()), (253, Some("ffffff00")));
    }

    #[test]
    fn a_gateway_that_is_reserved_anyway_is_counted_once() {
        let subnet =
            parse(json!({"cidr": "10.0.0.0/24", "start": "10.0.0.0", "gateway": "10.0.0.0"}));
        assert_eq!(subnet.unwrap().capacity(), 254);
    }

    #[test]
    fn two_subnets_overlap_by_their_ranges_unless_they_are_parts_of_one() {
        let subnet = |fields: Value| parse(fields).unwrap();
        let whole = subnet(json!({"cidr": "10.0.0.0/24"}));
        let low = subnet(json!({"cidr": "10.0.0.0/24", "end": "10.0.0.99", "gateway": "10.0.0.1"}));
        let high = |more: Value| {
            let mut fields = json!({"cidr": "10.0.0.0/24", "start": "10.0.0.100"});
            fields.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            subnet(fields)
        };
        let half = subnet(json!({"cidr": "10.0.0.128/25", "start": "10.0.0.200"}));
        let next = subnet(json!({"cidr": "10.0.1.0/24"}));
        let other_family = subnet(json!({"cidr": "::a00:0/120"}));
        let check = |a: &Subnet, b: &Subnet, expected: bool| {
            assert_eq!((a.overlaps(b), b.overlaps(a)), (expected, expected), "{a:?} {b:?}");
        };
        check(&whole, &low, true);
        check(&low, &high(json!({})), false);
        check(&low, &high(json!({"gateway": "10.0.0.1"})), false);
        check(&low, &high(json!({"gateway": "10.0.0.2"})), true);
        check(&low, &half, true);
        check(&whole, &next, false);
        check(&whole, &other_family, false);
    }

    #[test]
    fn a_priority_that_is_no_number_is_a_doubt_and_counts_as_none() {
        let subnet = |priority: &str| {
            parse(json!({"cidr": "10.0.0.0/24", "metadata": {"priority": priority, "place": "x"}}))
                .expect("no word of its metadata spoils a subnet")
        };
        assert_eq!((subnet("7").metadata.priority(), subnet("7").doubts().len()), (7, 0));
        assert_eq!((subnet("first").metadata.priority(), subnet("first").doubts().len()), (0, 1));
    }

    #[test]
    fn what_contradicts_itself_is_told_all_at_once() {
        assert_eq!(
            parse(
                json!({"cidr": "10.0.0.0/24", "start": "10.0.1.1", "end": "fd00::1", "gateway": "10.0.1.2"})
            ),
            Err("gateway: 10.0.1.2 is not in 10.0.0.0/24; start: 10.0.1.1 is not in 10.0.0.0/24; \
                end: fd00::1 is not in 10.0.0.0/24"
                .into())
        );
        assert_eq!(
            parse(json!({"cidr": "10.0.0.0/24", "start": "10.0.0.9", "end": "10.0.0.8"})),
            Err("end: 10.0.0.8 lies before start 10.0.0.9".into())
        );
        assert_eq!(parse(json!({"cidr": null})), Err("cidr: required, not given".into()));
    }
}
