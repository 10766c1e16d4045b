//! Which of the hosts that fit: one that reaches the preferred subnet; of these the one that stays emptiest, a random one
//! among equals.
//!
//! A small fleet is looked at whole. Of a large one, as many hosts that fit as [`ENOUGH`] are drawn at random: the best of
//! these is within a few percent of the best of all, and the cost does not grow with the fleet. That nothing fits, or
//! nothing that reaches the preferred subnet, is only ever said after looking at every host.

use std::cmp::{Ordering, Reverse};

use lochness_api::document::Resources;
use rand::{Rng, RngExt};

use super::filter::{Candidate, Fleet, Need, Rejections};

/// So many fitting hosts that reach the preferred subnet are compared.
const ENOUGH: usize = 16;
/// Where fewer than one host in so many reaches a subnet, these are looked at before others.
const FEW: usize = 4;
/// Shares of a resource are compared in steps of one in so many, so that "equal" means about equal.
const STEPS: u64 = 1_000;

/// Chooses a host.
///
/// # Errors
/// How many hosts each filter turned away, when none fits.
pub(super) fn choose<'a>(
    fleet: Fleet<'a>,
    need: &Need<'_>,
    random: &mut impl Rng,
) -> Result<Candidate<'a>, Rejections> {
    if let Some(pinned) = need.pinned
        && let Some(host) = fleet.world.host(pinned)
    {
        return fleet.admit(host, need).map_err(|filter| {
            let mut rejections = Rejections::default();
            rejections.note(filter, fleet.free(host));
            rejections
        });
    }
    if let Some(candidate) = among_few(fleet, need, random) {
        return Ok(candidate);
    }
    let hosts = fleet.world.hosts();
    let mut best = Best::default();
    let mut rejections = Rejections::default();
    let mut found = 0;
    for position in random_order(hosts.len(), random) {
        let host = &hosts[position];
        match fleet.admit(host, need) {
            Err(filter) => {
                rejections.note(filter, fleet.free(host));
            }
            Ok(candidate) => {
                found += usize::from(candidate.rank == 0);
                best.compare(candidate, random);
                if found == ENOUGH {
                    break;
                }
            }
        }
    }
    best.candidate.ok_or(rejections)
}

/// Of a large fleet of which few hosts reach the preferred subnet, the best of these; then of those that reach the next one.
/// `None` when none of them fits, or when so many reach a subnet that drawing from the whole fleet meets them soon enough.
fn among_few<'a>(
    fleet: Fleet<'a>,
    need: &Need<'_>,
    random: &mut impl Rng,
) -> Option<Candidate<'a>> {
    let hosts = fleet.world.hosts().len();
    for subnet in need.subnets {
        let reaching = fleet.world.hosts_reaching(*subnet);
        if hosts <= ENOUGH || reaching.len() * FEW > hosts {
            return None;
        }
        let mut best = Best::default();
        let mut found = 0;
        for position in random_order(reaching.len(), random) {
            let host = fleet.world.host(reaching[position]);
            let Some(candidate) = host.and_then(|host| fleet.admit(host, need).ok()) else {
                continue;
            };
            best.compare(candidate, random);
            found += 1;
            if found == ENOUGH {
                break;
            }
        }
        if best.candidate.is_some() {
            return best.candidate;
        }
    }
    None
}

/// The best of the candidates so far; of equals, each with the same chance.
#[derive(Default)]
struct Best<'a> {
    candidate: Option<Candidate<'a>>,
    score: Option<Score>,
    equals: u32,
}

impl<'a> Best<'a> {
    fn compare(&mut self, candidate: Candidate<'a>, random: &mut impl Rng) {
        let score = Some(score(&candidate));
        match score.cmp(&self.score) {
            Ordering::Less => {}
            Ordering::Equal => {
                self.equals += 1;
                if random.random_ratio(1, self.equals) {
                    self.candidate = Some(candidate);
                }
            }
            Ordering::Greater => {
                *self = Self { candidate: Some(candidate), score, equals: 1 };
            }
        }
    }
}

/// The subnet first, then how empty the host stays. More is better.
type Score = (Reverse<usize>, u64);

fn score(candidate: &Candidate<'_>) -> Score {
    (Reverse(candidate.rank), emptiness(candidate))
}

/// How empty the host stays: the mean of the free shares, in steps.
fn emptiness(candidate: &Candidate<'_>) -> u64 {
    let share = |left: u64, of: u64| (left.saturating_mul(STEPS)).checked_div(of).unwrap_or(STEPS);
    let Resources { memory, disk, cpu } = candidate.allocatable;
    (share(candidate.left.memory, memory)
        + share(candidate.left.disk, disk)
        + share(candidate.left.cpu.into(), cpu.into()))
        / 3
}

