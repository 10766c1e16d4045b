//! What objects are called in messages for people: kind, name if there is one, and id.

use lochness_api::document::Metadata;
use lochness_api::{GuestId, NetworkId, SubnetId};

use super::{GuestEntry, SubnetEntry, World};

impl World {
    /// Such as `guest web-1 (5ebd53e1-…)`.
    pub fn guest_words(&self, id: GuestId) -> String {
        let document = self.guest(id).and_then(GuestEntry::understood);
        words("guest", document.map(|document| &document.metadata), &id.to_string())
    }

    /// Such as `subnet prod-v4 (f58fe3af-…)`.
    pub fn subnet_words(&self, id: SubnetId) -> String {
        let document = self.subnet(id).and_then(SubnetEntry::declared);
        words("subnet", document.map(|document| &document.metadata), &id.to_string())
    }

    /// Such as `network prod (6f0dfa12-…)`.
    pub fn network_words(&self, id: NetworkId) -> String {
        let document = self.network(id).and_then(|declared| declared.understood.as_deref());
        words("network", document.map(|document| &document.metadata), &id.to_string())
    }
}

fn words(kind: &str, metadata: Option<&Metadata>, id: &str) -> String {
    match metadata.and_then(Metadata::name) {
        Some(name) => format!("{kind} {name} ({id})"),
        None => format!("{kind} {id}"),
    }
}
