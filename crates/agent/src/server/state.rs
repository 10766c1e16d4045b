//! Everything that a host knows: the sum of its records, and nothing else.

use std::collections::BTreeMap;

use lochness_api::GuestId;

use super::fence::Fence;
use super::firewall::Firewall;
use super::guests::GuestRecord;
use super::history::History;
use super::jobs::Jobs;
use super::record::Record;
use crate::wire::AgentImage;

/// The sum of a host's records.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) opened: u64,
    pub(crate) boot_id: String,
    pub(crate) fence: Fence,
    pub(crate) guests: BTreeMap<GuestId, GuestRecord>,
    pub(crate) jobs: Jobs,
    pub(crate) images: BTreeMap<String, AgentImage>,
    pub(crate) firewall: Firewall,
    pub(crate) history: History,
}

impl State {
    /// The sum of `records`.
    pub(crate) fn of(records: Vec<Record>) -> Self {
        let mut state = Self::default();
        for record in records {
            state.apply(record);
        }
        state
    }

    /// Takes one change in. Total: what does not fit changes nothing.
    pub(crate) fn apply(&mut self, record: Record) {
        match record {
            Record::Opened(times) => self.opened = times,
            Record::Boot(id) => self.boot_id = id,
            Record::Fence(record) => self.fence.apply(record),
            Record::Guest(guest) => {
                self.guests.insert(guest.id(), *guest);
            }
            Record::GuestGone(id) => {
                self.guests.remove(&id);
            }
            Record::Job(job) => self.jobs.put(*job),
            Record::JobGone(id) => self.jobs.remove(&id),
            Record::Image(image) => {
                self.images.insert(image.id.clone(), image);
            }
            Record::Firewall(firewall) => self.firewall = *firewall,
            Record::FirewallPatched(patched) => self.firewall.take_in(*patched),
            Record::FirewallFailed(why) => self.firewall.error = Some(why),
            Record::Effect(effect) => self.history.push(*effect),
        }
    }

    /// How many records [`Self::records`] gives, about.
    pub(crate) fn size(&self) -> usize {
        self.guests.len() + self.jobs.len() + self.images.len() + self.history.len() + 4
    }

    /// Records that add up to this state.
    pub(crate) fn records(&self) -> Vec<Record> {
        let mut records = vec![Record::Opened(self.opened), Record::Boot(self.boot_id.clone())];
        records.extend(self.fence.records().map(Record::Fence));
        records.extend(self.guests.values().map(|guest| Record::Guest(Box::new(guest.clone()))));
        records.extend(self.jobs.oldest().map(|job| Record::Job(Box::new(job.clone()))));
        records.extend(self.images.values().map(|image| Record::Image(image.clone())));
        records.push(Record::Firewall(Box::new(self.firewall.clone())));
        records.extend(self.history.iter().map(|effect| Record::Effect(Box::new(effect.clone()))));
        records
    }
}
