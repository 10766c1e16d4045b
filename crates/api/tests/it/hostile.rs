//! Bytes from anybody: whatever lies under a key, in a manifest or in a heartbeat, reading it ends, soon, without a panic;
//! and what was understood is written and read again as the same.
//!
//! A corpus of nasty documents by hand, arbitrary bytes, and valid documents that were damaged at random. `PROPTEST_CASES`
//! asks for more of the latter two.

#![allow(
    clippy::disallowed_methods,
    reason = "how long reading takes is what is tested, and nothing here waits"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lochness_api::document::{Heartbeat, normalize};
use lochness_api::job::Job;
use lochness_api::manifest::{Source, parse_all};
use lochness_api::status::{
    ClusterStatus, GuestStatus, HypervisorStatus, ObjectStatus, SubnetStatus,
};
use lochness_api::{Key, Kind, Prefix};
use proptest::prelude::*;
use proptest::sample::{Index, select};

const ID: &str = "00000000-0000-4000-8000-000000000001";

/// Reading any one thing takes less, a megabyte of it too, and on a loaded machine that builds without optimisation.
const LIMIT: Duration = Duration::from_secs(5);

/// Documents that are right, to be damaged.
const RIGHT: [&str; 8] = [
    r#"{"type":"kvm","flavor":"00000000-0000-4000-8000-000000000001","network":"00000000-0000-4000-8000-000000000001","state":"stopped","metadata":{"name":"a","place":"x!=y"}}"#,
    r#"{"image":"00000000-0000-4000-8000-000000000001","memory":512,"disk":1024,"cpu":1}"#,
    r#"{"source":"http://x/y.img","sha256":"aa","format":"qcow2"}"#,
    r#"{"network":"00000000-0000-4000-8000-000000000001","cidr":"10.0.0.0/24","gateway":"10.0.0.1","start":"10.0.0.9","end":"10.0.0.99"}"#,
    r#"{"rules":[{"source":"10.0.0.0/8","portStart":1,"portEnd":65535,"protocol":"tcp","action":"allow"}]}"#,
    r#"{"ip":"10.0.0.1","netmask":"255.0.0.0","total_resources":{"memory":"1024","disk":1,"cpu":4}}"#,
    r#"{"boot_id":"b","version":"1","address":"::1","port":8080,"capabilities":["order"],"self_fence_seconds":300}"#,
    r#"{"phase":"Running","order":"1.2","placement":{"hypervisor":"00000000-0000-4000-8000-000000000001","subnet":"00000000-0000-4000-8000-000000000001","ip":"10.0.0.1","cidr":"10.0.0.0/8","mac":"02:00:00:00:00:01"},"conditions":[{"type":"Ready","status":"True","reason":"Running","message":"","last_transition":"2026-01-01T00:00:00Z"}]}"#,
];

/// Numbers at which something ends, spellings that are none, and structure where a text belongs.
const NASTY_VALUES: [&str; 16] = [
    "9223372036854775808",
    "18446744073709551616",
    "-1",
    "1e400",
    "1e-400",
    "0.1",
    "\"\"",
    "\"../../../etc/passwd\"",
    "\"\\u0000\"",
    "\"\\ud800\"",
    "\"\u{202e}\u{feff}\"",
    "null",
    "[]",
    "{}",
    "[[[[[[[[]]]]]]]]",
    "\"10.0.0.0/33\"",
];

/// Everything that can be read is read from these bytes.
fn read_all(bytes: &[u8]) {
    let started = Instant::now();
    for kind in Kind::ALL {
        let id = if kind == Kind::Vlan { "7" } else { ID };
        if let Ok(understood) = normalize(kind, id, bytes) {
            let written = understood.to_string();
            let again = normalize(kind, id, written.as_bytes());
            assert_eq!(again.as_ref(), Ok(&understood), "{kind} does not come back");
        }
    }
    let beat = Heartbeat::parse(bytes);
    assert_eq!(Heartbeat::parse(beat.to_json().to_string().as_bytes()), beat);
    if let Ok(status) = GuestStatus::parse(bytes) {
        let written = serde_json::to_vec(&status).expect("a status can be written");
        assert_eq!(GuestStatus::parse(&written).ok(), Some(status));
    }
    if let Ok(job) = Job::parse(bytes) {
        let written = serde_json::to_vec(&job).expect("a job can be written");
        assert_eq!(Job::parse(&written).ok(), Some(job));
    }
    let _refused = serde_json::from_slice::<HypervisorStatus>(bytes);
    let _refused = serde_json::from_slice::<SubnetStatus>(bytes);
    let _refused = serde_json::from_slice::<ObjectStatus>(bytes);
    let _refused = serde_json::from_slice::<ClusterStatus>(bytes);
    let took = started.elapsed();
    assert!(took < LIMIT, "{} bytes took {took:?}", bytes.len());
}

