//! What one host reports, as it is written down, and who is woken by it. The one writer of a host's report.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lochness_agent::AgentError;
use lochness_api::{GuestId, HypervisorId, ImageId};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::agent::CallError;
use super::{listing, waking};
use crate::context::Context;
use crate::reports::{
    Contact, FirewallReport, GuestReport, HostReport, ImageState, Protocol, ReportedGuest,
};
use crate::wake::wake_pending;
use crate::world::{HostEntry, World};

/// An agent that answers so often in a row with errors is not reachable, however lately it gave a list.
const ERRORS: u32 = 3;

/// Writes down what one host reports.
pub(super) struct Notes {
    context: Context,
    host: HypervisorId,
    /// In which boot the list of the report was given; `None` before the first list that was believed.
    listed_in: Option<Boot>,
    lists: u64,
}

/// A boot by the agent's word; the original says none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Boot(pub(super) Option<String>);

/// What of a report others wait for; times are not among it.
#[derive(PartialEq)]
struct Facts {
    heard: bool,
    answers: bool,
    wrong_host: Option<HypervisorId>,
    protocol: Option<Protocol>,
    images: Option<BTreeMap<ImageId, ImageState>>,
    firewall: Option<FirewallReport>,
}

impl Notes {
    pub(super) fn new(context: Context, host: HypervisorId) -> Self {
        Self { context, host, listed_in: None, lists: 0 }
    }

    /// The guests that the host had, and in which boot. Before the first list of this term: those that an earlier
    /// leader saw there.
    pub(super) fn former(&self) -> (BTreeSet<GuestId>, Boot) {
        let world = self.context.world.read();
        let entry = world.host(self.host);
        let known = || entry?.status.as_ref()?.value.as_ref()?.boot_id.clone();
        let boot = self.listed_in.clone().unwrap_or_else(|| Boot(known()));
        if let Some(list) = self.list() {
            return (list.guests.keys().copied().collect(), boot);
        }
        let seen = |id: &&GuestId| {
            let status = world.guest(**id).and_then(|guest| guest.status());
            status.is_some_and(|status| status.agent_state.is_some())
        };
        let placed = entry.into_iter().flat_map(|entry| &entry.placed);
        (placed.filter(seen).copied().collect(), boot)
    }

    /// The agent is looked for, here or at a new address: what it does there is not known yet. What the host listed stays.
    pub(super) fn begun(&self) {
        self.change(|report| {
            let guests = report.guests.take();
            let firewall_notes = report.firewall_notes + 1;
            *report = HostReport { guests, firewall_notes, ..HostReport::default() };
        });
    }

    /// The protocol of the agent at `target`, and what it tells of itself. Whether the host answers, its first list says.
    pub(super) fn greeted(&self, target: &str, protocol: &Protocol) {
        debug!(host = %self.host, target, ?protocol, "agent answers");
        self.change(|report| {
            if boot_of(report.protocol.as_ref()) != boot_of(Some(protocol)) {
                // What is in force since the boot has to be read first.
                report.note_firewall(None);
            }
            report.target = Some(target.to_owned());
            report.protocol = Some(protocol.clone());
        });
    }

    /// A list that is believed.
    pub(super) fn listed(
        &mut self,
        guests: BTreeMap<GuestId, ReportedGuest>,
        boot: Boot,
        asked_at: Instant,
    ) {
        let former = self.list();
        let difference = listing::difference(former.as_deref().map(|list| &list.guests), &guests);
        self.listed_in = Some(boot);
        self.lists += 1;
        let report = Arc::new(GuestReport { guests, asked_at, sequence: self.lists });
        self.context.reports.change(self.host, |host| host.guests = Some(report));
        self.answered();
        let world = self.context.world.read();
        let queues = &self.context.queues;
        waking::wake_difference(&world, self.host, &difference, queues);
        if former.is_none() {
            queues.host.add(self.host);
            waking::wake_guests_on(&world, self.host, queues);
            wake_pending(&world, queues);
        }
    }

    /// The list is still what the report shows, and was so when this was asked.
    pub(super) fn confirmed(&mut self, asked_at: Instant) {
        self.lists += 1;
        let sequence = self.lists;
        self.context.reports.change(self.host, |report| {
            if let Some(list) = &mut report.guests {
                let list = Arc::make_mut(list);
                list.asked_at = asked_at;
                list.sequence = sequence;
            }
        });
        self.answered();
    }

    /// A list came. One that ends a silence wakes all that waited for the host.
    pub(super) fn answered(&self) {
        let (now, window) = (Instant::now(), self.context.settings.reachable_window);
        let mut was_reachable = false;
        self.change(|report| {
            was_reachable = report.is_reachable(now, window);
            report.contact = Contact::Answered(now);
        });
        if !was_reachable {
            self.wake_all(&self.context.world.read());
        }
    }

    /// No answer, or none that makes sense, so often in a row. The last list stays.
    pub(super) fn silent(&self, error: &CallError, failures: u32) {
        debug!(host = %self.host, %error, "agent gives no usable answer");
        // A slow way may lose some answers; who answers with errors has had its chance.
        let is_broken = failures >= ERRORS && is_an_answer(error);
        self.change(|report| {
            let last_answer = report.last_answer().filter(|_| !is_broken);
            report.contact = Contact::Silent { last_answer, error: error.to_string() };
        });
        if is_broken {
            self.context.queues.host.add(self.host);
        }
    }