/// Every position once, from a random start with a random stride that has no factor in common with the length: no
/// allocation, no shuffle.
fn random_order<R: Rng>(len: usize, random: &mut R) -> impl Iterator<Item = usize> + use<R> {
    let (start, stride) = if len < 2 {
        (0, 1)
    } else {
        let mut stride = random.random_range(1..len);
        while gcd(stride, len) != 1 {
            stride = if stride + 1 == len { 1 } else { stride + 1 };
        }
        (random.random_range(0..len), stride)
    };
    let mut position = start;
    std::iter::repeat_with(move || {
        let current = position;
        position = (position + stride) % len.max(1);
        current
    })
    .take(len)
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use lochness_api::keys::Key;
    use lochness_api::{HypervisorId, Mac};
    use rand::SeedableRng;
    use rand::rngs::SmallRng;
    use serde_json::json;
    use tokio::time::Instant;

    use super::super::claims::Claims;
    use super::*;
    use crate::reports::Reports;
    use crate::testing::{Store, answering, id};

    /// A fleet of so many hosts, and guests of chance sizes that are put there one after the other until none fits.
    struct Filling {
        store: Store,
        reports: Reports,
        sizes: SmallRng,
        placed: u128,
    }

    impl Filling {
        fn new(hosts: u128) -> Self {
            let mut store = Store::basics();
            let hosts: Vec<_> = (1..=hosts).map(|number| store.host(1_000 + number, 32)).collect();
            let reports = answering(&hosts);
            Self { store, reports, sizes: SmallRng::seed_from_u64(5), placed: 0 }
        }

        /// Puts guests where `choose` says until it refuses one of the smallest; how many had a place.
        fn fill(
            mut self,
            mut choose: impl FnMut(Fleet<'_>, &Need<'_>) -> Option<HypervisorId>,
        ) -> u128 {
            loop {
                let memory = self.sizes.random_range(1..=8);
                let subnets = [id(2)];
                let need = |memory| Need {
                    guest: id(7),
                    resources: Resources { memory, disk: 0, cpu: 0 },
                    pinned: None,
                    labels: BTreeMap::new(),
                    set: None,
                    fwgroup: None,
                    subnets: &subnets,
                };
                let (host, memory) = {
                    let reports = self.reports.read();
                    let claims = Claims::default();
                    let fleet = Fleet {
                        world: &self.store.world,
                        reports: &reports,
                        claims: &claims,
                        now: Instant::now(),
                        reachable_window: Duration::from_secs(30),
                    };
                    let here = choose(fleet, &need(memory)).map(|host| (host, memory));
                    let here = here.or_else(|| choose(fleet, &need(1)).map(|host| (host, 1)));
                    let Some(here) = here else { return self.placed };
                    here
                };
                self.placed += 1;
                let ip = Ipv4Addr::from_bits(0x0a00_0000 + u32::try_from(self.placed).unwrap());
                let status = json!({ "phase": "Running", "placement": {
                    "hypervisor": host, "subnet": id::<()>(2), "ip": ip, "cidr": "10.0.0.0/8",
                    "mac": Mac::of_guest(id(self.placed)), "bridge": "br0",
                    "resources": { "memory": memory, "disk": 0, "cpu": 0 } } });
                self.store.put(&Key::GuestStatus(id(10_000 + self.placed)), &status);
            }
        }
    }

    #[test]
    fn a_fleet_that_is_drawn_from_takes_as_many_guests_as_one_that_is_looked_at_whole() {
        let whole = Filling::new(200).fill(|fleet, need| {
            let hosts = fleet.world.hosts().iter();
            let fitting = hosts.filter_map(|host| fleet.admit(host, need).ok());
            fitting.max_by_key(score).map(|candidate| candidate.host.id)
        });
        let mut random = SmallRng::seed_from_u64(11);
        let drawn = Filling::new(200).fill(|fleet, need| {
            choose(fleet, need, &mut random).ok().map(|candidate| candidate.host.id)
        });
        assert!(whole > 1_000, "{whole}");
        assert!(drawn * 100 >= whole * 97, "{drawn} of {whole}");
    }

    #[test]
    fn the_random_order_visits_every_position_once() {
        let mut random = SmallRng::seed_from_u64(7);
        for len in 0..200 {
            let seen: Vec<_> = random_order(len, &mut random).collect();
            let once: BTreeSet<_> = seen.iter().copied().collect();
            assert_eq!((seen.len(), once.len()), (len, len));
        }
    }
}
