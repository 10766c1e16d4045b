//! One guest's record: three parts that are written one by one, and an outline that is read without reading them.

use lochness_api::Id;
use lochness_api::document::Guest;
use lochness_api::status::Phase;
use lochness_runtime::queue::Lane;

use super::super::GuestEntry;
use super::status::{phase_number, phase_of};
use super::wire::{Bytes, Cursor};

const DECLARED: u8 = 1;
const INVALID: u8 = 1 << 1;
const STATUS: u8 = 1 << 2;
const READABLE: u8 = 1 << 3;
const PLACED: u8 = 1 << 4;
/// The status answers the document, by a digest that somebody computed. What is not set says nothing.
const ANSWERED: u8 = 1 << 5;

/// What can be told of a guest without unpacking it, for whoever looks at all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Outline {
    flags: u8,
    phase: u8,
    lane: Lane,
}

impl Outline {
    /// Whether it has a document.
    pub fn is_declared(self) -> bool {
        self.has(DECLARED)
    }

    /// Whether the newest version of its document cannot be used.
    pub fn is_invalid(self) -> bool {
        self.has(INVALID)
    }

    /// Whether it has a status, readable or not.
    pub fn has_status(self) -> bool {
        self.has(STATUS)
    }

    /// Whether its status says where it is.
    pub fn is_placed(self) -> bool {
        self.has(PLACED)
    }

    /// Where it is in its life, if its status can be read.
    pub fn phase(self) -> Option<Phase> {
        self.has(READABLE).then(|| phase_of(self.phase))
    }

    /// Whether the digest in the status is known to be the document's, which spares computing it.
    pub(super) fn is_answered(self) -> bool {
        self.has(ANSWERED)
    }

    /// Guests with the same lane wait for one another where many wait: those of one network, or of one subnet.
    pub fn lane(self) -> Lane {
        self.lane
    }

    pub(super) fn of(entry: &GuestEntry) -> Self {
        let flag = |flag: u8, given: bool| if given { flag } else { 0 };
        let status = entry.status();
        let invalid = entry.document.as_ref().is_some_and(|it| it.invalid.is_some());
        let observed = status.and_then(|status| status.observed);
        let flags = flag(DECLARED, entry.document.is_some())
            | flag(INVALID, invalid)
            | flag(STATUS, entry.status.is_some())
            | flag(READABLE, status.is_some())
            | flag(PLACED, entry.placement().is_some())
            | flag(ANSWERED, observed.is_some() && observed.as_ref() == entry.digest.get());
        let phase = status.map_or(0, |status| phase_number(status.phase));
        Self { flags, phase, lane: entry.understood().map_or(0, lane_of) }
    }

    /// This one's document and that one's status.
    pub(super) fn with_status_of(self, other: Self) -> Self {
        let (document, status) = (DECLARED | INVALID, STATUS | READABLE | PLACED);
        let flags = (self.flags & document) | (other.flags & status);
        Self { flags, phase: other.phase, lane: self.lane }
    }

    fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// A number for the network or subnet that a guest asks for; two of them may have the same.
fn lane_of(document: &Guest) -> Lane {
    let uuid = document.network.map(Id::uuid).or_else(|| document.subnet.map(Id::uuid));
    let bytes = uuid.map(uuid::Uuid::into_bytes).unwrap_or_default();
    bytes.chunks_exact(2).fold(0, |lane, pair| lane ^ Lane::from_be_bytes([pair[0], pair[1]]))
}

/// A record: outline, length and bytes of the document's part, of the status', and the rest is the keys'. A part of no
/// bytes is not there.
#[derive(Default)]
pub(super) struct Record(Box<[u8]>);

/// The parts of a record.
#[derive(Clone, Copy, Default)]
pub(super) struct Parts<'r> {
    pub(super) outline: Outline,
    pub(super) document: &'r [u8],
    pub(super) status: &'r [u8],
    pub(super) keys: &'r [u8],
}

impl Record {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts { outline, document, status, keys } = parts;
        let mut bytes = Bytes(Vec::with_capacity(document.len() + status.len() + keys.len() + 8));
        bytes.byte(outline.flags);
        bytes.byte(outline.phase);
        bytes.raw(&outline.lane.to_be_bytes());
        bytes.number(document.len() as u64);
        bytes.raw(document);
        bytes.number(status.len() as u64);
        bytes.raw(status);
        bytes.raw(keys);
        Self(bytes.0.into_boxed_slice())
    }

    pub(super) fn parts(&self) -> Parts<'_> {
        if self.0.is_empty() {
            return Parts::default();
        }
        let outline = self.outline();
        let mut cursor = Cursor(&self.0);
        let _outline = cursor.raw(4);
        let length = cursor.length();
        let document = cursor.raw(length);
        let length = cursor.length();
        let status = cursor.raw(length);
        Parts { outline, document, status, keys: cursor.0 }
    }

    /// How many bytes it takes.
    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        self.0.len()
    }

    pub(super) fn outline(&self) -> Outline {
        match *self.0 {
            [flags, phase, high, low, ..] => {
                Outline { flags, phase, lane: Lane::from_be_bytes([high, low]) }
            }
            _ => Outline::default(),
        }
    }
}