    /// Another host answers.
    pub(super) fn wrong_host(&self, found: HypervisorId) {
        self.change(|report| report.contact = Contact::WrongHost { found });
    }

    /// How often something was noted of the ruleset in force.
    pub(super) fn firewall_notes(&self) -> u64 {
        self.context.reports.read().host(self.host).map_or(0, |report| report.firewall_notes)
    }

    /// What the agent says is in force, asked when so much had been noted of it. Whether that is taken: what the firewall
    /// loop has learned meanwhile may be newer, and then it has to be read again.
    pub(super) fn firewall_read(&self, before: u64, read: Option<FirewallReport>) -> bool {
        let mut is_taken = false;
        self.change(|report| {
            is_taken = report.firewall_notes == before;
            if is_taken {
                report.note_firewall(read);
            }
        });
        is_taken
    }

    /// Changes what the host reported besides its guests, and wakes those whom that concerns.
    pub(super) fn change(&self, change: impl FnOnce(&mut HostReport)) {
        let (mut before, mut after) = (None, None);
        self.context.reports.change(self.host, |report| {
            before = Some(Facts::of(report));
            change(report);
            after = Some(Facts::of(report));
        });
        let (Some(before), Some(after)) = (before, after) else { return };
        if before == after {
            return;
        }
        let world = self.context.world.read();
        let queues = &self.context.queues;
        queues.host.add(self.host);
        if (before.heard, before.answers) == (after.heard, after.answers) {
            waking::wake_jobs_on(&world, self.host, queues);
        } else {
            self.tell(&world);
            self.wake_all(&world);
        }
        if before.firewall != after.firewall || before.protocol != after.protocol {
            queues.firewall.add(self.host);
        }
    }

    /// Wakes all that a host which answers, or no longer does, concerns.
    fn wake_all(&self, world: &World) {
        let queues = &self.context.queues;
        queues.host.add(self.host);
        queues.firewall.add(self.host);
        waking::wake_guests_on(world, self.host, queues);
        wake_pending(world, queues);
    }

    /// Says that the agent answers, or why it does not.
    fn tell(&self, world: &World) {
        let name = world.host(self.host).and_then(HostEntry::declared);
        let name = name.and_then(|document| document.metadata.name()).unwrap_or_default();
        let reports = self.context.reports.read();
        match reports.host(self.host).map(|report| &report.contact) {
            Some(Contact::Answered(_)) => info!(host = %self.host, name, "agent answers"),
            Some(Contact::Silent { error, .. }) => {
                warn!(host = %self.host, name, error, "agent does not answer, will retry");
            }
            Some(Contact::WrongHost { found }) => {
                warn!(host = %self.host, name, %found, "another host's agent answers, will retry");
            }
            Some(Contact::Never) | None => {}
        }
    }

    fn list(&self) -> Option<Arc<GuestReport>> {
        self.context.reports.read().host(self.host)?.guests.clone()
    }
}

/// Whether the agent answered, though not as it should.
fn is_an_answer(error: &CallError) -> bool {
    match error {
        CallError::Agent(error) => match error {
            AgentError::Refused { .. }
            | AgentError::Fenced(_)
            | AgentError::Failed { .. }
            | AgentError::Garbled(_) => true,
            AgentError::NotSent(_) | AgentError::Unknown(_) => false,
        },
        CallError::NoBudget | CallError::Held | CallError::Busy | CallError::LeftAlone { .. } => {
            false
        }
    }
}

fn boot_of(protocol: Option<&Protocol>) -> Option<&str> {
    match protocol? {
        Protocol::Lochness(capabilities) => Some(&capabilities.boot_id),
        Protocol::Original => None,
    }
}

impl Facts {
    fn of(report: &HostReport) -> Self {
        let (answers, wrong_host) = match report.contact {
            Contact::Answered(_) => (true, None),
            Contact::WrongHost { found } => (false, Some(found)),
            Contact::Never | Contact::Silent { .. } => (false, None),
        };
        Self {
            heard: report.contact != Contact::Never,
            answers,
            wrong_host,
            protocol: report.protocol.clone(),
            images: report.images.clone(),
            firewall: report.firewall.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use lochness_agent::wire::Order;

    use super::*;
    use crate::agents::bench::Bench;
    use crate::test_world::id;

    #[tokio::test(start_paused = true)]
    async fn what_was_read_while_a_ruleset_was_acknowledged_is_not_taken() {
        let bench = Bench::new().await;
        let notes = Notes::new(bench.context.clone(), id(1));
        let known =
            || notes.context.reports.read().host(id(1)).and_then(|report| report.firewall.clone());
        let before = notes.firewall_notes();
        let revision = Order::new(1, 5);
        let now = Some(FirewallReport { hash: "a".to_owned(), revision, error: None });
        notes.change(|report| report.note_firewall(now.clone()));
        assert!(!notes.firewall_read(before, None), "it was asked too early");
        assert_eq!(known(), now);
        assert!(notes.firewall_read(notes.firewall_notes(), None));
        assert_eq!(known(), None);
        bench.end().await;
    }
}
