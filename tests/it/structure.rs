//! The shape of the source, as ARCHITECTURE.md promises it: who may name what.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What is below the root and belongs to us.
const SOURCES: [&str; 4] = ["src", "controllers", "crates", "tests"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file, by its path below the root, without its comments.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for folder in SOURCES {
        collect(&root().join(folder), &mut found);
    }
    assert!(found.len() > 50, "the sources are not where they are looked for: {found:?}");
    found
}

fn collect(folder: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root()).expect("it lies below").display().to_string();
            found.insert(name, code(&fs::read_to_string(&path).expect("it is text")));
        }
    }
}

/// The lines without what follows `//`; inside a string that cuts too much, which hides no name of a crate or type.
fn code(text: &str) -> String {
    let cut = |line: &str| line.split("//").next().unwrap_or_default().to_owned();
    text.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// Whether the word stands there by itself, and not as a part of a longer one.
fn names(code: &str, word: &str) -> bool {
    let part_of_word = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part_of_word) && !after.is_some_and(part_of_word)
    })
}

/// The dependencies that a manifest declares for the program itself, not for its tests.
fn dependencies(manifest: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(manifest)).expect("the manifest is there");
    let lines = text.lines().skip_while(|line| *line != "[dependencies]").skip(1);
    let name = |line: &str| line.split(['.', ' ', '=']).next().unwrap_or_default().to_owned();
    lines
        .take_while(|line| !line.starts_with('['))
        .map(name)
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn no_plan_knows_async_the_store_http_or_the_clock() {
    const FOREIGN: [&str; 10] = [
        "async",
        "await",
        "tokio",
        "etcd",
        "lochness_kv",
        "reqwest",
        "http",
        "axum",
        "SystemTime",
        "now()",
    ];
    let sources = sources();
    let plans: Vec<_> = sources.iter().filter(|(name, _)| name.ends_with("/plan.rs")).collect();
    assert!(plans.len() >= 5, "the plans are not where they are looked for: {plans:?}");
    for (name, code) in plans {
        // A point in time that comes in as an argument is data; reading the clock is not.
        let code = code.replace("tokio::time::Instant", "");
        for word in FOREIGN {
            assert!(!names(&code, word), "{name} decides, so it must not know {word}");
        }
    }
}

#[test]
fn one_file_names_the_etcd_client() {
    let naming: Vec<_> =
        sources().into_iter().filter(|(_, code)| names(code, concat!("etcd", "_client"))).collect();
    let naming: Vec<_> = naming.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(naming, ["crates/kv/src/etcd/wire.rs"]);
}

#[test]
fn only_the_agent_and_the_tests_speak_http_as_a_client() {
    for (name, code) in sources() {
        let may = name.starts_with("crates/agent/") || name.starts_with("tests/");
        assert!(may || !names(&code, concat!("req", "west")), "{name} names the HTTP client");
    }
    for manifest in ["Cargo.toml", "controllers/Cargo.toml", "crates/cli/Cargo.toml"] {
        let declared = dependencies(manifest);
        assert!(
            !declared.iter().any(|name| name == concat!("req", "west")),
            "{manifest}: {declared:?}"
        );
    }
}

#[test]
fn crates_use_only_what_lies_below_them() {
    let below = [
        ("crates/api/Cargo.toml", &[][..]),
        ("crates/kv/Cargo.toml", &[]),
        ("crates/runtime/Cargo.toml", &["lochness-kv", "lochness-mutant"]),
        ("crates/agent/Cargo.toml", &["lochness-api", "lochness-kv", "lochness-mutant"]),
        ("crates/cli/Cargo.toml", &["lochness-agent", "lochness-api", "lochness-kv"]),
        (
            "controllers/Cargo.toml",
            &[
                "lochness-agent",
                "lochness-api",
                "lochness-kv",
                "lochness-mutant",
                "lochness-runtime",
            ],
        ),
    ];
    for (manifest, allowed) in below {
        let used = dependencies(manifest);
        assert!(!used.is_empty(), "{manifest} declares nothing: is it read as it should be?");
        for name in used.iter().filter(|name| name.starts_with("lochness-")) {
            assert!(allowed.contains(&name.as_str()), "{manifest} must not use {name}");
        }
    }
}

#[test]
fn the_runtime_names_no_resource() {
    const RESOURCES: [&str; 8] = [
        "lochness_api",
        "Guest",
        "Hypervisor",
        "Subnet",
        "Flavor",
        "FwGroup",
        "Placement",
        "Network",
    ];
    for (name, code) in sources().iter().filter(|(name, _)| name.starts_with("crates/runtime/")) {
        for word in RESOURCES {
            assert!(!names(code, word), "{name} names {word}");
        }
    }
}

#[test]
fn the_api_does_no_input_or_output() {
    for (name, code) in sources().iter().filter(|(name, _)| name.starts_with("crates/api/src/")) {
        for word in ["async", "tokio", "SystemTime", "std::fs", "std::net::TcpStream"] {
            assert!(!names(code, word), "{name} names {word}");
        }
    }
}

#[test]
fn the_architecture_fits_into_one_reading() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let lines = text.lines().count();
    assert!(lines < 150, "ARCHITECTURE.md has {lines} lines");
}

#[test]
fn every_folder_that_the_architecture_names_is_there() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("it is there");
    let quoted = text.split('`').skip(1).step_by(2);
    let paths = quoted.filter(|it| it.contains('/') && !it.contains(['<', ' ', '*', '{', '$']));
    let sources = SOURCES.iter().chain(&["deploy", "manifests", "docs"]);
    let folders: Vec<_> = sources.map(|folder| format!("{folder}/")).collect();
    let mut looked_at = 0;
    for path in paths.filter(|path| folders.iter().any(|folder| path.starts_with(folder))) {
        looked_at += 1;
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}, which is not there");
    }
    assert!(looked_at >= 10, "only {looked_at} paths were found in ARCHITECTURE.md");
}

/// What stands between two texts, wherever they do.
fn between<'a>(text: &'a str, before: &'a str, after: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(before).skip(1).filter_map(move |rest| rest.split(after).next())
}

#[test]
fn whoever_is_on_call_finds_every_alert_every_reason_and_every_metric_in_one_document() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is there");
    let document = read("docs/operations.md");
    let alerts = read("deploy/prometheus/lochness.rules.yml");
    let alerts = between(&alerts, "- alert: ", "\n").map(str::to_owned);
    let reasons = read("crates/api/src/status/reason.rs");
    let reasons = between(&reasons, "=> \"", "\"").map(str::to_owned);
    let is_ours = |path: &str| {
        let ours = ["src/", "controllers/", "crates/runtime/src/"];
        ours.iter().any(|folder| path.starts_with(folder)) && !path.contains("test")
    };
    let metrics = sources().into_iter().filter(|(path, _)| is_ours(path)).flat_map(|(_, code)| {
        let names = between(&code, "\"lochness_", "\"").map(|name| format!("lochness_{name}"));
        names
            .filter(|name| !name.contains(|c: char| c != '_' && !c.is_lowercase()))
            .collect::<Vec<_>>()
    });
    let words: Vec<String> = alerts.chain(reasons).chain(metrics).collect();
    assert!(words.len() > 120, "they are not where they are looked for: {words:?}");
    let missing: Vec<_> = words.iter().filter(|word| !names(&document, word)).collect();
    assert!(missing.is_empty(), "docs/operations.md does not say what these mean: {missing:?}");
}
