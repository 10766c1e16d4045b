//! What follows from placements while very many are being made: it waits a little, so that placing goes first.
//!
//! A placement wakes its guest, its job, its host, that host's firewall and its subnet. In a rush of thousands a host would
//! be looked at again for each guest that comes to it, its ruleset compiled and sent each time, and placing would wait for
//! all of that. So while there is a rush, the changes that placements make are kept here and let go together. Whatever else
//! changes wakes its loops at once: nobody who stops a guest meanwhile waits for anything here.
//!
//! Guarantees: nothing that is kept is lost as long as the term lasts; it is let go when the rush is over, or when little is
//! kept, and otherwise within some seconds.

use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lochness_api::job::{JobAction, JobStatus};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::queues::Queues;
use crate::wake::wake_one;
use crate::world::{Change, Outline, World, WorldCell};

/// What is kept is looked at so often.
const LOOK: Duration = Duration::from_millis(10);
/// For so long changes are gathered, for what follows from few need not wait longer:
const GATHER: Duration = Duration::from_millis(100);
/// that many changes are few. A placement makes four.
const FEW: usize = 128;
/// What was let go before is worked off first, and then placing has so much time again,
const REST: Duration = Duration::from_secs(12);
/// but nothing waits longer than this.
const PATIENCE: Duration = Duration::from_secs(30);
/// So many keys that are due are as good as none: what was let go is worked off.
const WORKED_OFF: usize = 64;
/// So many changes are let go before others may use the world.
const AT_ONCE: usize = 512;

/// What waits until the rush is over.
#[derive(Default)]
pub(crate) struct Afterwards {
    kept: Mutex<Vec<Change>>,
    came: Notify,
}

impl Afterwards {
    /// Keeps a change.
    pub(crate) fn keep(&self, change: Change) {
        self.lock().push(change);
        self.came.notify_one();
    }

