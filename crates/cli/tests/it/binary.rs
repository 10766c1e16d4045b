//! The real binary: against a real etcd, and against none.

use std::process::Output;

use assert_cmd::Command;
use lochness_kv::test_support::EtcdProcess;

use crate::stage::FLEET;

fn lochnessctl(endpoint: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lochnessctl"));
    command.env_clear().args(["--etcd", endpoint]);
    command
}

fn text(output: &Output) -> (String, String) {
    let read = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (read(&output.stdout), read(&output.stderr))
}

/// A port of the loopback where nothing listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn manifests_from_standard_input_reach_a_real_etcd_and_come_back() {
    let etcd = EtcdProcess::start();
    let ctl = || lochnessctl(etcd.endpoint());
    let applied = ctl().args(["apply", "-f", "-"]).write_stdin(FLEET).output().unwrap();
    let (out, err) = text(&applied);
    assert!(applied.status.success(), "{out}{err}");
    assert!(out.contains("guest/web-1 created"), "{out}");
    let again = ctl().args(["apply", "-f", "-"]).write_stdin(FLEET).output().unwrap();
    assert_eq!(text(&again).0.matches("unchanged").count(), 5);
    let (table, _) = text(&ctl().args(["get", "guests"]).output().unwrap());
    assert!(table.contains("web-1") && !table.contains('\u{1b}'), "{table}");
    let gone = ctl().args(["delete", "guests", "web-1", "db-1"]).output().unwrap();
    assert!(gone.status.success(), "{:?}", text(&gone));
    let wait = ctl().args(["wait", "guest", "web-1", "--for=deleted"]).output().unwrap();
    assert!(wait.status.success(), "{:?}", text(&wait));
    let missing = ctl().args(["describe", "guest", "web-1"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
}

#[test]
fn the_prefix_keeps_two_clusters_apart() {
    let etcd = EtcdProcess::start();
    let ctl = || lochnessctl(etcd.endpoint());
    let apply = ["--prefix", "/one", "apply", "-f", "-"];
    let (out, err) = text(&ctl().args(apply).write_stdin(FLEET).output().unwrap());
    assert!(out.contains("guest/web-1 created"), "{out}{err}");
    let one = ctl().env("LOCHNESS_PREFIX", "/one/").args(["get", "guests", "-o", "name"]).output();
    assert_eq!(text(&one.unwrap()).0, "db-1\nweb-1\n");
    let two = ctl().args(["--prefix", "/two", "get", "guests", "-o", "name"]).output();
    assert_eq!(text(&two.unwrap()).0, "");
}

#[test]
fn a_wait_that_times_out_against_a_real_etcd_has_its_own_exit_code() {
    let etcd = EtcdProcess::start();
    let ctl = || lochnessctl(etcd.endpoint());
    ctl().args(["apply", "-f", "-"]).write_stdin(FLEET).assert().success();
    let wait = ["wait", "guest", "web-1", "--for=running", "--timeout", "300ms"];
    let wait = ctl().args(wait).output().unwrap();
    assert_eq!(wait.status.code(), Some(3), "{:?}", text(&wait));
    assert!(text(&wait).1.contains("NoStatus"), "{:?}", text(&wait));
}

#[test]
fn an_etcd_that_is_not_there_is_named_with_what_to_check() {
    let endpoint = nowhere();
    let output = lochnessctl(&endpoint).args(["get", "guests"]).output().unwrap();
    let (out, err) = text(&output);
    assert_eq!((output.status.code(), out.as_str()), (Some(1), ""));
    assert!(err.contains(&format!("at: etcd at {endpoint}")), "{err}");
    assert!(err.contains("do: start etcd there"), "{err}");
}

#[test]
fn a_wrong_command_line_has_its_own_exit_code() {
    let output = lochnessctl("http://127.0.0.1:1").args(["get", "pods"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).1.contains("guests"), "{:?}", text(&output));
}

#[test]
fn what_needs_no_store_does_without_one() {
    for words in [&["version"][..], &["completion", "zsh"], &["schema", "fwgroup"]] {
        let output = lochnessctl(&nowhere()).args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {:?}", text(&output));
    }
}

#[test]
fn a_fault_in_a_manifest_is_told_before_any_etcd_is_asked() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("typo.yaml");
    let text = FLEET.replace("flavor: small", "flavour: small");
    std::fs::write(&file, text).unwrap();
    let mut apply = lochnessctl(&nowhere());
    let output = apply.args(["apply", "-f", file.to_str().unwrap()]).output().unwrap();
    let (_, err) = self::text(&output);
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert!(err.contains("flavour"), "{err}");
}
