//! Fields as the original wrote them: ids, addresses, ranges, hardware addresses.

use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::IpNetwork;
use serde_json::{Map, Value};

use super::Metadata;
use super::parse::{Faults, Fields};
use crate::keys::parse_uuid;
use crate::text::quote;
use crate::{Id, Mac};

/// Bits that precede an IPv4 address in its IPv6 form `::ffff:0:0/96`.
const MAPPED_BITS: u8 = 96;

impl Fields<'_> {
    /// The document's id: the key's. Another one in the document is a fault. `None` when the key's is no UUID.
    pub(super) fn own_id<K>(&mut self, key: &str, faults: &mut Faults) -> Option<Id<K>> {
        let own = match parse_uuid(key) {
            Ok(uuid) => Some(Id::new(uuid)),
            Err(reason) => {
                faults.push("", format!("the key's id: {reason}"));
                None
            }
        };
        let told = self.id("id", faults);
        if let (Some(own), Some(told)) = (own, told)
            && own != told
        {
            faults.push("id", format!("is {told}, but the key says {own}"));
        }
        own
    }

    /// A field that refers to another object, in any spelling that UUIDs have.
    pub(super) fn id<K>(&mut self, name: &str, faults: &mut Faults) -> Option<Id<K>> {
        self.parsed(name, faults, |text| {
            text.parse().map_err(|_| format!("{} is not a UUID", quote(text)))
        })
    }

    pub(super) fn ip(&mut self, name: &str, faults: &mut Faults) -> Option<IpAddr> {
        self.parsed(name, faults, parse_ip)
    }

    pub(super) fn range(&mut self, name: &str, faults: &mut Faults) -> Option<IpNetwork> {
        self.parsed(name, faults, parse_range)
    }

    pub(super) fn mac(&mut self, name: &str, faults: &mut Faults) -> Option<Mac> {
        self.parsed(name, faults, |text| {
            let mac: Mac = text.parse().map_err(|error| format!("{}: {error}", quote(text)))?;
            if mac.is_unusable() {
                return Err(format!("{mac} cannot be a nic's address: it names a group or nobody"));
            }
            Ok(mac)
        })
    }

    pub(super) fn string(&mut self, name: &str, faults: &mut Faults) -> Option<String> {
        self.text(name, faults).map(std::borrow::Cow::into_owned)
    }

    pub(super) fn metadata(&mut self, faults: &mut Faults) -> Metadata {
        self.object("metadata", faults)
            .map(|fields| Metadata::from_fields(fields, faults))
            .unwrap_or_default()
    }

    /// The metadata of a network or a subnet.
    pub(super) fn address_metadata(&mut self, faults: &mut Faults) -> Metadata {
        self.object("metadata", faults)
            .map(|fields| Metadata::of_addresses(fields, faults))
            .unwrap_or_default()
    }
}

/// Reads an address in any spelling that Go writes; an IPv4 address in IPv6 clothes becomes the IPv4 address.
pub(super) fn parse_ip(text: &str) -> Result<IpAddr, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(ip.to_canonical());
    }
    if let Some(plain) = without_leading_zeros(text) {
        return Err(format!(
            "{} has leading zeros, which some read as octal; write {plain} if that is meant",
            quote(text)
        ));
    }
    Err(format!("{} is not an IP address", quote(text)))
}

/// Reads a range `address/bits`; bits of the address behind the mask are cut off.
pub(super) fn parse_range(text: &str) -> Result<IpNetwork, String> {
    let Some((address, bits)) = text.split_once('/') else {
        return Err(match parse_ip(text) {
            Ok(ip) => format!("{} has no prefix length; write {ip}/{}", quote(text), width(ip)),
            Err(_) => format!("{} is not a range such as 10.0.0.0/24", quote(text)),
        });
    };
    let plain = !bits.is_empty() && bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
    let bits: u8 = bits
        .parse()
        .ok()
        .filter(|_| plain)
        .ok_or_else(|| format!("{} does not end in a prefix length", quote(text)))?;
    let ip = parse_ip(address)?;
    let bits = if ip.is_ipv4() && address.contains(':') {
        bits.checked_sub(MAPPED_BITS)
            .ok_or_else(|| format!("{} is larger than all of IPv4", quote(text)))?
    } else {
        bits
    };
    let range = IpNetwork::new(ip, bits)
        .map_err(|_| format!("{}: the prefix length is above {}", quote(text), width(ip)))?;
    Ok(masked(range))
}

/// The same range, its address being the first one.
fn masked(range: IpNetwork) -> IpNetwork {
    IpNetwork::new(range.network(), range.prefix()).expect("the prefix length is the same")
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn without_leading_zeros(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || part.len() > 8 || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then(|| octets.into())
}

/// A document on its way back to JSON: unknown fields first, known ones over them, what is not given left out.
pub(super) struct Writer(Map<String, Value>);

impl Writer {
    pub(super) fn new(other: &Map<String, Value>) -> Self {
        Self(other.clone())
    }

    pub(super) fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }

    pub(super) fn text(&mut self, name: &str, value: Option<impl ToString>) {
        if let Some(value) = value {
            self.put(name, value.to_string());
        }
    }

    pub(super) fn metadata(&mut self, metadata: &Metadata) {
        if !metadata.0.is_empty() {
            let fields: Map<_, _> = metadata
                .0
                .iter()
                .map(|(name, value)| (name.clone(), Value::String(value.clone())))
                .collect();
            self.put("metadata", fields);
        }
    }

    pub(super) fn finish(self) -> Value {
        Value::Object(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv4_address_is_one_address_in_every_spelling_that_go_writes() {
        for text in ["10.0.0.1", "::ffff:10.0.0.1", "::FFFF:a00:1"] {
            assert_eq!(parse_ip(text).unwrap().to_string(), "10.0.0.1");
        }
        assert_eq!(parse_ip("FD00:0::1").unwrap().to_string(), "fd00::1");
    }

    #[test]
    fn leading_zeros_are_refused_with_the_reason() {
        let reason = parse_ip("010.0.0.01").unwrap_err();
        assert!(reason.contains("leading zeros") && reason.contains("10.0.0.1"), "{reason}");
        for text in ["10.0.0", "10.0.0.256", "fe80::1%eth0", "1.2.3.4.5", "<nil>"] {
            assert!(parse_ip(text).unwrap_err().contains("not an IP address"), "{text}");
        }
    }

    #[test]
    fn a_range_is_masked_as_go_does() {
        for (text, range) in [
            ("10.0.0.7/24", "10.0.0.0/24"),
            ("::ffff:10.0.0.7/120", "10.0.0.0/24"),
            ("fd00::7/64", "fd00::/64"),
            ("0.0.0.0/0", "0.0.0.0/0"),
        ] {
            assert_eq!(parse_range(text).unwrap().to_string(), range);
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "10.0.0.0",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.0/+8",
            "/8",
            "::/129",
            "::ffff:1.2.3.4/90",
        ] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
