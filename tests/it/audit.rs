//! `lochnessctl audit` on real stores and real hosts: silent on a whole one, and naming each kind of damage.

use std::io::Write;
use std::sync::{Arc, Mutex};

use clap::Parser as _;
use lochness_api::{Key, Prefix};
use lochness_cli::{Audience, Cli, Console, Paint, Session};
use serde_json::{Value, json};

use crate::harness::{Stage, guest_id};

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics under it").write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Buffer {
    fn text(&self) -> String {
        let bytes = self.0.lock().expect("nobody panics under it").clone();
        String::from_utf8(bytes).expect("output is text")
    }
}

/// What `lochnessctl audit` says, and its exit code.
async fn audit(stage: &Stage, words: &[&str]) -> (String, String, u8) {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse_from([&["lochnessctl", "audit"], words].concat());
    let session = Session::new(stage.store.kv(), Prefix::default(), "the test's etcd");
    let (out, err) = (Buffer::default(), Buffer::default());
    let mut console = Console {
        out: Box::new(out.clone()),
        err: Box::new(err.clone()),
        input: Box::new(std::io::Cursor::new("")),
        audience: Audience::Script,
        paint: Paint::Plain,
    };
    let result = lochness_cli::run(cli, &session, &mut console).await;
    let code = result.as_ref().err().map_or(0, |failure| failure.exit().code());
    (out.text(), err.text(), code)
}

/// The findings, as `rule subject`.
async fn findings(stage: &Stage) -> Vec<String> {
    let (out, _, code) = audit(stage, &["-o", "json"]).await;
    let list: Value = serde_json::from_str(&out).expect("it is JSON");
    let list = list["findings"].as_array().expect("it is a list");
    assert_eq!(code, u8::from(!list.is_empty()), "{out}");
    let told = |it: &Value| {
        format!("{} {}", it["rule"].as_str().unwrap_or("?"), it["subject"].as_str().unwrap_or("?"))
    };
    list.iter().map(told).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_is_silent_on_a_whole_store_names_each_damage_and_mends_what_is_safe() {
    let mut stage = Stage::with_hosts(2).await;
    let guests = stage.put_guests(0..4).await;
    let statuses = stage.all_run(&guests).await;
    let (out, _, code) = audit(&stage, &[]).await;
    assert_eq!((out.as_str(), code), ("nothing is wrong\n", 0));

    // Nobody mends but the audit.
    stage.operators.clear();
    let histories = stage.histories().await;
    stage.checker.judge(&histories).await;
    let place = |number: usize| {
        let placement = statuses[&guests[number]].placement.as_ref();
        placement.expect("it is placed").clone()
    };
    let (first, second) = (place(0), place(1));
    let address = Key::Address(first.subnet, first.ip);
    stage.store.delete(&address).await;
    let index = Key::Placement(second.hypervisor, guests[1]);
    stage.store.delete(&index).await;
    let leaked = Key::Address(first.subnet, "10.1.0.240".parse().expect("it is one"));
    stage.store.put(&leaked, &json!(guest_id(77).to_string())).await;
    // Its guest runs, and nobody declares it any more.
    let third = place(2);
    stage.store.delete(&Key::GuestStatus(guests[2])).await;
    stage.store.delete(&Key::Guest(guests[2])).await;
    stage.store.delete(&Key::Placement(third.hypervisor, guests[2])).await;
    stage.store.put(&Key::GuestStatus(guest_id(50)), &json!("{broken")).await;
    stage.store.put(&Key::Guest(guest_id(51)), &json!("{}")).await;

    let host = |number: usize| place(number).hypervisor;
    let mut wanted = vec![
        format!("S3 guests/{}", guests[0]),
        format!("S3 guests/{}/index", guests[1]),
        format!("invalid guests/{}", guest_id(51)),
        format!("leak {}", Key::Address(third.subnet, third.ip)),
        format!("leak {leaked}"),
        format!("undeclared hypervisors/{}/guests/{}", host(2), guests[2]),
        format!("unreadable {}", Key::GuestStatus(guest_id(50))),
    ];
    let mut found = findings(&stage).await;
    wanted.sort();
    found.sort();
    assert_eq!(found, wanted);

    let before = stage.store.get(&Key::Guest(guests[0])).await;
    let (_, err, code) = audit(&stage, &["--repair", "--yes"]).await;
    assert_eq!(code, 1, "some are left to people: {err}");
    assert_eq!(err.matches("done: ").count(), 3, "{err}");
    assert_eq!(stage.store.get(&address).await.as_deref(), Some(guests[0].to_string().as_bytes()));
    assert!(stage.store.get(&index).await.is_some());
    assert!(stage.store.get(&leaked).await.is_none());
    let used = Key::Address(third.subnet, third.ip);
    assert!(stage.store.get(&used).await.is_some(), "a guest runs with it");
    assert_eq!(stage.store.get(&Key::Guest(guests[0])).await, before);
    assert!(stage.hosts.iter().any(|host| host.runs(guests[2])), "agents are only asked");
    let left = findings(&stage).await;
    assert_eq!(left.len(), 4, "{left:?}");
    stage.end_unjudged();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_names_the_hosts_that_do_not_answer_and_repairs_nothing_they_could_contradict() {
    let mut stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..2).await;
    let statuses = stage.all_run(&guests).await;
    stage.operators.clear();
    let placement = statuses[&guests[0]].placement.as_ref().expect("it is placed");
    let leaked = Key::Address(placement.subnet, "10.1.0.240".parse().expect("it is one"));
    stage.store.put(&leaked, &json!(guest_id(77).to_string())).await;
    let silent = lochness_agent::server::Faults {
        reply: Some(lochness_agent::server::ReplyFault::Status(500)),
        ..lochness_agent::server::Faults::default()
    };
    stage.hosts[0].set_faults(silent);
    let found = findings(&stage).await;
    assert!(
        found.contains(&format!("unreachable hypervisors/{}", stage.hosts[0].id())),
        "{found:?}"
    );
    let (_, err, code) = audit(&stage, &["--repair", "--yes"]).await;
    assert_eq!(code, 1, "{err}");
    assert!(stage.store.get(&leaked).await.is_some(), "{err}");
    stage.end_unjudged();
}
