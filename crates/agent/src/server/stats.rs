//! Counts of what a host was asked, for tests that must show that nothing was.

use serde::{Deserialize, Serialize};

/// Counts since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Stats {
    /// Requests of every kind, but for those to `/simulated`.
    pub requests: u64,
    /// Those of them that ask for a change, whether accepted or not.
    pub mutations: u64,
    /// Bytes of their bodies.
    pub mutation_bytes: u64,
    /// Mutations that were refused because they were old.
    pub fenced: u64,
    /// Jobs that were accepted.
    pub jobs_accepted: u64,
    /// Jobs that began.
    pub jobs_begun: u64,
    /// Lists of guests that were answered with content.
    pub lists: u64,
    /// Lists of guests that were answered with "nothing changed".
    pub lists_unchanged: u64,
}
