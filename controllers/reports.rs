//! What the agents report: the actual state. It belongs to no revision of the store, and it ages.
//!
//! Guarantees: only a complete answer of the right host replaces a list (absent is not unknown); a list is believed only
//! when it is not a sudden loss of more than half of a host's guests (DESIGN.md, *Consistency* 9). One writer a host: the
//! task that polls it ([`crate::agents`]).

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use lochness_agent::wire::{AgentGuest, Capabilities, GuestState, Order};
use lochness_api::{GuestId, HypervisorId, ImageId};
use rustc_hash::FxHashMap;
use tokio::time::Instant;

/// Which protocol a host's agent speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Protocol {
    /// Only that of the original: no order, no epoch, no firewall, no blocking list.
    Original,
    /// Ours, with what it says it can do.
    Lochness(Capabilities),
}

/// Whether a host's agent answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Contact {
    /// Not asked yet, or no answer yet.
    Never,
    /// It answered at this time, the newest.
    Answered(Instant),
    /// The newest request failed.
    Silent {
        /// When it last answered.
        last_answer: Option<Instant>,
        /// Why the newest request failed, for people.
        error: String,
    },
    /// Another host answers at this address: as good as unreachable.
    WrongHost {
        /// Who answered.
        found: HypervisorId,
    },
}

/// A guest as its host's agent lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedGuest {
    /// What the agent says it does.
    pub state: GuestState,
    /// Its addresses, as the agent has them.
    pub addresses: Vec<IpAddr>,
    /// The whole record, for adoption.
    pub record: Arc<AgentGuest>,
}

/// The newest complete list of a host's guests.
#[derive(Debug, Clone)]
pub struct GuestReport {
    /// Every guest that the host has, declared or not.
    pub guests: BTreeMap<GuestId, ReportedGuest>,
    /// When the request was sent that brought it: what happened before is in it.
    pub asked_at: Instant,
    /// Counts lists; a new one with the same content counts too.
    pub sequence: u64,
}

/// An image on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageState {
    /// It is there.
    Present,
    /// It is being fetched since then.
    Fetching(Instant),
    /// The newest fetch failed.
    Failed(String),
}

/// The ruleset that a host acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirewallReport {
    /// Its hash.
    pub hash: String,
    /// What it was compiled at.
    pub revision: Order,
    /// The agent's words when the newest ruleset could not be applied.
    pub error: Option<String>,
}

/// Everything that one host's agent reported.
#[derive(Debug, Clone)]
pub struct HostReport {
    /// Whether it answers.
    pub contact: Contact,
    /// Where the agent listens that said who it is: nothing is sent to another place before that has answered. `None`
    /// until it was greeted.
    pub target: Option<String>,
    /// Which protocol it speaks; `None` until it was asked.
    pub protocol: Option<Protocol>,
    /// Its guests; `None` until the first complete list.
    pub guests: Option<Arc<GuestReport>>,
    /// Its images; `None` until they were read.
    pub images: Option<BTreeMap<ImageId, ImageState>>,
    /// The ruleset in force; `None` until it is known.
    pub firewall: Option<FirewallReport>,
    /// Counts what was noted of the ruleset. Answers to different requests can cross each other: one that was waited for
    /// while something was noted may be older than that.
    pub firewall_notes: u64,
}

impl Default for HostReport {
    fn default() -> Self {
        Self {
            contact: Contact::Never,
            target: None,
            protocol: None,
            guests: None,
            images: None,
            firewall: None,
            firewall_notes: 0,
        }
    }
}

impl HostReport {
    /// Whether the agent answered within `window` before `now`, and is the right one.
    pub fn is_reachable(&self, now: Instant, window: Duration) -> bool {
        self.last_answer().is_some_and(|at| now.saturating_duration_since(at) <= window)
    }

