//! What a host's ruleset is made of, taken from the world: the guests placed on it, their groups, and the members of the
//! groups that these groups' rules name. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use lochness_api::document::Rule;
use lochness_api::{FwGroupId, Mac};

use crate::world::{HostEntry, World};

/// A guest as its host's firewall sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LocalGuest {
    /// Its address.
    pub ip: IpAddr,
    /// The bridge that it is on, as the user wrote it.
    pub bridge: String,
    /// Its hardware address.
    pub mac: Mac,
    /// Whose rules judge what reaches it; without one everything may.
    pub fwgroup: Option<FwGroupId>,
}

/// Everything that a host's ruleset depends on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Input {
    /// The guests placed on the host, in any order.
    pub guests: Vec<LocalGuest>,
    /// The rules of their groups. A group without a document has none, so that nothing reaches its guests.
    pub groups: BTreeMap<FwGroupId, Vec<Rule>>,
    /// The addresses of the members of every group that exists and that a rule names, wherever they are placed.
    pub members: BTreeMap<FwGroupId, BTreeSet<IpAddr>>,
}

/// What the host's ruleset is to be made of now.
pub fn input(world: &World, entry: &HostEntry) -> Input {
    let mut input = Input::default();
    for id in &entry.placed {
        let Some(placement) = world.guest(*id).and_then(|guest| guest.placement()) else {
            continue;
        };
        input.guests.push(LocalGuest {
            ip: placement.ip,
            bridge: placement.bridge.clone(),
            mac: placement.mac,
            fwgroup: placement.fwgroup,
        });
        if let Some(group) = placement.fwgroup {
            input.groups.entry(group).or_insert_with(|| rules_of(world, group));
        }
    }
    let named = input.groups.values().flatten().filter_map(|rule| rule.group);
    let named: BTreeSet<_> = named.filter(|group| world.fwgroup(*group).is_some()).collect();
    input.members = named.into_iter().map(|group| (group, members_of(world, group))).collect();
    input
}

fn rules_of(world: &World, group: FwGroupId) -> Vec<Rule> {
    let document = world.fwgroup(group).and_then(|declared| declared.understood.as_ref());
    document.map(|document| document.rules.clone()).unwrap_or_default()
}

fn members_of(world: &World, group: FwGroupId) -> BTreeSet<IpAddr> {
    world
        .fwgroup_members(group)
        .filter_map(|guest| Some(world.guest(guest)?.placement()?.ip))
        .collect()
}
