//! Names are unique a kind: the object that was created first bears it, a later one is told so.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};

use lochness_api::Kind;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use super::numbered::Place;
use super::packed::Guests;

/// Stands for a kind and a name: 96 bits of their keyed hashes. The name itself lies in the document. Two names with one tag
/// would count as one; nobody can look for such a pair, for each process draws its own keys.
type Tag = [u32; 3];
/// Create revision and id of each, the eldest first.
type Bearers = BTreeSet<(i64, String)>;

/// Who bears which name.
#[derive(Clone, Copy)]
pub struct Names<'w> {
    table: &'w NameTable,
    guests: &'w Guests,
}

/// The names, of guests by the places of their records: whose they are, and since when, is told there.
#[derive(Debug, Default)]
pub(super) struct NameTable {
    hashers: [RandomState; 2],
    /// Names that one guest asks for, which are nearly all.
    guests: FxHashMap<Tag, Place>,
    /// Names that one other object asks for.
    sole: FxHashMap<Tag, Sole>,
    /// Names that several ask for, or one whose id is no UUID.
    contested: FxHashMap<Tag, Bearers>,
}

/// Who asks for a name, and since when: create revision and id.
#[derive(Debug, Clone, Copy)]
struct Sole {
    created: i64,
    id: Uuid,
}

impl<'w> Names<'w> {
    /// The object that bears the name, if it is not `id` itself.
    pub fn taken_by(self, kind: Kind, name: &str, id: &str) -> Option<String> {
        let eldest = self.bearers(kind, name).next()?;
        (eldest != id).then_some(eldest)
    }

    /// Everyone who asks for the name, the eldest first.
    pub fn bearers(self, kind: Kind, name: &str) -> impl Iterator<Item = String> + use<'w> {
        let tag = self.table.tag(kind, name);
        let guest = self.table.guests.get(&tag).map(|place| self.guests.at(*place).to_string());
        let sole = self.table.sole.get(&tag).map(|sole| sole.id.to_string());
        let contested = self.table.contested.get(&tag).into_iter().flatten();
        guest.into_iter().chain(sole).chain(contested.map(|(_, id)| id.clone()))
    }
}

impl NameTable {
    pub(super) fn of<'w>(&'w self, guests: &'w Guests) -> Names<'w> {
        Names { table: self, guests }
    }

    fn tag(&self, kind: Kind, name: &str) -> Tag {
        let [first, second] = self.hashers.each_ref().map(|it| it.hash_one((kind.plural(), name)));
        let ([high, low], [last, _]) = (halves(first), halves(second));
        [high, low, last]
    }

    /// A guest, whose document is in its record, asks for the name.
    pub(super) fn insert_guest(&mut self, name: &str, place: Place, guests: &Guests) {
        let tag = self.tag(Kind::Guest, name);
        if !self.contested.contains_key(&tag) && !self.guests.contains_key(&tag) {
            self.guests.insert(tag, place);
            return;
        }
        let bearers = self.contested.entry(tag).or_default();
        let sole = self.guests.remove(&tag);
        bearers.extend(sole.into_iter().chain([place]).map(|place| bearer(guests, place)));
    }

    /// A guest, whose document is still in its record, asks for the name no more.
    pub(super) fn remove_guest(&mut self, name: &str, place: Place, guests: &Guests) {
        let tag = self.tag(Kind::Guest, name);
        if self.guests.get(&tag) == Some(&place) {
            self.guests.remove(&tag);
        }
        let Some(bearers) = self.contested.get_mut(&tag) else { return };
        bearers.remove(&bearer(guests, place));
        if bearers.len() < 2 {
            let last = bearers.first().and_then(|(_, id)| guests.place(id.parse().ok()?));
            self.guests.extend(last.map(|last| (tag, last)));
            self.contested.remove(&tag);
        }
    }

    /// An object that is no guest asks for the name.
    pub(super) fn insert(&mut self, kind: Kind, name: &str, created: i64, id: String) {
        let tag = self.tag(kind, name);
        let is_first = !self.sole.contains_key(&tag) && !self.contested.contains_key(&tag);
        if is_first && let Some(id) = uuid(&id) {
            self.sole.insert(tag, Sole { created, id });
            return;
        }
        let bearers = self.contested.entry(tag).or_default();
        if let Some(sole) = self.sole.remove(&tag) {
            bearers.insert((sole.created, sole.id.to_string()));
        }
        bearers.insert((created, id));
    }

