//! Guests' documents as records.

use std::collections::BTreeMap;
use std::sync::Arc;

use lochness_api::document::{DesiredState, Guest, Metadata, RestartPolicy};
use lochness_api::{FieldError, GuestId, Id, Invalid, Mac};
use serde_json::{Map, Number, Value};
use uuid::Uuid;

use super::super::stored::Declared;
use super::pool::Pool;
use super::wire::{Reader, Writer};

const UNDERSTOOD: u8 = 1;
const INVALID: u8 = 2;

const TYPE: u64 = 1;
const HYPERVISOR: u64 = 1 << 1;
const NETWORK: u64 = 1 << 2;
const SUBNET: u64 = 1 << 3;
const FWGROUP: u64 = 1 << 4;
const VLANGROUP: u64 = 1 << 5;
const MAC: u64 = 1 << 6;
const IP: u64 = 1 << 7;
const BRIDGE: u64 = 1 << 8;
const REBOOT: u64 = 1 << 9;
const OTHER: u64 = 1 << 10;
const STOPPED: u64 = 1 << 11;
const SUSPENDED: u64 = 1 << 12;
const ON_FAILURE: u64 = 1 << 13;
const NEVER: u64 = 1 << 14;

pub(super) fn write(pool: &mut Pool, declared: &Declared<Guest>) -> Vec<u8> {
    let mut writer = Writer::new(pool);
    let understood = if declared.understood.is_some() { UNDERSTOOD } else { 0 };
    let invalid = if declared.invalid.is_some() { INVALID } else { 0 };
    writer.body.byte(understood | invalid);
    writer.body.signed(declared.create_revision);
    writer.body.signed(declared.mod_revision.wrapping_sub(declared.create_revision));
    if let Some(guest) = &declared.understood {
        write_guest(&mut writer, guest);
    }
    if let Some(Invalid(faults)) = declared.invalid.as_deref() {
        writer.body.number(faults.len() as u64);
        for FieldError { field, reason } in faults {
            writer.text(field);
            writer.text(reason);
        }
    }
    writer.finish()
}

pub(super) fn read(pool: &Pool, part: &[u8], id: GuestId) -> Declared<Guest> {
    let mut reader = Reader::new(pool, part);
    let flags = reader.body.byte();
    let create_revision = reader.body.signed();
    let mod_revision = create_revision.wrapping_add(reader.body.signed());
    let understood = (flags & UNDERSTOOD != 0).then(|| Arc::new(read_guest(&mut reader, id)));
    let invalid = (flags & INVALID != 0).then(|| {
        let count = reader.body.number();
        let fault =
            |reader: &mut Reader<'_>| FieldError { field: reader.text(), reason: reader.text() };
        Arc::new(Invalid((0..count).map(|_| fault(&mut reader)).collect()))
    });
    Declared { create_revision, mod_revision, understood, invalid }
}

/// The create revision, and nothing else.
pub(super) fn read_created(pool: &Pool, part: &[u8]) -> i64 {
    let mut reader = Reader::new(pool, part);
    let _flags = reader.body.byte();
    reader.body.signed()
}

fn write_guest(writer: &mut Writer<'_>, guest: &Guest) {
    // The id is the key's, which the record lies under.
    let Guest {
        id: _,
        metadata: Metadata(metadata),
        guest_type,
        flavor,
        hypervisor,
        network,
        subnet,
        fwgroup,
        vlangroup,
        mac,
        ip,
        bridge,
        state,
        reboot,
        restart,
        other,
    } = guest;
    let flag = |flag: u64, given: bool| if given { flag } else { 0 };
    let words = match state {
        DesiredState::Running => 0,
        DesiredState::Stopped => STOPPED,
        DesiredState::Suspended => SUSPENDED,
    } | match restart {
        RestartPolicy::Always => 0,
        RestartPolicy::OnFailure => ON_FAILURE,
        RestartPolicy::Never => NEVER,
    };
    let given = flag(TYPE, guest_type.is_some())
        | flag(HYPERVISOR, hypervisor.is_some())
        | flag(NETWORK, network.is_some())
        | flag(SUBNET, subnet.is_some())
        | flag(FWGROUP, fwgroup.is_some())
        | flag(VLANGROUP, vlangroup.is_some())
        | flag(MAC, mac.is_some())
        | flag(IP, ip.is_some())
        | flag(BRIDGE, bridge.is_some())
        | flag(REBOOT, reboot.is_some())
        | flag(OTHER, !other.is_empty());
    writer.body.number(words | given);
    writer.pooled_id(flavor.uuid());
    if let Some(text) = guest_type {
        writer.pooled(text.as_bytes());
    }
    let references = [
        hypervisor.map(Id::uuid),
        network.map(Id::uuid),
        subnet.map(Id::uuid),
        fwgroup.map(Id::uuid),
        vlangroup.map(Id::uuid),
    ];
    for reference in references.into_iter().flatten() {
        writer.pooled_id(reference);
    }
    if let Some(mac) = mac {
        writer.body.raw(&mac.bytes());
    }
    if let Some(ip) = ip {
        writer.body.ip(*ip);
    }
    if let Some(text) = bridge {
        writer.pooled(text.as_bytes());
    }
    if let Some(text) = reboot {
        writer.text(text);
    }
    writer.body.number(metadata.len() as u64);
    for (name, value) in metadata {
        writer.pooled(name.as_bytes());
        writer.text(value);
    }
    if !other.is_empty() {
        write_map(writer, other);
    }
}

