//! What a guest should do: run, rest, be suspended, boot once more; and what happens when it dies.

use std::time::Duration;

use lochness_agent::server::{EffectKind, Event, Faults};
use lochness_api::GuestId;
use lochness_api::status::Phase;
use serde_json::json;

use crate::harness::{Stage, eventually, stays};

fn effects(stage: &Stage, guest: GuestId) -> Vec<EffectKind> {
    let history = stage.hosts[0].history();
    history.iter().filter(|it| it.guest == Some(guest)).map(|it| it.kind).collect()
}

/// Waits until exactly these happened to the guest since it was made and started.
async fn happens(stage: &Stage, guest: GuestId, wanted: &[EffectKind]) {
    eventually(&format!("{wanted:?} happens"), async || {
        let effects = effects(stage, guest);
        if effects.get(2..) == Some(wanted) { Ok(()) } else { Err(format!("{effects:?}")) }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_does_what_its_document_says() {
    use EffectKind::{Paused, Resumed, Started, Stopped};
    let stage = Stage::with_hosts(1).await;
    let guest = stage.put_guest(0, json!({})).await;
    stage.all_run(&[guest]).await;
    stage.put_guest(0, json!({ "state": "suspended" })).await;
    stage.reach(&[guest], Phase::Suspended).await;
    stage.put_guest(0, json!({ "state": "running" })).await;
    stage.all_run(&[guest]).await;
    stage.put_guest(0, json!({ "state": "stopped" })).await;
    stage.reach(&[guest], Phase::Stopped).await;
    stage.put_guest(0, json!({})).await;
    stage.all_run(&[guest]).await;
    happens(&stage, guest, &[Paused, Resumed, Stopped, Started]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_ignores_its_shutdown_is_powered_off() {
    let stage = Stage::with_hosts(1).await;
    let guest = stage.put_guest(0, json!({})).await;
    stage.all_run(&[guest]).await;
    stage.hosts[0].set_faults(Faults { ignore_shutdown: true, ..Faults::default() });
    stage.put_guest(0, json!({ "state": "stopped" })).await;
    stage.reach(&[guest], Phase::Stopped).await;
    happens(&stage, guest, &[EffectKind::Stopped]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reboot_token_is_one_reboot_and_one_at_birth_is_none() {
    use EffectKind::Rebooted;
    let mut stage = Stage::with_hosts(1).await;
    let guest = stage.put_guest(0, json!({ "reboot": "at birth" })).await;
    stage.all_run(&[guest]).await;
    stage.put_guest(0, json!({ "reboot": "first" })).await;
    happens(&stage, guest, &[Rebooted]).await;
    stage.put_guest(0, json!({ "reboot": "first" })).await;
    stage.put_guest(0, json!({ "reboot": "second" })).await;
    happens(&stage, guest, &[Rebooted, Rebooted]).await;
    // Another leader does not do it again.
    stage.all_run(&[guest]).await;
    let leader = stage.leader().await;
    stage.operators[leader].terminate().await;
    stage.operators.clear();
    stage.operator("two").await;
    stage.leader().await;
    let other = stage.put_guest(1, json!({})).await;
    stage.all_run(&[guest, other]).await;
    happens(&stage, guest, &[Rebooted, Rebooted]).await;
    stage.finish().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_died_is_started_again_as_its_restart_says() {
    use EffectKind::{Crashed, Started, Stopped};
    let stage = Stage::with_hosts(1).await;
    let always = stage.put_guest(0, json!({})).await;
    let on_failure = stage.put_guest(1, json!({ "restart": "on-failure" })).await;
    let clean = stage.put_guest(2, json!({ "restart": "on-failure" })).await;
    let never = stage.put_guest(3, json!({ "restart": "never" })).await;
    stage.all_run(&[always, on_failure, clean, never]).await;
    let host = &stage.hosts[0];
    for guest in [always, on_failure, never] {
        host.happen(Event::CrashGuest(guest));
    }
    host.happen(Event::StopGuest(clean));
    happens(&stage, always, &[Crashed, Started]).await;
    happens(&stage, on_failure, &[Crashed, Started]).await;
    stays(Duration::from_secs(3), "who must not be started rests", async || {
        let ends = (effects(&stage, never), effects(&stage, clean));
        if ends.0.last() == Some(&Crashed) && ends.1.last() == Some(&Stopped) {
            Ok(())
        } else {
            Err(format!("{ends:?}"))
        }
    })
    .await;
    stage.all_run(&[always, on_failure]).await;
    stage.finish().await;
}
