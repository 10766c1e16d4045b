//! One polling task a host, for as long as the term lasts.
//!
//! Guarantees: what a host answers to polls is written down by one task, ever, which stays when the host moves or goes, and
//! is only told so. A poll that panics begins anew after a while and disturbs no other. That a host has become silent, of
//! which no event tells, is announced here.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use lochness_api::HypervisorId;
use lochness_runtime::Tasks;
use tokio::sync::watch;
use tokio::time::{sleep, sleep_until};
use tracing::error;

use super::poller::Poller;
use super::target;
use crate::context::Context;
use crate::reports::HostReport;
use crate::world::World;

/// The world's hosts are looked over at most this often.
const SETTLE: Duration = Duration::from_millis(100);
/// So soon after any change they are looked over all the same: where a host was last known to be counts while it is needed.
const LOOK: Duration = Duration::from_secs(1);
/// How long a poll that panicked rests.
const REST: Duration = Duration::from_secs(1);
/// After the window, the host loop looks a little later, so that the window is over for certain.
const WINDOW_OVER: Duration = Duration::from_millis(10);

/// Where a host's agent is to be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    At(String),
    /// Its keys do not say.
    Nowhere,
    /// No key names the host any more.
    Gone,
}

/// Polls every host that the world knows an address of, until `tasks` are told to end.
pub async fn poll_hosts(context: Context, tasks: Tasks) {
    let (mut fleet, mut position) = (context.world.fleet(), context.world.position());
    let mut polled: BTreeMap<HypervisorId, watch::Sender<Target>> = BTreeMap::new();
    loop {
        fleet.mark_unchanged();
        position.mark_unchanged();
        let targets = targets(&context.world.read());
        for (host, told) in &polled {
            if !targets.contains_key(host) {
                tell(told, Target::Gone);
            }
        }
        for (host, target) in targets {
            if let Some(told) = polled.get(&host) {
                tell(told, target);
            } else {
                let (told, target) = watch::channel(target);
                polled.insert(host, told);
                let (context, token) = (context.clone(), tasks.token().clone());
                tasks.spawn("poll", async move {
                    tokio::select! {
                        biased;
                        () = follow(&context, host, target, token) => {}
                        never = announce_lapses(&context, host) => match never {},
                    }
                });
            }
        }
        tokio::select! {
            biased;
            () = tasks.cancelled() => return,
            changed = fleet.changed() => if changed.is_err() { return },
            () = async { let _ = position.changed().await; sleep(LOOK).await } => {}
        }
        tokio::select! {
            biased;
            () = tasks.cancelled() => return,
            () = sleep(SETTLE) => {}
        }
    }
}

fn targets(world: &World) -> BTreeMap<HypervisorId, Target> {
    let of = |entry| target(entry).map_or(Target::Nowhere, Target::At);
    world.hosts().iter().map(|entry| (entry.id, of(entry))).collect()
}

fn tell(told: &watch::Sender<Target>, target: Target) {
    told.send_if_modified(|former| {
        let moved = *former != target;
        *former = target;
        moved
    });
}

/// Polls one host wherever it is, until the token is cancelled.
async fn follow(
    context: &Context,
    host: HypervisorId,
    mut target: watch::Receiver<Target>,
    token: tokio_util::sync::CancellationToken,
) {
    loop {
        let now = target.borrow_and_update().clone();
        tokio::select! {
            biased;
            () = token.cancelled() => return,
            changed = target.changed() => if changed.is_err() { return },
            () = attend(context, host, now) => {}
        }
    }
}

/// Lets the host loop look when an agent has not answered for a whole window, which nothing else announces; also of a host
/// that is not asked any more. One that answers costs a look at its report once a window.
async fn announce_lapses(context: &Context, host: HypervisorId) -> Infallible {
    let window = context.settings.reachable_window;
    let last_answer = || context.reports.read().host(host).and_then(HostReport::last_answer);
    let mut told = None;
    loop {
        let last = last_answer();
        match last {
            Some(at) if told != last => {
                sleep_until(at + window + WINDOW_OVER).await;
                if last_answer() == last {
                    told = last;
                    context.queues.host.add(host);
                }
            }
            // An answer that comes from now on counts for a whole window.
            Some(_) | None => sleep(window).await,
        }
    }
}

/// Polls a host where it is now. Ends only by a panic, after a rest.
async fn attend(context: &Context, host: HypervisorId, target: Target) {
    match target {
        Target::At(target) => {
            let poller = Poller::new(context.clone(), host, target);
            if AssertUnwindSafe(poller.run()).catch_unwind().await.is_err() {
                error!(%host, "poll panicked, it begins anew");
            }
            sleep(REST).await;
        }
        Target::Nowhere => std::future::pending().await,
        Target::Gone => {
            context.reports.forget(host);
            context.queues.host.add(host);
            std::future::pending::<()>().await;
        }
    }
}
