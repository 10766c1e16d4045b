//! Whether this store is the one that the hosts know: what the watcher cannot tell, because this process has seen no other.
//!
//! ```text
//!   a term ─▶ an agent has seen numbers that this store has not given out ─▶ hold ─▶ accepted ─▶ the term ends
//!          └▶ hosts run what nobody declared, and no guest has a status ───▶   │                       │
//!   the next term writes a higher incarnation before anything else ◀────────────────────────────────────┘
//! ```
//! What an agent tells holds everything from that moment on until the store was asked. Guarantees: an operator that starts after the store was exchanged changes nothing on a host that knows better; after a
//! person has accepted the store, every epoch and order is above all that agents have seen, whatever crashes meanwhile.

use std::sync::Arc;
use std::time::Duration;

use lochness_agent::wire::Order;
use lochness_api::GuestId;
use lochness_api::keys::Key;
use lochness_api::status::Reason;
use lochness_kv::{Kv, RangeRequest};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use crate::agents::{Testimony, Witness};
use crate::context::Context;
use crate::host::plan::undeclared;
use crate::reports::HostReport;
use crate::wake::wake_everything;
use crate::world::{HostEntry, Replacement, World, WorldCell};

/// Before a read that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Holds when an agent has seen what this store cannot have given out: a number above its revision, or an epoch above ours
/// while we lead. Ends with the first proof.
pub(crate) async fn hear_agents(context: Context, kv: Arc<dyn Kv>, witness: Witness) {
    let mut testimony = witness.testimony();
    loop {
        let told = *testimony.borrow_and_update();
        if let Some(what) = proof(&context, &*kv, told).await {
            context.world.doubt(Replacement { reason: Reason::EpochFromTheFuture, what });
            context.queues.cluster.add(());
            return;
        }
        // What was told meanwhile is looked into first.
        let is_all = !testimony.has_changed().unwrap_or(false);
        if is_all && context.world.trust() {
            wake_everything(&context.world.read(), &context.queues);
        }
        if testimony.changed().await.is_err() {
            return;
        }
    }
}

/// Begins a term: what was told in former ones is looked into before anything is done. Whether the store is known already
/// is asked now and not once the hosts have listed what they run: its last guest may be deleted meanwhile, and the list of
/// a host may be older than that.
pub(crate) fn begin(context: &Context, witness: &Witness) -> Comparison {
    context.world.begin_term();
    if witness.is_above(context.epoch(), context.world.read().revision()) {
        context.world.suspect();
    }
    if is_known(&context.world.read()) { Comparison::Decided } else { Comparison::Undecided }
}

/// What proves that the store was rolled back, if that was told. What the view may only not have seen yet is read.
async fn proof(context: &Context, kv: &dyn Kv, told: Testimony) -> Option<String> {
    let ours = context.epoch();
    let epoch = told.epoch.filter(|(epoch, _)| *epoch > ours);
    let reached = context.order(context.world.read().revision());
    let number = told.number.filter(|(number, _)| *number > reached);
    if epoch.is_none() && number.is_none() {
        return None;
    }
    let leader = context.key(&Key::Leader);
    let read = loop {
        let seen = context.world.read().revision();
        match kv.range(RangeRequest::key(leader.clone())).await {
            // From before our own view it says neither who leads now nor how far the store has come.
            Ok(read) if read.header.revision < seen => {
                debug!(revision = read.header.revision, "the store answered from the past");
            }
            Ok(read) => break read,
            Err(error) => debug!(%error, "cannot read who leads"),
        }
        sleep(AGAIN).await;
    };
    let reached = context.order(read.header.revision);
    if let Some((number, host)) = number.filter(|(number, _)| *number > reached) {
        return Some(format!(
            "the agent of hypervisor {host} has seen number {number}, and this store has come to {reached} only"
        ));
    }
    let leads = read.kvs.first().map(|kv| kv.create_revision) == Some(context.term.revision());
    let (epoch, host) = epoch.filter(|_| leads)?;
    Some(format!(
        "the agent of hypervisor {host} has answered a leader of epoch {epoch}, and this store's newest is {ours}"
    ))
}

/// Compares until the store is known by a guest's status, or was accepted: hosts may register late.
pub(crate) async fn watch_hosts(context: Context) {
    while compare_with_hosts(&context) == Comparison::Undecided {
        sleep(AGAIN / 2).await;
    }
}

/// Whether the host runs what is not placed there while the store is not known: rules that leave its guests out would cut
/// them off, before [`watch_hosts`] holds or they are adopted.
pub(crate) fn is_unjudged(world: &World, entry: &HostEntry, report: &HostReport) -> bool {
    let is_here = |id: &GuestId| entry.placed.contains(id) || entry.index.contains_key(id);
    !is_known(world) && report.guests.iter().any(|list| !list.guests.keys().all(is_here))
}

/// What the hosts' lists say of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// It has no status of a guest yet, and no host contradicts.
    Undecided,
    /// It is known, or held.
    Decided,
}

/// Holds when the hosts run guests that nobody declared and no guest has a status: an empty store, or a wrong one. One that
/// somebody has accepted once is what it says.
pub(crate) fn compare_with_hosts(context: &Context) -> Comparison {
    let strangers = {
        let world = context.world.read();
        if is_known(&world) {
            return Comparison::Decided;
        }
        let reports = context.reports.read();
        let hosts = world.hosts().iter();
        hosts.map(|host| undeclared(&world, host.id, reports.host(host.id)).len()).sum::<usize>()
    };
    if strangers == 0 {
        return Comparison::Undecided;
    }
    context.world.doubt(Replacement {
        reason: Reason::StatusesMissing,
        what: format!(
            "the hypervisors run {strangers} guests that nobody declared, and the store has no status of any guest"
        ),
    });
    context.queues.cluster.add(());
    Comparison::Decided
}

