//! The resources of Loch Ness as data: documents, keys, statuses, validation and manifests.
//!
//! Guarantees: parsing is total (any bytes give a document or an [`Invalid`] that names key, field and reason); what is
//! parsed is valid in itself; what a document does not name and we do not know survives a round trip. Wire habits of the
//! original Go programs end here: inside, an address is an address and an absent field is `None`.
//!
//! Deliberately not here: I/O, async, the clock, and whether what a document refers to exists (that is the
//! controllers' question, asked of the world).

mod digest;
pub mod document;
mod id;
pub mod job;
pub mod keys;
mod mac;
pub mod manifest;
pub mod schema;
pub mod status;
mod text;

pub use digest::{Digest, canonical_json};
pub use document::{Document, FieldError, Invalid, Kind};
pub use id::{
    FlavorId, FwGroupId, GuestId, HypervisorId, Id, ImageId, JobId, NetworkId, SubnetId,
    VlanGroupId,
};
pub use keys::{Key, KeyError, Prefix};
pub use mac::Mac;
