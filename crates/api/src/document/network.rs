//! The network document: a name for a set of subnets, and which of them a guest gets its address from.

use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, parse_object};
use super::{Document, FieldError, Invalid, Kind, Metadata};
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

/// Which subnet gives a guest its address, where several could. The order among them: the higher `metadata.priority`, then
/// the name, then the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SubnetChoice {
    /// The first in order that has a free address.
    #[default]
    Fill,
    /// The one with the largest free share; the first in order among equals.
    Spread,
}

impl Network {
    /// What `metadata.place` says.
    ///
    /// # Errors
    /// When it is neither `fill` nor `spread`: then subnets are filled.
    pub fn subnet_choice(&self) -> Result<SubnetChoice, FieldError> {
        match self.metadata.get("place").map(str::trim) {
            None | Some("fill") => Ok(SubnetChoice::Fill),
            Some("spread") => Ok(SubnetChoice::Spread),
            Some(_) => Err(FieldError {
                field: "metadata.place".to_owned(),
                reason: "must be `fill` (the default) or `spread`".to_owned(),
            }),
        }
    }
}

impl Document for Network {
    const KIND: Kind = Kind::Network;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.address_metadata(&mut faults);
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

    fn doubts(&self) -> Vec<FieldError> {
        self.subnet_choice().err().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "00000000-0000-4000-8000-000000000001";

    fn network(place: &str) -> Network {
        let text = format!(r#"{{"metadata": {{"place": "{place}", "priority": "any"}}}}"#);
        Network::parse(ID, text.as_bytes()).expect("no word of its metadata spoils a network")
    }

    #[test]
    fn subnets_are_filled_unless_the_network_says_that_they_are_spread() {
        assert_eq!(network("").subnet_choice(), Ok(SubnetChoice::Fill));
        assert_eq!(network("fill").subnet_choice(), Ok(SubnetChoice::Fill));
        assert_eq!(network(" spread").subnet_choice(), Ok(SubnetChoice::Spread));
        assert!(network("spread").doubts().is_empty());
    }

    #[test]
    fn another_word_is_a_doubt_and_no_fault() {
        let doubts = network("zone=a").doubts();
        assert_eq!(doubts.len(), 1);
        assert_eq!(doubts[0].field, "metadata.place");
    }
}
