//! Behaviour of the whole crate, as its users see it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod digests;
mod documents;
mod examples;
mod hostile;
mod keys;
mod manifests;
mod properties;
mod schemas;
