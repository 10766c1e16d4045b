//! The keys beside document and status that name a guest, as records: its index of placements and its reservations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lochness_api::{HypervisorId, Id, SubnetId};

use super::pool::Pool;
use super::wire::{Reader, Writer};

/// Hosts whose index names the guest, and addresses that are reserved for it; with the revision at which its document was
/// seen to be gone, which lies in no key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Keys {
    pub(in super::super) index: BTreeMap<HypervisorId, i64>,
    pub(in super::super) addresses: BTreeSet<(SubnetId, IpAddr)>,
    pub(super) gone_at: i64,
}

impl Keys {
    pub(super) fn is_empty(&self) -> bool {
        self.index.is_empty() && self.addresses.is_empty()
    }

    /// No bytes if there is nothing to write.
    pub(super) fn write(&self, pool: &mut Pool) -> Vec<u8> {
        write(pool, self.gone_at, &self.index, &self.addresses)
    }

    pub(super) fn read(pool: &Pool, part: &[u8]) -> Self {
        let mut reader = Reader::new(pool, part);
        let gone_at = reader.body.signed();
        let mut keys = Self { gone_at, ..Self::default() };
        for _ in 0..reader.body.number() {
            let host = Id::new(reader.pooled_id());
            keys.index.insert(host, reader.body.signed());
        }
        while !reader.body.0.is_empty() {
            let subnet = Id::new(reader.pooled_id());
            keys.addresses.insert((subnet, reader.body.ip()));
        }
        keys
    }
}

/// No bytes if there is nothing to write.
pub(super) fn write(
    pool: &mut Pool,
    gone_at: i64,
    index: &BTreeMap<HypervisorId, i64>,
    addresses: &BTreeSet<(SubnetId, IpAddr)>,
) -> Vec<u8> {
    if gone_at == 0 && index.is_empty() && addresses.is_empty() {
        return Vec::new();
    }
    let mut writer = Writer::new(pool);
    writer.body.signed(gone_at);
    writer.body.number(index.len() as u64);
    for (host, created) in index {
        writer.pooled_id(host.uuid());
        writer.body.signed(*created);
    }
    for (subnet, ip) in addresses {
        writer.pooled_id(subnet.uuid());
        writer.body.ip(*ip);
    }
    writer.finish()
}
