//! Guests' statuses as records.

use std::sync::Arc;

use ipnetwork::IpNetwork;
use lochness_api::document::Resources;
use lochness_api::status::{Condition, GuestStatus, Phase, Placement};
use lochness_api::{Digest, Id, JobId};

use super::super::stored::Stored;
use super::document::read_mac;
use super::pool::Pool;
use super::shapes::Shapes;
use super::wire::{Bytes, Cursor, Reader, Writer};

const READABLE: u8 = 1;
const OBSERVED: u8 = 1 << 1;
const ORDER: u8 = 1 << 2;
const PLACEMENT: u8 = 1 << 3;
const JOB: u8 = 1 << 4;
const REBOOT: u8 = 1 << 5;
const AGENT_STATE: u8 = 1 << 6;

const NETWORK: u8 = 1;
const GATEWAY: u8 = 1 << 1;
const FWGROUP: u8 = 1 << 2;
const IMAGE: u8 = 1 << 3;

pub(super) fn write(pool: &mut Pool, shapes: &mut Shapes, stored: &Stored<GuestStatus>) -> Vec<u8> {
    let mut writer = Writer::new(pool);
    let Some(status) = stored.value.as_deref() else {
        writer.body.byte(0);
        write_revisions(&mut writer, stored);
        return writer.finish();
    };
    let GuestStatus { phase, observed, order, placement, job, reboot, agent_state, conditions } =
        status;
    let flag = |flag: u8, given: bool| if given { flag } else { 0 };
    writer.body.byte(
        READABLE
            | flag(OBSERVED, observed.is_some())
            | flag(ORDER, order.is_some())
            | flag(PLACEMENT, placement.is_some())
            | flag(JOB, job.is_some())
            | flag(REBOOT, reboot.is_some())
            | flag(AGENT_STATE, agent_state.is_some()),
    );
    write_revisions(&mut writer, stored);
    writer.body.byte(phase_number(*phase));
    if let Some(job) = job {
        writer.body.uuid(job.uuid());
    }
    if let Some(digest) = observed {
        writer.body.raw(&digest.to_bits().to_be_bytes());
    }
    if let Some(order) = order {
        writer.order(order);
    }
    if let Some(placement) = placement {
        write_placement(&mut writer, placement);
    }
    if let Some(text) = reboot {
        writer.text(text);
    }
    if let Some(text) = agent_state {
        writer.pooled(text.as_bytes());
    }
    writer.body.number(conditions.len() as u64);
    for Condition { kind, status, reason, message, last_transition } in conditions {
        let shape = shapes.number((*kind, *status, *reason));
        writer.body.number(shape);
        writer.text(message);
        writer.time(*last_transition);
    }
    writer.finish()
}

pub(super) fn read(pool: &Pool, shapes: &Shapes, part: &[u8]) -> Stored<GuestStatus> {
    let mut reader = Reader::new(pool, part);
    let flags = reader.body.byte();
    let create_revision = reader.body.signed();
    let mod_revision = create_revision.wrapping_add(reader.body.signed());
    if flags & READABLE == 0 {
        return Stored { create_revision, mod_revision, value: None };
    }
    let has = |flag: u8| flags & flag != 0;
    let phase = phase_of(reader.body.byte());
    let job = has(JOB).then(|| Id::new(reader.body.uuid()));
    let observed = has(OBSERVED).then(|| read_digest(&mut reader));
    let order = has(ORDER).then(|| reader.order());
    let placement = has(PLACEMENT).then(|| read_placement(&mut reader));
    let reboot = has(REBOOT).then(|| reader.text());
    let agent_state = has(AGENT_STATE).then(|| reader.pooled_text());
    let count = reader.body.number();
    let condition = |reader: &mut Reader<'_>| {
        let (kind, status, reason) = shapes.get(reader.body.number());
        let message = reader.text();
        Condition { kind, status, reason, message, last_transition: reader.time() }
    };
    let conditions = (0..count).map(|_| condition(&mut reader)).collect();
    let status =
        GuestStatus { phase, observed, order, placement, job, reboot, agent_state, conditions };
    Stored { create_revision, mod_revision, value: Some(Arc::new(status)) }
}

/// The job that the status names, and nothing else of it.
pub(super) fn read_job(pool: &Pool, part: &[u8]) -> Option<JobId> {
    let mut reader = Reader::new(pool, part);
    let flags = reader.body.byte();
    if flags & READABLE == 0 || flags & JOB == 0 {
        return None;
    }
    let (_create_revision, _mod_revision) = (reader.body.signed(), reader.body.signed());
    let _phase = reader.body.byte();
    Some(Id::new(reader.body.uuid()))
}

