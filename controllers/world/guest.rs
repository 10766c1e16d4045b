//! One guest as the store shows it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::OnceLock;

use lochness_api::document::Guest;
use lochness_api::status::{GuestStatus, Phase, Placement};
use lochness_api::{Digest, HypervisorId, SubnetId};

use super::stored::{Declared, Stored};

/// One guest as the store shows it: what is wished, what was decided, and the keys that name it.
#[derive(Debug, Default)]
pub struct GuestEntry {
    /// Its document; `None` means that it is absent in a complete view.
    pub document: Option<Declared<Guest>>,
    /// The revision at which the document was seen to be gone; 0 while there is one, or when there never was.
    pub gone_at: i64,
    /// Its status.
    pub status: Option<Stored<GuestStatus>>,
    /// Hosts whose index names the guest, with the create revision of the key.
    pub index: BTreeMap<HypervisorId, i64>,
    /// Reservations that name the guest.
    pub addresses: BTreeSet<(SubnetId, IpAddr)>,
    /// Of the document as last understood, once somebody asked: each of a guest's plans does.
    pub(super) digest: OnceLock<Digest>,
}

impl GuestEntry {
    /// The document as last understood.
    pub fn understood(&self) -> Option<&Guest> {
        self.document.as_ref()?.understood.as_deref()
    }

    /// The digest of the document as last understood.
    pub fn digest(&self) -> Option<Digest> {
        let document = self.understood()?;
        Some(*self.digest.get_or_init(|| Digest::of_guest(document)))
    }

    /// The status, if there is one that decodes.
    pub fn status(&self) -> Option<&GuestStatus> {
        self.status.as_ref()?.value.as_deref()
    }

    /// The mod revision of the status, 0 when there is none: what a transaction compares.
    pub fn status_revision(&self) -> i64 {
        self.status.as_ref().map_or(0, |status| status.mod_revision)
    }

    /// The mod revision of the document, 0 when there is none: what a transaction compares.
    pub fn document_revision(&self) -> i64 {
        self.document.as_ref().map_or(0, |document| document.mod_revision)
    }

    /// Where the guest was placed, if it was.
    pub fn placement(&self) -> Option<&Placement> {
        self.status()?.placement.as_ref()
    }

    /// Create revision of the index key of its placement; 0 when that key is missing.
    pub fn placement_revision(&self) -> i64 {
        self.placement()
            .and_then(|placement| self.index.get(&placement.hypervisor))
            .copied()
            .unwrap_or(0)
    }

    /// Declared, and not placed: the placement loop's business.
    pub fn wants_placement(&self) -> bool {
        self.document.is_some() && self.placement().is_none()
    }

    /// Placed, its document gone, its teardown not begun: what the deletion budget counts.
    pub fn awaits_teardown(&self) -> bool {
        self.document.is_none()
            && self
                .status()
                .is_some_and(|status| status.placement.is_some() && status.phase != Phase::Deleting)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.document.is_none()
            && self.status.is_none()
            && self.index.is_empty()
            && self.addresses.is_empty()
    }
}
