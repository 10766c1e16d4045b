//! The addresses of a firewall group's members, kept once for all hosts whose rules name the group.
//!
//! Guarantees: the digest of a set depends on what is in it alone, not on the order or the history; the changes between
//! two digests of one set's history are told exactly, or not at all when the history does not reach back so far. One change
//! costs one step, however many members there are.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use lochness_api::FwGroupId;
use sha2::{Digest as _, Sha256};

/// How many changes of a group are remembered. A host that missed more than that gets its whole ruleset anew.
const HISTORY: usize = 4096;

/// Between two elements of a set in a ruleset's text: one a line.
pub(crate) const SEPARATOR: &str = ",\n      ";

/// IPv4 or IPv6: a set of nftables holds one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Names what a set contains: the number of its elements, and the sum of their hashes. So one that comes or goes is one
/// addition, and sets with the same elements have the same digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetDigest {
    count: u64,
    sum: [u64; 4],
}

/// The addresses of one group's placed guests.
#[derive(Debug, Default)]
pub struct Members {
    /// How many of the guests have the address: in different networks it may be more than one.
    holders: BTreeMap<IpAddr, u32>,
    sides: [Side; 2],
}

/// What comes to a set and what goes from it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetChange {
    /// Sorted.
    pub added: Vec<IpAddr>,
    /// Sorted.
    pub removed: Vec<IpAddr>,
}

/// The addresses of one family.
#[derive(Debug, Default)]
struct Side {
    digest: SetDigest,
    /// The newest changes, the oldest first.
    history: VecDeque<Step>,
    /// The elements as a ruleset has them, made when the first one asks.
    rendered: OnceLock<Arc<str>>,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    /// What the set was before.
    before: SetDigest,
    ip: IpAddr,
    joined: bool,
}

impl Family {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// The family of an address.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Whether the address is of the family.
    pub fn has(self, ip: IpAddr) -> bool {
        Self::of(ip) == self
    }

    const fn index(self) -> usize {
        match self {
            Self::V4 => 0,
            Self::V6 => 1,
        }
    }
}

impl SetDigest {
    fn step(mut self, ip: IpAddr, joined: bool) -> Self {
        let hash = Sha256::digest(ip.to_string());
        for (lane, bytes) in self.sum.iter_mut().zip(hash.chunks_exact(8)) {
            let word = u64::from_be_bytes(bytes.try_into().expect("a chunk has eight bytes"));
            *lane = if joined { lane.wrapping_add(word) } else { lane.wrapping_sub(word) };
        }
        self.count = if joined { self.count + 1 } else { self.count - 1 };
        self
    }

    /// As bytes, for a hash over several sets.
    pub(crate) fn to_bytes(self) -> [u8; 40] {
        let mut bytes = [0; 40];
        let words = std::iter::once(self.count).chain(self.sum);
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_be_bytes());
        }
        bytes
    }
}

impl Members {
    /// The digest of the addresses of a family.
    pub fn digest(&self, family: Family) -> SetDigest {
        self.sides[family.index()].digest
    }

    /// The elements of the set of a family, in order, with [`SEPARATOR`] between them. Made once for all who ask.
    pub(crate) fn rendered(&self, family: Family) -> Arc<str> {
        let render = || {
            let own = self.holders.keys().filter(|ip| family.has(**ip));
            own.map(IpAddr::to_string).collect::<Vec<_>>().join(SEPARATOR).into()
        };
        Arc::clone(self.sides[family.index()].rendered.get_or_init(render))
    }

    /// What came and went since the set had this digest; `None` when the history does not tell.
    pub fn since(&self, family: Family, digest: SetDigest) -> Option<SetChange> {
        let side = &self.sides[family.index()];
        if side.digest == digest {
            return Some(SetChange::default());
        }
        let from = side.history.iter().rposition(|step| step.before == digest)?;
        // Of one address joining and leaving take turns, so the first and the last step say it all.
        let mut net: BTreeMap<IpAddr, i8> = BTreeMap::new();
        for step in side.history.range(from..) {
            *net.entry(step.ip).or_default() += if step.joined { 1 } else { -1 };
        }
        let with = |wanted: i8| {
            net.iter().filter(|(_, change)| **change == wanted).map(|(ip, _)| *ip).collect()
        };
        Some(SetChange { added: with(1), removed: with(-1) })
    }

    /// A guest with this address came to the group.
    pub(crate) fn join(&mut self, ip: IpAddr) {
        let holders = self.holders.entry(ip).or_default();
        *holders += 1;
        if *holders == 1 {
            self.step(ip, true);
        }
    }

    /// A guest with this address left the group.
    pub(crate) fn leave(&mut self, ip: IpAddr) {
        let Some(holders) = self.holders.get_mut(&ip) else { return };
        *holders -= 1;
        if *holders == 0 {
            self.holders.remove(&ip);
            self.step(ip, false);
        }
    }

    fn step(&mut self, ip: IpAddr, joined: bool) {
        let side = &mut self.sides[Family::of(ip).index()];
        side.push(Step { before: side.digest, ip, joined });
        side.digest = side.digest.step(ip, joined);
        side.rendered.take();
    }

