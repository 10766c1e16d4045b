//! The heartbeat of a host's agent.

use std::net::IpAddr;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Resources;
use crate::HypervisorId;

/// What an agent says of itself for as long as its lease lives. Every part may be missing: the original's agents write just
/// some text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Heartbeat {
    /// Whose heartbeat it is; another than the key's means a mistake.
    pub id: Option<HypervisorId>,
    /// Changes with each boot of the host.
    pub boot_id: Option<String>,
    /// The agent's version.
    pub version: Option<String>,
    /// Where the agent listens.
    pub address: Option<IpAddr>,
    /// Where the agent listens.
    pub port: Option<u16>,
    /// What the host has; counts when its document does not say.
    pub total_resources: Option<Resources>,
    /// What the agent can do.
    #[serde(deserialize_with = "null_is_empty")]
    pub capabilities: Vec<String>,
    /// The agent promises to stop guests marked `evacuate: recreate` this long after it lost its lease.
    pub self_fence_seconds: Option<u64>,
}

impl Heartbeat {
    /// Reads a heartbeat. Total: any text that is not such JSON says just "alive" and nothing else.
    pub fn parse(value: &[u8]) -> Self {
        let mut heartbeat: Self = serde_json::from_slice(value).unwrap_or_default();
        heartbeat.address = heartbeat.address.map(|ip| ip.to_canonical());
        heartbeat.total_resources = heartbeat.total_resources.filter(|total| !total.is_zero());
        heartbeat
    }

    /// The heartbeat as JSON, what is not given left out.
    pub fn to_json(&self) -> Value {
        let mut fields = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                fields.insert(name.to_owned(), value);
            }
        };
        put("id", self.id.map(|id| id.to_string().into()));
        put("boot_id", self.boot_id.as_deref().map(Value::from));
        put("version", self.version.as_deref().map(Value::from));
        put("address", self.address.map(|ip| ip.to_string().into()));
        put("port", self.port.map(Value::from));
        put(
            "total_resources",
            self.total_resources.map(|total| {
                serde_json::json!({"memory": total.memory, "disk": total.disk, "cpu": total.cpu})
            }),
        );
        let capabilities = Some(&self.capabilities).filter(|list| !list.is_empty());
        put("capabilities", capabilities.map(|list| list.as_slice().into()));
        put("self_fence_seconds", self.self_fence_seconds.map(Value::from));
        Value::Object(fields)
    }
}

fn null_is_empty<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<String>, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_a_heartbeat() {
        for text in
            ["", "2015-06-01 12:00:00 +0000 UTC", "null", "[]", "{\"port\":70000}", "\u{7f}"]
        {
            assert_eq!(Heartbeat::parse(text.as_bytes()), Heartbeat::default(), "{text}");
        }
    }

    #[test]
    fn what_an_agent_says_survives_a_round_trip() {
        let heartbeat = Heartbeat {
            id: Some("00000000-0000-4000-8000-000000000001".parse().unwrap()),
            boot_id: Some("b".into()),
            version: Some("0.1.0".into()),
            address: Some("10.0.0.1".parse().unwrap()),
            port: Some(8080),
            total_resources: Some(Resources { memory: 1, disk: 2, cpu: 3 }),
            capabilities: vec!["order".into()],
            self_fence_seconds: Some(300),
        };
        assert_eq!(Heartbeat::parse(heartbeat.to_json().to_string().as_bytes()), heartbeat);
    }
}
