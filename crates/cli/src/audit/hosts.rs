//! What the hosts list, against the store and against each other.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use futures::StreamExt as _;
use lochness_agent::wire::{AgentGuest, Power};
use lochness_agent::{AgentClient, GuestList, Transport};
use lochness_api::status::Phase;
use lochness_api::{GuestId, HypervisorId, Key};

use super::Store;
use super::finding::{Finding, Rule};

/// Agents asked at the same time.
const AT_ONCE: usize = 64;

/// What each host lists, or why nobody knows.
pub(crate) struct Lists {
    hosts: BTreeMap<HypervisorId, Result<Vec<AgentGuest>, String>>,
}

/// Asks the agent of every host that has one. Reads alone.
pub(crate) async fn ask_all(store: &Store, transport: &Arc<dyn Transport>) -> Lists {
    let ask = |host| async move {
        let Some(target) = store.agent(host) else {
            return (host, Err("it has no heartbeat, or no address".to_owned()));
        };
        let client = AgentClient::new(Arc::clone(transport), target, None);
        (host, list(&client, host).await)
    };
    let hosts = store.every_host();
    let asked = futures::stream::iter(hosts).map(ask).buffer_unordered(AT_ONCE);
    Lists { hosts: asked.collect().await }
}

async fn list(client: &AgentClient, host: HypervisorId) -> Result<Vec<AgentGuest>, String> {
    let who = client.capabilities().await.map_err(|error| error.to_string())?;
    if let Some(other) = who.map(|who| who.id).filter(|id| *id != host) {
        return Err(format!("the agent of another hypervisor answers there: {other}"));
    }
    match client.list_guests(None).await.map_err(|error| error.to_string())? {
        GuestList::Complete { guests, .. } => Ok(guests),
        GuestList::Unchanged => Err("it answers what was not asked".to_owned()),
    }
}

impl Lists {
    /// Whether the host answered and does not have the guest.
    pub(super) fn lacks(&self, host: HypervisorId, guest: GuestId) -> bool {
        let list = self.hosts.get(&host).and_then(|list| list.as_ref().ok());
        list.is_some_and(|guests| guests.iter().all(|it| it.id != guest))
    }

    /// Whether every host answered, and none has the guest.
    pub(super) fn nobody_has(&self, guest: GuestId) -> bool {
        self.hosts.keys().all(|host| self.lacks(*host, guest))
    }

    /// Whether every host answered, and no guest of theirs has the address.
    pub(super) fn nobody_uses(&self, ip: IpAddr) -> bool {
        let free = |guests: &Vec<AgentGuest>| {
            guests.iter().flat_map(addresses).all(|address| address != ip)
        };
        self.hosts.values().all(|list| list.as_ref().is_ok_and(free))
    }

    fn guests(&self) -> impl Iterator<Item = (HypervisorId, &AgentGuest)> {
        let answered =
            self.hosts.iter().filter_map(|(host, list)| Some((*host, list.as_ref().ok()?)));
        answered.flat_map(|(host, guests)| guests.iter().map(move |guest| (host, guest)))
    }
}

fn addresses(guest: &AgentGuest) -> impl Iterator<Item = IpAddr> + '_ {
    guest.nics.iter().filter_map(|nic| nic.address.parse().ok())
}

/// Whether the guest may be running: what does not tell may.
fn may_run(guest: &AgentGuest) -> bool {
    !matches!(guest.power(), Power::Down { .. })
}

pub(super) fn check(store: &Store, lists: &Lists) -> Vec<Finding> {
    let mut found = Vec::new();
    for (host, list) in &lists.hosts {
        if let Err(why) = list {
            let advice = "nothing is known of what it runs; look at the host and at its agent";
            let subject = format!("hypervisors/{host}");
            found.push(Finding::for_people(Rule::Unreachable, subject, why.clone(), advice));
        }
    }
    found.extend(doubles(lists));
    for (host, guest) in lists.guests() {
        found.extend(known(store, host, guest));
        found.extend(own_address(store, host, guest));
    }
    found.extend(missing(store, lists));
    found
}

