//! Stores that went back in time.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use lochness_agent::server::{Effect, EffectKind};
use lochness_api::Key;
use lochness_api::status::{ConditionStatus, ConditionType, Reason};
use serde_json::json;

use crate::harness::{SUBNET, Stage, condition, eventually, stays};

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp can be run");
    assert!(copied.success(), "{} cannot be copied", from.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_whose_store_went_back_in_time_keeps_its_hands_off() {
    let mut stage = Stage::with_hosts(1).await;
    let old = stage.put_guests(0..3).await;
    stage.all_run(&old).await;
    stage.etcd.stop();
    let data = stage.etcd.data_dir();
    let backup = data.with_file_name("backup");
    copy(&data, &backup);
    stage.etcd.restart();
    eventually("it leads again", async || stage.operators[0].leads().await).await;
    stage.all_run(&old).await;
    let new = stage.put_guests(3..6).await;
    stage.all_run(&new).await;
    stage.store.delete(&Key::Guest(old[0])).await;
    stage.gone(&old[..1]).await;
    let histories = stage.histories().await;
    stage.checker.judge(&histories).await;

    stage.etcd.stop();
    std::fs::remove_dir_all(&data).expect("it is ours");
    copy(&backup, &data);
    stage.etcd.restart();
    let said = eventually("it says what happened", async || {
        match stage.operators[0].page("/readyz").await? {
            (503, said) if said.contains("not the one that was there before") => Ok(said),
            (code, said) => Err(format!("{code}: {said}")),
        }
    })
    .await;
    assert!(said.contains("revision"), "{said}");
    let mutations = stage.mutations();
    stays(Duration::from_secs(4), "no host is asked for a change", async || {
        let runs = new.iter().all(|id| stage.hosts[0].runs(*id));
        if stage.mutations() == mutations && runs { Ok(()) } else { Err("one was".to_owned()) }
    })
    .await;
    stage.end_unjudged();
}

/// Runs etcdctl on the store.
fn etcdctl(stage: &Stage, words: &[&str]) {
    run(Command::new("etcdctl").args(["--endpoints", stage.etcd.endpoint()]).args(words));
}

fn run(command: &mut Command) {
    let done = command.env("ETCDCTL_API", "3").output();
    let done = done.expect("etcdctl is installed (Debian: etcd-client)");
    assert!(done.status.success(), "{command:?}: {done:?}");
}

/// Lets etcd begin again with what a snapshot says, at its old address and with its old cluster id.
fn restore(stage: &mut Stage, snapshot: &Path) {
    stage.etcd.kill();
    let data = stage.etcd.data_dir();
    std::fs::remove_dir_all(&data).expect("it is ours");
    let peer = stage.etcd.member(0).flag("--initial-advertise-peer-urls");
    run(Command::new("etcdctl")
        .args(["snapshot", "restore"])
        .arg(snapshot)
        .args(["--name", "m0", "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("m0={peer}")])
        .arg("--data-dir")
        .arg(&data));
    stage.etcd.restart();
}

/// Waits until an operator says on its page and in the cluster's status that it holds, and why.
async fn holds(stage: &Stage, operator: usize, reason: Reason) {
    eventually("it holds", async || match stage.operators[operator].page("/readyz").await? {
        (503, said) if said.contains("accept-store") => Ok(()),
        (code, said) => Err(format!("{code}: {said}")),
    })
    .await;
    eventually("the cluster's status says why", async || {
        let status = stage.store.cluster().await.ok_or("there is none")?;
        let said = condition(&status.conditions, ConditionType::StoreRestored);
        match said {
            Some(said) if said.status == ConditionStatus::True && said.reason == reason => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
}

/// What `lochnessctl accept-store` puts.
async fn accept(stage: &Stage) {
    let word = jiff::Timestamp::now().to_string();
    stage.store.put(&Key::Config("accept_store".to_owned()), &json!(word)).await;
}

async fn incarnation(stage: &Stage) -> u64 {
    let text = stage.store.get(&Key::Incarnation).await.expect("a leader wrote it");
    String::from_utf8_lossy(&text).parse().expect("it is a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_that_starts_after_a_restore_learns_it_from_the_agents_and_goes_on_when_told() {
    let mut stage = Stage::with_hosts(1).await;
    let old = stage.put_guests(0..3).await;
    stage.all_run(&old).await;
    let directory =
        tempfile::TempDir::with_prefix("lochness-it-snapshot-").expect("one can be made");
    let snapshot = directory.path().join("snapshot");
    etcdctl(&stage, &["snapshot", "save", snapshot.to_str().expect("it is text")]);
    // Another term, and guests that the snapshot does not know.
    stage.operators[0].terminate().await;
    stage.operators.clear();
    stage.operator("two").await;
    stage.leader().await;
    let lost = stage.put_guests(3..6).await;
    stage.all_run(&lost).await;
    let histories = stage.histories().await;
    stage.checker.judge(&histories).await;
    stage.operators.clear();
    let before = incarnation(&stage).await;

    restore(&mut stage, &snapshot);
    // It has never seen the store as it was.
    stage.holding_operator("three").await;
    let new = stage.put_guests(20..22).await;
    holds(&stage, 0, Reason::EpochFromTheFuture).await;
    let mutations = stage.mutations();
    stays(Duration::from_secs(2), "no host is changed", async || {
        let runs = old.iter().chain(&lost).all(|id| stage.hosts[0].runs(*id));
        let asked = stage.hosts[0].stats();
        if runs && stage.mutations() == mutations {
            Ok(())
        } else {
            Err(format!("{asked:?}, they run: {runs}"))
        }
    })
    .await;

    accept(&stage).await;
    let statuses = stage.all_run(&[old.clone(), new.clone()].concat()).await;
    assert!(incarnation(&stage).await > before, "numbers go on above all that agents have seen");
    assert!(lost.iter().all(|id| stage.hosts[0].runs(*id)), "what nobody declares is left alone");
    let address_of = |effects: &[Effect], guest| {
        let of_guest = effects.iter().filter(|effect| effect.guest == Some(guest));
        of_guest.flat_map(|effect| effect.addresses.clone()).next_back()
    };
    let effects = stage.hosts[0].history();
    for id in &new {
        let ip = statuses[id].placement.as_ref().map(|it| it.ip.to_string());
        let taken = lost.iter().any(|lost| address_of(&effects, *lost) == ip);
        assert!(!taken, "{id} has the address of a guest that runs: {ip:?}");
    }
    stage.store.delete(&Key::Guest(old[0])).await;
    stage.gone(&old[..1]).await;
    stage.end_unjudged();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_store_under_running_guests_is_held_and_then_adopts_what_is_declared_again() {
    let mut stage = Stage::with_hosts(1).await;
    let guests = stage.put_guests(0..3).await;
    stage.all_run(&guests).await;
    let histories = stage.histories().await;
    stage.checker.judge(&histories).await;
    stage.operators.clear();
    stage.etcd.kill();
    std::fs::remove_dir_all(stage.etcd.data_dir()).expect("it is ours");
    stage.etcd.restart();

    let mutations = stage.mutations();
    stage.holding_operator("two").await;
    holds(&stage, 0, Reason::StatusesMissing).await;
    assert_eq!(stage.mutations(), mutations, "the guests keep their rules, too");
    stage.put_network().await;
    let bridge = Key::HypervisorSubnet(stage.hosts[0].id(), SUBNET);
    stage.store.put(&bridge, &json!("br0")).await;
    for number in 0..3 {
        stage.put_guest(number, json!({})).await;
    }
    accept(&stage).await;
    stage.all_run(&guests).await;
    let made = stage.hosts[0].history();
    let made = made.iter().filter(|effect| effect.kind == EffectKind::Created).count();
    assert_eq!(made, guests.len(), "they were adopted, not made again");
    stage.end_unjudged();
}