fn read_guest(reader: &mut Reader<'_>, id: GuestId) -> Guest {
    let flags = reader.body.number();
    let has = |flag: u64| flags & flag != 0;
    let flavor = Id::new(reader.pooled_id());
    let guest_type = has(TYPE).then(|| reader.pooled_text());
    let mut reference = |flag: u64| -> Option<Uuid> { has(flag).then(|| reader.pooled_id()) };
    let hypervisor = reference(HYPERVISOR).map(Id::new);
    let network = reference(NETWORK).map(Id::new);
    let subnet = reference(SUBNET).map(Id::new);
    let fwgroup = reference(FWGROUP).map(Id::new);
    let vlangroup = reference(VLANGROUP).map(Id::new);
    let mac = has(MAC).then(|| read_mac(reader));
    let ip = has(IP).then(|| reader.body.ip());
    let bridge = has(BRIDGE).then(|| reader.pooled_text());
    let reboot = has(REBOOT).then(|| reader.text());
    let mut metadata = BTreeMap::new();
    for _ in 0..reader.body.number() {
        let name = reader.pooled_text();
        metadata.insert(name, reader.text());
    }
    let other = if has(OTHER) { read_map(reader) } else { Map::new() };
    let state = match (has(STOPPED), has(SUSPENDED)) {
        (true, _) => DesiredState::Stopped,
        (_, true) => DesiredState::Suspended,
        (false, false) => DesiredState::Running,
    };
    let restart = match (has(ON_FAILURE), has(NEVER)) {
        (true, _) => RestartPolicy::OnFailure,
        (_, true) => RestartPolicy::Never,
        (false, false) => RestartPolicy::Always,
    };
    Guest {
        id,
        metadata: Metadata(metadata),
        guest_type,
        flavor,
        hypervisor,
        network,
        subnet,
        fwgroup,
        vlangroup,
        mac,
        ip,
        bridge,
        state,
        reboot,
        restart,
        other,
    }
}

pub(super) fn read_mac(reader: &mut Reader<'_>) -> Mac {
    Mac::new(reader.body.raw(6).try_into().expect("six bytes were asked for"))
}

fn write_map(writer: &mut Writer<'_>, map: &Map<String, Value>) {
    writer.body.number(map.len() as u64);
    for (name, value) in map {
        writer.text(name);
        write_value(writer, value);
    }
}

fn read_map(reader: &mut Reader<'_>) -> Map<String, Value> {
    let count = reader.body.number();
    (0..count).map(|_| (reader.text(), read_value(reader))).collect()
}

/// A value of a field that we do not know. Not as JSON text: a fraction read from text need not be the same to the last
/// bit, and the digest of the document with it.
fn write_value(writer: &mut Writer<'_>, value: &Value) {
    match value {
        Value::Null => writer.body.byte(0),
        Value::Bool(flag) => writer.body.byte(if *flag { 2 } else { 1 }),
        Value::Number(number) => {
            if let Some(number) = number.as_u64() {
                writer.body.byte(3);
                writer.body.number(number);
            } else if let Some(number) = number.as_i64() {
                writer.body.byte(4);
                writer.body.signed(number);
            } else {
                writer.body.byte(5);
                let bits = number.as_f64().unwrap_or_default().to_bits();
                writer.body.raw(&bits.to_be_bytes());
            }
        }
        Value::String(text) => {
            writer.body.byte(6);
            writer.text(text);
        }
        Value::Array(elements) => {
            writer.body.byte(7);
            writer.body.number(elements.len() as u64);
            for element in elements {
                write_value(writer, element);
            }
        }
        Value::Object(map) => {
            writer.body.byte(8);
            write_map(writer, map);
        }
    }
}

fn read_value(reader: &mut Reader<'_>) -> Value {
    match reader.body.byte() {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Number(reader.body.number().into()),
        4 => Value::Number(reader.body.signed().into()),
        5 => {
            let bits = reader.body.raw(8).try_into().expect("eight bytes were asked for");
            let float = f64::from_bits(u64::from_be_bytes(bits));
            Number::from_f64(float).map_or(Value::Null, Value::Number)
        }
        6 => Value::String(reader.text()),
        7 => {
            let count = reader.body.number();
            Value::Array((0..count).map(|_| read_value(reader)).collect())
        }
        8 => Value::Object(read_map(reader)),
        other => unreachable!("no value is written as {other}"),
    }
}
