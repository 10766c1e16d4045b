//! The index of placements, held against the statuses: what is missing in it, and what is left over. Pure.

use std::collections::BTreeSet;

use lochness_api::GuestId;

use super::plan::Facts;
use crate::knowledge::{is_complete, knows_guests};

/// Guests that are placed on the host and that its index does not name, with the revision of their status.
pub(super) fn missing_keys(facts: &Facts<'_>) -> Vec<(GuestId, i64)> {
    let entry = facts.entry;
    let missing = entry.placed.iter().filter(|id| !entry.index.contains_key(id));
    missing.filter_map(|id| Some((*id, facts.world.guest(*id)?.status_revision()))).collect()
}

/// Guests that the host's index names though they are placed elsewhere, or do not exist and no host has them.
///
/// A guest that is declared and has no place is not among them: the key *is* its place, and is adopted.
pub(super) fn leaked_keys(facts: &Facts<'_>) -> BTreeSet<GuestId> {
    let (world, reports, entry) = (facts.world, facts.reports, facts.entry);
    let unplaced: Vec<_> =
        entry.index.keys().copied().filter(|id| !entry.placed.contains(id)).collect();
    let knows_itself = reports
        .host(entry.id)
        .is_some_and(|report| knows_guests(report, facts.now, facts.reachable_window));
    if unplaced.is_empty() || !knows_itself {
        return BTreeSet::new();
    }
    let knows_all = is_complete(world, reports, facts.now, facts.reachable_window);
    let is_leaked = |id: &GuestId| {
        let Some(guest) = world.guest(*id) else { return false };
        let hosts = reports.hosts_of(*id);
        if guest.placement().is_some() {
            return !hosts.contains(&entry.id);
        }
        guest.document.is_none() && guest.status.is_none() && hosts.is_empty() && knows_all
    };
    unplaced.into_iter().filter(is_leaked).collect()
}
