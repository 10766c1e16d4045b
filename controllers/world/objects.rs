//! Documents of the kinds whose entry is nothing but the document (and, for subnets, their addresses): in and out.

use std::collections::BTreeMap;

use lochness_api::Kind;
use lochness_api::document::Document;
use lochness_api::keys::Key;
use lochness_kv::KeyValue;

use super::apply::{before_name, name_of};
use super::stored::Declared;
use super::{Change, World};

impl World {
    /// Takes in a document of a kind whose entry is nothing but the document (and, for subnets, their addresses).
    pub(super) fn put_object(&mut self, key: &Key, kv: &KeyValue, former: Option<&Self>) -> Change {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has matched the other keys")]
        match *key {
            Key::Flavor(id) => {
                let names = declare(
                    &mut self.flavors,
                    former.map(|former| &former.flavors),
                    id,
                    &id.to_string(),
                    kv,
                );
                self.declared(Kind::Flavor, id.to_string(), names)
            }
            Key::Image(id) => {
                let names = declare(
                    &mut self.images,
                    former.map(|former| &former.images),
                    id,
                    &id.to_string(),
                    kv,
                );
                self.declared(Kind::Image, id.to_string(), names)
            }
            Key::Network(id) => {
                let names = declare(
                    &mut self.networks,
                    former.map(|former| &former.networks),
                    id,
                    &id.to_string(),
                    kv,
                );
                self.declared(Kind::Network, id.to_string(), names)
            }
            Key::FwGroup(id) => {
                let names = declare(
                    &mut self.fwgroups,
                    former.map(|former| &former.fwgroups),
                    id,
                    &id.to_string(),
                    kv,
                );
                self.declared(Kind::FwGroup, id.to_string(), names)
            }
            Key::VlanGroup(id) => {
                let names = declare(
                    &mut self.vlangroups,
                    former.map(|former| &former.vlangroups),
                    id,
                    &id.to_string(),
                    kv,
                );
                self.declared(Kind::VlanGroup, id.to_string(), names)
            }
            Key::Vlan(tag) => {
                let names = declare(
                    &mut self.vlans,
                    former.map(|former| &former.vlans),
                    tag,
                    &tag.to_string(),
                    kv,
                );
                self.declared(Kind::Vlan, tag.to_string(), names)
            }
            Key::VlanGroupMember(group, tag) => {
                self.vlangroup_members.entry(group).or_default().insert(tag);
                Change::Object(Kind::VlanGroup, group.to_string())
            }
            Key::Subnet(id) => {
                let text = id.to_string();
                let document = |world: &Self| world.subnets.get(&id)?.document.clone();
                let before = document(self);
                let lent = before.clone().or_else(|| document(former?));
                let declared = Declared::decode(lent.as_ref(), &text, kv);
                let names = (before_name(before.as_ref()), name_of(&declared));
                self.set_subnet_document(id, Some(declared));
                self.declared(Kind::Subnet, text, names)
            }
            _ => unreachable!("put_object is called for the kinds above only"),
        }
    }

    /// Takes such a document out.
    pub(super) fn delete_object(&mut self, key: &Key) -> Change {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the caller has matched the other keys")]
        match *key {
            Key::Flavor(id) => {
                let names = (before_name(self.flavors.remove(&id).as_ref()), None);
                self.declared(Kind::Flavor, id.to_string(), names)
            }
            Key::Image(id) => {
                let names = (before_name(self.images.remove(&id).as_ref()), None);
                self.declared(Kind::Image, id.to_string(), names)
            }
            Key::Network(id) => {
                let names = (before_name(self.networks.remove(&id).as_ref()), None);
                self.declared(Kind::Network, id.to_string(), names)
            }
            Key::FwGroup(id) => {
                let names = (before_name(self.fwgroups.remove(&id).as_ref()), None);
                self.declared(Kind::FwGroup, id.to_string(), names)
            }
            Key::VlanGroup(id) => {
                let names = (before_name(self.vlangroups.remove(&id).as_ref()), None);
                self.declared(Kind::VlanGroup, id.to_string(), names)
            }
            Key::Vlan(tag) => {
                let names = (before_name(self.vlans.remove(&tag).as_ref()), None);
                self.declared(Kind::Vlan, tag.to_string(), names)
            }
            Key::VlanGroupMember(group, tag) => {
                if let Some(tags) = self.vlangroup_members.get_mut(&group) {
                    tags.remove(&tag);
                    if tags.is_empty() {
                        self.vlangroup_members.remove(&group);
                    }
                }
                Change::Object(Kind::VlanGroup, group.to_string())
            }
            Key::Subnet(id) => {
                let before = self.subnets.get(&id).and_then(|entry| entry.document.as_ref());
                let names = (before_name(before), None);
                self.set_subnet_document(id, None);
                self.declared(Kind::Subnet, id.to_string(), names)
            }
            _ => unreachable!("delete_object is called for the kinds above only"),
        }
    }

    fn declared(&mut self, kind: Kind, id: String, (before, after): NameChange) -> Change {
        self.rename(kind, &id, before, after);
        Change::Object(kind, id)
    }
}

/// The name that an object had, and the one that it has now.
type NameChange = (Option<(String, i64)>, Option<(String, i64)>);

fn declare<I: Ord, T: Document>(
    table: &mut BTreeMap<I, Declared<T>>,
    former: Option<&BTreeMap<I, Declared<T>>>,
    id: I,
    text: &str,
    kv: &KeyValue,
) -> NameChange {
    let before = table.get(&id);
    let lent = before.or_else(|| former?.get(&id));
    let declared = Declared::decode(lent, text, kv);
    let names = (before_name(before), name_of(&declared));
    table.insert(id, declared);
    names
}