/// The same bytes as a manifest, and as a key.
fn read_as_manifest_and_key(bytes: &[u8]) {
    let started = Instant::now();
    let text = String::from_utf8_lossy(bytes);
    let _refused = parse_all(&[Source { name: "hostile.yaml", text: &text }]);
    let prefix = Prefix::default();
    for key in [bytes.to_vec(), [prefix.as_str().as_bytes(), bytes].concat()] {
        if let Ok(parsed) = prefix.parse(&key) {
            assert_eq!(prefix.key(&parsed).as_bytes(), key, "a key has one spelling");
        }
    }
    let took = started.elapsed();
    assert!(took < LIMIT, "{} bytes took {took:?}", bytes.len());
}

fn nested(open: &str, close: &str, middle: &str, depth: usize) -> String {
    format!("{}{middle}{}", open.repeat(depth), close.repeat(depth))
}

/// What people and programs have put in the way of parsers.
fn corpus() -> Vec<Vec<u8>> {
    let megabyte = "x".repeat(1 << 20);
    let mut corpus: Vec<Vec<u8>> = vec![
        Vec::new(),
        vec![0],
        vec![0xff, 0xfe, 0xfd],
        b"\xef\xbb\xbf{}".to_vec(),
        b"{\"metadata\":{\"name\":\"\xc3\x28\"}}".to_vec(),
        b"{\"metadata\":{}}{}".to_vec(),
        b"{\"cpu\":1,\"cpu\":2,\"cpu\":null}".to_vec(),
        b"{\"metadata\":{\"name\":\"a\",\"name\":\"b\"}}".to_vec(),
        nested("[", "]", "", 10_000).into_bytes(),
        nested("{\"metadata\":", "}", "1", 10_000).into_bytes(),
        nested("[", "", "", 100_000).into_bytes(),
        format!("{{\"metadata\":{{\"name\":\"{megabyte}\"}}}}").into_bytes(),
        format!("{{\"{megabyte}\":1}}").into_bytes(),
        megabyte.clone().into_bytes(),
        format!("\"{}\"", "\\u0041".repeat(1 << 17)).into_bytes(),
        format!("{}1", "0".repeat(1 << 20)).into_bytes(),
        format!("1{}", "0".repeat(1 << 16)).into_bytes(),
        format!("{{\"rules\":[{}{{}}]}}", "{},".repeat(20_000)).into_bytes(),
        b"guests/../operator/leader".to_vec(),
        b"hypervisors/00000000-0000-4000-8000-000000000001/config/..".to_vec(),
        b"subnets/00000000-0000-4000-8000-000000000001/addresses/::ffff:1.2.3.4".to_vec(),
        b"guests//metadata".to_vec(),
        b"guests/00000000-0000-4000-8000-000000000001/metadata/".to_vec(),
        b"vlans/007/metadata".to_vec(),
        b"apiVersion: lochness/v1\nkind: Guest\nmetadata: {name: ../../x}\nspec: {}\n".to_vec(),
        b"a: &a [*a, *a]\n".to_vec(),
        b"---\n---\n---\n".to_vec(),
        b"{a: b\n\t- c: [".to_vec(),
        b"apiVersion: lochness/v1\nkind: Guest\nkind: Flavor\n".to_vec(),
        nested("- ", "", "x", 5_000).into_bytes(),
    ];
    // A few lines that mean a billion.
    let mut bomb = "a: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let refers = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(bomb, "b{level}: &a{level} [{refers}]").expect("a text takes all");
    }
    corpus.push(bomb.into_bytes());
    for right in RIGHT {
        for value in NASTY_VALUES {
            for (at, _) in right.match_indices(':') {
                let (before, after) = right.split_at(at + 1);
                let end = after.find([',', '}', ']']).unwrap_or(after.len());
                corpus.push(format!("{before}{value}{}", &after[end..]).into_bytes());
            }
        }
    }
    corpus
}

