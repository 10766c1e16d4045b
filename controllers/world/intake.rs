//! A whole list becomes a world: keys are read beside each other, taken in one after the other, and what is derived from
//! them is derived once at the end.

use lochness_api::document::Guest;
use lochness_api::job::Job;
use lochness_api::keys::{Key, KeyError};
use lochness_api::status::GuestStatus;
use lochness_api::{GuestId, JobId, Prefix};
use lochness_kv::{Header, KeyValue};
use lochness_mutant::Mutant;

use super::World;
use super::apply::{name_of, reservation};
use super::stored::{Declared, Parsed, Stored};

/// A key that was read, as far as that needs nothing else: what many guests have is decoded already.
enum Read {
    Guest(GuestId, Box<Parsed<Guest>>),
    GuestStatus(GuestId, Stored<GuestStatus>),
    Job(JobId, Stored<Job>),
    Other(Key, KeyValue),
    Stray(KeyError),
}

/// Keys of a list that were read.
pub struct Page(Vec<Read>);

impl Page {
    /// Reads the keys; needs nothing but them, so that pages are read at the same time.
    pub fn read(prefix: &Prefix, kvs: Vec<KeyValue>) -> Self {
        Self(kvs.into_iter().map(|kv| read(prefix, kv)).collect())
    }
}

fn read(prefix: &Prefix, kv: KeyValue) -> Read {
    match prefix.parse(&kv.key) {
        Ok(Key::Guest(id)) => Read::Guest(id, Box::new(Parsed::new(&id.to_string(), &kv))),
        Ok(Key::GuestStatus(id)) => Read::GuestStatus(id, Stored::decode(&kv)),
        Ok(Key::Job(id)) => Read::Job(id, Stored::decode(&kv)),
        Ok(key) => Read::Other(key, kv),
        Err(error) => Read::Stray(error),
    }
}

impl World {
    /// The world that a complete list shows. `former` lends what was understood of documents that do not parse now.
    pub fn from_list(former: &Self, kvs: &[KeyValue], header: Header) -> Self {
        let mut world = Self::new(former.prefix.clone());
        world.take_in(Page::read(&former.prefix, kvs.to_vec()), former);
        world.complete(former, header);
        world
    }

    /// Takes in keys of a list. The world is no world before it is [complete](Self::complete).
    pub(super) fn take_in(&mut self, page: Page, former: &Self) {
        for read in page.0 {
            self.stage(read, former);
        }
    }

    /// All keys of the list are taken in: derives what is derived from the guests.
    pub(super) fn complete(&mut self, former: &Self, header: Header) {
        self.header = header;
        self.index_guests();
        self.renamed.clear();
        self.take_relief();
        self.macs.take_concerned();
        self.group_members.follow(&former.group_members);
        let gone: Vec<_> = self.awaiting_teardown.iter().copied().collect();
        for id in gone {
            let seen = former.guest(id).map_or(0, |entry| entry.gone_at);
            let at = if seen > 0 { seen } else { header.revision };
            self.change_guest(id, |entry| entry.gone_at = at);
        }
    }

    fn stage(&mut self, read: Read, former: &Self) {
        match read {
            Read::Guest(id, parsed) => self.stage_guest(id, *parsed, former),
            Read::GuestStatus(id, stored) => self.guests.stage_status(id, stored),
            Read::Job(id, stored) => self.jobs.put(id, &stored),
            Read::Other(Key::Placement(host, guest), kv) => {
                self.guests.stage_index(guest, host, kv.create_revision);
                self.change_host(host, |entry| entry.index.insert(guest, kv.create_revision));
            }
            Read::Other(Key::Address(subnet, ip), kv) => {
                let reservation = reservation(&kv);
                if let Some(guest) = reservation.holder.filter(|_| !reservation.quarantined) {
                    self.guests.stage_address(guest, (subnet, ip));
                }
                self.change_subnet(subnet, |entry| {
                    entry.addresses.set_reservation(ip, Some(reservation));
                });
            }
            Read::Other(key, kv) => {
                self.put_key(key, &kv, Some(former));
            }
            Read::Stray(error) => self.count_stray(&error),
        }
    }

    fn stage_guest(&mut self, id: GuestId, parsed: Parsed<Guest>, former: &Self) {
        let lent = parsed.is_invalid().then(|| former.guests.look(id)?.document).flatten();
        let declared = Declared::of(lent.as_ref(), parsed);
        let is_gone = declared.invalid.is_some() && lochness_mutant::is(Mutant::UnparsedIsGone);
        if !is_gone {
            let name = name_of(&declared);
            self.guests.stage_document(id, declared);
            if let (Some((name, _)), Some(place)) = (name, self.guests.place(id)) {
                self.names.insert_guest(&name, place, &self.guests);
            }
        }
    }
}
