//! A person removes what the original's agent cannot delete any more: a record that was damaged by a request which came
//! twice (docs/reliability.md, *What is not promised*). The guest itself is gone by then.

use std::time::Duration;

use lochness_api::status::Phase;
use lochness_api::{GuestId, HypervisorId};
use tokio::time::sleep;

use crate::checker::Checker;
use crate::weather::Weather;

/// How often they look whether a guest's status asks for it.
const LOOK: Duration = Duration::from_secs(3);
/// What it says then.
const ASKED: &str = "a person has to remove it there";

impl Weather {
    pub(crate) async fn remove_damaged(self) {
        let shop = &self.replicas[0].shop;
        loop {
            sleep(LOOK).await;
            shop.judge.catch_up();
            for (guest, host) in shop.judge.look(damaged) {
                let machine = self.machines.iter().find(|it| it.host.id() == host);
                let Some(machine) = machine.filter(|it| !it.is_ordered()) else { continue };
                shop.course.note(|| format!("USER removes {guest} on {}", machine.host.name()));
                machine.loses_guests([guest]);
            }
            shop.judge.catch_up();
        }
    }
}

/// Guests that cannot be deleted where they are, by what their statuses say.
fn damaged(checker: &Checker) -> Vec<(GuestId, HypervisorId)> {
    let of = |guest: GuestId| {
        let status = checker.status(guest).filter(|status| status.phase == Phase::Deleting)?;
        let asks = status.conditions.iter().any(|told| told.message.ends_with(ASKED));
        Some((guest, status.placement.as_ref().filter(|_| asks)?.hypervisor))
    };
    checker.guests().into_iter().filter_map(of).collect()
}
