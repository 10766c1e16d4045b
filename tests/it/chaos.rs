//! Everything at once: documents that come and go while leaders, agents, etcd and answers fail; then peace.

use std::time::Duration;

use lochness_agent::server::{Compat, Delays, Event, Faults, ReplyFault};
use lochness_api::status::Phase;
use lochness_api::{GuestId, Key};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;

use crate::harness::{HostOptions, Stage, eventually, guest_id};

/// Guests that may be there.
const GUESTS: u32 = 24;
/// Things that go wrong or are wished, one after the other.
const STEPS: u32 = 60;
/// Between two of them.
const STEP: Duration = Duration::from_millis(150);

async fn storm(seed: u64, compat: Compat) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut stage = Stage::empty().await;
    stage.put_network().await;
    stage.store.put(&Key::Config("quarantine_seconds".to_owned()), &json!("2")).await;
    stage.store.put(&Key::Config("deletion_budget_min".to_owned()), &json!("1000")).await;
    for number in 1..=3 {
        let create = Duration::from_millis(50);
        let jitter = Duration::from_millis(300);
        let delays = Delays { create, jitter, ..Delays::default() };
        let options = HostOptions::new(&format!("host-{number}"));
        let options = HostOptions { compat, delays, ..options };
        stage.host(&options).await;
    }
    stage.operator("0").await;
    stage.operator("1").await;
    let mut started = 2;
    let wishes: &[&str] = match compat {
        Compat::Lochness => &["running", "running", "running", "stopped", "suspended"],
        // Its agent cannot suspend.
        Compat::Mistify => &["running", "running", "stopped"],
    };
    for _ in 0..STEPS {
        step(&mut stage, &mut rng, &mut started, wishes).await;
        tokio::time::sleep(STEP).await;
    }
    for host in &stage.hosts {
        host.set_faults(Faults::default());
    }
    for operator in &stage.operators {
        operator.thaw();
    }
    converges(&stage, GUESTS).await;
    stage.finish().await;
}

async fn step(stage: &mut Stage, rng: &mut StdRng, started: &mut u32, wishes: &[&str]) {
    let number = rng.random_range(0..GUESTS);
    let place = rng.random_range(0..stage.hosts.len());
    match rng.random_range(0..100) {
        0..45 => {
            let wish = wishes[rng.random_range(0..wishes.len())];
            let reboot = format!("{}", rng.random_range(0..3));
            stage.put_guest(number, json!({ "state": wish, "reboot": reboot })).await;
        }
        45..65 => {
            stage.store.delete(&Key::Guest(guest_id(number))).await;
        }
        65..70 => stage.hosts[place].happen(Event::CrashGuest(guest_id(number))),
        70..73 => stage.hosts[place].happen(Event::Reboot),
        73..76 => stage.hosts[place].happen(Event::KillAgent { down_ms: 700 }),
        76..84 => {
            let fault = [ReplyFault::Status(500), ReplyFault::Truncated, ReplyFault::Hang]
                [rng.random_range(0..3)];
            stage.hosts[place].set_faults(Faults { reply: Some(fault), ..Faults::default() });
        }
        84..88 => {
            stage.hosts[place].set_faults(Faults {
                lost_answers: 300,
                failing_jobs: 200,
                ..Faults::default()
            });
        }
        88..94 => stage.hosts[place].set_faults(Faults::default()),
        94..96 => {
            stage.etcd.kill();
            stage.etcd.restart();
        }
        96..98 => {
            let place = rng.random_range(0..stage.operators.len());
            stage.operators[place].kill();
            stage.operators.remove(place);
            stage.operator(&started.to_string()).await;
            *started += 1;
        }
        _ => {
            let place = rng.random_range(0..stage.operators.len());
            stage.operators[place].freeze();
            tokio::time::sleep(Duration::from_secs(4)).await;
            stage.operators[place].thaw();
        }
    }
}

/// The world becomes what the documents of guests with the numbers below `guests` say.
pub(crate) async fn converges(stage: &Stage, guests: u32) {
    let documents = stage.store.below("guests/").await;
    let wanted = |id: GuestId| {
        let value = documents.get(&Key::Guest(id).to_string())?;
        let document: serde_json::Value = serde_json::from_slice(value).ok()?;
        document["state"].as_str().map(str::to_owned)
    };
    for number in 0..guests {
        let id = guest_id(number);
        let wanted = wanted(id);
        let what = format!("guest {id} is {}", wanted.as_deref().unwrap_or("gone"));
        eventually(&what, async || {
            let status = stage.store.guest(id).await;
            let phase = status.as_ref().map(|status| status.phase);
            let runs = stage.runs(id).await;
            let is_so = match wanted.as_deref() {
                None => phase.is_none() && !runs,
                Some("running") => phase == Some(Phase::Running) && runs,
                Some("stopped") => phase == Some(Phase::Stopped) && !runs,
                // Suspended guests keep their memory, so the truth counts them as running.
                Some(_) => phase == Some(Phase::Suspended) && runs,
            };
            if is_so {
                return Ok(());
            }
            let histories = stage.histories().await;
            let told = stage.checker.timeline(&histories, id);
            Err(format!("it runs: {runs}; {status:?}\n{told}"))
        })
        .await;
    }
}

/// Another one can be asked for, to look for trouble or to look at it again.
fn seed() -> u64 {
    let seed = std::env::var("LOCHNESS_IT_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or(1);
    println!("LOCHNESS_IT_SEED={seed}");
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_storm_of_faults_the_world_is_what_the_documents_say() {
    storm(seed(), Compat::Lochness).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_storm_on_hosts_of_the_original_the_world_is_what_the_documents_say() {
    storm(seed(), Compat::Mistify).await;
}
