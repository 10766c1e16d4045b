//! Whether a host's firewall needs a new ruleset, and which hosts a group concerns. Pure.

use std::collections::BTreeSet;

use lochness_agent::AgentError;
use lochness_agent::wire::Order;
use lochness_api::document::FirewallBy;
use lochness_api::{FwGroupId, GuestId, HypervisorId};

use super::rules::rules_in_force;
use crate::reports::{FirewallReport, HostReport};
use crate::world::{HostEntry, World};

/// Whether rulesets are sent to the host at all: its agent can apply them, and nobody else does.
pub(crate) fn is_wanted(entry: &HostEntry, report: &HostReport) -> bool {
    report.has_firewall() && entry.config.firewall == FirewallBy::Agent
}

/// Whether the rules of guests' groups are kept on the host: by its agent, or by somebody else who says so.
pub(crate) fn keeps_groups(entry: &HostEntry, report: Option<&HostReport>) -> bool {
    match entry.config.firewall {
        FirewallBy::External => true,
        FirewallBy::Agent => report.is_some_and(HostReport::has_firewall),
    }
}

/// The revision that a ruleset must at least be compiled at to cover all placements on the host; 0 when there is none.
pub(crate) fn newest_placement(entry: &HostEntry) -> i64 {
    entry.placed.iter().map(|id| placement_revision(entry, *id)).max().unwrap_or(0)
}

/// Create revision of the host's index key for a guest placed on it; 0 when that key is missing. The same as
/// [`GuestEntry::placement_revision`](crate::world::GuestEntry::placement_revision), which would unpack each guest.
fn placement_revision(entry: &HostEntry, guest: GuestId) -> i64 {
    entry.index.get(&guest).copied().unwrap_or(0)
}

/// Whether a ruleset must be sent: the one in force is another, or is older than the newest placement, or than
/// `unanswered`, the newest of which nobody knows whether it will still arrive. Such a one is refused only below a newer
/// one, even if what is in force is what is wanted, and even if nothing is and nobody needs anything there any more.
pub(super) fn must_send(
    report: Option<&FirewallReport>,
    hash: &str,
    newest: Order,
    unanswered: Option<Order>,
) -> bool {
    match report {
        None => newest.revision > 0 || unanswered.is_some(),
        Some(in_force) => {
            in_force.error.is_some()
                || in_force.hash != hash
                || in_force.revision < newest
                || unanswered.is_some_and(|unanswered| in_force.revision < unanswered)
        }
    }
}

/// Whether a patch failed because of what it is or what it builds on, so that the whole ruleset may do.
pub(super) fn is_about_the_patch(error: &AgentError) -> bool {
    match error {
        // It did not arrive or may not have, or no ruleset of this view would be taken.
        AgentError::NotSent(_) | AgentError::Unknown(_) | AgentError::Fenced(_) => false,
        AgentError::Refused { .. } | AgentError::Failed { .. } | AgentError::Garbled(_) => true,
    }
}

/// Guests on the host whose placement was not covered before and is now.
pub(super) fn newly_covered(
    entry: &HostEntry,
    before: Option<&FirewallReport>,
    order: impl Fn(i64) -> Order,
) -> Vec<GuestId> {
    let covered = before.filter(|report| report.error.is_none()).map(|report| report.revision);
    let is_new = |id: &&GuestId| {
        let revision = placement_revision(entry, **id);
        covered.is_none_or(|covered| order(revision) > covered)
    };
    entry.placed.iter().filter(is_new).copied().collect()
}

/// The hosts with guests of a group.
pub(crate) fn hosts_of(
    world: &World,
    group: FwGroupId,
) -> impl Iterator<Item = HypervisorId> + use<'_> {
    world.fwgroup_hosts(group)
}

/// The hosts with guests of a group whose rules name `named`.
pub fn hosts_naming(world: &World, named: FwGroupId) -> impl Iterator<Item = HypervisorId> + use<> {
    let names_it = |group: &FwGroupId| {
        let rules = rules_in_force(world, *group).known();
        rules.iter().any(|rule| rule.group == Some(named))
    };
    let groups = world.fwgroups().map(|(group, _)| group).filter(names_it);
    let hosts: BTreeSet<_> = groups.flat_map(|group| hosts_of(world, group)).collect();
    hosts.into_iter()
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
        let must_send = |report: &_, hash| must_send(Some(report), hash, newest, None);
        assert!(!must_send(&in_force("a", 5), "a"));
        assert!(must_send(&in_force("a", 4), "a"), "a placement is not covered");
        assert!(must_send(&in_force("b", 9), "a"), "the text is another");
        let refused = FirewallReport { error: Some("no".to_owned()), ..in_force("a", 5) };
        assert!(must_send(&refused, "a"), "the last one was refused");
    }

    #[test]
    fn a_host_that_never_had_a_ruleset_needs_one_with_its_first_guest() {
        assert!(!must_send(None, "a", Order::new(1, 0), None));
        assert!(must_send(None, "a", Order::new(1, 5), None));
        let late = Some(Order::new(1, 4));
        assert!(must_send(None, "a", Order::new(1, 0), late), "one for its last may yet arrive");
    }

    #[test]
    fn a_ruleset_that_may_still_arrive_is_overtaken_by_a_newer_one() {
        let must_send = |revision| {
            let unanswered = Some(Order::new(1, 7));
            must_send(Some(&in_force("a", revision)), "a", Order::new(1, 5), unanswered)
        };
        assert!(must_send(5), "the right one is in force, and the late one would replace it");
        assert!(!must_send(7));
    }
}