    /// When the agent last answered, if that still counts.
    pub fn last_answer(&self) -> Option<Instant> {
        match self.contact {
            Contact::Answered(at) => Some(at),
            Contact::Silent { last_answer, .. } => last_answer,
            Contact::Never | Contact::WrongHost { .. } => None,
        }
    }

    /// Notes which ruleset is in force, or that nobody knows.
    pub fn note_firewall(&mut self, firewall: Option<FirewallReport>) {
        self.firewall = firewall;
        self.firewall_notes += 1;
    }

    /// Whether this is what the agent at `target` said.
    pub fn is_from(&self, target: &str) -> bool {
        self.target.as_deref() == Some(target)
    }

    /// Whether the agent refuses what is old (AGENT-WIRE.md, section 5).
    pub fn has_order(&self) -> bool {
        self.has("order")
    }

    /// Whether the agent applies rulesets.
    pub fn has_firewall(&self) -> bool {
        self.has("firewall")
    }

    fn has(&self, capability: &str) -> bool {
        match &self.protocol {
            Some(Protocol::Lochness(capabilities)) => {
                capabilities.capabilities.iter().any(|word| word == capability)
            }
            Some(Protocol::Original) | None => false,
        }
    }

    /// What the newest complete list says of a guest: outer `None` when there is no list at all.
    pub fn guest(&self, id: GuestId) -> Option<Option<&ReportedGuest>> {
        self.guests.as_ref().map(|report| report.guests.get(&id))
    }
}

/// The reports of all hosts.
#[derive(Debug, Default)]
pub struct Reports(RwLock<Inner>);

/// The reports of all hosts, as one reader sees them.
#[derive(Debug, Default)]
pub struct Inner {
    hosts: FxHashMap<HypervisorId, HostReport>,
    /// Which hosts list a guest.
    listed: BTreeMap<GuestId, Vec<HypervisorId>>,
    /// Addresses of all listed guests, with one of the guests that has it.
    addresses: FxHashMap<IpAddr, Vec<GuestId>>,
}

impl Inner {
    /// What one host reported.
    pub fn host(&self, id: HypervisorId) -> Option<&HostReport> {
        self.hosts.get(&id)
    }

    /// Whether the host has given a complete list since the reports began.
    pub fn was_heard(&self, id: HypervisorId) -> bool {
        self.host(id).is_some_and(|report| report.guests.is_some())
    }

    /// Every host that was ever asked, in no order.
    pub fn hosts(&self) -> impl Iterator<Item = (HypervisorId, &HostReport)> + '_ {
        self.hosts.iter().map(|(id, report)| (*id, report))
    }

    /// The hosts that list a guest.
    pub fn hosts_of(&self, guest: GuestId) -> &[HypervisorId] {
        self.listed.get(&guest).map_or(&[], Vec::as_slice)
    }

    /// Every guest that any host lists.
    pub fn listed(&self) -> impl Iterator<Item = (GuestId, &[HypervisorId])> + '_ {
        self.listed.iter().map(|(id, hosts)| (*id, hosts.as_slice()))
    }

    /// The listed guests that have this address, in whatever network.
    pub fn guests_with(&self, ip: IpAddr) -> &[GuestId] {
        self.addresses.get(&ip).map_or(&[], Vec::as_slice)
    }
}

impl Reports {
    /// The reports as they are now. Keep the guard for one decision only.
    pub fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what one host reported, and the indexes over its guests.
    pub fn change(&self, host: HypervisorId, change: impl FnOnce(&mut HostReport)) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let mut report = inner.hosts.remove(&host).unwrap_or_default();
        let former = report.guests.clone();
        change(&mut report);
        if former.as_ref().map(Arc::as_ptr) != report.guests.as_ref().map(Arc::as_ptr) {
            inner.follow(host, former.as_deref(), report.guests.as_deref());
        }
        inner.hosts.insert(host, report);
    }

    /// Forgets a host that is gone from the store.
    pub fn forget(&self, host: HypervisorId) {
        let mut inner = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(report) = inner.hosts.remove(&host) {
            inner.follow(host, report.guests.as_deref(), None);
        }
    }
}

