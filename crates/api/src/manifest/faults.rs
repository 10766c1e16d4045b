//! Faults of manifests, collected over all sources.

use super::tree::Place;
use super::{Location, ManifestError, Source};

/// Faults that are told; more are counted.
const FAULT_LIMIT: usize = 1_000;

/// What is wrong in the sources so far.
#[derive(Debug)]
pub(super) struct Faults<'a> {
    sources: &'a [Source<'a>],
    list: Vec<(At, String)>,
    more: usize,
}

/// A place in one of the sources; ordered as a person reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) source: usize,
    pub(super) place: Place,
}

impl<'a> Faults<'a> {
    pub(super) fn new(sources: &'a [Source<'a>]) -> Self {
        Self { sources, list: Vec::new(), more: 0 }
    }

    pub(super) fn push(&mut self, at: At, message: impl Into<String>) {
        if self.list.len() < FAULT_LIMIT {
            self.list.push((at, message.into()));
        } else {
            self.more += 1;
        }
    }

    pub(super) fn location(&self, at: At) -> Location {
        Location {
            file: self.sources[at.source].name.to_owned(),
            line: at.place.line,
            column: at.place.column,
        }
    }

    /// Nothing when there are no faults.
    pub(super) fn finish(mut self) -> Result<(), Vec<ManifestError>> {
        if self.list.is_empty() {
            return Ok(());
        }
        self.list.sort();
        let mut errors: Vec<_> = self
            .list
            .iter()
            .map(|(at, message)| ManifestError {
                location: self.location(*at),
                message: message.clone(),
            })
            .collect();
        if self.more > 0 {
            let message = format!("and {} more errors", self.more);
            errors.push(ManifestError { location: Location::default(), message });
        }
        Err(errors)
    }
}
