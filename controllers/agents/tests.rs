//! Polls with real agents of this process.

use std::collections::BTreeSet;
use std::time::Duration;

use lochness_agent::server::{self, Compat, Event, Faults, ReplyFault};
use lochness_api::job::JobAction;
use lochness_api::status::HypervisorStatus;
use tokio::time::Instant;

use super::bench::Bench;
use super::hosts_to_hear;
use super::notes::Notes;
use crate::reports::{Contact, HostReport, ImageState, Protocol};
use crate::test_world::id;

const HOST: usize = 1;
const BOTH: [Compat; 2] = [Compat::Lochness, Compat::Mistify];

fn answers(bench: &Bench) -> bool {
    bench.report(HOST, |report| matches!(report.contact, Contact::Answered(_))) == Some(true)
}

fn is_reachable(bench: &Bench) -> bool {
    let window = bench.context.settings.reachable_window;
    bench.report(HOST, |report| report.is_reachable(Instant::now(), window)) == Some(true)
}

/// Whether somebody wants the host loop to look; forgotten with that.
fn wants_a_look(bench: &Bench) -> bool {
    let queue = &bench.context.queues.host;
    let key = queue.try_next();
    key.inspect(|key| queue.done(key)).is_some()
}

/// A host with so many running guests, all of them listed.
async fn with_guests(bench: &Bench, compat: Compat, count: usize) -> server::Host {
    let host = bench.host(HOST, compat).await;
    for number in 0..count {
        bench.done(bench.place(100 + number, HOST, JobAction::Create).await).await;
    }
    bench.until("all are listed", || bench.listed(HOST) == Some(count)).await;
    host
}

