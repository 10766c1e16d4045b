//! The guest document: one virtual machine as its owner wants it.

use std::fmt;
use std::net::IpAddr;

use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, parse_object};
use super::{Document, Invalid, Kind, Metadata};
use crate::text::quote;
use crate::{FlavorId, FwGroupId, GuestId, HypervisorId, Mac, NetworkId, SubnetId, VlanGroupId};

/// A guest as its owner wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    /// The key's id.
    pub id: GuestId,
    /// Name, labels, annotations, reserved words, and what else the user keeps there; the whole reaches the agent.
    pub metadata: Metadata,
    /// The document's `type`: the agent's guest type, such as `kvm`. Passed on.
    pub guest_type: Option<String>,
    /// Size and image. Required.
    pub flavor: FlavorId,
    /// Pins the guest to this host.
    pub hypervisor: Option<HypervisorId>,
    /// Where its address comes from. Required unless `subnet` is given.
    pub network: Option<NetworkId>,
    /// Restricts the choice to this subnet.
    pub subnet: Option<SubnetId>,
    /// Firewall group; none means open but protected from spoofing.
    pub fwgroup: Option<FwGroupId>,
    /// VLANs of the nic; none means `[1]`.
    pub vlangroup: Option<VlanGroupId>,
    /// Asks for exactly this hardware address; see [`Guest::effective_mac`].
    pub mac: Option<Mac>,
    /// Asks for exactly this address.
    pub ip: Option<IpAddr>,
    /// What the original wrote back; shown, not used (the host's key for the subnet decides).
    pub bridge: Option<String>,
    /// What should be so.
    pub state: DesiredState,
    /// A token; a new value is one reboot.
    pub reboot: Option<String>,
    /// What happens when the guest stops by itself.
    pub restart: RestartPolicy,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

/// What the owner wants the guest to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DesiredState {
    /// Up.
    #[default]
    Running,
    /// Shut down, its disk and address kept.
    Stopped,
    /// Paused in memory.
    Suspended,
}

/// What to do with a guest that stopped by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Start it again.
    #[default]
    Always,
    /// Start it again unless it ended cleanly (`shutoff`).
    OnFailure,
    /// Leave it.
    Never,
}

impl Guest {
    /// The hardware address: the one asked for, or `02` and the first five bytes of the MD5 of the id, as the original
    /// chose it.
    pub fn effective_mac(&self) -> Mac {
        self.mac.unwrap_or_else(|| Mac::of_guest(self.id))
    }
}

impl DesiredState {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Suspended => "suspended",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        [Self::Running, Self::Stopped, Self::Suspended]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| format!("must be running, stopped or suspended, is {}", quote(text)))
    }
}

impl fmt::Display for DesiredState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl RestartPolicy {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Always => "always",
            Self::OnFailure => "on-failure",
            Self::Never => "never",
        }
    }

    fn parse(text: &str) -> Result<Self, String> {
        [Self::Always, Self::OnFailure, Self::Never]
            .into_iter()
            .find(|policy| policy.as_str() == text)
            .ok_or_else(|| format!("must be always, on-failure or never, is {}", quote(text)))
    }
}

impl fmt::Display for RestartPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Document for Guest {
    const KIND: Kind = Kind::Guest;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let faults = &mut faults;
        let id = fields.own_id(id, faults);
        let metadata = fields.metadata(faults);
        let guest_type = fields.string("type", faults);
        let flavor = fields.id("flavor", faults);
        fields.require("flavor", flavor.as_ref(), faults);
        let hypervisor = fields.id("hypervisor", faults);
        let network = fields.id("network", faults);
        let subnet = fields.id("subnet", faults);
        let fwgroup = fields.id("fwgroup", faults);
        let vlangroup = fields.id("vlangroup", faults);
        let mac = fields.mac("mac", faults);
        let ip = fields.ip("ip", faults);
        let bridge = fields.string("bridge", faults);
        let state = fields.parsed("state", faults, DesiredState::parse).unwrap_or_default();
        let reboot = fields.string("reboot", faults);
        let restart = fields.parsed("restart", faults, RestartPolicy::parse).unwrap_or_default();
        if subnet.is_none() && !faults.names("subnet") {
            fields.require("network", network.as_ref(), faults);
        }
        match (id, flavor) {
            (Some(id), Some(flavor)) if faults.is_empty() => Ok(Self {
                id,
                metadata,
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
                other: fields.into_rest(),
            }),
            _ => Err(std::mem::take(faults).into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.metadata(&self.metadata);
        writer.text("type", self.guest_type.as_ref());
        writer.put("flavor", self.flavor.to_string());
        writer.text("hypervisor", self.hypervisor);
        writer.text("network", self.network);
        writer.text("subnet", self.subnet);
        writer.text("fwgroup", self.fwgroup);
        writer.text("vlangroup", self.vlangroup);
        writer.text("mac", self.mac);
        writer.text("ip", self.ip);
        writer.text("bridge", self.bridge.as_ref());
        // The default is left out, so that the digest does not tell it from not given.
        writer.text("state", Some(self.state).filter(|state| *state != DesiredState::default()));
        writer.text("reboot", self.reboot.as_ref());
        writer.text("restart", Some(self.restart).filter(|r| *r != RestartPolicy::default()));
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }
}
