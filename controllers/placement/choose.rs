//! Which of the hosts that fit: one that reaches the preferred subnet; of these the one that stays emptiest, a random one
//! among equals.
//!
//! A small fleet is looked at whole. Of a large one, as many hosts that fit as [`ENOUGH`] are drawn at random: the best of
//! these is within a few percent of the best of all, and the cost does not grow with the fleet. That nothing fits, or
//! nothing that reaches the preferred subnet, is only ever said after looking at every host.

use std::cmp::Reverse;

use lochness_api::document::Resources;
use rand::{Rng, RngExt};

use super::filter::{Candidate, Fleet, Need, Rejections};

/// So many fitting hosts that reach the preferred subnet are compared.
const ENOUGH: usize = 32;
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
            rejections.note(filter, fleet.free(host, host.allocatable(fleet.world.config())));
            rejections
        });
    }
    let hosts = fleet.world.hosts();
    let mut best: Option<(Score, Candidate<'a>)> = None;
    let mut rejections = Rejections::default();
    let (mut found, mut equals) = (0, 1_u32);
    for position in random_order(hosts.len(), random) {
        let host = &hosts[position];
        match fleet.admit(host, need) {
            Err(filter) => {
                let free = fleet.free(host, host.allocatable(fleet.world.config()));
                rejections.note(filter, free);
            }
            Ok(candidate) => {
                let score = score(&candidate);
                match &best {
                    Some((highest, _)) if score < *highest => {}
                    Some((highest, _)) if score == *highest => {
                        equals += 1;
                        if random.random_ratio(1, equals) {
                            best = Some((score, candidate));
                        }
                    }
                    Some(_) | None => {
                        equals = 1;
                        best = Some((score, candidate));
                    }
                }
                found += usize::from(candidate.rank == 0);
                if found == ENOUGH {
                    break;
                }
            }
        }
    }
    best.map(|(_, candidate)| candidate).ok_or(rejections)
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
    use std::collections::BTreeSet;

    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::*;

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
