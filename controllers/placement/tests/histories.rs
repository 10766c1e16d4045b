//! Random histories of addresses: guests come and go, ranges change, commits are open for long, leaders die, and somebody
//! plants reservations. The plans, the claims, the world and the subnets' audit are the real ones; the store is its model.
//!
//! At no moment do two guests of the network have one address or one hardware address, and no guest is without its
//! reservation. When everything is quiet, what is reserved is what guests have: nothing leaks.

mod documents;
mod judge;
mod scene;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use self::scene::{Act, Scene};
use crate::agents::bench::Bench;

/// So many guests, each with an own wish.
const GUESTS: u8 = 6;

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..GUESTS, 0..8_u8).prop_map(|(guest, wish)| Act::Declare(guest, wish)),
        2 => (0..GUESTS).prop_map(Act::Undeclare),
        8 => (0..GUESTS).prop_map(Act::Plan),
        8 => any::<u8>().prop_map(Act::Land),
        1 => any::<u8>().prop_map(Act::Lose),
        8 => (1..6_u8).prop_map(Act::See),
        3 => (0..GUESTS).prop_map(Act::Start),
        4 => (0..GUESTS).prop_map(Act::Release),
        2 => (0..2_u8, 0..6_u8).prop_map(|(subnet, range)| Act::Resize(subnet, range)),
        3 => (0..3_u8).prop_map(Act::Look),
        1 => Just(Act::Pass),
        1 => (0..3_u8, 0..16_u8, 0..10_u8).prop_map(|(subnet, ip, by)| Act::Plant(subnet, ip, by)),
        1 => Just(Act::Expire),
        1 => any::<u64>().prop_map(Act::Crash),
    ]
}

#[test]
fn no_history_gives_an_address_twice_or_leaks_one() {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime of one thread needs nothing");
    // Only its context is of use: nothing but the history acts.
    let context = runtime.block_on(async {
        let bench = Bench::new().await;
        let context = bench.context.clone();
        bench.end().await;
        context
    });
    let mut runner =
        TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let histories = prop::collection::vec(act(), 0..120);
    let result = runner.run(&histories, |acts| {
        runtime.block_on(async {
            let mut scene = Scene::new(context.clone()).await;
            for (step, act) in acts.into_iter().enumerate() {
                let what = format!("{step}: {act:?}");
                scene.happen(act).await;
                scene.check().await.map_err(|why| TestCaseError::fail(format!("{what}: {why}")))?;
            }
            scene.settle().await.map_err(TestCaseError::fail)
        })
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
}
