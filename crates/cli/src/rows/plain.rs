//! Everything that only has a document and a few numbers: networks, subnets, flavors, images, groups and VLANs.

use lochness_api::document::{Network, Subnet, SubnetChoice};
use lochness_api::status::SubnetStatus;
use lochness_api::{Document as _, Kind};
use serde_json::Value;

use super::{View, name_cell, number, reason_cell, text};
use crate::object::Object;
use crate::span::{addresses, megabytes};
use crate::table::Cell;

pub(super) const SUBNET: &[&str] =
    &["NAME", "ID", "CIDR", "NETWORK", "USED", "FREE", "QUARANTINED", "REASON"];
pub(super) const SUBNET_WIDE: &[&str] = &["START", "END", "GATEWAY", "CAPACITY", "PRIORITY"];
pub(super) const NETWORK: &[&str] = &["NAME", "ID", "PLACE", "REASON"];
pub(super) const FLAVOR: &[&str] = &["NAME", "ID", "MEMORY", "CPU", "DISK", "IMAGE", "REASON"];
pub(super) const IMAGE: &[&str] = &["NAME", "ID", "FORMAT", "SOURCE", "REASON"];
pub(super) const FWGROUP: &[&str] = &["NAME", "ID", "RULES", "REASON"];
pub(super) const VLAN: &[&str] = &["TAG", "DESCRIPTION", "REASON"];
pub(super) const VLANGROUP: &[&str] = &["NAME", "ID", "DESCRIPTION", "REASON"];

pub(super) fn subnet(object: &Object, view: &View<'_>) -> (Vec<Cell>, Vec<Cell>) {
    let document = object.json();
    let status: Option<SubnetStatus> = object.status_as();
    let parsed = object.document.as_ref();
    let parsed = parsed.and_then(|stored| Subnet::parse(&object.id, &stored.value).ok());
    // A status counts up to 2^64; the document knows what a larger range has.
    let full = |number: u64| match &parsed {
        Some(subnet) if number > u64::MAX / 2 => subnet.capacity(),
        Some(_) | None => number.into(),
    };
    let count = |number: fn(&SubnetStatus) -> u64| {
        let shown = status.as_ref().map(|status| addresses(full(number(status))));
        Cell::new(shown.unwrap_or_default())
    };
    let cells = vec![
        name_cell(object),
        object.id.clone().into(),
        text(&document, "cidr").into(),
        view.names.show(Kind::Network, &text(&document, "network")).into(),
        count(|status| status.used),
        count(|status| status.free),
        count(|status| status.quarantined),
        reason_cell(object),
    ];
    let wide = vec![
        text(&document, "start").into(),
        text(&document, "end").into(),
        text(&document, "gateway").into(),
        count(|status| status.capacity),
        parsed.as_ref().map(|it| it.metadata.priority().to_string()).unwrap_or_default().into(),
    ];
    (cells, wide)
}

pub(super) fn network(object: &Object) -> Vec<Cell> {
    let parsed = object.document.as_ref();
    let parsed = parsed.and_then(|stored| Network::parse(&object.id, &stored.value).ok());
    let place = parsed.map(|network| match network.subnet_choice().unwrap_or_default() {
        SubnetChoice::Fill => "fill",
        SubnetChoice::Spread => "spread",
    });
    vec![
        name_cell(object),
        object.id.clone().into(),
        place.unwrap_or_default().to_owned().into(),
        reason_cell(object),
    ]
}

pub(super) fn flavor(object: &Object, view: &View<'_>) -> Vec<Cell> {
    let document = object.json();
    vec![
        name_cell(object),
        object.id.clone().into(),
        megabytes(number(&document, "memory")).into(),
        number(&document, "cpu").to_string().into(),
        megabytes(number(&document, "disk")).into(),
        view.names.show(Kind::Image, &text(&document, "image")).into(),
        reason_cell(object),
    ]
}

pub(super) fn image(object: &Object) -> Vec<Cell> {
    let document = object.json();
    vec![
        name_cell(object),
        object.id.clone().into(),
        text(&document, "format").into(),
        text(&document, "source").into(),
        reason_cell(object),
    ]
}

pub(super) fn fwgroup(object: &Object) -> Vec<Cell> {
    let rules = object.json().get("rules").and_then(Value::as_array).map_or(0, Vec::len);
    vec![name_cell(object), object.id.clone().into(), rules.to_string().into(), reason_cell(object)]
}

pub(super) fn vlan(object: &Object) -> Vec<Cell> {
    let description = text(&object.json(), "description");
    vec![object.id.clone().into(), description.into(), reason_cell(object)]
}

pub(super) fn vlangroup(object: &Object) -> Vec<Cell> {
    let description = text(&object.json(), "description");
    vec![name_cell(object), object.id.clone().into(), description.into(), reason_cell(object)]
}
