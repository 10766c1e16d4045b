//! Documents as the original wrote them, and as nobody should.

use lochness_api::document::{
    Action, DesiredState, Flavor, FwGroup, Guest, Hypervisor, Image, Network, PortRange, Protocol,
    Resources, RestartPolicy, Subnet, Vlan, VlanGroup,
};
use lochness_api::{Document, Kind};
use serde_json::{Value, json};

const ID: &str = "00000000-0000-4000-8000-000000000001";
const OTHER: &str = "00000000-0000-4000-8000-000000000002";

fn parse<D: Document>(value: &Value) -> D {
    D::parse(ID, value.to_string().as_bytes()).unwrap_or_else(|invalid| panic!("{invalid}"))
}

fn refused<D: Document>(value: &Value) -> String {
    match D::parse(ID, value.to_string().as_bytes()) {
        Ok(document) => panic!("accepted as {}", document.to_json()),
        Err(invalid) => invalid.to_string(),
    }
}

/// What the original's `cguestd` put: every field there, `""` and `null` for what is not given.
fn original_guest() -> Value {
    json!({
        "id": ID, "metadata": null, "type": "kvm", "flavor": OTHER, "hypervisor": "", "network": OTHER,
        "subnet": "", "fwgroup": "", "vlangroup": "", "mac": "", "ip": "", "bridge": "",
    })
}

#[test]
fn a_guest_of_the_original_is_read() {
    let guest: Guest = parse(&original_guest());
    assert_eq!(guest.guest_type.as_deref(), Some("kvm"));
    assert_eq!((guest.hypervisor, guest.subnet, guest.mac, guest.ip), (None, None, None, None));
    assert_eq!((guest.state, guest.restart), (DesiredState::Running, RestartPolicy::Always));
    assert!(guest.metadata.0.is_empty() && guest.other.is_empty());
}

#[test]
fn what_the_original_wrote_back_is_read_in_any_spelling() {
    let mut document = original_guest();
    document["id"] = ID.to_uppercase().into();
    document["mac"] = "02-AB-cd-00-11-FF".into();
    document["ip"] = "::ffff:10.0.0.1".into();
    document["hypervisor"] = OTHER.replace('-', "").into();
    let guest: Guest = parse(&document);
    assert_eq!(guest.effective_mac().to_string(), "02:ab:cd:00:11:ff");
    assert_eq!(guest.ip.unwrap().to_string(), "10.0.0.1");
    assert_eq!(guest.to_json()["hypervisor"], OTHER);
}

#[test]
fn unknown_fields_survive_a_round_trip() {
    let mut document = original_guest();
    document["vnc"] = json!({"port": 5901, "on": null, "list": [1, {"x": ""}]});
    let guest: Guest = parse(&document);
    assert_eq!(guest.to_json()["vnc"], document["vnc"]);
    assert_eq!(parse::<Guest>(&guest.to_json()), guest);
}

#[test]
fn all_faults_of_a_guest_are_told_at_once() {
    let document = json!({
        "id": OTHER, "metadata": {"n": 1, "priority": "high"}, "type": 7, "hypervisor": "host-1", "mac": "ff:ff:ff:ff:ff:ff",
        "ip": "10.0.0.256", "state": "on", "restart": "sometimes",
    });
    assert_eq!(
        refused::<Guest>(&document),
        [
            "id: is 00000000-0000-4000-8000-000000000002, but the key says 00000000-0000-4000-8000-000000000001",
            "metadata.\"n\": must be a text, is a number",
            "metadata.priority: must be a whole number from -2147483648 to 2147483647",
            "type: must be a text, is a number",
            "flavor: required, not given",
            "hypervisor: \"host-1\" is not a UUID",
            "mac: ff:ff:ff:ff:ff:ff cannot be a nic's address: it names a group or nobody",
            "ip: \"10.0.0.256\" is not an IP address",
            "state: must be running, stopped or suspended, is \"on\"",
            "restart: must be always, on-failure or never, is \"sometimes\"",
            "network: required, not given",
        ]
        .join("; ")
    );
}

