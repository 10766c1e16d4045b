//! Names are unique a kind: the object that was created first bears it, a later one is told so.

use std::collections::BTreeSet;

use lochness_api::Kind;
use rustc_hash::FxHashMap;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Stands for a kind and a name: the first bytes of their SHA-256. The name itself lies in the document. Two names with
/// one tag would count as one; who finds such a pair could as well have written the same name twice.
type Tag = [u8; 12];
/// Create revision and id of each, the eldest first.
type Bearers = BTreeSet<(i64, String)>;

/// Who bears which name.
#[derive(Debug, Default)]
pub struct Names {
    /// Names that one object asks for, which are nearly all.
    sole: FxHashMap<Tag, Sole>,
    /// Names that several ask for, or one whose id is no UUID.
    contested: FxHashMap<Tag, Bearers>,
}

/// Create revision, in bytes for the sake of the gaps that it would have as a number, and id.
#[derive(Debug, Clone, Copy)]
struct Sole {
    created: [u8; 8],
    id: Uuid,
}

impl Names {
    /// The object that bears the name, if it is not `id` itself.
    pub fn taken_by(&self, kind: Kind, name: &str, id: &str) -> Option<String> {
        let tag = tag(kind, name);
        let eldest = match self.sole.get(&tag) {
            Some(sole) => sole.id.to_string(),
            None => self.contested.get(&tag)?.first()?.1.clone(),
        };
        (eldest != id).then_some(eldest)
    }

    /// Everyone who asks for the name, the eldest first.
    pub fn bearers(&self, kind: Kind, name: &str) -> impl Iterator<Item = String> + '_ {
        let tag = tag(kind, name);
        let sole = self.sole.get(&tag).map(|sole| sole.id.to_string());
        let contested = self.contested.get(&tag).into_iter().flatten();
        sole.into_iter().chain(contested.map(|(_, id)| id.clone()))
    }

    pub(super) fn insert(&mut self, kind: Kind, name: &str, created: i64, id: String) {
        let tag = tag(kind, name);
        let is_first = !self.sole.contains_key(&tag) && !self.contested.contains_key(&tag);
        if is_first && let Some(id) = uuid(&id) {
            self.sole.insert(tag, Sole { created: created.to_ne_bytes(), id });
            return;
        }
        let bearers = self.contested.entry(tag).or_default();
        if let Some(sole) = self.sole.remove(&tag) {
            bearers.insert((i64::from_ne_bytes(sole.created), sole.id.to_string()));
        }
        bearers.insert((created, id));
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str, created: i64, id: String) {
        let tag = tag(kind, name);
        let is_sole =
            |sole: &Sole| uuid(&id) == Some(sole.id) && i64::from_ne_bytes(sole.created) == created;
        if self.sole.get(&tag).is_some_and(is_sole) {
            self.sole.remove(&tag);
        }
        let Some(bearers) = self.contested.get_mut(&tag) else { return };
        bearers.remove(&(created, id));
        if let (Some((created, last)), true) = (bearers.first().cloned(), bearers.len() < 2) {
            if let Some(id) = uuid(&last) {
                self.contested.remove(&tag);
                self.sole.insert(tag, Sole { created: created.to_ne_bytes(), id });
            }
        } else if bearers.is_empty() {
            self.contested.remove(&tag);
        }
    }
}

fn tag(kind: Kind, name: &str) -> Tag {
    let hash = Sha256::new().chain_update(kind.plural()).chain_update([0_u8]).chain_update(name);
    let mut tag = Tag::default();
    tag.copy_from_slice(&hash.finalize()[..12]);
    tag
}

/// The id as a UUID, if it is one in its one spelling.
fn uuid(text: &str) -> Option<Uuid> {
    text.parse().ok().filter(|uuid: &Uuid| uuid.to_string() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eldest_bears_the_name_and_the_next_one_when_it_goes() {
        let mut names = Names::default();
        let id = |number| Uuid::from_u128(number).to_string();
        let kind = Kind::Guest;
        names.insert(kind, "a", 9, id(1));
        assert_eq!(names.taken_by(kind, "a", &id(1)), None);
        assert_eq!(names.taken_by(kind, "a", &id(2)), Some(id(1)));
        assert_eq!(names.taken_by(Kind::Network, "a", &id(2)), None);
        names.insert(kind, "a", 5, id(2));
        names.insert(kind, "a", 7, "no uuid".to_owned());
        let all: Vec<_> = names.bearers(kind, "a").collect();
        assert_eq!(all, [id(2), "no uuid".to_owned(), id(1)]);
        names.remove(kind, "a", 5, id(2));
        assert_eq!(names.taken_by(kind, "a", &id(1)).as_deref(), Some("no uuid"));
        names.remove(kind, "a", 9, id(1));
        assert_eq!(names.bearers(kind, "a").collect::<Vec<_>>(), ["no uuid"]);
        names.remove(kind, "a", 7, "no uuid".to_owned());
        names.insert(kind, "a", 8, id(3));
        names.remove(kind, "a", 7, id(3));
        assert_eq!(names.bearers(kind, "a").collect::<Vec<_>>(), [id(3)], "another life of it");
        names.remove(kind, "a", 8, id(3));
        assert!(names.sole.is_empty() && names.contested.is_empty());
    }
}
