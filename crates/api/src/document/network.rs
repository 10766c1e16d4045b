//! The network document: a name for a set of subnets.

use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, parse_object};
use super::{Document, Invalid, Kind, Metadata};
use crate::NetworkId;

/// A set of subnets that guests can ask for; the subnets say that they belong to it.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The key's id.
    pub id: NetworkId,
    /// Name, labels and what else the user keeps there.
    pub metadata: Metadata,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

impl Document for Network {
    const KIND: Kind = Kind::Network;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.metadata(&mut faults);
        match id {
            Some(id) if faults.is_empty() => Ok(Self { id, metadata, other: fields.into_rest() }),
            _ => Err(faults.into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.metadata(&self.metadata);
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }
}
