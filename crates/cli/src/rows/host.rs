//! Hypervisors: whether each lives, and how full it is.

use lochness_api::status::HypervisorStatus;

use super::{name_cell, reason_cell, text};
use crate::object::Object;
use crate::span::megabytes;
use crate::table::{Cell, Mood};

pub(super) const HEADER: &[&str] =
    &["NAME", "ID", "ALIVE", "REACHABLE", "GUESTS", "MEMORY", "CPU", "DISK", "REASON"];
pub(super) const WIDE: &[&str] = &["ADDRESS", "VERSION", "UNDECLARED", "CAPABILITIES"];

/// The cells of both widths. `MEMORY`, `CPU` and `DISK` are what placements use of what may be allocated.
pub(super) fn row(object: &Object) -> (Vec<Cell>, Vec<Cell>) {
    let Some(status) = object.status_as::<HypervisorStatus>() else {
        let unknown = |count| vec![Cell::new(""); count];
        let mut cells = vec![name_cell(object), object.id.clone().into()];
        cells.extend(unknown(HEADER.len() - 3));
        cells.push(reason_cell(object));
        return (cells, unknown(WIDE.len()));
    };
    let (used, room) = (status.used, status.allocatable);
    let cells = vec![
        name_cell(object),
        object.id.clone().into(),
        yes(status.alive),
        yes(status.reachable),
        status.guests.to_string().into(),
        format!("{}/{}", megabytes(used.memory), megabytes(room.memory)).into(),
        format!("{}/{}", used.cpu, room.cpu).into(),
        format!("{}/{}", megabytes(used.disk), megabytes(room.disk)).into(),
        reason_cell(object),
    ];
    let address = status.address.unwrap_or_else(|| text(&object.json(), "ip"));
    let wide = vec![
        address.into(),
        status.version.unwrap_or_default().into(),
        status.undeclared.to_string().into(),
        status.capabilities.join(",").into(),
    ];
    (cells, wide)
}

fn yes(holds: bool) -> Cell {
    if holds { Cell::with("yes", Mood::Good) } else { Cell::with("no", Mood::Bad) }
}

#[cfg(test)]
mod tests {
    use lochness_api::Kind;
    use serde_json::json;

    use super::*;
    use crate::sample::{condition, guest_id, object};

    #[test]
    fn a_host_shows_what_is_used_of_what_may_be_allocated() {
        let document = json!({"metadata": {"name": "node-1"}});
        let status = json!({"alive": true, "reachable": false, "guests": 3,
            "used": {"memory": 3_072, "disk": 20_480, "cpu": 3},
            "allocatable": {"memory": 16_384, "disk": 102_400, "cpu": 32},
            "conditions": [condition("Reachable", "False", "NotAnswering")]});
        let (cells, _) = row(&object(Kind::Hypervisor, Some(&document), Some(&status)));
        let texts: Vec<_> = cells.iter().map(Cell::text).collect();
        assert_eq!(
            texts,
            ["node-1", guest_id(), "yes", "no", "3", "3G/16G", "3/32", "20G/100G", "NotAnswering"]
        );
    }
}
