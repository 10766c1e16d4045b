//! One thing that is wrong.

use lochness_kv::{Compare, Op};
use serde_json::{Value, json};

/// Which promise is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// A guest is in one place.
    OnePlace,
    /// An address is one guest's.
    OneHolder,
    /// A guest's address is reserved for it, and its host's index names it.
    Reserved,
    /// No host has promised more than it may.
    Capacity,
    /// One job a guest, and none without a guest.
    Jobs,
    /// Nothing is left of what is gone.
    Leak,
    /// What runs is declared, and what should run is there.
    Undeclared,
    /// A guest that should be on its host is there.
    Missing,
    /// What the operator wrote can be read.
    Unreadable,
    /// A document is valid.
    Invalid,
    /// Every host says what it runs.
    Unreachable,
}

impl Rule {
    /// The word for people and scripts; the numbers are the invariants'.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::OnePlace => "S1",
            Self::OneHolder => "S2",
            Self::Reserved => "S3",
            Self::Capacity => "S6",
            Self::Jobs => "jobs",
            Self::Leak => "leak",
            Self::Undeclared => "undeclared",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::Invalid => "invalid",
            Self::Unreachable => "unreachable",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) rule: Rule,
    /// What it is about, such as `guest/<id>`.
    pub(crate) subject: String,
    pub(crate) what: String,
    /// What mends it.
    pub(crate) mend: Mend,
}

/// What mends something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mend {
    /// A transaction can, which says so.
    Repair(Repair),
    /// A person must, who is told so.
    Person(&'static str),
}

/// A transaction that mends.
#[derive(Debug, Clone)]
pub(crate) struct Repair {
    pub(crate) say: String,
    pub(crate) compares: Vec<Compare>,
    pub(crate) ops: Vec<Op>,
}

// Repairs are told apart by what they say, which names the keys.
impl PartialEq for Repair {
    fn eq(&self, other: &Self) -> bool {
        self.say == other.say
    }
}

impl Eq for Repair {}

impl PartialOrd for Repair {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Repair {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.say.cmp(&other.say)
    }
}

impl Finding {
    /// Something that a person must mend.
    pub(crate) fn for_people(
        rule: Rule,
        subject: impl Into<String>,
        what: impl Into<String>,
        advice: &'static str,
    ) -> Self {
        let (subject, what) = (subject.into(), what.into());
        Self { rule, subject, what, mend: Mend::Person(advice) }
    }

    /// Whether both are about the same thing, whatever the numbers in their words.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        (self.rule, &self.subject) == (other.rule, &other.subject)
    }

    /// The transaction that mends it, if one can.
    pub(crate) fn repair(&self) -> Option<&Repair> {
        match &self.mend {
            Mend::Repair(repair) => Some(repair),
            Mend::Person(_) => None,
        }
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> &str {
        match &self.mend {
            Mend::Repair(repair) => &repair.say,
            Mend::Person(advice) => advice,
        }
    }

    /// For scripts.
    pub(crate) fn to_json(&self) -> Value {
        json!({
            "rule": self.rule.as_str(),
            "subject": self.subject,
            "what": self.what,
            "do": self.advice(),
            "repairable": self.repair().is_some(),
        })
    }
}
