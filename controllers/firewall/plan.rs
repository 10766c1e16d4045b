//! Whether a host's firewall needs a new ruleset, and whom its members concern elsewhere. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lochness_agent::wire::Order;
use lochness_api::{FwGroupId, GuestId, HypervisorId};

use super::input::LocalGuest;
use crate::reports::{FirewallReport, HostReport};
use crate::world::{GuestEntry, HostEntry, World};

/// The value of a host's `config/firewall` that leaves its firewall to somebody else.
const FIREWALL_OFF: &str = "off";

/// The groups of a host's guests, with the addresses of these.
pub(super) type LocalMembers = BTreeMap<FwGroupId, BTreeSet<IpAddr>>;

/// Whether rulesets are sent to the host at all: its agent can apply them, and nobody else does.
pub(crate) fn is_wanted(entry: &HostEntry, report: &HostReport) -> bool {
    let off = entry.config.firewall.as_deref().is_some_and(|text| text.trim() == FIREWALL_OFF);
    report.has_firewall() && !off
}

/// The revision that a ruleset must at least be compiled at to cover all placements on the host; 0 when there is none.
pub(crate) fn newest_placement(world: &World, entry: &HostEntry) -> i64 {
    let revisions = entry.placed.iter().filter_map(|id| world.guest(*id));
    revisions.map(GuestEntry::placement_revision).max().unwrap_or(0)
}

/// Whether a ruleset must be sent: the one in force is another, or is older than the newest placement.
pub(super) fn must_send(report: Option<&FirewallReport>, hash: &str, newest: Order) -> bool {
    match report {
        None => newest.revision > 0,
        Some(in_force) => {
            in_force.error.is_some() || in_force.hash != hash || in_force.revision < newest
        }
    }
}

/// Guests on the host whose placement was not covered before and is now.
pub(super) fn newly_covered(
    world: &World,
    entry: &HostEntry,
    before: Option<&FirewallReport>,
    order: impl Fn(i64) -> Order,
) -> Vec<GuestId> {
    let covered = before.filter(|report| report.error.is_none()).map(|report| report.revision);
    let is_new = |id: &&GuestId| {
        let revision = world.guest(**id).map_or(0, GuestEntry::placement_revision);
        covered.is_none_or(|covered| order(revision) > covered)
    };
    entry.placed.iter().filter(is_new).copied().collect()
}

/// The groups of the host's own guests.
pub(super) fn local_members(guests: &[LocalGuest]) -> LocalMembers {
    let mut members = LocalMembers::new();
    for guest in guests {
        if let Some(group) = guest.fwgroup {
            members.entry(group).or_default().insert(guest.ip);
        }
    }
    members
}

/// The groups whose members on one host are others than before.
pub(super) fn changed_groups(before: &LocalMembers, now: &LocalMembers) -> BTreeSet<FwGroupId> {
    let all: BTreeSet<_> = before.keys().chain(now.keys()).copied().collect();
    all.into_iter().filter(|group| before.get(group) != now.get(group)).collect()
}

/// The hosts with guests of a group whose rules name one of `named`.
pub(super) fn hosts_naming(world: &World, named: &BTreeSet<FwGroupId>) -> BTreeSet<HypervisorId> {
    let names_one = |group: FwGroupId| {
        let document = world.fwgroup(group).and_then(|declared| declared.understood.as_ref());
        document.is_some_and(|document| {
            document.rules.iter().any(|rule| rule.group.is_some_and(|group| named.contains(&group)))
        })
    };
    world
        .fwgroups()
        .map(|(group, _)| group)
        .filter(|group| names_one(*group))
        .flat_map(|group| world.fwgroup_members(group))
        .filter_map(|guest| Some(world.guest(guest)?.placement()?.hypervisor))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_force(hash: &str, revision: u64) -> FirewallReport {
        FirewallReport { hash: hash.to_owned(), revision: Order::new(1, revision), error: None }
    }

    #[test]
    fn a_ruleset_in_force_that_covers_the_newest_placement_is_left_alone() {
        let newest = Order::new(1, 5);
        assert!(!must_send(Some(&in_force("a", 5)), "a", newest));
        assert!(must_send(Some(&in_force("a", 4)), "a", newest), "a placement is not covered");
        assert!(must_send(Some(&in_force("b", 9)), "a", newest), "the text is another");
        let refused = FirewallReport { error: Some("no".to_owned()), ..in_force("a", 5) };
        assert!(must_send(Some(&refused), "a", newest), "the last one was refused");
    }

    #[test]
    fn a_host_that_never_had_a_ruleset_needs_one_with_its_first_guest() {
        assert!(!must_send(None, "a", Order::new(1, 0)));
        assert!(must_send(None, "a", Order::new(1, 5)));
    }
}
