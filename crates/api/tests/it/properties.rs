//! What holds for all documents and keys, tried on many.

use lochness_api::document::{
    Flavor, FwGroup, Guest, Heartbeat, Hypervisor, Image, Network, Subnet, Vlan, VlanGroup,
    VlanTag, normalize,
};
use lochness_api::job::Job;
use lochness_api::status::GuestStatus;
use lochness_api::{Digest, Document, Id, Key, Kind, Prefix};
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use uuid::Uuid;

const ID: &str = "00000000-0000-4000-8000-000000000001";

/// Texts that some field takes, and some that none does.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => select(vec![
            "", ID, "00000000-0000-4000-8000-00000000000F", "10.0.0.1", "::ffff:10.0.0.1", "10.0.0.0/24", "fd00::/64",
            "fd00::5", "10.0.0.9", "02:00:00:00:00:0a", "02-AB-00-00-00-0A", "tcp", "udp", "deny", "running", "stopped",
            "on-failure", "http://x/y", "qcow2", "a=b,c=d", "010.0.0.1", "true", "5",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,12}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (0_u64..70_000).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-8_000_i32..8_000).prop_map(|eighths| json!(f64::from(eighths) / 8.0)),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            fields(inner).prop_map(Value::Object),
        ]
    })
}

fn fields(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        6 => select(vec![
            "metadata", "flavor", "image", "network", "subnet", "memory", "disk", "cpu", "cidr", "start", "end", "gateway",
            "rules", "source", "portStart", "portEnd", "protocol", "action", "ip", "mac", "state", "restart", "reboot",
            "name", "place", "total_resources", "available_resources", "description", "type", "hypervisor", "bridge", "fwgroup", "vlangroup", "sha256", "format",
        ]).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ];
    proptest::collection::vec((name, value), 0..8).prop_map(|fields| fields.into_iter().collect())
}

/// A document with its required fields right most of the time, so that many are accepted.
fn document() -> impl Strategy<Value = Map<String, Value>> {
    (fields(value()), any::<[bool; 4]>()).prop_map(|(mut fields, keep)| {
        let right = [
            ("flavor", json!(ID)),
            ("network", json!(ID)),
            ("image", json!(ID)),
            ("memory", json!(512)),
            ("cpu", json!(1)),
            ("cidr", json!("10.0.0.0/24")),
            ("source", json!("http://x/y")),
            ("metadata", json!({"name": "n", "e": ""})),
        ];
        if keep[0] {
            fields.extend(right.map(|(name, value)| (name.to_owned(), value)));
        }
        if keep[1] {
            for name in [
                "start",
                "end",
                "gateway",
                "total_resources",
                "ip",
                "mac",
                "state",
                "restart",
                "subnet",
            ] {
                fields.remove(name);
            }
        }
        if keep[2] {
            fields.retain(|_, value| value.is_string() || value.is_object() || value.is_u64());
        }
        if keep[3] {
            fields.remove("rules");
            fields.insert("rules".into(), json!([{"protocol": "tcp", "portStart": 1, "x": 0}, {}]));
        }
        fields
    })
}

fn round_trip<D: Document + PartialEq + std::fmt::Debug>(
    id: &str,
    value: &[u8],
) -> Result<(), TestCaseError> {
    if let Ok(document) = D::parse(id, value) {
        let again = D::parse(id, document.to_json().to_string().as_bytes());
        prop_assert_eq!(again.as_ref(), Ok(&document), "{}", document.to_json());
    }
    Ok(())
}

fn id<K>() -> impl Strategy<Value = Id<K>> {
    any::<u128>().prop_map(|bits| Id::new(Uuid::from_u128(bits)))
}

fn tag() -> impl Strategy<Value = VlanTag> {
    (1..=VlanTag::MAX).prop_map(|tag| VlanTag::new(tag).unwrap())
}