/// Where the status says that the guest is, and nothing else of it.
pub(super) fn read_place(pool: &Pool, part: &[u8]) -> Option<Placement> {
    let mut reader = Reader::new(pool, part);
    let flags = reader.body.byte();
    let has = |flag: u8| flags & flag != 0;
    if !has(READABLE) || !has(PLACEMENT) {
        return None;
    }
    let (_create_revision, _mod_revision) = (reader.body.signed(), reader.body.signed());
    let _phase = reader.body.byte();
    let _job = has(JOB).then(|| reader.body.uuid());
    let _observed = has(OBSERVED).then(|| read_digest(&mut reader));
    let _order = has(ORDER).then(|| reader.order());
    Some(read_placement(&mut reader))
}

/// A phase as a byte.
pub(super) fn phase_number(phase: Phase) -> u8 {
    let position = Phase::ALL.iter().position(|one| *one == phase).unwrap_or_default();
    u8::try_from(position).unwrap_or_default()
}

/// The phase of a byte.
pub(super) fn phase_of(number: u8) -> Phase {
    Phase::ALL[usize::from(number)]
}

fn write_revisions(writer: &mut Writer<'_>, stored: &Stored<GuestStatus>) {
    writer.body.signed(stored.create_revision);
    writer.body.signed(stored.mod_revision.wrapping_sub(stored.create_revision));
}

fn read_digest(reader: &mut Reader<'_>) -> Digest {
    let bytes = reader.body.raw(8).try_into().expect("eight bytes were asked for");
    Digest::from_bits(u64::from_be_bytes(bytes))
}

/// What is the guest's alone goes into its record; what its neighbours have too goes into the pool, as a whole.
fn write_placement(writer: &mut Writer<'_>, placement: &Placement) {
    let Placement {
        hypervisor,
        subnet,
        network,
        ip,
        cidr,
        gateway,
        mac,
        bridge,
        vlans,
        fwgroup,
        image,
        resources,
    } = placement;
    writer.pooled_id(hypervisor.uuid());
    writer.body.ip(*ip);
    writer.body.raw(&mac.bytes());
    let mut frame = Bytes::default();
    let flag = |flag: u8, given: bool| if given { flag } else { 0 };
    frame.byte(
        flag(NETWORK, network.is_some())
            | flag(GATEWAY, gateway.is_some())
            | flag(FWGROUP, fwgroup.is_some())
            | flag(IMAGE, image.is_some()),
    );
    frame.uuid(subnet.uuid());
    let ids = [network.map(Id::uuid), fwgroup.map(Id::uuid), image.map(Id::uuid)];
    for id in ids.into_iter().flatten() {
        frame.uuid(id);
    }
    frame.ip(cidr.ip());
    frame.byte(cidr.prefix());
    if let Some(gateway) = gateway {
        frame.ip(*gateway);
    }
    frame.text(bridge);
    frame.number(vlans.len() as u64);
    for tag in vlans {
        frame.number(u64::from(*tag));
    }
    let Resources { memory, disk, cpu } = resources;
    frame.number(*memory);
    frame.number(*disk);
    frame.number(u64::from(*cpu));
    writer.pooled(&frame.0);
}

fn read_placement(reader: &mut Reader<'_>) -> Placement {
    const READS: &str = "a placement is read as it was written";
    let hypervisor = Id::new(reader.pooled_id());
    let ip = reader.body.ip();
    let mac = read_mac(reader);
    let mut frame = Cursor(reader.pooled());
    let flags = frame.byte();
    let has = |flag: u8| flags & flag != 0;
    let subnet = Id::new(frame.uuid());
    let network = has(NETWORK).then(|| Id::new(frame.uuid()));
    let fwgroup = has(FWGROUP).then(|| Id::new(frame.uuid()));
    let image = has(IMAGE).then(|| Id::new(frame.uuid()));
    let range = frame.ip();
    let cidr = IpNetwork::new(range, frame.byte()).expect(READS);
    let gateway = has(GATEWAY).then(|| frame.ip());
    let bridge = frame.text();
    let count = frame.number();
    let vlans = (0..count).map(|_| u16::try_from(frame.number()).expect(READS)).collect();
    let (memory, disk) = (frame.number(), frame.number());
    let resources = Resources { memory, disk, cpu: u32::try_from(frame.number()).expect(READS) };
    Placement {
        hypervisor,
        subnet,
        network,
        ip,
        cidr,
        gateway,
        mac,
        bridge,
        vlans,
        fwgroup,
        image,
        resources,
    }
}
