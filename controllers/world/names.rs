//! Names are unique a kind: the object that was created first bears it, a later one is told so.

use std::collections::BTreeSet;

use lochness_api::Kind;
use rustc_hash::FxHashMap;

/// A name, a kind.
type Name = (Kind, Box<str>);
/// Create revision and id of each, the eldest first.
type Bearers = BTreeSet<(i64, String)>;

/// Who bears which name.
#[derive(Debug, Default)]
pub struct Names {
    /// Create revision and id of everyone who asks for the name, the eldest first.
    bearers: FxHashMap<Name, Bearers>,
}

impl Names {
    /// The object that bears the name, if it is not `id` itself.
    pub fn taken_by(&self, kind: Kind, name: &str, id: &str) -> Option<&str> {
        let bearers = self.bearers.get(&(kind, name.into()))?;
        let (_, eldest) = bearers.first()?;
        (eldest != id).then_some(eldest)
    }

    /// Everyone who asks for the name.
    pub fn bearers(&self, kind: Kind, name: &str) -> impl Iterator<Item = &str> {
        self.bearers
            .get(&(kind, name.into()))
            .into_iter()
            .flat_map(|bearers| bearers.iter().map(|(_, id)| id.as_str()))
    }

    pub(super) fn insert(&mut self, kind: Kind, name: &str, created: i64, id: String) {
        self.bearers.entry((kind, name.into())).or_default().insert((created, id));
    }

    pub(super) fn remove(&mut self, kind: Kind, name: &str, created: i64, id: String) {
        let key = (kind, name.into());
        if let Some(bearers) = self.bearers.get_mut(&key) {
            bearers.remove(&(created, id));
            if bearers.is_empty() {
                self.bearers.remove(&key);
            }
        }
    }
}
