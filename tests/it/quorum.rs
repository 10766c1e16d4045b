//! Three members of etcd: one that stops, one that dies, the leader lost, the quorum lost and back.

use std::time::Duration;

use lochness_api::Prefix;

use crate::harness::{HostOptions, Members, OperatorOptions, Stage, eventually, stays};

async fn three_members() -> Stage {
    let mut stage = Stage::on(Members::several(3), Prefix::default()).await;
    stage.put_network().await;
    for name in ["host-1", "host-2"] {
        stage.host(&HostOptions::new(name)).await;
    }
    // A member that hangs is found out within a third of the lease.
    let options = OperatorOptions { lease: Duration::from_secs(6), ..OperatorOptions::default() };
    for name in ["one", "two"] {
        stage.operator_with(name, &options).await;
    }
    stage
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_etcd_that_die_one_after_the_other_stop_nothing() {
    let mut stage = three_members().await;
    let mut guests = stage.put_guests(0..4).await;
    stage.all_run(&guests).await;
    // Whoever leads among them is one of these.
    for place in 0..3 {
        stage.etcd.member(place).kill();
        stage.store.serves().await;
        let number = 10 * (u32::try_from(place).expect("it is small") + 1);
        guests.extend(stage.put_guests(number..number + 4).await);
        stage.all_run(&guests).await;
        stage.etcd.member(place).restart();
    }
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_of_etcd_that_hangs_is_left_and_nothing_stops() {
    let mut stage = three_members().await;
    let mut guests = stage.put_guests(0..4).await;
    stage.all_run(&guests).await;
    stage.etcd.member(0).pause();
    stage.store.serves().await;
    guests.extend(stage.put_guests(10..14).await);
    stage.all_run(&guests).await;
    stage.etcd.member(0).resume();
    guests.extend(stage.put_guests(20..24).await);
    stage.all_run(&guests).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nobody_leads_and_everybody_says_why_until_it_is_back() {
    let mut stage = three_members().await;
    let guests = stage.put_guests(0..4).await;
    stage.all_run(&guests).await;
    let late = stage.put_guests(4..8).await;
    for place in [1, 2] {
        stage.etcd.member(place).kill();
    }
    for operator in &stage.operators {
        eventually("it says what is wrong", async || match operator.page("/readyz").await? {
            (503, said) if said.contains("quorum") => Ok(()),
            (code, said) => Err(format!("{code}: {said}")),
        })
        .await;
        let metrics = operator.page("/metrics").await.expect("it answers").1;
        assert!(metrics.contains("lochness_store_trouble{kind=\"no_quorum\"} 1"), "{metrics}");
    }
    eventually("nobody leads", async || {
        for operator in &stage.operators {
            let metrics = operator.page("/metrics").await?.1;
            if metrics
                .contains("leader_election_master_status{name=\"lochness/operator/leader\"} 1")
            {
                return Err(format!("{} does", operator.name()));
            }
        }
        Ok(())
    })
    .await;
    let mutations = stage.mutations();
    stays(Duration::from_secs(2), "no host is asked for a change", async || {
        if stage.mutations() == mutations { Ok(()) } else { Err("one was".to_owned()) }
    })
    .await;
    for operator in &stage.operators {
        let lines = operator.log().lines().filter(|line| line.contains("no_quorum")).count();
        assert_eq!(lines, 1, "trouble that lasts is told once a minute:\n{}", operator.log());
    }
    for place in [1, 2] {
        stage.etcd.member(place).restart();
    }
    stage.store.serves().await;
    stage.leader().await;
    stage.all_run(&[guests, late].concat()).await;
    stage.finish().await;
}
