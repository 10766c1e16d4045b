//! The `metadata` of a document: texts by name, some of them reserved, the rest the user's.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use super::FieldError;
use super::parse::{Faults, Fields, Node};
use crate::text::quote;

/// Values that may be secrets, shown nowhere.
const SECRET: [&str; 2] = ["user_data", "ssh_keys"];

/// Texts by name. `null` values are dropped; everything else reaches the agent unchanged. Its `Debug` hides what may be a
/// secret.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Metadata(pub BTreeMap<String, String>);

impl Metadata {
    /// The value of a name; one that is empty is not given.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// What people call the object; unique a kind.
    pub fn name(&self) -> Option<&str> {
        self.get("name")
    }

    /// The value of a label. An empty value is a label too.
    pub fn label(&self, label: &str) -> Option<&str> {
        self.labels().find(|(name, _)| *name == label).map(|(_, value)| value)
    }

    /// All labels, sorted by name.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prefixed("label/")
    }

    /// All annotations, sorted by name.
    pub fn annotations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prefixed("annotation/")
    }

    /// Whether somebody paused the object: `pause` is `true`, `1`, `yes` or `on`.
    pub fn is_paused(&self) -> bool {
        self.get("pause").is_some_and(|value| parse_flag(value) == Ok(true))
    }

    /// Whether the guest may be placed anew once its host is known to be fenced.
    pub fn evacuate_recreate(&self) -> bool {
        self.get("evacuate") == Some("recreate")
    }

    /// Who is placed first, or which subnet is filled first: the higher one. 0 when not given.
    pub fn priority(&self) -> i32 {
        self.parse_priority().unwrap_or(0)
    }

    /// The set whose members are kept apart from each other.
    pub fn set(&self) -> Option<&str> {
        self.get("set")
    }

    /// Labels that the host must have.
    pub fn place(&self) -> BTreeMap<String, String> {
        self.get("place").and_then(|value| parse_selector(value).ok()).unwrap_or_default()
    }

    fn prefixed(&self, prefix: &'static str) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
            .map_while(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    pub(super) fn from_fields(fields: Fields<'_>, faults: &mut Faults) -> Self {
        let metadata = Self::texts(fields, faults);
        metadata.check_place(faults);
        metadata.check_reserved(faults);
        metadata
    }

    /// Of a kind for which `place` and `priority` mean something else, and never make the document unusable.
    pub(super) fn of_addresses(fields: Fields<'_>, faults: &mut Faults) -> Self {
        let metadata = Self::texts(fields, faults);
        metadata.check_reserved(faults);
        metadata
    }

    /// A whole number under `priority`; 0 when not given.
    pub(super) fn parse_priority(&self) -> Result<i32, FieldError> {
        let Some(text) = self.get("priority") else { return Ok(0) };
        text.trim().parse().map_err(|_| FieldError {
            field: "metadata.priority".to_owned(),
            reason: format!("must be a whole number from {} to {}", i32::MIN, i32::MAX),
        })
    }

    fn texts(fields: Fields<'_>, faults: &mut Faults) -> Self {
        let mut texts = BTreeMap::new();
        for (name, node) in fields.into_entries() {
            match node {
                Node::Null => {}
                Node::Text(text) => {
                    texts.insert(name.into_owned(), text.into_owned());
                }
                Node::Bool(_) | Node::Number(_) | Node::List(_) | Node::Object(_) => {
                    let field = format!("metadata.{}", quote(&name));
                    faults.push(field, format!("must be a text, is {}", node.type_name()));
                }
            }
        }
        Self(texts)
    }

    fn check_place(&self, faults: &mut Faults) {
        if let Some(place) = self.get("place")
            && let Err(reason) = parse_selector(place)
        {
            faults.push("metadata.place", reason);
        }
        if let Err(fault) = self.parse_priority() {
            faults.push(fault.field, fault.reason);
        }
    }

    /// Reserved words that cannot be understood are faults; the message never repeats a value.
    fn check_reserved(&self, faults: &mut Faults) {
        if let Some(pause) = self.get("pause")
            && parse_flag(pause).is_err()
        {
            faults.push("metadata.pause", FLAG_WANTED);
        }
        if let Some(evacuate) = self.get("evacuate")
            && !matches!(evacuate, "recreate" | "never")
        {
            faults.push("metadata.evacuate", "must be `recreate`, `never` or not given");
        }
    }
}

impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.iter().map(|(name, value)| {
            let hidden = SECRET.contains(&name.as_str());
            (name.as_str(), if hidden { "(hidden)" } else { value.as_str() })
        });
        f.debug_map().entries(shown).finish()
    }
}

/// What a flag may be.
pub(super) const FLAG_WANTED: &str = "must be true, false, 1, 0, yes, no, on or off";

/// Reads a flag; white space and case do not count, empty is `false`.
pub(super) fn parse_flag(text: &str) -> Result<bool, ()> {
    let is = |words: &[&str]| words.iter().any(|word| text.trim().eq_ignore_ascii_case(word));
    if is(&["true", "1", "yes", "on"]) {
        Ok(true)
    } else if is(&["false", "0", "no", "off", ""]) {
        Ok(false)
    } else {
        Err(())
    }
}

/// Reads `k=v,k2=v2`; white space around the parts does not count.
fn parse_selector(text: &str) -> Result<BTreeMap<String, String>, &'static str> {
    let mut labels = BTreeMap::new();
    for pair in text.split(',') {
        let (label, value) = pair.split_once('=').ok_or("must be like zone=a,disk=ssd")?;
        let (label, value) = (label.trim(), value.trim());
        if label.is_empty() {
            return Err("must be like zone=a,disk=ssd; a label has no name");
        }
        if labels.insert(label.to_owned(), value.to_owned()).is_some() {
            return Err("names one label twice");
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> Metadata {
        Metadata(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    #[test]
    fn debug_hides_what_may_be_a_secret() {
        let text = format!(
            "{:?}",
            metadata(&[("user_data", "pw1"), ("ssh_keys", "pw2"), ("name", "web")])
        );
        assert_eq!(text, r#"{"name": "web", "ssh_keys": "(hidden)", "user_data": "(hidden)"}"#);
    }

    #[test]
    fn labels_are_what_stands_under_label() {
        let metadata = metadata(&[
            ("label", "no"),
            ("label/app", "web"),
            ("label/zone", ""),
            ("labels", "no"),
        ]);
        assert_eq!(metadata.labels().collect::<Vec<_>>(), [("app", "web"), ("zone", "")]);
        assert_eq!((metadata.label("app"), metadata.label("no")), (Some("web"), None));
    }

    #[test]
    fn reserved_words_are_read() {
        let metadata = metadata(&[
            ("evacuate", "recreate"),
            ("pause", " ON "),
            ("place", "zone=a, disk=ssd"),
            ("priority", "-5"),
            ("set", "db"),
        ]);
        assert!(metadata.is_paused() && metadata.evacuate_recreate());
        assert_eq!((metadata.priority(), metadata.set()), (-5, Some("db")));
        assert_eq!(
            metadata.place().into_iter().collect::<Vec<_>>(),
            [("disk".to_owned(), "ssd".to_owned()), ("zone".to_owned(), "a".to_owned())]
        );
    }
}