    /// An object that is no guest asks for the name no more.
    pub(super) fn remove(&mut self, kind: Kind, name: &str, created: i64, id: String) {
        let tag = self.tag(kind, name);
        let is_sole = |sole: &Sole| uuid(&id) == Some(sole.id) && sole.created == created;
        if self.sole.get(&tag).is_some_and(is_sole) {
            self.sole.remove(&tag);
        }
        let Some(bearers) = self.contested.get_mut(&tag) else { return };
        bearers.remove(&(created, id));
        if let (Some((created, last)), true) = (bearers.first().cloned(), bearers.len() < 2) {
            if let Some(id) = uuid(&last) {
                self.contested.remove(&tag);
                self.sole.insert(tag, Sole { created, id });
            }
        } else if bearers.is_empty() {
            self.contested.remove(&tag);
        }
    }
}

fn bearer(guests: &Guests, place: Place) -> (i64, String) {
    (guests.created(place), guests.at(place).to_string())
}

fn halves(number: u64) -> [u32; 2] {
    let half = |number: u64| u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default();
    [half(number >> 32), half(number)]
}

/// The id as a UUID, if it is one in its one spelling.
fn uuid(text: &str) -> Option<Uuid> {
    text.parse().ok().filter(|uuid: &Uuid| uuid.to_string() == text)
}

#[cfg(test)]
mod tests {
    use lochness_api::GuestId;

    use super::super::Declared;
    use super::*;

    #[test]
    fn the_eldest_bears_the_name_and_the_next_one_when_it_goes() {
        let (mut table, guests) = (NameTable::default(), Guests::default());
        let id = |number| Uuid::from_u128(number).to_string();
        let kind = Kind::Network;
        table.insert(kind, "a", 9, id(1));
        let names = table.of(&guests);
        assert_eq!(names.taken_by(kind, "a", &id(1)), None);
        assert_eq!(names.taken_by(kind, "a", &id(2)), Some(id(1)));
        assert_eq!(names.taken_by(Kind::Image, "a", &id(2)), None);
        table.insert(kind, "a", 5, id(2));
        table.insert(kind, "a", 7, "no uuid".to_owned());
        let all: Vec<_> = table.of(&guests).bearers(kind, "a").collect();
        assert_eq!(all, [id(2), "no uuid".to_owned(), id(1)]);
        table.remove(kind, "a", 5, id(2));
        let taken = table.of(&guests).taken_by(kind, "a", &id(1));
        assert_eq!(taken.as_deref(), Some("no uuid"));
        table.remove(kind, "a", 9, id(1));
        assert_eq!(table.of(&guests).bearers(kind, "a").collect::<Vec<_>>(), ["no uuid"]);
        table.remove(kind, "a", 7, "no uuid".to_owned());
        table.insert(kind, "a", 8, id(3));
        table.remove(kind, "a", 7, id(3));
        let all: Vec<_> = table.of(&guests).bearers(kind, "a").collect();
        assert_eq!(all, [id(3)], "another life of it");
        table.remove(kind, "a", 8, id(3));
        assert!(table.sole.is_empty() && table.contested.is_empty());
    }

    #[test]
    fn of_guests_too_the_eldest_bears_the_name() {
        let (mut table, mut guests) = (NameTable::default(), Guests::default());
        let mut declare = |number: u128, created| {
            let document = Declared {
                create_revision: created,
                mod_revision: created,
                understood: None,
                invalid: None,
            };
            guests.stage_document(GuestId::new(Uuid::from_u128(number)), document);
            guests.place(GuestId::new(Uuid::from_u128(number))).unwrap()
        };
        let places = [declare(1, 9), declare(2, 5), declare(3, 7)];
        for place in places {
            table.insert_guest("a", place, &guests);
        }
        let bearers = |table: &NameTable| -> Vec<u128> {
            let ids = table.of(&guests).bearers(Kind::Guest, "a");
            ids.map(|id| id.parse::<Uuid>().unwrap().as_u128()).collect()
        };
        assert_eq!(bearers(&table), [2, 3, 1]);
        table.remove_guest("a", places[1], &guests);
        assert_eq!(bearers(&table), [3, 1]);
        table.remove_guest("a", places[0], &guests);
        assert_eq!(bearers(&table), [3]);
        assert!(table.contested.is_empty());
        table.remove_guest("a", places[2], &guests);
        assert!(table.guests.is_empty());
    }
}
