//! What a host's ruleset is made of, taken from the world: the guests placed on it, their groups, and the members of the
//! groups that these groups' rules name. Pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use lochness_api::document::Rule;
use lochness_api::status::Placement;
use lochness_api::{FwGroupId, Mac};

use super::rules::rules_in_force;
use crate::world::{HostEntry, Members, World};

/// The VLANs of a guest without a VLAN group, as its agent is told.
pub(crate) const DEFAULT_VLANS: [u16; 1] = [1];

/// A guest as its host's firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalGuest {
    /// Its address.
    pub ip: IpAddr,
    /// The bridge that it is on, as the user wrote it.
    pub bridge: String,
    /// Its hardware address.
    pub mac: Mac,
    /// The tags that its frames may bear.
    pub vlans: Vec<u16>,
    /// Whose rules judge what reaches it; without one everything may.
    pub fwgroup: Option<FwGroupId>,
}

/// Everything that a host's ruleset depends on.
#[derive(Debug, Default)]
pub struct Input<'a> {
    /// The guests placed on the host, in any order.
    pub guests: Vec<LocalGuest>,
    /// The rules of their groups. A group without any that were understood has none, so that nothing reaches its guests.
    pub groups: BTreeMap<FwGroupId, &'a [Rule]>,
    /// The members of every group that exists and that a rule names, wherever they are placed; `None` when it never had
    /// any.
    pub members: BTreeMap<FwGroupId, Option<&'a Members>>,
}

/// What the host's ruleset is to be made of now.
pub fn input<'a>(world: &'a World, entry: &HostEntry) -> Input<'a> {
    let mut input = Input::default();
    for id in &entry.placed {
        let Some(placement) = world.placement_of(*id) else { continue };
        let vlans = vlans_of(&placement).to_vec();
        input.guests.push(LocalGuest {
            ip: placement.ip,
            bridge: placement.bridge,
            mac: placement.mac,
            vlans,
            fwgroup: placement.fwgroup,
        });
        if let Some(group) = placement.fwgroup {
            input.groups.entry(group).or_insert_with(|| rules_in_force(world, group).known());
        }
    }
    let named = input.groups.values().flat_map(|rules| rules.iter()).filter_map(|rule| rule.group);
    let named = named.filter(|group| world.fwgroup(*group).is_some());
    input.members = named.map(|group| (group, world.member_addresses(group))).collect();
    input
}

/// The tags of a placed guest.
pub(crate) fn vlans_of(placement: &Placement) -> &[u16] {
    if placement.vlans.is_empty() { &DEFAULT_VLANS } else { &placement.vlans }
}
