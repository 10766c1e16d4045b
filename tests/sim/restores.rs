//! What must hold of a store that went back to an earlier snapshot of itself: until a person has accepted it nothing is
//! placed, torn down or asked of an agent; and afterwards nobody touches what the store does not declare.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

use lochness_agent::server::{Effect, EffectKind};
use lochness_agent::wire::Order;
use lochness_api::{GuestId, HypervisorId, JobId, Key, Prefix};
use lochness_kv::Event;
use tokio::time::Instant;

use crate::checker::{Checker, Kept};

/// A watcher is back after five seconds at most, and then reads for three before it believes that the store went back.
const NOTICED: Duration = Duration::from_secs(12);
/// A process that has begun to lead, and that knows no other store, has heard an agent after this; so has every leader one
/// whose address somebody has just put right.
const HEARD: Duration = Duration::from_secs(3);

type Found = Vec<(Option<GuestId>, String)>;

/// What is known of the store's past that the store itself does not know any more.
#[derive(Default)]
pub(crate) struct Restores {
    kept: Option<Kept>,
    went: Option<Went>,
    /// Since when hosts can be asked, those that can.
    asked: BTreeMap<HypervisorId, Instant>,
}

struct Went {
    /// The revision to which the store went back.
    to: i64,
    is_accepted: bool,
    /// When the operators that were there before must have noticed.
    noticed: Instant,
    /// Who leads, and since when.
    leader: Option<(Option<Vec<u8>>, Instant)>,
    /// Jobs that the store does not know any more; requests for them may still be under way.
    lost: BTreeSet<JobId>,
    /// Who runs with an address that the store does not reserve for it.
    displaced: BTreeSet<(GuestId, IpAddr)>,
    /// Guests on hosts that the store does not know.
    strangers: BTreeSet<GuestId>,
}

impl Restores {
    /// Somebody takes a snapshot.
    pub(crate) fn keep(&mut self, kept: Kept) {
        self.kept = Some(kept);
    }

    /// The store goes back to the snapshot, while these guests are on hosts and these run with addresses.
    pub(crate) fn go_back(
        &mut self,
        checker: &mut Checker,
        there: &BTreeSet<GuestId>,
        running: impl Iterator<Item = (GuestId, IpAddr)>,
    ) -> i64 {
        let kept = self.kept.take().expect("a snapshot was taken");
        let to = kept.revision();
        let lost = checker.jobs_since(to);
        checker.go_back(kept);
        self.went = Some(Went {
            to,
            is_accepted: false,
            noticed: Instant::now() + NOTICED,
            leader: None,
            lost,
            displaced: running.filter(|(guest, ip)| !checker.reserves(*ip, *guest)).collect(),
            strangers: there.iter().copied().filter(|guest| is_unknown(checker, *guest)).collect(),
        });
        to
    }

    /// Takes an effect in; what is wrong with it.
    pub(crate) fn effect(
        &mut self,
        effect: &Effect,
        checker: &Checker,
    ) -> Option<(Option<GuestId>, String)> {
        let went = self.went.as_mut()?;
        let (guest, kind) = (effect.guest?, effect.kind);
        let is_lost = effect.job.is_some_and(|job| went.lost.contains(&job));
        match kind {
            EffectKind::Started if is_lost => {
                let addresses = effect.addresses.iter().filter_map(|text| text.parse().ok());
                went.displaced.extend(addresses.map(|ip| (guest, ip)));
            }
            EffectKind::Created if is_lost && is_unknown(checker, guest) => {
                went.strangers.insert(guest);
            }
            EffectKind::Stopped | EffectKind::Crashed | EffectKind::Deleted | EffectKind::Lost => {
                went.displaced.retain(|(displaced, _)| *displaced != guest);
            }
            _ => {}
        }
        let job = effect.job.filter(|_| !is_lost)?;
        let is_new = checker.born(job).is_some_and(|born| born > went.to);
        (is_new && went.strangers.contains(&guest)).then(|| {
            let what =
                format!("L6: {kind:?} of {guest}, which the restored store does not declare");
            (Some(guest), what)
        })
    }

    /// Takes a revision in, which the checker has seen; what is wrong with it.
    /// `known` is the highest number that the firewall of a host shows that was asked: while the store has not come so far again, an operator
    /// that looks at the hosts knows that it went back. Later, or when nobody's rules were changed in what is lost, nothing
    /// proves it.
    pub(crate) fn take(
        &mut self,
        events: &[Event],
        checker: &Checker,
        known: Option<Order>,
    ) -> Found {
        let mut found = Vec::new();
        let Some(went) = &mut self.went else { return found };
        let number = checker.value(&Key::Incarnation).and_then(|it| std::str::from_utf8(it).ok());
        let number = number.and_then(|text| text.trim().parse().ok()).unwrap_or_default();
        let reached = Order::new(number, checker.revision().unsigned_abs());
        let is_known = known.is_some_and(|known| known > reached);
        let led = checker.value(&Key::Leader).map(<[u8]>::to_vec);
        if went.leader.as_ref().is_none_or(|(leader, _)| *leader != led) {
            went.leader = Some((led, Instant::now()));
        }
        let is_new = went.leader.as_ref().is_some_and(|(_, since)| since.elapsed() < HEARD);
        let is_forbidden =
            is_known && !went.is_accepted && !is_new && Instant::now() > went.noticed;
        for event in events {
            let Event::Put(kv) = event else { continue };
            match Prefix::default().parse(&kv.key) {
                Ok(Key::Config(name)) if name == "accept_store" => went.is_accepted = true,
                Ok(Key::Job(id)) if kv.version == 1 && is_forbidden => {
                    found.push((None, format!("HOLD: job {id} before anybody accepted the store")));
                }
                Ok(Key::Placement(host, guest)) if kv.version == 1 && is_forbidden => {
                    let what = format!(
                        "HOLD: {guest} is placed on {host} before anybody accepted the store"
                    );
                    found.push((Some(guest), what));
                }
                _ => {}
            }
        }
        went.strangers.retain(|guest| checker.value(&Key::Guest(*guest)).is_none());
        found
    }

    /// Whether a host that can be asked now, or cannot, has been heard.
    pub(crate) fn is_heard(&mut self, host: HypervisorId, can_be_asked: bool) -> bool {
        if !can_be_asked {
            self.asked.remove(&host);
            return false;
        }
        self.asked.entry(host).or_insert_with(Instant::now).elapsed() >= HEARD
    }

    /// Whether the address was reserved for the guest in what is lost.
    pub(crate) fn excuses(&self, guest: GuestId, ip: IpAddr) -> bool {
        self.went.as_ref().is_some_and(|went| went.displaced.contains(&(guest, ip)))
    }

    /// Guests on hosts that the store never knew since it went back.
    pub(crate) fn strangers(&self) -> BTreeSet<GuestId> {
        self.went.as_ref().map(|went| went.strangers.clone()).unwrap_or_default()
    }
}

/// Whether the store has neither a document nor a status of the guest.
fn is_unknown(checker: &Checker, guest: GuestId) -> bool {
    checker.value(&Key::Guest(guest)).is_none() && checker.status(guest).is_none()
}
