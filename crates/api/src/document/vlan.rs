//! VLAN documents: tags, and groups of them that a guest's nic carries.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, parse_object};
use super::{Document, Invalid, Kind, Metadata};
use crate::VlanGroupId;
use crate::keys::parse_tag;

/// A VLAN's tag, from 1 to 4094; 0 and 4095 are reserved by IEEE 802.1Q.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct VlanTag(u16);

impl VlanTag {
    /// The largest tag.
    pub const MAX: u16 = 4094;

    /// Checks a number.
    pub const fn new(tag: u16) -> Option<Self> {
        if 1 <= tag && tag <= Self::MAX { Some(Self(tag)) } else { None }
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for VlanTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for VlanTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tag = u16::deserialize(deserializer)?;
        Self::new(tag).ok_or_else(|| de::Error::custom("a VLAN tag is from 1 to 4094"))
    }
}

/// A VLAN.
#[derive(Debug, Clone, PartialEq)]
pub struct Vlan {
    /// The key's tag.
    pub tag: VlanTag,
    /// For people; may be empty.
    pub description: String,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

/// A set of VLANs; which ones, separate keys say.
#[derive(Debug, Clone, PartialEq)]
pub struct VlanGroup {
    /// The key's id.
    pub id: VlanGroupId,
    /// For people; may be empty.
    pub description: String,
    /// Name, labels and what else the user keeps there.
    pub metadata: Metadata,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

impl Document for Vlan {
    const KIND: Kind = Kind::Vlan;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let tag = match parse_tag(id) {
            Ok(tag) => Some(tag),
            Err(reason) => {
                faults.push("", format!("the key's tag: {reason}"));
                None
            }
        };
        let told = fields.number("tag", u64::from(VlanTag::MAX), &mut faults);
        if let (Some(tag), Some(told)) = (tag, told)
            && u64::from(tag.get()) != told
        {
            faults.push("tag", format!("is {told}, but the key says {tag}"));
        }
        let description = fields.string("description", &mut faults).unwrap_or_default();
        match tag {
            Some(tag) if faults.is_empty() => {
                Ok(Self { tag, description, other: fields.into_rest() })
            }
            _ => Err(faults.into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("tag", self.tag.get());
        writer.text("description", Some(&self.description).filter(|text| !text.is_empty()));
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        None
    }
}

impl Document for VlanGroup {
    const KIND: Kind = Kind::VlanGroup;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.metadata(&mut faults);
        let description = fields.string("description", &mut faults).unwrap_or_default();
        match id {
            Some(id) if faults.is_empty() => {
                Ok(Self { id, description, metadata, other: fields.into_rest() })
            }
            _ => Err(faults.into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.text("description", Some(&self.description).filter(|text| !text.is_empty()));
        writer.metadata(&self.metadata);
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }
}
