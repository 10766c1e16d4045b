//! The flavor document: a size of guests, and the image on their disks.

use serde_json::{Map, Value};

use super::field::Writer;
use super::hypervisor::{CPU_LIMIT, SIZE_LIMIT_MB};
use super::parse::{Faults, Fields, parse_object};
use super::{Document, Invalid, Kind, Metadata, Resources};
use crate::{FlavorId, ImageId};

/// A size of guests, and their image.
#[derive(Debug, Clone, PartialEq)]
pub struct Flavor {
    /// The key's id.
    pub id: FlavorId,
    /// Name, labels and what else the user keeps there.
    pub metadata: Metadata,
    /// Image of the disk. Required.
    pub image: ImageId,
    /// MB, at least 1.
    pub memory: u64,
    /// MB; 0 means as large as the image.
    pub disk: u64,
    /// Cores, at least 1.
    pub cpu: u32,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

impl Flavor {
    /// What one guest of this flavor needs of a host.
    pub const fn resources(&self) -> Resources {
        Resources { memory: self.memory, disk: self.disk, cpu: self.cpu }
    }
}

impl Document for Flavor {
    const KIND: Kind = Kind::Flavor;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.metadata(&mut faults);
        let image = fields.id("image", &mut faults);
        fields.require("image", image.as_ref(), &mut faults);
        let memory = at_least_one(&mut fields, "memory", SIZE_LIMIT_MB, &mut faults);
        let disk = fields.number("disk", SIZE_LIMIT_MB, &mut faults).unwrap_or(0);
        let cpu = at_least_one(&mut fields, "cpu", u64::from(CPU_LIMIT), &mut faults);
        match (id, image, u32::try_from(cpu)) {
            (Some(id), Some(image), Ok(cpu)) if faults.is_empty() => {
                Ok(Self { id, metadata, image, memory, disk, cpu, other: fields.into_rest() })
            }
            _ => Err(faults.into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.metadata(&self.metadata);
        writer.put("image", self.image.to_string());
        writer.put("memory", self.memory);
        writer.put("disk", self.disk);
        writer.put("cpu", self.cpu);
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }
}

fn at_least_one(fields: &mut Fields<'_>, name: &str, limit: u64, faults: &mut Faults) -> u64 {
    let number = fields.number(name, limit, faults);
    fields.require(name, number.as_ref(), faults);
    if number == Some(0) {
        faults.push(name, "must be at least 1");
    }
    number.unwrap_or(0)
}
