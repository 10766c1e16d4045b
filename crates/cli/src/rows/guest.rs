//! Guests: where each is, and why not.

use lochness_api::Kind;
use lochness_api::status::{ConditionType, Phase};

use super::{View, age, name_cell, reason_cell, text};
use crate::object::Object;
use crate::table::{Cell, Mood};

pub(super) const HEADER: &[&str] = &["NAME", "ID", "PHASE", "HYPERVISOR", "IP", "AGE", "REASON"];
pub(super) const WIDE: &[&str] = &["STATE", "FLAVOR", "SUBNET", "MAC", "AGENT", "JOB"];

pub(super) fn references(object: &Object) -> Vec<(Kind, String)> {
    let mut found = Vec::new();
    if let Some(placement) = object.guest_status().and_then(|status| status.placement) {
        found.push((Kind::Hypervisor, placement.hypervisor.to_string()));
        found.push((Kind::Subnet, placement.subnet.to_string()));
    }
    let flavor = text(&object.json(), "flavor");
    if !flavor.is_empty() {
        found.push((Kind::Flavor, flavor));
    }
    found
}

/// The cells of both widths. `AGE` is the time since the guest last became, or stopped being, what its owner wants.
pub(super) fn row(object: &Object, view: &View<'_>) -> (Vec<Cell>, Vec<Cell>) {
    let status = object.guest_status().unwrap_or_default();
    let placement = status.placement.as_ref();
    let phase = if object.status.is_some() {
        Cell::with(status.phase.as_str(), mood(status.phase))
    } else {
        Cell::new("")
    };
    let ready = status.conditions.iter().find(|condition| condition.kind == ConditionType::Ready);
    let since = ready.or_else(|| status.conditions.iter().max_by_key(|c| c.last_transition));
    let host = placement.map(|p| view.names.show(Kind::Hypervisor, &p.hypervisor.to_string()));
    let cells = vec![
        name_cell(object),
        object.id.clone().into(),
        phase,
        host.unwrap_or_default().into(),
        placement.map(|p| p.ip.to_string()).unwrap_or_default().into(),
        age(view.now, since).into(),
        reason_cell(object),
    ];
    let document = object.json();
    let wish = text(&document, "state");
    let wish = match object.document {
        Some(_) if wish.is_empty() => "running".to_owned(),
        _ => wish,
    };
    let subnet = placement.map(|p| view.names.show(Kind::Subnet, &p.subnet.to_string()));
    let wide = vec![
        wish.into(),
        view.names.show(Kind::Flavor, &text(&document, "flavor")).into(),
        subnet.unwrap_or_default().into(),
        placement.map(|p| p.mac.to_string()).unwrap_or_default().into(),
        status.agent_state.unwrap_or_default().into(),
        status.job.map(|job| job.to_string()).unwrap_or_default().into(),
    ];
    (cells, wide)
}

fn mood(phase: Phase) -> Mood {
    match phase {
        Phase::Running => Mood::Good,
        Phase::Stopped | Phase::Suspended => Mood::Plain,
        Phase::Pending | Phase::Scheduled | Phase::Creating | Phase::Stopping | Phase::Deleting => {
            Mood::Busy
        }
        Phase::Failed | Phase::Unknown => Mood::Bad,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use serde_json::json;

    use super::super::{Width, row};
    use super::*;
    use crate::object::Names;
    use crate::sample::{condition, guest_document, guest_id, object, status_of};

    fn texts(object: &Object, names: &Names) -> Vec<String> {
        let now = Timestamp::from_second(90).unwrap();
        let view = View { names, now, width: Width::Normal };
        row(object, &view).iter().map(|cell| cell.text().to_owned()).collect()
    }

    #[test]
    fn a_running_guest_shows_where_it_is_and_since_when() {
        let host = "6f0dfa12-33f2-4f8a-8b6f-6d3a7b0c0009";
        let mut status =
            status_of(&guest_document(), "Running", &[condition("Ready", "True", "Running")]);
        status["placement"] = json!({"hypervisor": host, "subnet": guest_id(), "ip": "10.0.0.5",
            "cidr": "10.0.0.0/24", "mac": "02:00:00:00:00:01"});
        let guest = object(Kind::Guest, Some(&guest_document()), Some(&status));
        let names = Names::default().with(Kind::Hypervisor, host, "node-3");
        assert_eq!(
            texts(&guest, &names),
            ["web-1", guest_id(), "Running", "node-3", "10.0.0.5", "30s", "-"]
        );
    }

    #[test]
    fn a_pending_guest_shows_its_reason() {
        let status =
            status_of(&guest_document(), "Pending", &[condition("Placed", "False", "NoHostFits")]);
        let guest = object(Kind::Guest, Some(&guest_document()), Some(&status));
        assert_eq!(
            texts(&guest, &Names::default()),
            ["web-1", guest_id(), "Pending", "-", "-", "30s", "NoHostFits"]
        );
    }
}