#[test]
fn a_guest_names_a_network_or_a_subnet() {
    parse::<Guest>(&json!({"flavor": OTHER, "subnet": OTHER}));
    assert_eq!(refused::<Guest>(&json!({"flavor": OTHER})), "network: required, not given");
}

#[test]
fn a_flavor_is_read_and_its_numbers_are_judged() {
    let flavor: Flavor =
        parse(&json!({"image": OTHER, "memory": 1024.0, "disk": 0, "cpu": 2, "metadata": {}}));
    assert_eq!(flavor.resources(), Resources { memory: 1024, disk: 0, cpu: 2 });
    assert_eq!(
        refused::<Flavor>(&json!({"memory": -1, "disk": 0.5, "cpu": 0})),
        "image: required, not given; memory: must be a whole number from 0 to 1099511627776, is -1; \
         disk: must be a whole number from 0 to 1099511627776, is 0.5; cpu: must be at least 1"
    );
    for number in ["9223372036854775808", "18446744073709551616", "1e300", "1e400", "\"1\""] {
        let text = format!(r#"{{"image":"{OTHER}","memory":{number},"cpu":1}}"#);
        assert!(Flavor::parse(ID, text.as_bytes()).is_err(), "{number}");
    }
}

#[test]
fn an_image_needs_a_source_and_its_digest_is_lower_case() {
    let digest = "A".repeat(64);
    let image: Image =
        parse(&json!({"source": "http://x/y.raw", "sha256": digest, "format": "raw"}));
    assert_eq!(image.sha256, Some(digest.to_lowercase()));
    assert_eq!(
        refused::<Image>(&json!({"source": "/etc/passwd", "sha256": "x", "format": "iso"})),
        "source: must be a URL such as http://images.example/debian.qcow2; \
         sha256: must be 64 hex digits, is \"x\"; format: must be raw or qcow2, is \"iso\""
    );
}

#[test]
fn a_firewall_group_of_the_original_is_read() {
    let group: FwGroup = parse(&json!({"id": ID, "metadata": {}, "rules": [
        {"source": "192.168.1.7/24", "portStart": 80, "portEnd": 0, "protocol": "TCP", "action": "allow"},
        {"group": OTHER, "portStart": 0, "portEnd": 0, "protocol": "", "action": ""},
        {"portEnd": 1024, "protocol": "udp"},
    ]}));
    let [first, second, third] = group.rules.as_slice() else { panic!("{group:?}") };
    assert_eq!(third.ports, Some(PortRange { start: 1, end: 1024 }), "from the lowest on");
    assert_eq!(first.source.unwrap().to_string(), "192.168.1.0/24");
    assert_eq!(first.ports, Some(PortRange { start: 80, end: 80 }));
    assert_eq!((first.protocol, first.action), (Some(Protocol::Tcp), Action::Accept));
    assert_eq!(second.group, Some(OTHER.parse().unwrap()));
    assert_eq!((second.ports, second.protocol, second.action), (None, None, Action::Accept));
    assert!(parse::<FwGroup>(&json!({"rules": null})).rules.is_empty());
    assert_eq!(parse::<FwGroup>(&group.to_json()), group);
}

#[test]
fn contradictory_rules_are_refused_with_their_places() {
    let rules = json!({"rules": [
        {"portStart": 80}, {"portStart": 9, "portEnd": 8, "protocol": "tcp"}, {"protocol": "udp"},
        {"portStart": 1, "protocol": "icmp"}, {"portStart": 65536, "protocol": "tcp"},
        {"source": "0.0.0.0/0", "group": OTHER}, {"protocol": "gre", "action": "maybe", "source": "10.0.0.1"}, 7,
    ]});
    assert_eq!(
        refused::<FwGroup>(&rules),
        [
            "rules[7]: must be an object, is a number",
            "rules[0].protocol: ports need a protocol, tcp or udp",
            "rules[1].portEnd: 8 lies before portStart 9",
            "rules[3].protocol: icmp has no ports; leave portStart and portEnd out",
            "rules[4].portStart: must be a whole number from 0 to 65535, is 65536",
            "rules[6].source: \"10.0.0.1\" has no prefix length; write 10.0.0.1/32",
            "rules[6].protocol: must be tcp, udp, icmp, icmpv6 or not given, is \"gre\"",
            "rules[6].action: must be accept, deny, reject or not given, is \"maybe\"",
        ]
        .join("; ")
    );
}

#[test]
fn a_hypervisor_of_the_original_is_read_although_its_available_memory_wrapped_around() {
    let host: Hypervisor = parse(&json!({
        "id": ID, "metadata": {}, "ip": "10.0.0.9", "netmask": "255.255.255.0", "gateway": "", "mac": "",
        "total_resources": {"memory": 0, "disk": 0, "cpu": 0},
        "available_resources": {"memory": u64::MAX, "disk": 3, "cpu": u32::MAX},
    }));
    assert!(host.total_resources.is_zero());
    assert_eq!(host.available_resources.unwrap().memory, u64::MAX);
    assert_eq!(parse::<Hypervisor>(&host.to_json()), host);
    assert!(parse::<Hypervisor>(&json!({})).total_resources.is_zero());
    assert_eq!(
        refused::<Hypervisor>(&json!({"ip": "x", "total_resources": {"cpu": "4"}})),
        "ip: \"x\" is not an IP address; total_resources.cpu: must be a number, is a text"
    );
}

#[test]
fn vlans_are_keyed_by_their_tag() {
    let vlan = Vlan::parse("7", br#"{"tag":7,"description":"","more":1}"#).unwrap();
    assert_eq!((vlan.tag.get(), vlan.description.as_str(), vlan.other.len()), (7, "", 1));
    assert!(Vlan::parse("7", br#"{"tag":8}"#).is_err());
    for tag in ["0", "4095", "07", "x"] {
        assert!(Vlan::parse(tag, b"{}").is_err(), "{tag}");
    }
    let group: VlanGroup = parse(&json!({"description": "d", "metadata": null}));
    assert_eq!(group.to_json(), json!({"id": ID, "description": "d"}));
}

#[test]
fn a_key_whose_id_is_no_uuid_is_said_to_be_the_fault() {
    let invalid = Network::parse("prod", b"{}").unwrap_err();
    assert_eq!(invalid.to_string(), "the key's id: \"prod\" is not a UUID");
}

#[test]
fn hostile_values_are_refused_quickly_and_told_shortly() {
    let mut corpus: Vec<Vec<u8>> = [
        "",
        " \n",
        "null",
        "[]",
        "7",
        "\"x\"",
        "{",
        "{}{}",
        "{} x",
        "{\"a\":1e400}",
        "{\"a\":}",
        "{'a':1}",
        "\u{feff}{}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into();
    corpus.push(b"{\"metadata\":{\"a\":\"\xff\"}}".to_vec());
    corpus.push(b"{\"\xc3\x28\":1}".to_vec());
    for open in ["[", "{\"a\":", "{\"a\":["] {
        corpus.push(format!("{{\"a\":{}", open.repeat(1024 * 1024 / open.len())).into_bytes());
    }
    corpus.push(format!("{{\"a\":\"{}\"}}", "x".repeat(2 * 1024 * 1024)).into_bytes());
    corpus.push(format!("{{{}}}", vec!["\"a\":1"; 100_000].join(",")).into_bytes());
    for value in corpus {
        let begun = &value[..value.len().min(32)];
        for kind in Kind::ALL {
            let id = if kind == Kind::Vlan { "7" } else { ID };
            let invalid = lochness_api::document::normalize(kind, id, &value)
                .expect_err(&format!("{kind} {begun:?}"));
            assert!(invalid.to_string().len() < 4096, "{kind} {begun:?}");
        }
    }
}

#[test]
fn a_field_that_stands_twice_is_named_with_its_place() {
    let text = r#"{"x":1,"metadata":{"b":"","b":""},"x":2,"y":[{"z":[{"a":1,"a":2}]}]}"#;
    assert_eq!(
        Network::parse(ID, text.as_bytes()).unwrap_err().to_string(),
        "field \"x\" stands twice; metadata: field \"b\" stands twice; y[0].z[0]: field \"a\" stands twice"
    );
}

#[test]
fn the_number_of_faults_that_are_told_is_bounded() {
    let rules = json!({"rules": vec![7; 100_000]});
    let invalid = FwGroup::parse(ID, rules.to_string().as_bytes()).unwrap_err();
    assert_eq!(invalid.0.len(), 33);
    assert_eq!(invalid.0[32].reason, "and 99968 more faults");
}

#[test]
fn secrets_are_neither_in_errors_nor_in_debug_output() {
    let value = json!({
        "flavor": OTHER, "network": OTHER, "metadata": {"user_data": "hunter2", "ssh_keys": "hunter2"},
    });
    let guest: Guest = parse(&value);
    assert!(!format!("{guest:?}").contains("hunter2"));
    let faulty = json!({"metadata": {
        "user_data": ["hunter2"], "place": "hunter2", "priority": "hunter2", "pause": "hunter2", "evacuate": "hunter2",
    }});
    assert!(!refused::<Guest>(&faulty).contains("hunter2"));
}

#[test]
fn a_quotation_in_an_error_is_at_most_64_bytes() {
    let text = refused::<Guest>(&json!({"flavor": "x".repeat(10_000), "network": OTHER}));
    assert!(text.len() < 120, "{text}");
}

#[test]
fn subnets_survive_a_round_trip() {
    let subnet: Subnet =
        parse(&json!({"network": OTHER, "cidr": "fd00::/64", "gateway": "fd00::1"}));
    assert_eq!(parse::<Subnet>(&subnet.to_json()), subnet);
    assert_eq!(subnet.netmask_hex(), None);
}

/// Each field of each kind, in the spelling that is written.
#[test]
fn every_field_that_is_given_is_written_again() {
    let metadata = json!({"name": "n", "label/a": "b", "user_data": "x", "empty": ""});
    let resources = json!({"memory": 1, "disk": 2, "cpu": 3});
    let documents = [
        (
            Kind::Guest,
            json!({
                "type": "kvm", "flavor": OTHER, "hypervisor": OTHER, "network": OTHER, "subnet": OTHER, "fwgroup": OTHER,
                "vlangroup": OTHER, "mac": "02:00:00:00:00:0a", "ip": "10.0.0.1", "bridge": "br0", "state": "suspended",
                "reboot": "7", "restart": "never",
            }),
        ),
        (Kind::Flavor, json!({"image": OTHER, "memory": 1, "disk": 2, "cpu": 3})),
        (Kind::Image, json!({"source": "http://x/y", "sha256": "a".repeat(64), "format": "qcow2"})),
        (Kind::Network, json!({})),
        (
            Kind::Subnet,
            json!({
                "network": OTHER, "gateway": "10.0.0.1", "cidr": "10.0.0.0/24", "start": "10.0.0.2", "end": "10.0.0.9",
            }),
        ),
        (
            Kind::FwGroup,
            json!({"rules": [
                {"source": "10.0.0.0/8", "portStart": 1, "portEnd": 9, "protocol": "udp", "action": "reject", "x": 1},
                {"group": OTHER, "protocol": "icmpv6", "action": "deny"},
            ]}),
        ),
        (Kind::VlanGroup, json!({"description": "d"})),
        (
            Kind::Hypervisor,
            json!({
                "ip": "fd00::1", "netmask": "ffff::", "gateway": "fd00::2", "mac": "02:00:00:00:00:0b",
                "total_resources": resources, "available_resources": resources,
            }),
        ),
    ];
    for (kind, mut document) in documents {
        document["id"] = ID.into();
        document["metadata"] = metadata.clone();
        document["unknown"] = json!({"x": [null, ""]});
        let written = lochness_api::document::normalize(kind, ID, document.to_string().as_bytes());
        assert_eq!(written, Ok(document), "{kind}");
    }
    let vlan = json!({"tag": 7, "description": "d", "unknown": 1});
    assert_eq!(Vlan::parse("7", vlan.to_string().as_bytes()).unwrap().to_json(), vlan);
}
