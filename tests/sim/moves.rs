//! S14: a guest whose host has it is placed nowhere else, unless a person has fenced that host. Judged by what hosts really
//! have, so that it does not matter how the guest lost its place: a host that is silent is one that cannot contradict.
//!
//! That a silent host's guest loses its place is judged at the revision that takes it, by the rules that all tests share.

use std::collections::BTreeSet;

use lochness_agent::server::{Effect, EffectKind};
use lochness_api::{GuestId, HypervisorId, Key, Prefix};
use lochness_kv::Event;

type Found = Vec<(Option<GuestId>, String)>;

/// Which guests hosts have, whether they run or not. Only of hosts whose agents know orders: elsewhere a request that comes late
/// can make a guest again that was deleted there.
#[derive(Default)]
pub(crate) struct Moves {
    there: BTreeSet<(GuestId, HypervisorId)>,
}

impl Moves {
    /// Takes in an effect on a host whose agent knows orders.
    pub(crate) fn effect(&mut self, host: HypervisorId, effect: &Effect) {
        let Some(guest) = effect.guest else { return };
        match effect.kind {
            EffectKind::Created => drop(self.there.insert((guest, host))),
            EffectKind::Deleted | EffectKind::Lost => drop(self.there.remove(&(guest, host))),
            _ => {}
        }
    }

    /// Takes a revision in; what is wrong with it. `has` says whether the store has a key then.
    pub(crate) fn take(&self, events: &[Event], has: impl Fn(&Key) -> bool) -> Found {
        let mut found = Found::new();
        for event in events {
            let Event::Put(kv) = event else { continue };
            let Ok(Key::Placement(to, guest)) = Prefix::default().parse(&kv.key) else { continue };
            if kv.version != 1 {
                continue;
            }
            let elsewhere = self.there.iter().filter(|(it, at)| *it == guest && *at != to);
            for (_, from) in elsewhere {
                if has(&Key::HypervisorConfig(*from, "fenced".to_owned())) {
                    continue;
                }
                let what = if has(&Key::Heartbeat(*from)) {
                    format!("S1: {guest} is placed on {to} while {from} has it")
                } else {
                    format!(
                        "S14: {guest} is placed on {to} while {from}, silent and not fenced, has it"
                    )
                };
                found.push((Some(guest), what));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use jiff::Timestamp;
    use lochness_kv::KeyValue;

    use super::*;
    use crate::wishes::{guest_id, host_id};

    fn effect(kind: EffectKind) -> Effect {
        Effect {
            sequence: 1,
            at: Timestamp::UNIX_EPOCH,
            kind,
            guest: Some(guest_id(1)),
            job: None,
            order: None,
            remote: None,
            firewall: None,
            addresses: Vec::new(),
            detail: None,
        }
    }

    /// What is wrong when the guest is placed on the second host, after these effects on the first one, while the store has these keys.
    fn wrong(effects: &[EffectKind], keys: &[Key]) -> Vec<String> {
        let mut moves = Moves::default();
        for kind in effects {
            moves.effect(host_id(1), &effect(*kind));
        }
        let key = Prefix::default().key(&Key::Placement(host_id(2), guest_id(1)));
        let put = Event::Put(KeyValue {
            key: Bytes::from(key),
            value: Bytes::new(),
            create_revision: 7,
            mod_revision: 7,
            version: 1,
            lease: None,
        });
        let found = moves.take(&[put], |key| keys.contains(key));
        found.into_iter().map(|(_, what)| what).collect()
    }

    #[test]
    fn a_guest_of_a_silent_host_is_placed_anew_only_when_that_is_fenced() {
        let fenced = Key::HypervisorConfig(host_id(1), "fenced".to_owned());
        let made = [EffectKind::Created];
        let silent = wrong(&made, &[]);
        assert!(silent.len() == 1 && silent[0].starts_with("S14: "), "{silent:?}");
        let heard = wrong(&made, &[Key::Heartbeat(host_id(1))]);
        assert!(heard.len() == 1 && heard[0].starts_with("S1: "), "{heard:?}");
        assert_eq!(wrong(&made, &[fenced]), Vec::<String>::new());
    }

    #[test]
    fn a_guest_that_its_host_has_no_more_may_be_placed_anew() {
        for end in [EffectKind::Deleted, EffectKind::Lost] {
            assert_eq!(wrong(&[EffectKind::Created, end], &[]), Vec::<String>::new());
        }
    }
}
