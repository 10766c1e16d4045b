//! What a scrape shows.

use std::io::{ErrorKind, Write};
use std::process::{Command, Stdio};

use super::*;
use crate::backoff::BackoffOptions;
use crate::queue::Queue;

/// Metrics with a sample in every family.
fn used() -> (Metrics, std::sync::Arc<Queue<u32>>) {
    let metrics = Metrics::new();
    let queue = Queue::new("guest", BackoffOptions::default(), &metrics);
    metrics.controller("guest").may_use(4);
    metrics.leader("operator").leading();
    metrics.watch().message_received();
    metrics.watch().advanced(3, 42);
    metrics.watch().relisted("compacted");
    metrics.commits().decided("committed");
    drop(metrics.commits().sent(7));
    (metrics, queue)
}

/// The value of one series, as it is printed.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let text = metrics.gather_text();
    text.lines().find_map(|line| Some(line.strip_prefix(series)?.strip_prefix(' ')?.to_owned()))
}

#[test]
fn every_family_is_there_under_its_name() {
    let (metrics, _queue) = used();
    let mut families =
        metrics.registry.gather().iter().map(|f| f.name().to_owned()).collect::<Vec<_>>();
    families.sort();
    assert_eq!(
        families,
        [
            "controller_runtime_active_workers",
            "controller_runtime_max_concurrent_reconciles",
            "controller_runtime_reconcile_errors_total",
            "controller_runtime_reconcile_panics_total",
            "controller_runtime_reconcile_time_seconds",
            "controller_runtime_reconcile_total",
            "leader_election_master_status",
            "lochness_commit_group_size",
            "lochness_commit_seconds",
            "lochness_commit_total",
            "lochness_commits_in_flight",
            "lochness_rescan_found_work_total",
            "lochness_watch_events_total",
            "lochness_watch_last_message_age_seconds",
            "lochness_watch_relists_total",
            "lochness_watch_revision",
            "workqueue_adds_total",
            "workqueue_depth",
            "workqueue_longest_running_processor_seconds",
            "workqueue_queue_duration_seconds",
            "workqueue_retries_total",
            "workqueue_unfinished_work_seconds",
            "workqueue_work_duration_seconds",
        ]
    );
}

#[test]
fn promtool_finds_nothing_to_say() {
    let (metrics, _queue) = used();
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        // Not everyone has Prometheus; CI does.
        Err(error) if error.kind() == ErrorKind::NotFound => return,
        Err(error) => panic!("promtool: {error}"),
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(metrics.gather_text().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test(start_paused = true)]
async fn the_load_of_a_queue_is_read_when_it_is_scraped() {
    let (metrics, queue) = used();
    let depth = r#"workqueue_depth{controller="guest",name="guest"}"#;
    let active = r#"controller_runtime_active_workers{controller="guest"}"#;
    let longest = r#"workqueue_longest_running_processor_seconds{controller="guest",name="guest"}"#;
    let unfinished = r#"workqueue_unfinished_work_seconds{controller="guest",name="guest"}"#;
    let read =
        || [depth, active, longest, unfinished].map(|series| value(&metrics, series).unwrap());
    assert_eq!(read(), ["0", "0", "0", "0"]);
    for key in 0..4 {
        queue.add(key);
    }
    queue.add_after(9, std::time::Duration::from_secs(60));
    queue.next().await;
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    queue.next().await;
    assert_eq!(read(), ["2", "2", "2", "2"]);
    tokio::time::advance(std::time::Duration::from_secs(60)).await;
    assert_eq!(read(), ["3", "2", "62", "122"], "the delayed key has become due");
    drop(queue);
    assert_eq!(value(&metrics, depth), None, "a queue that is gone has no depth");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_follows_another_of_its_name_takes_its_place() {
    let (metrics, first) = used();
    first.add(1);
    let second = Queue::<u32>::new("guest", BackoffOptions::default(), &metrics);
    let depth = r#"workqueue_depth{controller="guest",name="guest"}"#;
    assert_eq!(value(&metrics, depth).as_deref(), Some("0"));
    drop(first);
    second.add(2);
    second.add(3);
    assert_eq!(value(&metrics, depth).as_deref(), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn the_age_of_the_last_message_grows_until_the_next_and_is_absent_before_the_first() {
    let metrics = Metrics::new();
    let age = "lochness_watch_last_message_age_seconds";
    assert_eq!(value(&metrics, age), None);
    metrics.watch().message_received();
    tokio::time::advance(std::time::Duration::from_secs(7)).await;
    assert_eq!(value(&metrics, age).as_deref(), Some("7"));
    metrics.watch().message_received();
    assert_eq!(value(&metrics, age).as_deref(), Some("0"));
}

#[test]
fn commits_are_in_flight_until_their_group_is_answered_or_given_up() {
    let metrics = Metrics::new();
    let first = metrics.commits().sent(3);
    let second = metrics.commits().sent(2);
    assert_eq!(value(&metrics, "lochness_commits_in_flight").as_deref(), Some("5"));
    drop(first);
    assert_eq!(value(&metrics, "lochness_commits_in_flight").as_deref(), Some("2"));
    drop(second);
    assert_eq!(value(&metrics, "lochness_commits_in_flight").as_deref(), Some("0"));
    assert_eq!(value(&metrics, "lochness_commit_group_size_sum").as_deref(), Some("5"));
}
