//! Stores that went back in time.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::harness::{Stage, eventually, stays};

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
    stage.store.delete(&lochness_api::Key::Guest(old[0])).await;
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
