//! What the status of an object without a loop of its own says. Pure.

use jiff::Timestamp;
use lochness_api::status::{AcceptedRules, Condition, ConditionType, ObjectStatus, Reason};
use lochness_api::{Digest, Kind};

use crate::firewall::rules::{RulesInForce, rules_in_force};
use crate::statuses::Conditions;
use crate::world::World;

/// An object by its kind and the id segment of its key.
pub(super) type ObjectKey = (Kind, String);

/// Another object that one names, and whether it can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reference {
    /// Where it is named.
    pub(super) field: String,
    pub(super) object: ObjectKey,
    /// Its document's revision; 0 when it has none.
    pub(super) version: i64,
}

/// The status that an object should have; `None` when it has no document.
pub(super) fn status(world: &World, key: &ObjectKey, wall: Timestamp) -> Option<ObjectStatus> {
    let (kind, id) = (key.0, key.1.as_str());
    let object = world.object(kind, id)?;
    let former = world.object_status(kind, id).and_then(|status| status.value.as_deref());
    let former: &[Condition] = former.map_or(&[], |status| &status.conditions);
    let mut conditions = Conditions::after(former, wall);
    if let Some(invalid) = &object.invalid {
        let so = if kind == Kind::FwGroup { meaning_of_invalid(world, id) } else { "" };
        conditions.no(ConditionType::Valid, Reason::Invalid, format!("{invalid}{so}"));
    } else if let Some(elder) = name_taken_by(world, key) {
        let message = format!("{kind} {elder} had the name first");
        conditions.no(ConditionType::Valid, Reason::NameTaken, message);
    } else if let Some(doubt) = object.doubts.first() {
        let message = format!("{}: {}; it is as if it were not given", doubt.field, doubt.reason);
        conditions.no(ConditionType::Valid, Reason::Invalid, message);
    } else {
        conditions.yes(ConditionType::Valid, Reason::Accepted, "");
    }
    readiness(kind, &references(world, key), &mut conditions);
    let observed = object.json.as_ref().map(Digest::of);
    let rules = if kind == Kind::FwGroup { accepted_rules(world, id) } else { None };
    Some(ObjectStatus { observed, rules, conditions: conditions.into_vec() })
}

/// The rules of a firewall group that are in force: kept here, so that they outlive the leader that understood them.
fn accepted_rules(world: &World, id: &str) -> Option<AcceptedRules> {
    match rules_in_force(world, id.parse().ok()?) {
        RulesInForce::Known(rules) => Some(AcceptedRules(rules.to_vec())),
        RulesInForce::Missing | RulesInForce::NeverUnderstood => None,
    }
}

/// What it means for the guests of a firewall group that its document is invalid.
fn meaning_of_invalid(world: &World, id: &str) -> &'static str {
    if accepted_rules(world, id).is_some() {
        "; its rules go on as last understood"
    } else {
        "; its rules were never understood, so nothing is let in to its guests"
    }
}

/// The object of the kind that bears the name that this one asks for too.
pub(super) fn name_taken_by(world: &World, (kind, id): &ObjectKey) -> Option<String> {
    let name = world.object(*kind, id)?.name?;
    world.names().taken_by(*kind, &name, id)
}

/// The other objects of the kind that ask for the name of this one.
pub(super) fn namesakes(world: &World, (kind, id): &ObjectKey) -> Vec<ObjectKey> {
    let Some(name) = world.object(*kind, id).and_then(|object| object.name) else {
        return Vec::new();
    };
    let bearers = world.names().bearers(*kind, &name).filter(|other| other != id);
    bearers.map(|other| (*kind, other)).collect()
}

/// What the object names, as last understood.
pub(super) fn references(world: &World, (kind, id): &ObjectKey) -> Vec<Reference> {
    match kind {
        Kind::Flavor => image_of_flavor(world, id).into_iter().collect(),
        Kind::FwGroup => groups_of_rules(world, id),
        Kind::Guest
        | Kind::Hypervisor
        | Kind::Subnet
        | Kind::Network
        | Kind::Image
        | Kind::Vlan
        | Kind::VlanGroup => Vec::new(),
    }
}

fn image_of_flavor(world: &World, id: &str) -> Option<Reference> {
    let flavor = world.flavor(id.parse().ok()?)?.understood.as_ref()?;
    let version = world.image(flavor.image).map_or(0, |image| image.mod_revision);
    let object = (Kind::Image, flavor.image.to_string());
    Some(Reference { field: "image".to_owned(), object, version })
}

fn groups_of_rules(world: &World, id: &str) -> Vec<Reference> {
    let rules = id.parse().map_or(&[][..], |id| rules_in_force(world, id).known());
    let named = rules.iter().enumerate();
    named
        .filter_map(|(index, rule)| Some((index, rule.group?)))
        .map(|(index, group)| Reference {
            field: format!("rules[{index}].group"),
            object: (Kind::FwGroup, group.to_string()),
            version: world.fwgroup(group).map_or(0, |declared| declared.mod_revision),
        })
        .collect()
}

fn readiness(kind: Kind, references: &[Reference], conditions: &mut Conditions) {
    let mut missing = references.iter().filter(|reference| reference.version == 0);
    let Some(first) = missing.next() else {
        if matches!(kind, Kind::Flavor | Kind::FwGroup) {
            conditions.yes(ConditionType::Ready, Reason::Accepted, "");
        }
        return;
    };
    let (reason, so) = if first.object.0 == Kind::Image {
        (Reason::ImageMissing, "hosts that do not have it cannot fetch it")
    } else {
        (Reason::ReferenceMissing, "the rule matches nothing")
    };
    let (kind, id) = &first.object;
    let more = match missing.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let message = format!("{}: {kind} {id} has no document, so {so}{more}", first.field);
    conditions.no(ConditionType::Ready, reason, message);
}
