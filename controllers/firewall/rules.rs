//! Which rules of a group are in force. Pure.
//!
//! Guarantees: a document that cannot be understood changes nothing: the rules go on as last understood, by this leader or,
//! as the group's status tells, by a former one. Rules that nobody ever understood let nothing in.

use std::fmt;

use lochness_api::document::Rule;
use lochness_api::{FwGroupId, Kind};

use crate::world::World;

/// A group whose rules nobody knows, so that nothing is let in to its guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClosedGroup {
    /// It has no document.
    Missing(FwGroupId),
    /// Its document was never understood.
    NeverUnderstood(FwGroupId),
}

/// What is known of a group's rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RulesInForce<'a> {
    /// The group has no document.
    Missing,
    /// Its document was never understood.
    NeverUnderstood,
    /// As the newest document says, or the newest that was understood.
    Known(&'a [Rule]),
}

impl<'a> RulesInForce<'a> {
    /// The rules, none when there are none that are known.
    pub fn known(self) -> &'a [Rule] {
        match self {
            Self::Known(rules) => rules,
            Self::Missing | Self::NeverUnderstood => &[],
        }
    }
}

impl fmt::Display for ClosedGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (group, what) = match self {
            Self::Missing(group) => (group, "does not exist"),
            Self::NeverUnderstood(group) => (group, "was never understood"),
        };
        write!(f, "firewall group {group} {what}: nothing is let in to the guest")
    }
}

/// Why a group lets nothing in, if nobody knows its rules.
pub fn closed_group(world: &World, group: FwGroupId) -> Option<ClosedGroup> {
    match rules_in_force(world, group) {
        RulesInForce::Missing => Some(ClosedGroup::Missing(group)),
        RulesInForce::NeverUnderstood => Some(ClosedGroup::NeverUnderstood(group)),
        RulesInForce::Known(_) => None,
    }
}

/// The rules of a group that are in force.
pub fn rules_in_force(world: &World, group: FwGroupId) -> RulesInForce<'_> {
    let Some(declared) = world.fwgroup(group) else { return RulesInForce::Missing };
    if let Some(document) = declared.understood.as_deref() {
        return RulesInForce::Known(&document.rules);
    }
    let status = world.object_status(Kind::FwGroup, &group.to_string());
    // A group that was deleted and put again is another one: what its former self said does not bind it.
    let status = status.filter(|status| status.mod_revision > declared.create_revision);
    match status.and_then(|status| status.value.as_deref()?.rules.as_ref()) {
        Some(accepted) => RulesInForce::Known(&accepted.0),
        None => RulesInForce::NeverUnderstood,
    }
}