impl Inner {
    /// Follows a host's list from one to the next, guest by guest: most stay as they are.
    fn follow(
        &mut self,
        host: HypervisorId,
        former: Option<&GuestReport>,
        new: Option<&GuestReport>,
    ) {
        let in_list = |list: Option<&GuestReport>, id: &GuestId, guest: &ReportedGuest| {
            let other = list.and_then(|list| list.guests.get(id));
            other.is_some_and(|other| other.addresses == guest.addresses)
        };
        for (id, guest) in former.into_iter().flat_map(|list| &list.guests) {
            if !in_list(new, id, guest) {
                self.unindex(host, *id, guest);
            }
        }
        for (id, guest) in new.into_iter().flat_map(|list| &list.guests) {
            if !in_list(former, id, guest) {
                self.index(host, *id, guest);
            }
        }
    }

    fn index(&mut self, host: HypervisorId, id: GuestId, guest: &ReportedGuest) {
        self.listed.entry(id).or_default().push(host);
        for ip in &guest.addresses {
            self.addresses.entry(*ip).or_default().push(id);
        }
    }

    fn unindex(&mut self, host: HypervisorId, id: GuestId, guest: &ReportedGuest) {
        if let Some(hosts) = self.listed.get_mut(&id) {
            hosts.retain(|lister| *lister != host);
            if hosts.is_empty() {
                self.listed.remove(&id);
            }
        }
        for ip in &guest.addresses {
            if let Some(holders) = self.addresses.get_mut(ip) {
                if let Some(position) = holders.iter().position(|holder| *holder == id) {
                    holders.swap_remove(position);
                }
                if holders.is_empty() {
                    self.addresses.remove(ip);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn list(guests: &[(u128, &str)]) -> Arc<GuestReport> {
        let reported = |(number, ip): &(u128, &str)| {
            let id = GuestId::new(Uuid::from_u128(*number));
            let record = AgentGuest::new(id);
            let addresses = vec![ip.parse().unwrap()];
            (id, ReportedGuest { state: record.known_state(), addresses, record: record.into() })
        };
        let guests = guests.iter().map(reported).collect();
        Arc::new(GuestReport { guests, asked_at: Instant::now(), sequence: 1 })
    }

    #[tokio::test(start_paused = true)]
    async fn the_indexes_follow_each_hosts_list_from_one_to_the_next() {
        let reports = Reports::default();
        let [one, two] = [1, 2].map(|number| HypervisorId::new(Uuid::from_u128(number)));
        let seen = |guest: u128, ip: &str| {
            let inner = reports.read();
            let with = inner.guests_with(ip.parse().unwrap()).len();
            (inner.hosts_of(GuestId::new(Uuid::from_u128(guest))).to_vec(), with)
        };
        reports
            .change(one, |report| report.guests = Some(list(&[(7, "10.0.0.7"), (8, "10.0.0.8")])));
        reports.change(two, |report| report.guests = Some(list(&[(7, "10.0.0.7")])));
        assert_eq!(seen(7, "10.0.0.7"), (vec![one, two], 2));
        reports
            .change(one, |report| report.guests = Some(list(&[(7, "10.0.0.9"), (8, "10.0.0.8")])));
        assert_eq!(
            (seen(7, "10.0.0.7").1, seen(7, "10.0.0.9").1),
            (1, 1),
            "it has another address"
        );
        reports.change(one, |report| report.guests = Some(list(&[(8, "10.0.0.8")])));
        assert_eq!(seen(7, "10.0.0.9"), (vec![two], 0));
        assert_eq!(seen(8, "10.0.0.8"), (vec![one], 1), "it stayed");
        reports.forget(one);
        reports.forget(two);
        assert!(reports.read().listed.is_empty() && reports.read().addresses.is_empty());
    }
}
