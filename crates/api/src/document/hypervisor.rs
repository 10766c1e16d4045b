//! The hypervisor document: a host, where its agent listens, and what it has.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, Fields, parse_object};
use super::{Document, Invalid, Kind, Metadata};
use crate::{HypervisorId, Mac};

/// The largest memory or disk that a document may say: 2^40 MB, an exbibyte. A million of them still fit into a `u64`.
pub(super) const SIZE_LIMIT_MB: u64 = 1 << 40;

/// The largest number of cores that a document may say; a thousand of them still fit into a `u32`.
pub(super) const CPU_LIMIT: u32 = 1 << 22;

/// A host that runs guests.
#[derive(Debug, Clone, PartialEq)]
pub struct Hypervisor {
    /// The key's id.
    pub id: HypervisorId,
    /// Name, labels and what else the user keeps there.
    pub metadata: Metadata,
    /// Where its agent listens, unless its heartbeat says otherwise.
    pub ip: Option<IpAddr>,
    /// Of `ip`, in dotted form; passed on.
    pub netmask: Option<IpAddr>,
    /// The host's own gateway; passed on.
    pub gateway: Option<IpAddr>,
    /// The host's own hardware address; passed on.
    pub mac: Option<Mac>,
    /// What it has. All zero when not given: then its heartbeat counts.
    pub total_resources: Resources,
    /// What the original computed; shown, not used.
    pub available_resources: Option<Resources>,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

/// An amount of what guests use and hosts have.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize,
)]
#[serde(default)]
pub struct Resources {
    /// MB.
    pub memory: u64,
    /// MB.
    pub disk: u64,
    /// Cores.
    pub cpu: u32,
}

impl Resources {
    /// Whether `need` fits into this, in every part.
    pub const fn fits(&self, need: &Self) -> bool {
        self.memory >= need.memory && self.disk >= need.disk && self.cpu >= need.cpu
    }

    /// Whether nothing is given.
    pub const fn is_zero(&self) -> bool {
        self.memory == 0 && self.disk == 0 && self.cpu == 0
    }

    /// The sum, at most the largest number in each part.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_add(other.memory),
            disk: self.disk.saturating_add(other.disk),
            cpu: self.cpu.saturating_add(other.cpu),
        }
    }

    /// The difference, at least 0 in each part.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self {
            memory: self.memory.saturating_sub(other.memory),
            disk: self.disk.saturating_sub(other.disk),
            cpu: self.cpu.saturating_sub(other.cpu),
        }
    }

    /// The difference, or `None` when `other` does not fit.
    #[must_use]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        if self.fits(&other) { Some(self.saturating_sub(other)) } else { None }
    }
}

impl Document for Hypervisor {
    const KIND: Kind = Kind::Hypervisor;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.metadata(&mut faults);
        let ip = fields.ip("ip", &mut faults);
        let netmask = fields.ip("netmask", &mut faults);
        let gateway = fields.ip("gateway", &mut faults);
        let mac = fields.mac("mac", &mut faults);
        let total = resources(&mut fields, "total_resources", Limits::OF_A_HOST, &mut faults);
        // The original subtracts without looking: what is available may have wrapped around.
        let available_resources =
            resources(&mut fields, "available_resources", Limits::NONE, &mut faults);
        match id {
            Some(id) if faults.is_empty() => Ok(Self {
                id,
                metadata,
                ip,
                netmask,
                gateway,
                mac,
                total_resources: total.unwrap_or_default(),
                available_resources,
                other: fields.into_rest(),
            }),
            _ => Err(faults.into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.metadata(&self.metadata);
        writer.text("ip", self.ip);
        writer.text("netmask", self.netmask);
        writer.text("gateway", self.gateway);
        writer.text("mac", self.mac);
        if !self.total_resources.is_zero() {
            writer.put("total_resources", to_value(self.total_resources));
        }
        if let Some(available) = self.available_resources {
            writer.put("available_resources", to_value(available));
        }
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }
}

#[derive(Clone, Copy)]
struct Limits {
    size: u64,
    cpu: u32,
}

impl Limits {
    const OF_A_HOST: Self = Self { size: SIZE_LIMIT_MB, cpu: CPU_LIMIT };
    const NONE: Self = Self { size: u64::MAX, cpu: u32::MAX };
}

fn resources(
    fields: &mut Fields<'_>,
    name: &str,
    limits: Limits,
    faults: &mut Faults,
) -> Option<Resources> {
    let mut fields = fields.object(name, faults)?;
    let memory = fields.number("memory", limits.size, faults).unwrap_or(0);
    let disk = fields.number("disk", limits.size, faults).unwrap_or(0);
    let cpu = fields.number("cpu", u64::from(limits.cpu), faults).unwrap_or(0);
    Some(Resources { memory, disk, cpu: u32::try_from(cpu).unwrap_or(u32::MAX) })
}

fn to_value(resources: Resources) -> Value {
    serde_json::json!({
        "memory": resources.memory,
        "disk": resources.disk,
        "cpu": resources.cpu,
    })
}