    /// Takes the history of a former self over, so that hosts which know that one need not get everything anew.
    fn follow(&mut self, former: &Self) {
        for (side, old) in self.sides.iter_mut().zip(&former.sides) {
            side.history.clone_from(&old.history);
        }
        let mut digests = former.sides.each_ref().map(|side| side.digest);
        let left = former.holders.keys().filter(|ip| !self.holders.contains_key(ip));
        let came = self.holders.keys().filter(|ip| !former.holders.contains_key(ip));
        let steps = left.map(|ip| (*ip, false)).chain(came.map(|ip| (*ip, true)));
        for (ip, joined) in steps {
            let index = Family::of(ip).index();
            self.sides[index].push(Step { before: digests[index], ip, joined });
            digests[index] = digests[index].step(ip, joined);
        }
    }
}

impl Side {
    fn push(&mut self, step: Step) {
        if self.history.len() == HISTORY {
            self.history.pop_front();
        }
        self.history.push_back(step);
    }
}

/// The members of all groups, and the groups whose members changed since somebody asked.
#[derive(Debug, Default)]
pub(super) struct GroupMembers {
    groups: BTreeMap<FwGroupId, Members>,
    changed: std::collections::BTreeSet<FwGroupId>,
}

impl GroupMembers {
    pub(super) fn get(&self, group: FwGroupId) -> Option<&Members> {
        self.groups.get(&group)
    }

    /// A guest was a member of one group with one address, and is now of another, or with another.
    pub(super) fn moved(
        &mut self,
        before: Option<(FwGroupId, IpAddr)>,
        after: Option<(FwGroupId, IpAddr)>,
    ) {
        if before == after {
            return;
        }
        // A group that has lost its members keeps its history: it may get others.
        if let Some((group, ip)) = before {
            self.groups.entry(group).or_default().leave(ip);
            self.changed.insert(group);
        }
        if let Some((group, ip)) = after {
            self.groups.entry(group).or_default().join(ip);
            self.changed.insert(group);
        }
    }

    pub(super) fn take_changed(&mut self) -> std::collections::BTreeSet<FwGroupId> {
        std::mem::take(&mut self.changed)
    }

    /// The members were counted anew: what was known of their changes stays known.
    pub(super) fn follow(&mut self, former: &Self) {
        for (group, old) in &former.groups {
            self.groups.entry(*group).or_default().follow(old);
        }
        self.changed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(number: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, number])
    }

    fn of(numbers: &[u8]) -> Members {
        let mut members = Members::default();
        for number in numbers {
            members.join(ip(*number));
        }
        members
    }

    #[test]
    fn the_same_members_have_the_same_digest_whatever_happened_before() {
        let mut long_way = of(&[3, 9, 1]);
        long_way.leave(ip(9));
        long_way.join(ip(2));
        assert_eq!(long_way.digest(Family::V4), of(&[1, 2, 3]).digest(Family::V4));
        assert_ne!(long_way.digest(Family::V4), of(&[1, 2]).digest(Family::V4));
        assert_eq!(long_way.digest(Family::V6), SetDigest::default());
        assert_eq!(&*long_way.rendered(Family::V4), "10.0.0.1,\n      10.0.0.2,\n      10.0.0.3");
    }

    #[test]
    fn what_came_and_went_between_two_digests_is_told_and_what_did_both_is_not() {
        let mut members = of(&[1, 2]);
        let then = members.digest(Family::V4);
        members.join(ip(3));
        members.leave(ip(1));
        members.join(ip(4));
        members.leave(ip(4));
        let change = members.since(Family::V4, then).unwrap();
        assert_eq!(change, SetChange { added: vec![ip(3)], removed: vec![ip(1)] });
        let now = members.digest(Family::V4);
        assert_eq!(members.since(Family::V4, now), Some(SetChange::default()));
        assert_eq!(members.since(Family::V4, of(&[77]).digest(Family::V4)), None);
    }

    #[test]
    fn an_address_of_two_members_leaves_with_the_second() {
        let mut members = of(&[1, 1]);
        let digest = members.digest(Family::V4);
        members.leave(ip(1));
        assert_eq!(members.digest(Family::V4), digest);
        members.leave(ip(1));
        assert_eq!(members.digest(Family::V4), SetDigest::default());
    }

    #[test]
    fn the_history_is_bounded_and_what_it_does_not_reach_is_not_made_up() {
        let mut members = of(&[1]);
        let then = members.digest(Family::V4);
        for number in 0..=HISTORY {
            let ip = IpAddr::from((0x0b00_0000 + u32::try_from(number).unwrap()).to_be_bytes());
            members.join(ip);
        }
        assert_eq!(members.since(Family::V4, then), None);
        assert_eq!(members.sides[0].history.len(), HISTORY);
    }

    #[test]
    fn members_that_were_counted_anew_know_what_changed_since_their_former_self() {
        let group = FwGroupId::new(uuid::Uuid::from_u128(1));
        let mut former = GroupMembers::default();
        for number in [1, 2] {
            former.moved(None, Some((group, ip(number))));
        }
        let then = former.get(group).unwrap().digest(Family::V4);
        let mut anew = GroupMembers::default();
        for number in [2, 3] {
            anew.moved(None, Some((group, ip(number))));
        }
        anew.follow(&former);
        assert!(anew.take_changed().is_empty());
        let change = anew.get(group).unwrap().since(Family::V4, then).unwrap();
        assert_eq!(change, SetChange { added: vec![ip(3)], removed: vec![ip(1)] });
    }
}