/// Guests on two hosts, and addresses of two guests that may run.
fn doubles(lists: &Lists) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut seen: BTreeMap<GuestId, HypervisorId> = BTreeMap::new();
    let mut holders: BTreeMap<IpAddr, GuestId> = BTreeMap::new();
    for (host, guest) in lists.guests() {
        if let Some(other) = seen.insert(guest.id, host) {
            let what = format!("{other} lists it, and {host}");
            let advice = "stop the one that is not where the status says, by its agent";
            let subject = format!("guests/{}", guest.id);
            found.push(Finding::for_people(Rule::OnePlace, subject, what, advice));
        }
        if !may_run(guest) {
            continue;
        }
        for ip in addresses(guest) {
            if let Some(other) = holders.insert(ip, guest.id).filter(|other| *other != guest.id) {
                let what =
                    format!("it and guest {other} run with {ip}; fine in separate networks alone");
                let advice = "stop the one for which the address is not reserved";
                let subject = format!("guests/{}/{ip}", guest.id);
                found.push(Finding::for_people(Rule::OneHolder, subject, what, advice));
            }
        }
    }
    found
}

/// A guest on a host is declared there, or on its way.
fn known(store: &Store, host: HypervisorId, guest: &AgentGuest) -> Option<Finding> {
    let id = guest.id;
    if store.get(&Key::Placement(host, id)).is_some()
        || store.get(&Key::Stale(host, id)).is_some()
        || store.is_unreadable(id)
    {
        return None;
    }
    let subject = format!("hypervisors/{host}/guests/{id}");
    match store.guests.get(&id).map(|status| status.placement.as_ref()) {
        Some(Some(placement)) if placement.hypervisor == host => None,
        Some(Some(placement)) => {
            let what = format!("the host lists it, and it is placed on {}", placement.hypervisor);
            let advice = "delete it on this host, by its agent, when the other one runs";
            Some(Finding::for_people(Rule::OnePlace, subject, what, advice))
        }
        Some(None) | None if store.get(&Key::Guest(id)).is_some() => None,
        Some(None) | None => {
            let what = format!("the host lists it ({}), and nobody declared it", guest.state);
            let advice =
                "declare it to have it adopted, or delete it there; its address counts as taken";
            Some(Finding::for_people(Rule::Undeclared, subject, what, advice))
        }
    }
}

/// A placed guest that runs has the address that its status says.
fn own_address(store: &Store, host: HypervisorId, guest: &AgentGuest) -> Option<Finding> {
    let placement = store.guests.get(&guest.id)?.placement.as_ref()?;
    if placement.hypervisor != host || !may_run(guest) {
        return None;
    }
    let mut own = addresses(guest).peekable();
    own.peek()?;
    let is_right = own.any(|ip| ip == placement.ip);
    (!is_right).then(|| {
        let what =
            format!("it is placed with {}, and its host lists it with another", placement.ip);
        let advice = "delete the guest, and declare it again";
        Finding::for_people(Rule::Reserved, format!("guests/{}/nic", guest.id), what, advice)
    })
}

/// Guests that are said to run and that their host does not list.
fn missing(store: &Store, lists: &Lists) -> Vec<Finding> {
    let said = store.guests.iter().filter(|(_, status)| status.phase == Phase::Running);
    let missing = said.filter_map(|(id, status)| {
        let host = status.placement.as_ref()?.hypervisor;
        lists.lacks(host, *id).then(|| {
            let what = format!("it is said to run on {host}, which does not list it");
            let advice = "the operator makes it again; if it does not, look at its conditions";
            Finding::for_people(Rule::Missing, format!("guests/{id}"), what, advice)
        })
    });
    missing.collect()
}