    fn take(&self) -> Vec<Change> {
        mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the change is what a placement makes.
pub(crate) fn follows_from_placement(world: &World, change: &Change) -> bool {
    match change {
        Change::GuestPlaced(guest) => world.outline(*guest).is_some_and(Outline::is_placed),
        Change::Placement(host, guest) => {
            world.host(*host).is_some_and(|entry| entry.index.contains_key(guest))
        }
        Change::Address(subnet, ip) => world.address(*subnet, *ip).is_taken(),
        Change::Job(id) => {
            let job = world.job(*id);
            job.and_then(|stored| stored.value.as_ref().map(|job| (job.action, job.status)))
                == Some((JobAction::Create, JobStatus::New))
        }
        Change::Everything
        | Change::Guest(_)
        | Change::GuestStatus(_)
        | Change::Object(..)
        | Change::ObjectStatus(..)
        | Change::Hypervisor(_)
        | Change::Heartbeat(_)
        | Change::HypervisorStatus(_)
        | Change::Members(_)
        | Change::Stale(..)
        | Change::Config
        | Change::ClusterStatus => false,
    }
}

/// Lets go of what is kept, again and again. Has no end of its own.
pub(crate) async fn let_go_in_time(world: &WorldCell, queues: &Queues) {
    let mut has_much_before = false;
    loop {
        queues.afterwards.came.notified().await;
        while !queues.afterwards.lock().is_empty() {
            wait(queues, has_much_before).await;
            let kept = queues.afterwards.take();
            for some in kept.chunks(AT_ONCE) {
                let_go(&world.read(), some, queues);
                tokio::task::yield_now().await;
            }
            has_much_before = kept.len() > FEW;
        }
    }
}

/// Lets go of what is kept now: whoever looks at everything would find it.
pub(crate) fn let_go_now(world: &World, queues: &Queues) {
    let_go(world, &queues.afterwards.take(), queues);
}

fn let_go(world: &World, changes: &[Change], queues: &Queues) {
    for change in changes {
        wake_one(world, change, queues);
    }
}

/// Waits until what is kept may go; `has_much_before` says whether much went before it, which may not be worked off yet.
async fn wait(queues: &Queues, has_much_before: bool) {
    let began = Instant::now();
    // When that was worked off.
    let mut rests_since = (!has_much_before).then_some(began);
    while queues.is_rush_going_on() && began.elapsed() < PATIENCE {
        let is_little = || queues.afterwards.lock().len() <= FEW;
        if began.elapsed() >= GATHER && is_little() {
            return;
        }
        if rests_since.is_none() && queues.due_after_placement() <= WORKED_OFF {
            rests_since = Some(Instant::now());
        }
        if rests_since.is_some_and(|since| since.elapsed() >= REST) {
            return;
        }
        sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use lochness_api::keys::Key;
    use lochness_api::{GuestId, HypervisorId};
    use lochness_runtime::metrics::Metrics;
    use serde_json::json;

    use super::*;
    use crate::settings::Settings;
    use crate::testing::{Store, id};
    use crate::wake::wake;

    /// A guest with its first job on a host, and queues in which a rush begins with the second guest that is due.
    struct Bench {
        store: Store,
        queues: Queues,
        guest: GuestId,
        host: HypervisorId,
    }

    impl Bench {
        fn new() -> Self {
            let mut store = Store::basics();
            let (host, guest) = (store.host(10, 1024), store.guest(100, &json!({})));
            let settings = Settings { placement_rush: 1, ..Settings::default() };
            let queues = Queues::new(&settings, &Metrics::new());
            Self { store, queues, guest, host }
        }

        fn rush(&self) {
            self.queues.placement.add_all([id(900), id(901)]);
        }

        /// What a placement changes.
        fn place(&mut self) -> Vec<Change> {
            let job = json!({"id": id::<()>(200), "action": "create", "guest": self.guest,
                "hypervisor": self.host, "status": "new", "attempt": 0});
            let status = json!({"phase": "Scheduled", "job": id::<()>(200), "placement": {
                "hypervisor": self.host, "subnet": id::<()>(2), "ip": "10.0.0.2",
                "cidr": "10.0.0.0/24", "mac": "02:00:00:00:00:01", "resources": {"memory": 1024}}});
            let mut changes = self.store.put(&Key::GuestStatus(self.guest), &status);
            let address = Key::Address(id(2), "10.0.0.2".parse().unwrap());
            for key in [address, Key::Placement(self.host, self.guest)] {
                changes.extend(self.store.put(&key, &json!(self.guest)));
            }
            changes.extend(self.store.put(&Key::Job(id(200)), &job));
            changes
        }

        fn is_woken(&self) -> bool {
            let queues = &self.queues;
            let lengths = [
                queues.guest.len(),
                queues.job.len(),
                queues.host.len(),
                queues.firewall.len(),
                queues.subnet.len(),
            ];
            assert!(lengths == [0; 5] || lengths == [1; 5], "all or none: {lengths:?}");
            lengths == [1; 5]
        }
    }

    #[test]
    fn without_a_rush_a_placement_wakes_its_loops_at_once() {
        let mut bench = Bench::new();
        let changes = bench.place();
        wake(&bench.store.world, &changes, &bench.queues);
        assert!(bench.is_woken());
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_rush_what_follows_from_placements_waits_and_is_let_go_when_it_is_over() {
        let mut bench = Bench::new();
        bench.rush();
        let changes = bench.place();
        wake(&bench.store.world, &changes, &bench.queues);
        assert!(!bench.is_woken());
        while let Some(guest) = bench.queues.placement.try_next() {
            bench.queues.placement.done(&guest);
        }
        wait(&bench.queues, false).await;
        let_go_now(&bench.store.world, &bench.queues);
        assert!(bench.is_woken());
    }

    #[test]
    fn in_a_rush_everything_else_wakes_at_once() {
        let mut bench = Bench::new();
        bench.place();
        bench.rush();
        let changes = [Change::Guest(bench.guest), Change::GuestStatus(bench.guest)];
        wake(&bench.store.world, &changes, &bench.queues);
        assert_eq!(bench.queues.guest.try_next(), Some(bench.guest));
        wake(&bench.store.world, &[Change::Hypervisor(bench.host)], &bench.queues);
        assert_eq!(bench.queues.host.try_next(), Some(bench.host));
    }

    #[tokio::test(start_paused = true)]
    async fn little_waits_a_moment_and_much_some_seconds() {
        let bench = Bench::new();
        bench.rush();
        let keep = |count| {
            for _ in 0..count {
                bench.queues.afterwards.keep(Change::Placement(bench.host, bench.guest));
            }
        };
        let waited = async |has_much_before| {
            let began = Instant::now();
            wait(&bench.queues, has_much_before).await;
            began.elapsed()
        };
        keep(FEW);
        assert!(waited(false).await < 2 * GATHER);
        keep(1);
        let long = waited(false).await;
        assert!(long >= REST && long < REST + GATHER, "{long:?}");
        bench.queues.guest.add_all((0..1_000).map(id));
        let longest = waited(true).await;
        assert!(longest >= PATIENCE, "what went before is not worked off: {longest:?}");
    }
}
