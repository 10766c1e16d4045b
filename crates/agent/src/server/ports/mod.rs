//! The host's ends of the guests' interfaces, and the VLANs that they are in.
//!
//! Guarantees: a port has the name that [`port_name`] gives it, whoever makes it; a guest whose port is on a bridge that
//! separates VLANs is in its own ones and no others before its create or start is `Complete`. Where that cannot be, the
//! host says `Unsupported` by name, once a bridge, and does not offer the capability `vlan`.
//!
//! Making ports is the matter of whoever makes guests; what is not there is left alone.

mod vlan;

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lochness_api::Mac;
use serde::Deserialize;

use self::vlan::{Entry, commands};
use super::program::{ProgramError, Runner};
use crate::wire::Nic;

/// For one look or one change.
const LIMIT: Duration = Duration::from_secs(10);
/// What the names of guests' ports begin with, and nothing else on a host.
const PORT_PREFIX: &str = "lng";
/// So many bridges are told about, each once.
const TOLD: usize = 256;

/// The ports of one host.
#[derive(Debug)]
pub(crate) struct Ports {
    runner: Runner,
    told: Mutex<BTreeSet<String>>,
}

/// What `ip -json -details link show` says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Link {
    master: Option<String>,
    linkinfo: LinkInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct LinkInfo {
    info_data: BridgeData,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct BridgeData {
    vlan_filtering: u8,
}

/// What `bridge -json vlan show` says of one port.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PortVlans {
    vlans: Vec<Entry>,
}

/// The name of the host's end of an interface with this hardware address: all that a name of 15 characters has room for.
/// The rules of the firewall know ports by it, so that a guest can send through its own one alone.
pub(crate) fn port_name(mac: Mac) -> String {
    format!("{PORT_PREFIX}{}", mac.to_string().replace(':', ""))
}

/// Whether any bridge of the host separates VLANs.
pub(crate) async fn filters_vlans(runner: &Runner) -> bool {
    let arguments = ["-json", "-details", "link", "show", "type", "bridge"];
    let Ok(ran) = runner.run("ip", &arguments, "", LIMIT).await else { return false };
    let links: Vec<Link> = serde_json::from_str(&ran.output).unwrap_or_default();
    links.iter().any(Link::filters_vlans)
}

impl Link {
    fn filters_vlans(&self) -> bool {
        self.linkinfo.info_data.vlan_filtering == 1
    }
}

impl Ports {
    pub(crate) fn new(runner: Runner) -> Self {
        Self { runner, told: Mutex::default() }
    }

    /// Puts the ports of these interfaces into their VLANs. `Err` says why a port is not in its own.
    pub(crate) async fn connect(&self, nics: &[Nic]) -> Result<(), String> {
        for nic in nics {
            // Without a hardware address of its own, an interface has no port of ours.
            if let Ok(mac) = nic.mac.parse::<Mac>() {
                self.connect_port(&port_name(mac), &nic.vlans).await?;
            }
        }
        Ok(())
    }

    async fn connect_port(&self, port: &str, vlans: &[u16]) -> Result<(), String> {
        let Some(bridge) = self.link(port).await.and_then(|link| link.master) else {
            tracing::debug!(port, "there is no such port on a bridge, its VLANs are left alone");
            return Ok(());
        };
        if !self.link(&bridge).await.is_some_and(|link| link.filters_vlans()) {
            self.tell_once(&bridge);
            return Ok(());
        }
        let failed = |error: ProgramError| format!("port {port} is not in its VLANs: {error}");
        let arguments = ["-json", "vlan", "show", "dev", port];
        let shown = self.runner.run("bridge", &arguments, "", LIMIT).await.map_err(failed)?.output;
        let shown: Vec<PortVlans> = serde_json::from_str(&shown).unwrap_or_default();
        let present: Vec<_> = shown.into_iter().flat_map(|port| port.vlans).collect();
        let commands = commands(port, vlans, &present);
        if commands.is_empty() {
            return Ok(());
        }
        tracing::info!(port, bridge, ?vlans, "port is put into its VLANs");
        let batch = commands.join("\n") + "\n";
        self.runner.run("bridge", &["-batch", "-"], &batch, LIMIT).await.map_err(failed)?;
        Ok(())
    }

    /// None: there is no such link, or nobody can say.
    async fn link(&self, name: &str) -> Option<Link> {
        let arguments = ["-json", "-details", "link", "show", "dev", name];
        let ran = self.runner.run("ip", &arguments, "", LIMIT).await.ok()?;
        let links: Vec<Link> = serde_json::from_str(&ran.output).ok()?;
        links.into_iter().next()
    }

    fn tell_once(&self, bridge: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD && told.insert(bridge.to_owned()) {
            tracing::warn!(
                bridge,
                "Unsupported: vlan_filtering is off or missing, so the VLANs of its ports are not set"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_named_by_its_hardware_address_in_fifteen_characters() {
        let mac: Mac = "02:A0:00:00:0b:C1".parse().unwrap();
        assert_eq!(port_name(mac), "lng02a000000bc1");
        assert_eq!(port_name(mac).len(), 15);
    }

    #[test]
    fn a_bridge_filters_when_it_says_so() {
        let says = |text: &str| serde_json::from_str::<Link>(text).unwrap().filters_vlans();
        let bridge = r#"{"ifname":"br0","linkinfo":{"info_kind":"bridge","info_data":{"vlan_filtering":1}}}"#;
        assert!(says(bridge));
        assert!(!says(&bridge.replace(":1}", ":0}")));
        assert!(!says(r#"{"ifname":"eth0","linkinfo":{"info_kind":"veth"}}"#));
        assert!(!says(r#"{"ifname":"eth0"}"#));
    }
}
