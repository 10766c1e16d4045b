//! Rows of tables: one pure function a kind, from objects to cells.

mod guest;
mod host;
mod operator;
mod plain;

use jiff::Timestamp;
use lochness_api::Kind;
use lochness_api::status::Condition;
use serde_json::Value;

pub(crate) use operator::{cluster_table, event_line, event_table, job_table};

use crate::object::{Names, Object};
use crate::span;
use crate::table::{Cell, Mood};
use crate::why::why;

/// How many columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    /// What fits a terminal.
    Normal,
    /// `-o wide`.
    Wide,
}

/// What rows are made with, beside the objects.
pub(crate) struct View<'a> {
    /// Names of what the objects refer to.
    pub(crate) names: &'a Names,
    /// For ages.
    pub(crate) now: Timestamp,
    /// How many columns.
    pub(crate) width: Width,
}

/// The columns of a kind.
pub(crate) fn header(kind: Kind, width: Width) -> Vec<&'static str> {
    let (normal, wide): (&[&str], &[&str]) = match kind {
        Kind::Guest => (guest::HEADER, guest::WIDE),
        Kind::Hypervisor => (host::HEADER, host::WIDE),
        Kind::Subnet => (plain::SUBNET, plain::SUBNET_WIDE),
        Kind::Network => (plain::NETWORK, &[]),
        Kind::Flavor => (plain::FLAVOR, &[]),
        Kind::Image => (plain::IMAGE, &[]),
        Kind::FwGroup => (plain::FWGROUP, &[]),
        Kind::Vlan => (plain::VLAN, &[]),
        Kind::VlanGroup => (plain::VLANGROUP, &[]),
    };
    match width {
        Width::Normal => normal.to_vec(),
        Width::Wide => [normal, wide].concat(),
    }
}

/// The row of an object, with as many cells as its kind's header.
pub(crate) fn row(object: &Object, view: &View<'_>) -> Vec<Cell> {
    let (mut cells, wide) = match object.kind {
        Kind::Guest => guest::row(object, view),
        Kind::Hypervisor => host::row(object),
        Kind::Subnet => plain::subnet(object, view),
        Kind::Network => (plain::network(object), Vec::new()),
        Kind::Flavor => (plain::flavor(object, view), Vec::new()),
        Kind::Image => (plain::image(object), Vec::new()),
        Kind::FwGroup => (plain::fwgroup(object), Vec::new()),
        Kind::Vlan => (plain::vlan(object), Vec::new()),
        Kind::VlanGroup => (plain::vlangroup(object), Vec::new()),
    };
    if view.width == Width::Wide {
        cells.extend(wide);
    }
    cells
}

/// Objects whose names the row will show.
pub(crate) fn references(object: &Object) -> Vec<(Kind, String)> {
    let document = object.json();
    let field = |kind: Kind, name: &str| Some((kind, document.get(name)?.as_str()?.to_owned()));
    match object.kind {
        Kind::Guest => guest::references(object),
        Kind::Subnet => field(Kind::Network, "network").into_iter().collect(),
        Kind::Flavor => field(Kind::Image, "image").into_iter().collect(),
        Kind::Hypervisor
        | Kind::Network
        | Kind::Image
        | Kind::FwGroup
        | Kind::Vlan
        | Kind::VlanGroup => Vec::new(),
    }
}

fn name_cell(object: &Object) -> Cell {
    Cell::new(object.name().unwrap_or_default())
}

fn reason_cell(object: &Object) -> Cell {
    match why(object) {
        Some(why) => Cell::with(why.reason, Mood::Bad),
        None => Cell::new(""),
    }
}

/// A field of a document as a person would write it; empty when it is not given.
fn text(document: &Value, field: &str) -> String {
    match document.get(field) {
        Some(Value::String(text)) => text.clone(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

fn number(document: &Value, field: &str) -> u64 {
    document.get(field).and_then(Value::as_u64).unwrap_or_default()
}

/// Time since the condition last changed; empty when there is none.
fn age(now: Timestamp, condition: Option<&Condition>) -> String {
    condition.map(|condition| span::ago(now, condition.last_transition)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sample;

    #[test]
    fn every_row_has_as_many_cells_as_its_header() {
        let names = Names::default();
        for kind in Kind::ALL {
            for width in [Width::Normal, Width::Wide] {
                for (document, status) in [(Some(json!({})), None), (None, Some(json!({})))] {
                    let object = sample::object(kind, document.as_ref(), status.as_ref());
                    let view = View { names: &names, now: Timestamp::UNIX_EPOCH, width };
                    let (header, cells) = (header(kind, width), row(&object, &view));
                    assert_eq!(header.len(), cells.len(), "{kind}");
                }
            }
        }
    }
}