#[test]
fn the_corpus_of_nasty_documents_harms_nothing() {
    for bytes in corpus() {
        read_all(&bytes);
        read_as_manifest_and_key(&bytes);
    }
}

#[test]
fn a_fault_quotes_little_of_what_was_put() {
    let huge = format!(
        "{{\"metadata\":{{\"name\":\"{}\"}},\"flavor\":\"{}\"}}",
        "n".repeat(1 << 20),
        "f".repeat(1 << 20)
    );
    let invalid = normalize(Kind::Guest, ID, huge.as_bytes()).expect_err("a flavor is a UUID");
    let told = invalid.to_string();
    assert!(told.len() < 4_096, "{} bytes of a status would be what somebody put", told.len());
}

/// One damage of a document.
#[derive(Debug, Clone)]
enum Damage {
    Cut(Index),
    Put(Index, u8),
    Drop(Index),
    Repeat(Index, Index),
    Insert(Index, &'static str),
}

fn damage() -> impl Strategy<Value = Damage> {
    let pieces = [NASTY_VALUES.as_slice(), &["{", "}", "[", "]", ",", ":", "\"", "\\"]].concat();
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Put(at, byte)),
        any::<Index>().prop_map(Damage::Drop),
        any::<(Index, Index)>().prop_map(|(from, to)| Damage::Repeat(from, to)),
        (any::<Index>(), select(pieces)).prop_map(|(at, piece)| Damage::Insert(at, piece)),
    ]
}

fn damaged(document: &str, damages: &[Damage]) -> Vec<u8> {
    let mut bytes = document.as_bytes().to_vec();
    for damage in damages {
        if bytes.is_empty() {
            break;
        }
        let length = bytes.len();
        match damage {
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Put(at, byte) => bytes[at.index(length)] = *byte,
            Damage::Drop(at) => drop(bytes.remove(at.index(length))),
            Damage::Repeat(from, to) => {
                let (from, to) = (from.index(length), to.index(length));
                let piece = bytes[from.min(to)..from.max(to)].to_vec();
                bytes.splice(to..to, piece);
            }
            Damage::Insert(at, piece) => {
                let at = at.index(length);
                bytes.splice(at..at, piece.bytes());
            }
        }
    }
    bytes
}

proptest! {
    #[test]
    fn arbitrary_bytes_harm_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        read_all(&bytes);
        read_as_manifest_and_key(&bytes);
    }

    #[test]
    fn documents_that_were_damaged_harm_nothing(
        document in select(RIGHT.as_slice()),
        damages in proptest::collection::vec(damage(), 1..6),
    ) {
        let bytes = damaged(document, &damages);
        read_all(&bytes);
        read_as_manifest_and_key(&bytes);
    }

    #[test]
    fn what_is_no_key_says_so_and_what_is_one_has_one_spelling(
        parts in proptest::collection::vec(
            select(vec!["guests", "hypervisors", "subnets", "status", "jobs", "operator", "config", "metadata", "addresses",
                "..", ".", "", ID, "00000000-0000-4000-8000-00000000000A", "10.0.0.1", "010.0.0.1", "fe80::1%eth0", "leader",
                "\u{0}", "é", "7", "07"]),
            0..6,
        ),
    ) {
        let prefix = Prefix::default();
        let text = format!("{prefix}{}", parts.join("/"));
        if let Ok(key) = prefix.parse(text.as_bytes()) {
            prop_assert_eq!(prefix.key(&key), text);
            let is_tricky = matches!(&key, Key::Config(name) | Key::HypervisorConfig(_, name) if name.is_empty());
            prop_assert!(!is_tricky);
        }
    }
}
