//! What is judged of the hosts as it happens: who runs where and with what, and what never goes back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lochness_agent::server::{Effect, EffectKind};
use lochness_agent::wire::Order;
use lochness_api::{GuestId, HypervisorId};

type Found = Vec<(Option<GuestId>, String)>;

/// What is true of the hosts now.
#[derive(Default)]
pub(crate) struct Truths {
    /// Who runs now, with which addresses.
    running: BTreeMap<(GuestId, HypervisorId), Vec<IpAddr>>,
    /// Hosts whose agents know no order: S1, S2 and S3 are not promised for them.
    originals: BTreeSet<HypervisorId>,
    rulesets: BTreeMap<HypervisorId, Order>,
    orders: BTreeMap<(HypervisorId, GuestId), Order>,
}

impl Truths {
    /// Takes one effect in; what is wrong with it.
    pub(crate) fn take(&mut self, host: HypervisorId, ordered: bool, effect: &Effect) -> Found {
        let mut found = Vec::new();
        self.goes_forward(host, effect, &mut found);
        if !ordered {
            self.originals.insert(host);
        }
        let Some(guest) = effect.guest else { return found };
        match effect.kind {
            EffectKind::Started => {
                let addresses: Vec<IpAddr> =
                    effect.addresses.iter().filter_map(|text| text.parse().ok()).collect();
                self.starts(host, guest, &addresses, &mut found);
                self.running.insert((guest, host), addresses);
            }
            EffectKind::Stopped | EffectKind::Crashed | EffectKind::Deleted | EffectKind::Lost => {
                self.running.remove(&(guest, host));
            }
            _ => {}
        }
        found
    }

    /// S1 and S2, as they happen.
    fn starts(&self, host: HypervisorId, guest: GuestId, addresses: &[IpAddr], found: &mut Found) {
        if self.is_original(host) {
            return;
        }
        let running = self.running.iter().filter(|((_, at), _)| !self.is_original(*at));
        for ((other, at), theirs) in running {
            if *other == guest && *at != host {
                found.push((Some(guest), format!("S1: {guest} runs on {at} and on {host}")));
            }
            if let Some(ip) = theirs.iter().find(|ip| *other != guest && addresses.contains(ip)) {
                found.push((Some(guest), format!("S2: {guest} and {other} run with {ip}")));
            }
        }
    }

    /// S8 and S13: neither the ruleset in force nor a guest's order goes back.
    fn goes_forward(&mut self, host: HypervisorId, effect: &Effect, found: &mut Found) {
        if let (EffectKind::FirewallApplied, Some(now)) = (effect.kind, effect.firewall) {
            let former = self.rulesets.insert(host, now);
            if former.is_some_and(|former| former > now) {
                found.push((
                    None,
                    format!("S13: the ruleset of {host} went back from {former:?} to {now}"),
                ));
            }
        }
        if let (Some(guest), Some(now)) = (effect.guest, effect.order) {
            let former = self.orders.insert((host, guest), now);
            if former.is_some_and(|former| former > now) {
                let what =
                    format!("S8: {host} did {:?} by order {now} after {former:?}", effect.kind);
                found.push((Some(guest), what));
            }
        }
    }

    /// The host's agent lost what it knew.
    pub(crate) fn forget(&mut self, host: HypervisorId) {
        self.rulesets.remove(&host);
        self.orders.retain(|(at, _), _| *at != host);
    }

    /// The highest number of a ruleset in force on any of these hosts.
    pub(crate) fn ruled(&self, mut is_one: impl FnMut(HypervisorId) -> bool) -> Option<Order> {
        let here = self.rulesets.iter().filter(|(host, _)| is_one(**host));
        here.map(|(_, number)| *number).max()
    }

    /// Who runs with which address now, on hosts whose agents know orders.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = (GuestId, IpAddr)> {
        let ordered = self.running.iter().filter(|((_, at), _)| !self.is_original(*at));
        ordered.flat_map(|((guest, _), ips)| ips.iter().map(|ip| (*guest, *ip)))
    }

    /// Whether the host's agent knows no order.
    pub(crate) fn is_original(&self, host: HypervisorId) -> bool {
        self.originals.contains(&host)
    }
}
