//! Somebody restores the store from an earlier snapshot, and a person accepts it when the operator asks for that.

use std::time::Duration;

use lochness_agent::server::Event;
use lochness_api::status::Reason;
use lochness_api::{GuestId, HypervisorId, Key};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::checker::Checker;
use crate::client::Shop;
use crate::faults::Fault;
use crate::script::put;
use crate::weather::{Weather, is_held};

/// The snapshot is taken at this time of the history.
const SNAPSHOT: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(40));
/// So much of the history is lost.
const LOST: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(50));
/// The store is away for so long meanwhile: its members are stopped, and begin anew.
const AWAY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(25));
/// A person looks at a store that is held for so long.
const REFLECTION: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(20));
/// And writes nothing until then, nor when nobody asks, until one has led for so long: what is written meanwhile takes the
/// store to the revision at which it was, and then nothing tells that it went back (docs/reliability.md).
const UNASKED: Duration = Duration::from_secs(40);
/// Where processes crash so often that nobody ever leads for so long, the storm ends after this.
const STORM_AT_MOST: Duration = Duration::from_secs(300);
/// The first leader of an accepted store has asked every host by then what it has, before it places anything.
const LOOKED: Duration = Duration::from_secs(20);
/// How often they look whether it is.
const LOOK: Duration = Duration::from_secs(3);

impl Weather {
    /// Lets the store go back, once. From then on hosts and the way to them are well: whoever restores a store sees to that,
    /// since what nobody can ask cannot say that it knows better, nor what it runs that nobody declares any more.
    pub(crate) async fn restore_store(self) {
        let course = &self.network.course;
        let shop = &self.replicas[0].shop;
        sleep(course.between(SNAPSHOT.0, SNAPSHOT.1)).await;
        shop.judge.keep();
        let snapshot = shop.kv.snapshot();
        sleep(course.between(LOST.0, LOST.1)).await;
        if !course.is_stormy() {
            return;
        }
        course.truce();
        course.awaits(true);
        for machine in &self.machines {
            self.network.clear(&machine.authority());
            machine.recovers();
        }
        let away = course.between(AWAY.0, AWAY.1);
        shop.falls(away);
        shop.kv.cut_watches();
        sleep(away).await;
        course.fault(Fault::StoreRestored, || "an earlier snapshot".to_owned());
        shop.judge.catch_up();
        shop.kv.restore(snapshot);
        shop.judge.goes_back();
        self.accept_when_held().await;
    }

    /// A person accepts the store whenever the cluster's status asks for it, and deletes what its own host does not have
    /// where another one has it.
    async fn accept_when_held(&self) {
        let shop = &self.replicas[0].shop;
        let (mut leader, mut since) = (None, Instant::now());
        let began = since;
        for time in 1.. {
            loop {
                sleep(LOOK).await;
                shop.judge.catch_up();
                let leads =
                    shop.judge.look(|checker| checker.value(&Key::Leader).map(<[u8]>::to_vec));
                if leads != leader {
                    (leader, since) = (leads, Instant::now());
                } else if leader.is_some() && since.elapsed() > UNASKED {
                    shop.course.awaits(false);
                }
                if shop.course.is_stormy() && began.elapsed() > STORM_AT_MOST {
                    shop.course.calm();
                }
                if shop.judge.look(is_held) {
                    break;
                }
                self.delete_doubles(shop);
            }
            sleep(shop.course.between(REFLECTION.0, REFLECTION.1)).await;
            let word = format!("as it is, for the {time}. time");
            put(shop, &Key::Config("accept_store".to_owned()), &json!(word)).await;
            sleep(LOOKED).await;
            shop.course.awaits(false);
        }
    }

    fn delete_doubles(&self, shop: &Shop) {
        for (guest, host) in shop.judge.look(in_conflict) {
            for machine in self.machines.iter().filter(|it| Some(it.host.id()) != host) {
                machine.happen(Event::StopGuest(guest));
                machine.loses_guests([guest]);
            }
        }
        shop.judge.catch_up();
    }
}

/// Guests of which their status says that what a host has contradicts it, and the hosts that have them rightly, if any.
fn in_conflict(checker: &Checker) -> Vec<(GuestId, Option<HypervisorId>)> {
    let of = |guest: GuestId| {
        let status = checker.status(guest)?;
        let told = status.conditions.iter().find(|it| it.reason == Reason::AdoptionConflict)?;
        // On its own host, too, but with another address.
        let is_wrong_there = told.message.contains("with address");
        let host = status.placement.as_ref().map(|placement| placement.hypervisor);
        Some((guest, host.filter(|_| !is_wrong_there)))
    };
    checker.guests().into_iter().filter_map(of).collect()
}
