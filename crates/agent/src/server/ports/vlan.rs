//! From the VLANs of an interface to the commands that put its port into them. Pure.
//!
//! | `vlans` | the port |
//! |---|---|
//! | none, or `[1]` | untagged in VLAN 1, as a bridge makes every port |
//! | one tag N | an access port: untagged in N; frames with any tag but N are dropped |
//! | several | a trunk: tagged in each; untagged frames are dropped, unless 1 is among them: then they are VLAN 1 |

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

/// The VLAN of those who say nothing.
const DEFAULT_VLAN: u16 = 1;

/// A VLAN of a port, as `bridge -json vlan show` says it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Entry {
    vlan: u16,
    #[serde(rename = "vlanEnd", default)]
    end: Option<u16>,
    #[serde(default)]
    flags: BTreeSet<String>,
}

/// How a port is in a VLAN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Membership {
    Tagged,
    /// Frames without a tag are of this VLAN, both ways.
    Untagged,
    /// Somebody made it so; no port of ours is.
    Odd,
}

/// What `bridge -batch` must do so that `port` is in `vlans` and in no other.
pub(super) fn commands(port: &str, vlans: &[u16], present: &[Entry]) -> Vec<String> {
    let wanted = wanted(vlans);
    let present: BTreeMap<u16, Membership> = present.iter().flat_map(members).collect();
    let surplus = present.keys().filter(|vlan| !wanted.contains_key(vlan));
    let removed = surplus.map(|vlan| format!("vlan del dev {port} vid {vlan}"));
    let missing = wanted.iter().filter(|(vlan, membership)| present.get(vlan) != Some(membership));
    let added = missing.map(|(vlan, membership)| {
        let flags = match membership {
            Membership::Untagged => " pvid untagged",
            Membership::Tagged | Membership::Odd => "",
        };
        format!("vlan add dev {port} vid {vlan}{flags}")
    });
    removed.chain(added).collect()
}

fn wanted(vlans: &[u16]) -> BTreeMap<u16, Membership> {
    let vlans: BTreeSet<u16> = vlans.iter().copied().collect();
    match vlans.len() {
        0 => BTreeMap::from([(DEFAULT_VLAN, Membership::Untagged)]),
        1 => vlans.into_iter().map(|vlan| (vlan, Membership::Untagged)).collect(),
        _ => {
            let membership = |vlan| match vlan {
                DEFAULT_VLAN => Membership::Untagged,
                _ => Membership::Tagged,
            };
            vlans.into_iter().map(|vlan| (vlan, membership(vlan))).collect()
        }
    }
}

fn members(entry: &Entry) -> impl Iterator<Item = (u16, Membership)> {
    let has = |flag: &str| entry.flags.contains(flag);
    let membership = match (has("PVID"), has("Egress Untagged")) {
        (true, true) => Membership::Untagged,
        (false, false) => Membership::Tagged,
        (true, false) | (false, true) => Membership::Odd,
    };
    (entry.vlan..=entry.end.unwrap_or(entry.vlan)).map(move |vlan| (vlan, membership))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a bridge makes every port.
    fn fresh() -> Vec<Entry> {
        serde_json::from_str(r#"[{"vlan":1,"flags":["PVID","Egress Untagged"]}]"#).unwrap()
    }

    #[test]
    fn a_fresh_port_is_in_the_default_vlan_already() {
        assert_eq!(commands("p", &[1], &fresh()), Vec::<String>::new());
        assert_eq!(commands("p", &[], &fresh()), Vec::<String>::new());
        assert_eq!(commands("p", &[], &[]), ["vlan add dev p vid 1 pvid untagged"]);
    }

    #[test]
    fn one_tag_makes_an_access_port() {
        let expected = ["vlan del dev p vid 1", "vlan add dev p vid 42 pvid untagged"];
        assert_eq!(commands("p", &[42], &fresh()), expected);
    }

    #[test]
    fn several_tags_make_a_trunk_that_is_left_untagged_only_in_the_default_vlan() {
        assert_eq!(
            commands("p", &[30, 20, 30], &fresh()),
            ["vlan del dev p vid 1", "vlan add dev p vid 20", "vlan add dev p vid 30"]
        );
        assert_eq!(commands("p", &[20, 1], &fresh()), ["vlan add dev p vid 20"]);
    }

    #[test]
    fn what_is_so_already_is_left_and_what_is_otherwise_is_put_right() {
        let shown = r#"[{"vlan":10,"vlanEnd":12},{"vlan":20,"flags":["PVID"]}]"#;
        let present: Vec<Entry> = serde_json::from_str(shown).unwrap();
        assert_eq!(
            commands("p", &[10, 12, 20], &present),
            ["vlan del dev p vid 11", "vlan add dev p vid 20"]
        );
    }
}
