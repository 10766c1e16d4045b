//! What a host's ruleset says, apart from its text: the rules, and the elements of its sets. Pure.
//!
//! Guarantees: the hash depends on what is said alone, so a ruleset that was put whole and one that was reached by patches
//! are one; what leads from one content to another is told exactly, or not at all.
//!
//! The elements that a host alone has are few and kept with it. Members of groups may be many, and are the same for all
//! hosts: of these a content knows the digest, and the world the history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::IpAddr;

use lochness_api::FwGroupId;
use sha2::{Digest as _, Sha256};

use super::nft::{Piece, elements_text, joined};
use crate::world::{Family, Members, SetDigest};

/// What a host's ruleset says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Names all of it, in hex.
    pub hash: String,
    /// SHA-256 of everything but elements.
    skeleton: [u8; 32],
    sets: BTreeMap<String, Elements>,
}

/// The elements of one set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Elements {
    /// Those of the host alone.
    Own(BTreeSet<String>),
    /// The members of a group.
    Members(FwGroupId, Family, SetDigest),
}

/// A ruleset whose text can be written.
#[derive(Debug)]
pub struct Ruleset {
    /// What it says.
    pub content: Content,
    pieces: Vec<Piece>,
}

/// Elements that come and go, by set; maps have them as `key : verdict`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Difference {
    /// To add.
    pub add: BTreeMap<String, Vec<String>>,
    /// To remove.
    pub remove: BTreeMap<String, Vec<String>>,
}

impl Ruleset {
    /// `members` are those that the text's sets are made of.
    pub(super) fn new(
        pieces: Vec<Piece>,
        own: BTreeMap<String, BTreeSet<String>>,
        members: BTreeMap<String, (FwGroupId, Family, SetDigest)>,
    ) -> Self {
        let mut hasher = Sha256::new();
        for piece in &pieces {
            match piece {
                Piece::Text(text) => hasher.update(text),
                Piece::Elements(_) => hasher.update([0]),
            }
        }
        let skeleton: [u8; 32] = hasher.finalize().into();
        let own = own.into_iter().map(|(name, elements)| (name, Elements::Own(elements)));
        let members = members.into_iter().map(|(name, (group, family, digest))| {
            (name, Elements::Members(group, family, digest))
        });
        let sets: BTreeMap<String, Elements> = own.chain(members).collect();
        let hash = hash(skeleton, &sets);
        Self { content: Content { hash, skeleton, sets }, pieces }
    }

    /// The whole ruleset in nft's language. `members` finds those of a group that the rules name.
    pub fn text<'a>(&self, members: impl Fn(FwGroupId) -> Option<&'a Members>) -> String {
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Elements(name) => match &self.content.sets[name] {
                    Elements::Own(elements) => text.push_str(&elements_text(&joined(elements))),
                    Elements::Members(group, family, _) => {
                        let rendered = members(*group).map(|members| members.rendered(*family));
                        text.push_str(&elements_text(rendered.as_deref().unwrap_or_default()));
                    }
                },
            }
        }
        text
    }
}

fn hash(skeleton: [u8; 32], sets: &BTreeMap<String, Elements>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(skeleton);
    for (name, elements) in sets {
        hasher.update(name);
        match elements {
            Elements::Own(elements) => {
                hasher.update([0]);
                for element in elements {
                    hasher.update(element);
                    hasher.update([0]);
                }
            }
            Elements::Members(_, _, digest) => {
                hasher.update([1]);
                hasher.update(digest.to_bytes());
            }
        }
    }
    hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a string takes everything");
        hex
    })
}

impl Content {
    /// What must come and go to get from `self` to `wanted`; `None` when the rules differ too, or when nobody remembers
    /// which members came and went.
    pub fn difference<'a>(
        &self,
        wanted: &Self,
        members: impl Fn(FwGroupId) -> Option<&'a Members>,
    ) -> Option<Difference> {
        if self.skeleton != wanted.skeleton {
            return None;
        }
        let mut difference = Difference::default();
        for (name, now) in &wanted.sets {
            let before = self.sets.get(name)?;
            let (added, removed) = match (before, now) {
                (Elements::Own(before), Elements::Own(now)) => (
                    now.difference(before).cloned().collect(),
                    before.difference(now).cloned().collect(),
                ),
                (Elements::Members(_, _, before), Elements::Members(_, _, now))
                    if before == now =>
                {
                    continue;
                }
                (Elements::Members(_, _, before), Elements::Members(group, family, _)) => {
                    let change = members(*group)?.since(*family, *before)?;
                    (texts(&change.added), texts(&change.removed))
                }
                (Elements::Own(_), Elements::Members(..))
                | (Elements::Members(..), Elements::Own(_)) => {
                    return None;
                }
            };
            difference.note(name, added, removed);
        }
        Some(difference)
    }
}

impl Difference {
    fn note(&mut self, name: &str, added: Vec<String>, removed: Vec<String>) {
        for (all, these) in [(&mut self.add, added), (&mut self.remove, removed)] {
            if !these.is_empty() {
                all.insert(name.to_owned(), these);
            }
        }
    }
}

fn texts(ips: &[IpAddr]) -> Vec<String> {
    ips.iter().map(IpAddr::to_string).collect()
}