fn key() -> impl Strategy<Value = Key> {
    let segment = || "[^/]{1,8}";
    let other = select(vec![Kind::Network, Kind::Flavor, Kind::Image, Kind::VlanGroup]);
    prop_oneof![
        (id(), any::<std::net::IpAddr>()).prop_map(|(id, ip)| Key::Address(id, ip.to_canonical())),
        (id(), id(), id()).prop_flat_map(|(a, b, c)| select(vec![
            Key::Guest(a),
            Key::GuestStatus(a),
            Key::Hypervisor(b),
            Key::Heartbeat(b),
            Key::HypervisorStatus(b),
            Key::Placement(b, a),
            Key::Stale(b, a),
            Key::HypervisorSubnet(b, c),
            Key::Subnet(c),
            Key::SubnetStatus(c),
            Key::ClusterStatus,
            Key::Leader,
            Key::Incarnation,
        ])),
        (id(), id(), id(), id()).prop_flat_map(|(a, b, c, d)| select(vec![
            Key::Flavor(a),
            Key::Image(b),
            Key::Network(c),
            Key::Job(d),
        ])),
        (id(), id(), tag()).prop_flat_map(|(a, b, tag)| select(vec![
            Key::FwGroup(a),
            Key::FwGroupStatus(a),
            Key::VlanGroup(b),
            Key::VlanGroupMember(b, tag),
            Key::Vlan(tag),
            Key::KindStatus(Kind::Vlan, tag.to_string()),
        ])),
        (id(), segment()).prop_map(|(id, name)| Key::HypervisorConfig(id, name)),
        segment().prop_map(Key::Config),
        segment().prop_map(Key::ClusterEvent),
        (other, any::<u128>(), segment()).prop_map(|(kind, bits, reason)| Key::Event {
            kind,
            id: Uuid::from_u128(bits).to_string(),
            reason,
        }),
        any::<u128>()
            .prop_map(|bits| Key::KindStatus(Kind::Image, Uuid::from_u128(bits).to_string())),
    ]
}

/// The same value with the fields of its objects in another order and with things that are not given put in.
fn reworded(value: &Value, seed: &mut u64) -> String {
    match value {
        Value::Object(fields) => {
            let mut parts: Vec<_> = fields
                .iter()
                .map(|(name, value)| {
                    format!("{}:{}", Value::from(name.as_str()), reworded(value, seed))
                })
                .collect();
            for (index, nothing) in ["null", "\"\"", "{}", "[]", "{\"n\":null}"].iter().enumerate()
            {
                *seed = seed
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                if *seed >> 62 == 0 {
                    parts.push(format!("\"not given {index}\":{nothing}"));
                }
            }
            let by = usize::try_from(*seed >> 33).unwrap() % parts.len().max(1);
            parts.rotate_left(by);
            format!("{{{}}}", parts.join(","))
        }
        Value::Array(elements) => {
            let parts: Vec<_> = elements.iter().map(|element| reworded(element, seed)).collect();
            format!("[{}]", parts.join(","))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.to_string(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_a_document_or_faults(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for kind in Kind::ALL {
            let _ = normalize(kind, ID, &bytes);
        }
        let _ = Heartbeat::parse(&bytes);
        let _ = (GuestStatus::parse(&bytes).is_ok(), Job::parse(&bytes).is_ok());
        let _ = Prefix::new("").parse(&bytes);
    }

    #[test]
    fn any_document_cut_or_damaged_gives_a_document_or_faults(
        fields in document(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(),
    ) {
        let mut bytes = Value::Object(fields).to_string().into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if cut {
            bytes.truncate(at);
        }
        for kind in Kind::ALL {
            let _ = normalize(kind, ID, &bytes);
        }
    }

    #[test]
    fn parsing_undoes_writing(fields in document()) {
        let text = Value::Object(fields).to_string();
        let value = text.as_bytes();
        round_trip::<Guest>(ID, value)?;
        round_trip::<Hypervisor>(ID, value)?;
        round_trip::<Network>(ID, value)?;
        round_trip::<Subnet>(ID, value)?;
        round_trip::<Flavor>(ID, value)?;
        round_trip::<Image>(ID, value)?;
        round_trip::<FwGroup>(ID, value)?;
        round_trip::<Vlan>("7", value)?;
        round_trip::<VlanGroup>(ID, value)?;
    }

    #[test]
    fn parsing_a_key_undoes_building_it(key in key(), prefix in "/?[a-z]{0,4}") {
        let prefix = Prefix::new(prefix);
        let text = prefix.key(&key);
        prop_assert_eq!(prefix.parse(text.as_bytes()), Ok(key), "{}", text);
    }

    #[test]
    fn the_digest_does_not_move_with_order_or_with_what_is_not_given(fields in document(), seed in any::<u64>()) {
        let value = Value::Object(fields);
        let mut seed = seed;
        let other: Value = serde_json::from_str(&reworded(&value, &mut seed)).unwrap();
        prop_assert_eq!(Digest::of(&value), Digest::of(&other));
        if let Ok(guest) = Guest::parse(ID, value.to_string().as_bytes()) {
            let again = Guest::parse(ID, other.to_string().as_bytes()).map(|guest| Digest::of_guest(&guest));
            if let Ok(again) = again {
                prop_assert_eq!(Digest::of_guest(&guest), again);
            }
        }
    }
}
