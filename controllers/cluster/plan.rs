//! What the cluster's status says. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use lochness_api::status::{ClusterStatus, Condition, ConditionType, Reason};
use lochness_api::{FieldError, Kind};

use super::budget::{DeletionBudget, revision_to_confirm, verdict};
use crate::context::Hold;
use crate::statuses::Conditions;
use crate::world::{Replacement, World};

/// Who says it, and what it is told.
pub(super) struct Facts<'a> {
    pub(super) world: &'a World,
    pub(super) hold: Option<Hold>,
    pub(super) leader: &'a str,
    pub(super) epoch: String,
    /// What etcd says it is, once it was asked.
    pub(super) etcd_version: Option<String>,
    /// The wall clock, for documents.
    pub(super) wall: Timestamp,
}

/// The status that the cluster should have.
pub(super) fn status(facts: &Facts<'_>) -> ClusterStatus {
    let world = facts.world;
    let former = world.cluster_status().and_then(|status| status.value.as_deref());
    let hosts = world.hosts();
    let guests = world.outlines().filter(|(_, guest)| guest.is_declared()).count();
    ClusterStatus {
        leader: Some(facts.leader.to_owned()),
        epoch: Some(facts.epoch.clone()),
        etcd_version: facts
            .etcd_version
            .clone()
            .or_else(|| former.and_then(|status| status.etcd_version.clone())),
        guests: guests as u64,
        placed: world.placed() as u64,
        hypervisors: hosts.iter().filter(|host| host.document.is_some()).count() as u64,
        alive: hosts.iter().filter(|host| host.is_alive()).count() as u64,
        invalid: invalid_documents(world).values().sum(),
        deletions_waiting: world.awaiting_teardown().len() as u64,
        confirm_revision: revision_to_confirm(world),
        conditions: conditions(facts, former.map_or(&[], |status| &status.conditions)),
    }
}

/// The conditions that say yes where the former status said no, or the other way round: what a person should hear of.
pub(super) fn turned(former: Option<&ClusterStatus>, wanted: &ClusterStatus) -> Vec<Condition> {
    let Some(former) = former else { return Vec::new() };
    let is_new = |condition: &&Condition| {
        let before = former.conditions.iter().find(|before| before.kind == condition.kind);
        before.is_some_and(|before| before.status != condition.status)
    };
    wanted.conditions.iter().filter(is_new).cloned().collect()
}

/// How many documents of each kind do not parse or validate.
pub(crate) fn invalid_documents(world: &World) -> BTreeMap<Kind, u64> {
    let mut invalid: BTreeMap<Kind, u64> = Kind::ALL.into_iter().map(|kind| (kind, 0)).collect();
    let mut count = |kind, is_invalid: bool| {
        *invalid.entry(kind).or_default() += u64::from(is_invalid);
    };
    for (_, guest) in world.outlines() {
        count(Kind::Guest, guest.is_invalid());
    }
    for host in world.hosts() {
        count(Kind::Hypervisor, host.document.as_ref().is_some_and(|it| it.invalid.is_some()));
    }
    for (_, subnet) in world.subnets() {
        count(Kind::Subnet, subnet.document.as_ref().is_some_and(|it| it.invalid.is_some()));
    }
    for (kind, id) in world.objects() {
        count(kind, world.object(kind, &id).is_some_and(|object| object.invalid.is_some()));
    }
    invalid
}

/// What is wrong with values of the configuration, in words.
pub(crate) fn config_faults(errors: &BTreeMap<String, FieldError>) -> String {
    let faults: Vec<_> =
        errors.iter().map(|(key, error)| format!("config/{key}: {}", error.reason)).collect();
    format!("{}; the former values stay", faults.join("; "))
}

fn conditions(facts: &Facts<'_>, former: &[Condition]) -> Vec<Condition> {
    let mut conditions = Conditions::after(former, facts.wall);
    deletions(facts.world, &mut conditions);
    let replaced = match &facts.hold {
        Some(Hold::StoreReplaced(found)) => Some(found),
        Some(Hold::Suspected | Hold::Paused) | None => None,
    };
    if let Some(Replacement { reason, what }) = replaced {
        let message = format!(
            "{what}: nothing is placed, torn down or changed on any host until a person looks and runs lochnessctl accept-store"
        );
        conditions.yes(ConditionType::StoreRestored, *reason, message);
    } else {
        conditions.no(ConditionType::StoreRestored, Reason::StoreContinuous, "");
    }
    if facts.world.config().pause {
        let message = "config/pause is set: nothing is changed on any host";
        conditions.yes(ConditionType::Paused, Reason::Paused, message);
    } else {
        conditions.no(ConditionType::Paused, Reason::NotPaused, "");
    }
    if facts.world.config_errors().is_empty() {
        conditions.yes(ConditionType::ConfigValid, Reason::ConfigAccepted, "");
    } else {
        let message = config_faults(facts.world.config_errors());
        conditions.no(ConditionType::ConfigValid, Reason::ConfigRejected, message);
    }
    conditions.into_vec()
}

fn deletions(world: &World, conditions: &mut Conditions) {
    let kind = ConditionType::DeletionHeld;
    match (verdict(world, i64::MAX, 0), revision_to_confirm(world)) {
        (DeletionBudget::Held { pending, budget }, Some(revision)) => {
            let message = format!(
                "the documents of {pending} of {} placed guests are gone, at most {budget} are torn down unasked: put them back, or confirm with lochnessctl confirm-deletion (config/confirm_deletion = {revision})",
                world.placed()
            );
            conditions.yes(kind, Reason::BudgetExceeded, message);
        }
        _ => conditions.no(kind, Reason::WithinBudget, ""),
    }
}