/// Whether the store has a status of a guest, or somebody has accepted it once.
fn is_known(world: &World) -> bool {
    world.was_accepted() || world.outlines().any(|(_, guest)| guest.has_status())
}

/// Waits until somebody has accepted the store and it needs a new incarnation, which is the next term's first work; or until
/// it shows a higher one than the term has begun with, on a view from before the store went back.
pub(crate) async fn accepted(world: &WorldCell, incarnation: u64) {
    let mut position = world.position();
    loop {
        position.borrow_and_update();
        let (is_wanted, now) = {
            let world = world.read();
            (world.wants_new_incarnation(), world.incarnation())
        };
        if is_wanted || now.is_some_and(|now| now > incarnation) {
            info!("the store was accepted: beginning anew with higher numbers");
            return;
        }
        if position.changed().await.is_err() {
            warn!("the view has ended");
            return;
        }
    }
}

/// The number to lead every epoch and order from now on: above the former one, and above what agents have told.
pub(crate) fn next_incarnation(former: Option<u64>, told: Option<Order>, now_ms: i64) -> u64 {
    let now = u64::try_from(now_ms).unwrap_or(0);
    let above = |number: u64| number.saturating_add(1);
    now.max(former.map_or(0, above)).max(told.map_or(0, |order| above(order.incarnation)))
}

#[cfg(test)]
mod tests {
    use lochness_agent::server::Compat;
    use lochness_api::job::JobAction;
    use lochness_kv::{Fault, Op, OpKind, Txn};
    use lochness_runtime::controller::Reconciler as _;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::agents::bench::Bench;
    use crate::firewall::FirewallReconciler;
    use crate::test_world::id;

    #[tokio::test(start_paused = true)]
    async fn a_store_is_known_by_what_a_term_begins_with_whatever_is_deleted_meanwhile() {
        let (bench, witness) = (Bench::new().await, Witness::default());
        let _host = bench.host(1, Compat::Lochness).await;
        bench.done(bench.place(100, 1, JobAction::Create).await).await;
        bench.until("it is listed", || bench.listed(1) == Some(1)).await;
        assert_eq!(begin(&bench.context, &witness), Comparison::Decided);
        forget_guest(&bench).await;
        assert!(!bench.context.world.is_held());
        assert_eq!(begin(&bench.context, &witness), Comparison::Undecided, "of the next term");
        assert_eq!(compare_with_hosts(&bench.context), Comparison::Decided);
        assert!(bench.context.world.is_held());
        bench.end().await;
    }

    /// The store has nothing of the one guest any more.
    async fn forget_guest(bench: &Bench) {
        let guest = id(100);
        let gone = [Key::Guest(guest), Key::GuestStatus(guest), Key::Placement(id(1), guest)];
        let gone = gone.map(|key| Op::delete(bench.context.key(&key)));
        let gone = Txn { success: gone.to_vec(), ..Txn::default() };
        let revision = bench.kv.txn(gone).await.unwrap().header.revision;
        bench.context.world.wait_for(revision).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_runs_what_an_unknown_store_does_not_have_keeps_its_rules() {
        let bench = Bench::new().await;
        let firewall = FirewallReconciler::new(bench.context.clone(), &bench.metrics);
        let _host = bench.host(1, Compat::Lochness).await;
        bench.put(&[(Key::HypervisorConfig(id(1), "firewall".to_owned()), json!("agent"))]).await;
        bench.until("it is listed", || bench.listed(1) == Some(0)).await;
        let job = bench.place(100, 1, JobAction::Create).await;
        assert!(firewall.reconcile(&id(1)).await.unwrap().changed);
        bench.done(job).await;
        bench.until("it is listed", || bench.listed(1) == Some(1)).await;
        forget_guest(&bench).await;
        assert!(!firewall.reconcile(&id(1)).await.unwrap().changed, "before anybody holds it");
        bench.place(101, 2, JobAction::Create).await;
        assert!(firewall.reconcile(&id(1)).await.unwrap().changed, "the store is known");
        bench.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_from_the_past_does_not_acquit_the_store() {
        let (bench, witness) = (Bench::new().await, Witness::default());
        let (context, ours) = (&bench.context, bench.context.epoch());
        let mut reads = 0;
        bench.kv.set_fault(Box::new(move |op| {
            reads += u32::from(op.kind == OpKind::Range);
            if reads <= 3 { Fault::StaleRead(i64::MAX) } else { Fault::None }
        }));
        let told = Order { revision: ours.revision + 1, ..ours };
        context.world.suspect();
        assert!(witness.led_by(id(1), told));
        let heard = hear_agents(context.clone(), Arc::clone(&bench.kv) as _, witness);
        timeout(AGAIN * 60, heard).await.expect("it is proved");
        assert!(context.world.is_held());
        bench.end().await;
    }

    #[test]
    fn a_new_incarnation_is_above_the_former_and_above_what_agents_have_seen_whatever_the_clock_says()
     {
        assert_eq!(next_incarnation(None, None, 1_000), 1_000);
        assert_eq!(next_incarnation(Some(900), Some(Order::new(950, 7)), 1_000), 1_000);
        assert_eq!(next_incarnation(Some(2_000), None, 1_000), 2_001);
        assert_eq!(next_incarnation(Some(2_000), Some(Order::new(3_000, 1)), -5), 3_001);
    }
}
