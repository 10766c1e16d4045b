//! Configuration: one key a value, as text. What does not parse leaves the former value, also over a list that is made anew.

use std::collections::BTreeMap;

use bytes::Bytes;
use lochness_api::document::Applied;
use lochness_api::{FieldError, GuestId, HypervisorId};
use lochness_kv::KeyValue;

use super::World;

/// The texts that are in force, each with the create revision of its key: a key that was deleted and put again is another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Texts(BTreeMap<String, (i64, Bytes)>);

impl Texts {
    /// Takes in a new text, or the one in force of the former list when the new one does not parse and the key is the same.
    fn put(
        &mut self,
        name: &str,
        kv: &KeyValue,
        former: Option<&Self>,
        mut apply: impl FnMut(&[u8]) -> Result<Applied, FieldError>,
    ) -> Result<(), FieldError> {
        let Err(refused) = apply(&kv.value) else {
            self.0.insert(name.to_owned(), (kv.create_revision, kv.value.clone()));
            return Ok(());
        };
        if let Some((created, text)) = former.and_then(|former| former.0.get(name))
            && *created == kv.create_revision
            && apply(text).is_ok()
        {
            self.0.insert(name.to_owned(), (*created, text.clone()));
        }
        Err(refused)
    }
}

impl World {
    /// Sets a key of the cluster's configuration. `former` lends what was in force before a new list.
    pub(super) fn configure(&mut self, name: &str, kv: &KeyValue, former: Option<&Self>) {
        let confirmed = self.config.confirm_deletion;
        let lent = former.map(|former| &former.config_texts);
        let result =
            self.config_texts.put(name, kv, lent, |text| self.config.apply(name, Some(text)));
        note(&mut self.config_errors, name, result);
        self.stand_hosts();
        self.reconfirm(confirmed);
    }

    /// Unsets a key of the cluster's configuration: its default is in force.
    pub(super) fn unconfigure(&mut self, name: &str) {
        let confirmed = self.config.confirm_deletion;
        let result = self.config.apply(name, None).map(|_| ());
        self.config_texts.0.remove(name);
        note(&mut self.config_errors, name, result);
        self.stand_hosts();
        self.reconfirm(confirmed);
    }

    /// Counts the unconfirmed teardowns anew if a person has confirmed others than before.
    fn reconfirm(&mut self, before: Option<i64>) {
        if self.config.confirm_deletion == before {
            return;
        }
        let gone_at = |id: &GuestId| self.guest(*id).map_or(0, |entry| entry.gone_at);
        let waiting = self.awaiting_teardown.iter().copied();
        self.unconfirmed_teardowns = waiting.filter(|id| !self.is_confirmed(gone_at(id))).collect();
    }

    /// Sets a key of a host's configuration. `former` lends what was in force before a new list.
    pub(super) fn configure_host(
        &mut self,
        host: HypervisorId,
        name: &str,
        kv: &KeyValue,
        former: Option<&Self>,
    ) {
        let lent = former.and_then(|former| former.host(host)).map(|former| &former.config_texts);
        self.change_host(host, |entry| {
            let config = &mut entry.config;
            let result =
                entry.config_texts.put(name, kv, lent, |text| config.apply(name, Some(text)));
            note(&mut entry.config_errors, name, result);
        });
    }

    /// Unsets a key of a host's configuration: its default is in force.
    pub(super) fn unconfigure_host(&mut self, host: HypervisorId, name: &str) {
        self.change_host(host, |entry| {
            let result = entry.config.apply(name, None).map(|_| ());
            entry.config_texts.0.remove(name);
            note(&mut entry.config_errors, name, result);
        });
    }
}

fn note(errors: &mut BTreeMap<String, FieldError>, name: &str, result: Result<(), FieldError>) {
    match result {
        Ok(()) => errors.remove(name),
        Err(error) => errors.insert(name.to_owned(), error),
    };
}
