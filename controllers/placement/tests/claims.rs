//! What becomes of guests that are refused while open commits have claims.

use lochness_agent::server::Compat;
use lochness_api::GuestId;
use lochness_api::keys::Key;
use lochness_api::status::Reason;
use lochness_runtime::controller::Reconciler;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::super::{GIVEN_BACK, PlacementReconciler, Step};
use crate::agents::bench::Bench;
use crate::test_world::id;

/// A host, a subnet of one address, and two guests that want it.
async fn bench() -> Bench {
    let bench = Bench::new().await;
    let _host = bench.host(1, Compat::Lochness).await;
    let resources = json!({"memory": 4096, "disk": 4096, "cpu": 4});
    let flavor = json!({"image": id::<u8>(4), "memory": 64, "disk": 64, "cpu": 1});
    bench
        .put(&[
            (Key::Hypervisor(id(1)), json!({"ip": "192.0.2.1", "total_resources": resources})),
            (Key::Heartbeat(id(1)), json!("alive")),
            (Key::HypervisorSubnet(id(1), id(2)), json!("br0")),
            (Key::Network(id(1)), json!({})),
            (Key::Subnet(id(2)), json!({"network": id::<u8>(1), "cidr": "10.0.0.1/32"})),
            (Key::Flavor(id(3)), flavor),
            (Key::Guest(id(100)), guest(1)),
            (Key::Guest(id(101)), guest(1)),
        ])
        .await;
    let lists = || bench.report(1, |report| report.guests.is_some()) == Some(true);
    bench.until("the host says what it runs", lists).await;
    bench
}

fn guest(network: usize) -> Value {
    json!({"flavor": id::<u8>(3), "network": id::<u8>(network)})
}

#[tokio::test(start_paused = true)]
async fn a_guest_that_was_refused_beside_a_claim_is_woken_soon_after_the_claim_came_to_nothing() {
    let bench = bench().await;
    let placement = PlacementReconciler::new(bench.context.clone());
    let (first, second): (GuestId, GuestId) = (id(100), id(101));
    let step = placement.step(first);
    assert!(matches!(step, Step::Commit { claim: Some(_), .. }), "there is one address");
    let refusal = placement.reconcile(&second).await;
    assert!(refusal.is_ok_and(|outcome| outcome.changed), "the refusal is written");
    let refused = || {
        let world = bench.context.world.read();
        let status = world.guest(second).and_then(|entry| entry.status().cloned());
        status.is_some_and(|it| it.conditions.iter().any(|it| it.reason == Reason::NoAddressFree))
    };
    bench.until("the second one is refused", refused).await;
    bench.put(&[(Key::Guest(first), guest(9))]).await;
    let queue = &bench.context.queues.placement;
    while let Some(guest) = queue.try_next() {
        queue.done(&guest);
    }
    assert!(placement.carry_out(first, step).await.is_err(), "its document is another");
    let woken = || std::iter::from_fn(|| queue.try_next()).collect::<Vec<_>>();
    let at_once = woken();
    assert!(!at_once.contains(&second), "they would wake each other without a pause: {at_once:?}");
    sleep(GIVEN_BACK).await;
    let later = woken();
    assert!(later.contains(&second), "nothing else ever tells it: {later:?}");
    bench.end().await;
}
