//! Makes whole revisions out of the messages of a watch.
//!
//! The server cuts large messages, also inside a revision, and after a reconnect it may send again what was seen. A
//! revision is whole when the message that brings its last event is not marked as a fragment, or when an event of a
//! higher one arrives.

use std::mem;

use lochness_kv::{Event, WatchBatch};

/// Whole revisions, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Revisions {
    /// All their events, in order; at least one.
    pub(super) events: Vec<Event>,
    /// The last of them.
    pub(super) revision: i64,
}

/// An event came after one of a higher revision: the stream cannot be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disordered;

/// Where a stream stands: the last whole revision, and what came of the next one.
#[derive(Debug)]
pub(super) struct Assembler {
    last: i64,
    pending: Vec<Event>,
}

impl Assembler {
    /// Begins after the revision `last`.
    pub(super) fn new(last: i64) -> Self {
        Self { last, pending: Vec::new() }
    }

    /// Takes a message; gives the revisions that are whole now, if any.
    pub(super) fn take(&mut self, batch: WatchBatch) -> Result<Option<Revisions>, Disordered> {
        let WatchBatch { mut events, fragment, header: _ } = batch;
        events.retain(|event| event.revision() > self.last);
        let Some(first) = events.first() else {
            // A sign of life completes nothing: it may overtake the rest of a revision.
            return Ok(None);
        };
        let follows = self.pending.last().is_none_or(|last| last.revision() <= first.revision());
        if !follows || !events.is_sorted_by_key(Event::revision) {
            return Err(Disordered);
        }
        if self.pending.is_empty() {
            self.pending = events;
        } else {
            self.pending.append(&mut events);
        }
        Ok(self.whole(if fragment { Tail::Open } else { Tail::Whole }))
    }

    fn whole(&mut self, tail: Tail) -> Option<Revisions> {
        let newest = self.pending.last()?.revision();
        let open = match tail {
            Tail::Whole => Vec::new(),
            Tail::Open => {
                let whole = self.pending.partition_point(|event| event.revision() < newest);
                self.pending.split_off(whole)
            }
        };
        let events = mem::replace(&mut self.pending, open);
        let revision = events.last()?.revision();
        self.last = revision;
        Some(Revisions { events, revision })
    }
}

/// Whether more of the newest revision may follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    Whole,
    Open,
}

#[cfg(test)]
mod tests {
    use lochness_kv::Header;
    use proptest::prelude::*;

    use super::*;

    fn event(mod_revision: i64, key: usize) -> Event {
        Event::Delete { key: format!("k{key}").into(), mod_revision }
    }

    fn batch(revisions: &[i64], fragment: bool) -> WatchBatch {
        let events = revisions.iter().map(|revision| event(*revision, 0)).collect();
        WatchBatch { header: Header::default(), events, fragment }
    }

    fn take(assembler: &mut Assembler, revisions: &[i64], fragment: bool) -> Option<(usize, i64)> {
        let whole = assembler.take(batch(revisions, fragment)).unwrap();
        whole.map(|whole| (whole.events.len(), whole.revision))
    }

    #[test]
    fn fragments_make_one_revision() {
        let mut assembler = Assembler::new(4);
        assert_eq!(take(&mut assembler, &[5, 5], true), None);
        assert_eq!(take(&mut assembler, &[5], true), None);
        assert_eq!(take(&mut assembler, &[5, 6], false), Some((5, 6)));
    }

    #[test]
    fn a_higher_revision_completes_a_fragment() {
        let mut assembler = Assembler::new(4);
        assert_eq!(take(&mut assembler, &[5, 6, 6], true), Some((1, 5)));
        assert_eq!(take(&mut assembler, &[7], true), Some((2, 6)));
        assert_eq!(take(&mut assembler, &[7], false), Some((2, 7)));
    }

    #[test]
    fn events_at_or_below_the_last_revision_are_dropped() {
        let mut assembler = Assembler::new(4);
        assert_eq!(take(&mut assembler, &[3, 4], false), None);
        assert_eq!(take(&mut assembler, &[4, 5], false), Some((1, 5)));
        assert_eq!(take(&mut assembler, &[5], false), None);
    }

    #[test]
    fn a_sign_of_life_completes_nothing() {
        let mut assembler = Assembler::new(4);
        assert_eq!(take(&mut assembler, &[5], true), None);
        assert_eq!(take(&mut assembler, &[], false), None);
        assert_eq!(take(&mut assembler, &[5], false), Some((2, 5)));
    }

    #[test]
    fn a_stream_that_goes_back_is_not_trusted() {
        let mut assembler = Assembler::new(4);
        assert_eq!(take(&mut assembler, &[7], true), None);
        assert_eq!(assembler.take(batch(&[6], false)), Err(Disordered));
        assert_eq!(Assembler::new(4).take(batch(&[7, 6], false)), Err(Disordered));
    }

    proptest! {
        /// However the server cuts and repeats: every event once, in order, and never a part of a revision.
        #[test]
        fn any_cutting_gives_the_same_whole_revisions(
            sizes in prop::collection::vec(1_usize..5, 1..12),
            cuts in prop::collection::vec(any::<bool>(), 60),
            repeats in prop::collection::vec(0_usize..3, 60),
        ) {
            let all: Vec<Event> = (10_i64..).zip(&sizes)
                .flat_map(|(revision, size)| (0..*size).map(move |key| event(revision, key))).collect();
            let mut assembler = Assembler::new(9);
            let mut seen = Vec::new();
            let (mut from, mut whole_until) = (0, 0);
            for at in 1..=all.len() {
                if at < all.len() && !cuts[at] {
                    continue;
                }
                let open = all.get(at).is_some_and(|next| next.revision() == all[at - 1].revision());
                // What was whole before may come again.
                let again = whole_until - repeats[at].min(whole_until);
                let events = [&all[again..whole_until], &all[from..at]].concat();
                let batch = WatchBatch { header: Header::default(), events, fragment: open };
                if let Some(whole) = assembler.take(batch).unwrap() {
                    prop_assert_eq!(whole.events.last().map(Event::revision), Some(whole.revision));
                    seen.extend(whole.events);
                    whole_until = seen.len();
                    let cut_inside = all.get(seen.len()).is_some_and(|next| next.revision() == whole.revision);
                    prop_assert!(!cut_inside);
                }
                from = at;
            }
            prop_assert_eq!(seen, all);
        }
    }
}
