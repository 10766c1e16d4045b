//! A guest as an agent stores and lists it.

use std::collections::BTreeMap;

use lochness_api::GuestId;
use serde::{Deserialize, Serialize};

use super::{is_zero, null_as_empty};

/// One guest. Every field but the id is absent on the wire when it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentGuest {
    /// The guest's id. Never leave it to the agent to make one.
    pub id: GuestId,
    /// The sub-agent to use, such as `kvm`.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub guest_type: Option<String>,
    /// The image that it was made of.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Its network interfaces.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub nics: Vec<Nic>,
    /// Its disks.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<Disk>,
    /// What the agent says it does, as sent; [`Self::known_state`] understands it.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub state: String,
    /// Memory in MB.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "is_zero")]
    pub memory: u64,
    /// Number of cores.
    #[serde(default, deserialize_with = "null_as_empty", skip_serializing_if = "is_zero")]
    pub cpu: u32,
    /// Where its screen is. Shown only, so any value is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vnc: Option<serde_json::Value>,
    /// The user's metadata, unchanged.
    #[serde(
        default,
        deserialize_with = "null_as_empty",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub metadata: BTreeMap<String, String>,
}

/// One network interface.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Nic {
    /// Its name in the guest, `eth0`.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The host's bridge.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub network: String,
    /// The kind of device, `virtio`.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub model: String,
    /// Its hardware address.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub mac: String,
    /// Its address.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The netmask in hex, `ffffff00`.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub netmask: String,
    /// The gateway's address.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// The host's end, where the agent says it.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// The VLANs it is in.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "Vec::is_empty")]
    pub vlans: Vec<u16>,
}

/// One disk.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Disk {
    /// The bus, `virtio`.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub bus: String,
    /// Its name in the guest, `vda`.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub device: String,
    /// Size in MB.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "is_zero")]
    pub size: u64,
    /// The host's volume, where the agent says it.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub volume: String,
    /// The image that it is a copy of.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub image: String,
    /// Where the image comes from; the original sends the image's id.
    #[serde(deserialize_with = "null_as_empty", skip_serializing_if = "String::is_empty")]
    pub source: String,
}

/// What an agent's word for a guest's state means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GuestState {
    /// It runs (`running`, `blocked`).
    Running,
    /// It is suspended (`paused`, `suspended`).
    Paused,
    /// It is off (`shutoff`, `shutdown`, `stopped`).
    Shutoff,
    /// It died (`crashed`).
    Crashed,
    /// `create`: the agent itself wrote it, and no sub-agent has said more. It tells nothing.
    Create,
    /// Any other word, or none.
    Other(String),
}

/// Whether a guest runs, as far as its state tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Power {
    /// It runs.
    Up,
    /// It is there, and stands still.
    Paused,
    /// It does not run.
    Down {
        /// Whether it died instead of being stopped.
        crashed: bool,
    },
    /// The state does not tell; the job does.
    Unclear,
}

impl AgentGuest {
    /// A guest of which nothing but the id is known.
    pub fn new(id: GuestId) -> Self {
        Self {
            id,
            guest_type: None,
            image: String::new(),
            nics: Vec::new(),
            disks: Vec::new(),
            state: String::new(),
            memory: 0,
            cpu: 0,
            vnc: None,
            metadata: BTreeMap::new(),
        }
    }

    /// What its state means.
    pub fn known_state(&self) -> GuestState {
        GuestState::of(&self.state)
    }

    /// Whether it runs, as far as its state tells.
    pub fn power(&self) -> Power {
        self.known_state().power()
    }
}

impl GuestState {
    /// Understands the words of libvirt, of docker and of our own agent.
    pub fn of(word: &str) -> Self {
        match word {
            "running" | "blocked" => Self::Running,
            "paused" | "suspended" => Self::Paused,
            "shutoff" | "shutdown" | "stopped" => Self::Shutoff,
            "crashed" => Self::Crashed,
            "create" => Self::Create,
            other => Self::Other(other.to_owned()),
        }
    }

    /// Whether a guest in this state runs.
    pub fn power(&self) -> Power {
        match self {
            Self::Running => Power::Up,
            Self::Paused => Power::Paused,
            Self::Shutoff => Power::Down { crashed: false },
            Self::Crashed => Power::Down { crashed: true },
            Self::Create | Self::Other(_) => Power::Unclear,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "2b28c3a1-5f0e-4b9e-8d5c-0a3f1f0f6c11";

    #[test]
    fn what_the_original_sends_decodes_with_null_as_empty() {
        let text = format!(
            r#"{{"id":"{ID}","type":"kvm","nics":[{{"name":"eth0","vlans":null}}],"disks":null,"metadata":null,
            "state":"create","memory":512,"new":{{"later":1}}}}"#
        );
        let guest: AgentGuest = serde_json::from_str(&text).unwrap();
        assert_eq!(guest.nics, [Nic { name: "eth0".into(), ..Nic::default() }]);
        assert!(guest.disks.is_empty() && guest.metadata.is_empty());
        assert_eq!((guest.memory, guest.power()), (512, Power::Unclear));
    }

    #[test]
    fn empty_fields_are_absent_but_for_the_id() {
        let guest = AgentGuest::new(ID.parse().unwrap());
        assert_eq!(serde_json::to_string(&guest).unwrap(), format!(r#"{{"id":"{ID}"}}"#));
    }

    #[test]
    fn an_id_is_always_sent_in_lower_case() {
        let guest: AgentGuest =
            serde_json::from_str(&format!(r#"{{"id":"{}"}}"#, ID.to_uppercase())).unwrap();
        assert_eq!(guest.id.to_string(), ID);
    }

    #[test]
    fn unknown_words_say_nothing_about_power() {
        for (word, power) in [
            ("running", Power::Up),
            ("suspended", Power::Paused),
            ("stopped", Power::Down { crashed: false }),
            ("crashed", Power::Down { crashed: true }),
            ("", Power::Unclear),
            ("unknown", Power::Unclear),
            ("Running", Power::Unclear),
        ] {
            assert_eq!(GuestState::of(word).power(), power, "{word}");
        }
    }
}
