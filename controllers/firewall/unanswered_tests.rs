//! Requests that were not answered, with a real agent of this process.

use std::time::Duration;

use lochness_agent::server::{Compat, Event, Faults, Host, ReplyFault};
use lochness_api::job::JobAction;
use lochness_api::keys::Key;
use lochness_runtime::controller::Reconciler as _;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{FirewallReconciler, Form, Read, Sent};
use crate::agents::bench::Bench;
use crate::test_world::id;

const HOST: usize = 1;

/// A host with a guest and its ruleset, and who keeps it.
async fn stage(bench: &Bench) -> (Host, FirewallReconciler) {
    let host = bench.host(HOST, Compat::Lochness).await;
    bench.put(&[(Key::HypervisorConfig(id(HOST), "firewall".to_owned()), json!("agent"))]).await;
    bench.until("it is listed", || bench.listed(HOST) == Some(0)).await;
    bench.place(100, HOST, JobAction::Create).await;
    let firewall = FirewallReconciler::new(bench.context.clone(), &bench.metrics);
    assert!(firewall.reconcile(&id(HOST)).await.unwrap().changed);
    assert_eq!(sent(bench), [1, 0]);
    (host, firewall)
}

/// How many rulesets and how many patches were answered.
fn sent(bench: &Bench) -> [u64; 2] {
    let page = bench.metrics.gather_text();
    ["put_firewall", "patch_firewall"].map(|operation| {
        let head =
            format!("lochness_agent_requests_total{{operation=\"{operation}\",result=\"ok\"}} ");
        let count = page.lines().find_map(|line| line.strip_prefix(&head));
        count.map_or(0, |count| count.parse().unwrap())
    })
}

/// Reconciles until nothing is left to send.
async fn until_settled(firewall: &FirewallReconciler) {
    let began = Instant::now();
    loop {
        match firewall.reconcile(&id(HOST)).await {
            Ok(outcome) if !outcome.changed && firewall.unsure().is_empty() => return,
            Ok(_) | Err(_) => sleep(Duration::from_secs(1)).await,
        }
        assert!(began.elapsed() < Duration::from_secs(300), "it does not settle");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_patch_that_did_not_arrive_another_patch_is_enough() {
    let bench = Bench::new().await;
    let (host, firewall) = stage(&bench).await;
    let silent = Faults { reply: Some(ReplyFault::Hang), ..Faults::default() };
    host.set_faults(silent, None);
    bench.place(101, HOST, JobAction::Create).await;
    firewall.reconcile(&id(HOST)).await.unwrap_err();
    host.set_faults(Faults::default(), None);
    bench.place(102, HOST, JobAction::Create).await;
    until_settled(&firewall).await;
    assert_eq!(sent(&bench), [1, 1]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_patch_that_arrived_and_was_not_answered_another_patch_is_enough() {
    let bench = Bench::new().await;
    let (host, firewall) = stage(&bench).await;
    host.set_faults(Faults { lost_answers: 1000, ..Faults::default() }, None);
    bench.place(101, HOST, JobAction::Create).await;
    firewall.reconcile(&id(HOST)).await.unwrap_err();
    host.set_faults(Faults::default(), None);
    bench.place(102, HOST, JobAction::Create).await;
    until_settled(&firewall).await;
    assert_eq!(sent(&bench), [1, 1]);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn rules_that_are_lost_before_the_answer_comes_are_not_taken_for_rules_in_force() {
    let bench = Bench::new().await;
    let (host, firewall) = stage(&bench).await;
    bench.place(101, HOST, JobAction::Create).await;
    // Nobody knows what is in force, before and after.
    bench.context.reports.change(id(HOST), |report| report.note_firewall(None));
    let due = firewall.due(id(HOST), Form::Shortest).expect("a guest is not covered");
    let sent = FirewallReconciler::send(&due).await;
    host.happen(Event::LoseRules).unwrap();
    let notes = || bench.report(HOST, |report| report.firewall_notes).unwrap();
    bench.until("the loss is read", || notes() > due.notes).await;
    assert!(!firewall.take_in(id(HOST), &due, sent).unwrap().changed);
    until_settled(&firewall).await;
    assert!(host.rules_are_in_force(), "the rules are put again, without a rescan");
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_read_from_before_a_late_ruleset_does_not_hide_that_it_is_in_force() {
    let bench = Bench::new().await;
    let (_host, firewall) = stage(&bench).await;
    bench.place(101, HOST, JobAction::Create).await;
    let due = firewall.due(id(HOST), Form::Shortest).expect("a guest is not covered");
    let known = || bench.report(HOST, |report| report.firewall.clone()).unwrap();
    let former = known();
    let Sent::Answered(now) = FirewallReconciler::send(&due).await else { panic!("it is taken") };
    // The poll has read before that, and tells it now.
    bench.context.reports.change(id(HOST), |report| report.note_firewall(former));
    assert_eq!(firewall.read(id(HOST), &due).await.unwrap(), Read::Crossed);
    assert_eq!(known(), None, "nobody knows which of the two is newer");
    until_settled(&firewall).await;
    assert_eq!(known().map(|report| report.hash), now.hash);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_late_ruleset_that_a_read_has_crossed_is_replaced_where_no_guest_is_left() {
    let bench = Bench::new().await;
    let (_host, firewall) = stage(&bench).await;
    bench.context.reports.change(id(HOST), |report| report.note_firewall(None));
    let due = firewall.due(id(HOST), Form::Shortest).expect("nobody knows what is in force");
    bench.unplace(100, HOST).await;
    bench.context.reports.change(id(HOST), |report| report.note_firewall(None));
    assert_eq!(firewall.read(id(HOST), &due).await.unwrap(), Read::Crossed);
    until_settled(&firewall).await;
    assert_eq!(sent(&bench), [1, 1], "the rules of the guest that is gone are taken out");
    bench.end().await;
}