#[tokio::test(start_paused = true)]
async fn a_greeting_tells_the_protocol_and_the_images() {
    let bench = Bench::new().await;
    let _host = bench.host(HOST, Compat::Lochness).await;
    bench.until("it is listed", || bench.listed(HOST) == Some(0)).await;
    let ours = |report: &crate::reports::HostReport| {
        matches!(report.protocol, Some(Protocol::Lochness(_))) && report.has_order()
    };
    assert_eq!(bench.report(HOST, ours), Some(true));
    let none: std::collections::BTreeMap<_, ImageState> = std::collections::BTreeMap::new();
    assert_eq!(bench.report(HOST, |report| report.images.clone()), Some(Some(none)));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_with_errors_alone_is_unreachable_long_before_the_window_is_over() {
    let bench = Bench::new().await;
    // It is asked for a list every few seconds.
    let host = with_guests(&bench, Compat::Mistify, 1).await;
    let errors = Faults { reply: Some(ReplyFault::Status(500)), ..Faults::default() };
    host.set_faults(errors, None);
    let began = Instant::now();
    bench.until("it is unreachable", || !is_reachable(&bench)).await;
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    assert_eq!(bench.listed(HOST), Some(1), "what it last listed stays");
    host.set_faults(Faults::default(), None);
    bench.until("it is reachable", || is_reachable(&bench)).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_dies_is_seen_at_once() {
    let bench = Bench::new().await;
    let host = with_guests(&bench, Compat::Lochness, 1).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let died = Instant::now();
    host.happen(Event::CrashGuest(id(100))).unwrap();
    let crashed = || {
        let reports = bench.context.reports.read();
        let guest = reports.host(id(HOST)).and_then(|report| report.guest(id(100))?.cloned());
        guest.is_some_and(|guest| guest.record.state == "crashed")
    };
    bench.until("it is seen", crashed).await;
    assert!(died.elapsed() < Duration::from_millis(100), "{:?}", died.elapsed());
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_host_of_ours_costs_a_few_requests_a_minute_and_stays_reachable() {
    let bench = Bench::new().await;
    let host = with_guests(&bench, Compat::Lochness, 1).await;
    let before = host.stats();
    let begun = Instant::now();
    while wants_a_look(&bench) {}
    while begun.elapsed() < Duration::from_secs(600) {
        assert!(is_reachable(&bench));
        assert!(!wants_a_look(&bench), "nothing has happened");
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let after = host.stats();
    assert!(after.requests - before.requests <= 10 * 3 + 2, "{before:?} {after:?}");
    assert_eq!(after.mutations, before.mutations);
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_host_keeps_its_list_and_its_return_is_noticed() {
    for compat in BOTH {
        let bench = Bench::new().await;
        let host = with_guests(&bench, compat, 2).await;
        host.happen(Event::KillAgent { down_ms: 60_000 }).unwrap();
        bench.until("it is silent", || !answers(&bench)).await;
        while wants_a_look(&bench) {}
        bench.until("the host loop is to look", || wants_a_look(&bench)).await;
        assert!(!is_reachable(&bench), "the window is over");
        assert_eq!(bench.listed(HOST), Some(2), "absent is not unknown");
        while wants_a_look(&bench) {}
        bench.until("it is back", || is_reachable(&bench)).await;
        assert!(wants_a_look(&bench));
        assert_eq!(bench.listed(HOST), Some(2));
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_suddenly_is_empty_is_believed_a_minute_later_only() {
    for compat in BOTH {
        let bench = Bench::new().await;
        let host = with_guests(&bench, compat, 5).await;
        let begun = Instant::now();
        host.set_faults(Faults { empty_list: true, ..Faults::default() }, None);
        bench.until("it is believed", || bench.listed(HOST) == Some(0)).await;
        assert!(begun.elapsed() >= bench.context.settings.vanish_confirmation);
        bench.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_empty_for_a_moment_changes_nothing() {
    let bench = Bench::new().await;
    let host = with_guests(&bench, Compat::Mistify, 5).await;
    let moment = Duration::from_secs(30);
    host.set_faults(Faults { empty_list: true, ..Faults::default() }, Some(moment));
    let begun = Instant::now();
    while begun.elapsed() < 4 * moment {
        assert_eq!(bench.listed(HOST), Some(5));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_booted_without_its_guests_is_believed_at_once() {
    let bench = Bench::new().await;
    let host = with_guests(&bench, Compat::Lochness, 5).await;
    let begun = Instant::now();
    host.happen(Event::RebootEmpty).unwrap();
    bench.until("it is believed", || bench.listed(HOST) == Some(0)).await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn another_host_at_the_address_is_not_believed() {
    let bench = Bench::new().await;
    let _host = with_guests(&bench, Compat::Lochness, 2).await;
    let other = bench.host(2, Compat::Lochness).await;
    bench.network.remove("192.0.2.1:8080");
    bench.network.insert("192.0.2.1:8080", server::router(other));
    let wrong =
        |report: &crate::reports::HostReport| report.contact == Contact::WrongHost { found: id(2) };
    bench.until("it is seen", || bench.report(HOST, wrong) == Some(true)).await;
    assert_eq!(bench.listed(HOST), Some(2));
    assert!(!is_reachable(&bench));
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_answers_nonsense_is_silent_and_costs_the_others_nothing() {
    let bench = Bench::new().await;
    let host = with_guests(&bench, Compat::Lochness, 1).await;
    let _other = bench.host(2, Compat::Lochness).await;
    for reply in [ReplyFault::Status(500), ReplyFault::Truncated, ReplyFault::Hang] {
        host.set_faults(Faults { reply: Some(reply), ..Faults::default() }, None);
        bench.until("it is unreachable", || !is_reachable(&bench)).await;
        assert_eq!(bench.listed(HOST), Some(1));
        let begun = Instant::now();
        let job = bench.place(200, 2, JobAction::Create).await;
        bench.done(job).await;
        bench.done(bench.next(200, 2, JobAction::Delete).await).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        host.set_faults(Faults::default(), None);
        bench.until("it is back", || is_reachable(&bench)).await;
    }
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn placement_may_begin_when_every_living_host_has_listed_its_guests() {
    let bench = Bench::new().await;
    let none = BTreeSet::new();
    let agents = &bench.context.agents;
    let listed = || agents.every_host_listed(&bench.context.world.read(), &none);
    assert!(listed(), "there is no host");
    bench.put(&[(lochness_api::Key::Heartbeat(id(HOST)), serde_json::json!("alive"))]).await;
    assert!(!listed());
    let _host = bench.host(HOST, Compat::Mistify).await;
    bench.until("it has", listed).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn placement_may_begin_when_the_hosts_that_lived_when_somebody_last_led_have_listed_theirs() {
    let bench = Bench::new().await;
    let status = HypervisorStatus { alive: true, ..HypervisorStatus::default() };
    let key = lochness_api::Key::HypervisorStatus(id(HOST));
    bench.put(&[(key.clone(), serde_json::to_value(&status).unwrap())]).await;
    let awaited = hosts_to_hear(&bench.context.world.read());
    assert_eq!(awaited, BTreeSet::from([id(HOST)]));
    // The leader itself says at once that it has no heartbeat.
    let gone = HypervisorStatus { alive: false, ..status };
    bench.put(&[(key.clone(), serde_json::to_value(&gone).unwrap())]).await;
    let agents = &bench.context.agents;
    let listed = || agents.every_host_listed(&bench.context.world.read(), &awaited);
    assert!(!listed(), "it has not come back yet");
    assert!(hosts_to_hear(&bench.context.world.read()).is_empty(), "the next leader does not wait");
    let _host = bench.host(HOST, Compat::Lochness).await;
    bench.until("it has", listed).await;
    bench.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_is_asked_nowhere_any_more_lapses_and_an_answer_that_comes_late_is_told_at_once()
 {
    let bench = Bench::new().await;
    let _host = with_guests(&bench, Compat::Lochness, 1).await;
    bench.put(&[(lochness_api::Key::Hypervisor(id(HOST)), serde_json::json!({}))]).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    while wants_a_look(&bench) {}
    let answered = bench.report(HOST, HostReport::last_answer).flatten().unwrap();
    bench.until("the host loop is to look", || wants_a_look(&bench)).await;
    assert!(!is_reachable(&bench));
    let window = bench.context.settings.reachable_window;
    assert!(answered.elapsed() < window + Duration::from_millis(100), "{:?}", answered.elapsed());
    // As when a request took longer than the window, and was answered.
    while let Some(key) = bench.context.queues.firewall.try_next() {
        bench.context.queues.firewall.done(&key);
    }
    Notes::new(bench.context.clone(), id(HOST)).answered();
    assert!(wants_a_look(&bench));
    assert_eq!(bench.context.queues.firewall.try_next(), Some(id(HOST)), "and all who wait for it");
    bench.end().await;
}
