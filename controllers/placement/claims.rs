//! What open commits will use: resources, addresses, hardware addresses, places in anti-affinity sets.
//!
//! A claim stands from the plan until the view shows what became of its commit. For a moment after that both the view and
//! the claim count it: that errs on the safe side. No plan claims an address or a hardware address that is claimed already,
//! so one claim ends without another one's.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lochness_api::document::Resources;
use lochness_api::{GuestId, HypervisorId, Mac, NetworkId, SubnetId};
use lochness_mutant::Mutant;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::world::range_set::RangeSet;
use crate::world::{address_number, number_address};

/// What the planner remembers between plans: claims, and where its random choices come from.
pub(super) struct Planner {
    pub(super) claims: Claims,
    pub(super) random: SmallRng,
    /// Guests that were refused while open commits had claims: they may get what one of these gives back.
    refused_beside_claims: BTreeSet<GuestId>,
}

/// What open commits will use.
#[derive(Debug, Default)]
pub(super) struct Claims {
    hosts: FxHashMap<HypervisorId, Resources>,
    addresses: FxHashMap<Option<NetworkId>, RangeSet>,
    /// How many of them are of a subnet.
    subnets: FxHashMap<SubnetId, u64>,
    macs: FxHashSet<Mac>,
    sets: FxHashMap<(Box<str>, HypervisorId), u32>,
}

/// What one open commit will use.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) hypervisor: HypervisorId,
    pub(super) resources: Resources,
    /// Addresses are claimed for the whole network: its subnets may have them in common, or come to.
    pub(super) network: Option<NetworkId>,
    pub(super) subnet: SubnetId,
    pub(super) ip: IpAddr,
    pub(super) mac: Mac,
    pub(super) set: Option<Box<str>>,
}

impl Claims {
    /// What open commits will use on a host.
    pub(super) fn on(&self, host: HypervisorId) -> Resources {
        if lochness_mutant::is(Mutant::CapacityClaimsIgnored) {
            return Resources::default();
        }
        self.hosts.get(&host).copied().unwrap_or_default()
    }

    /// Whether an open commit will take the address in the network.
    pub(super) fn has_address(&self, network: Option<NetworkId>, ip: IpAddr) -> bool {
        self.addresses.get(&network).is_some_and(|taken| taken.contains(address_number(ip)))
    }

    /// The first address at or above `ip` that no open commit will take in the network.
    pub(super) fn first_unclaimed(&self, network: NetworkId, ip: IpAddr) -> Option<IpAddr> {
        match self.addresses.get(&Some(network)) {
            _ if lochness_mutant::is(Mutant::AddressUnchecked) => Some(ip),
            None => Some(ip),
            Some(taken) => {
                taken.first_absent(address_number(ip)).and_then(|number| number_address(number, ip))
            }
        }
    }

    /// How many addresses of a subnet open commits will take.
    pub(super) fn addresses_of(&self, subnet: SubnetId) -> u64 {
        self.subnets.get(&subnet).copied().unwrap_or(0)
    }

    /// Whether an open commit will give the hardware address to a guest.
    pub(super) fn has_mac(&self, mac: Mac) -> bool {
        self.macs.contains(&mac)
    }

    /// Whether an open commit will place a guest of the set on the host.
    pub(super) fn has_set(&self, set: &str, host: HypervisorId) -> bool {
        !self.sets.is_empty() && self.sets.contains_key(&(set.into(), host))
    }

    fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }

    fn insert(&mut self, claim: &Claim) {
        let used = self.hosts.entry(claim.hypervisor).or_default();
        *used = used.saturating_add(claim.resources);
        self.addresses.entry(claim.network).or_default().insert(address_number(claim.ip));
        *self.subnets.entry(claim.subnet).or_default() += 1;
        self.macs.insert(claim.mac);
        if let Some(set) = &claim.set {
            *self.sets.entry((set.clone(), claim.hypervisor)).or_default() += 1;
        }
    }

    fn remove(&mut self, claim: &Claim) {
        if let Some(used) = self.hosts.get_mut(&claim.hypervisor) {
            *used = used.saturating_sub(claim.resources);
            if *used == Resources::default() {
                self.hosts.remove(&claim.hypervisor);
            }
        }
        if let Some(taken) = self.addresses.get_mut(&claim.network) {
            taken.remove(address_number(claim.ip));
            if taken.len() == 0 {
                self.addresses.remove(&claim.network);
            }
        }
        if let Some(count) = self.subnets.get_mut(&claim.subnet) {
            *count -= 1;
            if *count == 0 {
                self.subnets.remove(&claim.subnet);
            }
        }
        self.macs.remove(&claim.mac);
        if let Some(set) = &claim.set {
            let key = (set.clone(), claim.hypervisor);
            if let Some(count) = self.sets.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.sets.remove(&key);
                }
            }
        }
    }
}

impl Planner {
    pub(super) fn new(seed: u64) -> Arc<Mutex<Self>> {
        let random = SmallRng::seed_from_u64(seed);
        let claims = Claims::default();
        Arc::new(Mutex::new(Self { claims, random, refused_beside_claims: BTreeSet::new() }))
    }

    pub(super) fn lock(planner: &Mutex<Self>) -> MutexGuard<'_, Self> {
        planner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers that a guest was refused.
    pub(super) fn note_refusal(&mut self, guest: GuestId) {
        if !self.claims.is_empty() {
            self.refused_beside_claims.insert(guest);
        }
    }

    /// Who was refused beside claims since this was asked last.
    pub(super) fn take_refused(&mut self) -> BTreeSet<GuestId> {
        std::mem::take(&mut self.refused_beside_claims)
    }

    /// Claims, until the guard is dropped. A dropped guard frees the claim whatever happened, a panic included.
    pub(super) fn claim(&mut self, claim: Claim, planner: &Arc<Mutex<Self>>) -> ClaimGuard {
        self.claims.insert(&claim);
        ClaimGuard { claim: Box::new(claim), planner: Arc::clone(planner) }
    }
}

/// A claim that stands while this lives.
pub(super) struct ClaimGuard {
    claim: Box<Claim>,
    planner: Arc<Mutex<Planner>>,
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        Planner::lock(&self.planner).claims.remove(&self.claim);
    }
}
