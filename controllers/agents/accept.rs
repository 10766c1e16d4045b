//! Whether a list of guests is believed: absent is not unknown (DESIGN.md, *Consistency* 9). Pure.
//!
//! A complete answer of the right host makes a guest absent. But when more than a few and more than half of a host's
//! guests vanish at once and the host did not boot meanwhile, something other than the guests is likelier to be broken:
//! a storage sub-agent, a database, the list itself. Then only a second answer, asked a minute later, is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lochness_api::GuestId;
use tokio::time::Instant;

/// So many guests may vanish at once without a question.
const FEW: usize = 3;

/// What was known of a host's guests before an answer.
#[derive(Debug, Clone, Copy)]
pub struct Former<'a> {
    /// The guests that the host had.
    pub guests: &'a BTreeSet<GuestId>,
    /// The boot in which it had them; `None` when the agent does not say.
    pub boot_id: Option<&'a str>,
    /// When the first answer was asked for that was not believed, if the newest one was not.
    pub held_since: Option<Instant>,
}

/// An answer that is judged.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a, T> {
    /// Every guest of it.
    pub guests: &'a BTreeMap<GuestId, T>,
    /// The boot in which it was given.
    pub boot_id: Option<&'a str>,
    /// When it was asked for.
    pub asked_at: Instant,
}

/// What becomes of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is what the host has.
    Accept,
    /// Too much is missing at once: ask again, and believe an answer that was asked for from `until` on.
    Hold {
        /// When the first such answer was asked for.
        since: Instant,
        /// From when on one is believed.
        until: Instant,
        /// How many guests are missing.
        missing: usize,
    },
}

/// Whether an answer is believed.
pub fn judge<T>(former: Former<'_>, answer: &Answer<'_, T>, confirmation: Duration) -> Verdict {
    let missing = former.guests.iter().filter(|id| !answer.guests.contains_key(id)).count();
    let booted = former.boot_id != answer.boot_id;
    if booted || missing <= FEW || missing * 2 <= former.guests.len() {
        return Verdict::Accept;
    }
    let since = former.held_since.unwrap_or(answer.asked_at);
    let until = since + confirmation;
    if answer.asked_at >= until { Verdict::Accept } else { Verdict::Hold { since, until, missing } }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ids(count: u128) -> BTreeSet<GuestId> {
        (1..=count).map(|number| GuestId::new(Uuid::from_u128(number))).collect()
    }

    fn list(count: u128) -> BTreeMap<GuestId, u8> {
        ids(count).into_iter().map(|id| (id, 0)).collect()
    }

    /// `before` guests, then a list of the first `after` of them, in the same boot.
    fn verdict(before: u128, after: u128) -> Verdict {
        let (guests, list) = (ids(before), list(after));
        let former = Former { guests: &guests, boot_id: Some("b"), held_since: None };
        let answer = Answer { guests: &list, boot_id: Some("b"), asked_at: Instant::now() };
        judge(former, &answer, MINUTE)
    }

    fn is_held(verdict: Verdict) -> bool {
        matches!(verdict, Verdict::Hold { .. })
    }

    #[test]
    fn an_empty_list_of_a_host_that_had_many_guests_is_held() {
        assert!(is_held(verdict(10, 0)));
    }

    #[test]
    fn up_to_three_guests_may_vanish_at_once() {
        assert_eq!(verdict(3, 0), Verdict::Accept);
        assert!(is_held(verdict(4, 0)));
    }

    #[test]
    fn up_to_half_of_the_guests_may_vanish_at_once() {
        assert_eq!(verdict(20, 10), Verdict::Accept);
        assert!(is_held(verdict(20, 9)));
    }

    #[test]
    fn a_host_that_booted_may_have_lost_all() {
        let (guests, list) = (ids(10), list(0));
        let former = Former { guests: &guests, boot_id: Some("b"), held_since: None };
        let answer = Answer { guests: &list, boot_id: Some("c"), asked_at: Instant::now() };
        assert_eq!(judge(former, &answer, MINUTE), Verdict::Accept);
    }

    #[test]
    fn an_agent_that_says_no_boot_is_held_all_the_same() {
        let (guests, list) = (ids(10), list(0));
        let former = Former { guests: &guests, boot_id: None, held_since: None };
        let answer = Answer { guests: &list, boot_id: None, asked_at: Instant::now() };
        assert!(is_held(judge(former, &answer, MINUTE)));
    }

    #[test]
    fn a_second_answer_is_believed_a_minute_after_the_first_and_not_before() {
        let (guests, list) = (ids(10), list(0));
        let first = Instant::now();
        let former = Former { guests: &guests, boot_id: Some("b"), held_since: Some(first) };
        let answer = |asked_at| Answer { guests: &list, boot_id: Some("b"), asked_at };
        let early = first + MINUTE.checked_sub(Duration::from_millis(1)).unwrap();
        assert_eq!(
            judge(former, &answer(early), MINUTE),
            Verdict::Hold { since: first, until: first + MINUTE, missing: 10 }
        );
        assert_eq!(judge(former, &answer(first + MINUTE), MINUTE), Verdict::Accept);
    }

    #[test]
    fn guests_that_come_instead_do_not_make_up_for_those_that_vanish() {
        let guests = ids(10);
        let others: BTreeMap<_, _> =
            (100..120).map(|number| (GuestId::new(Uuid::from_u128(number)), 0)).collect();
        let former = Former { guests: &guests, boot_id: None, held_since: None };
        let answer = Answer { guests: &others, boot_id: None, asked_at: Instant::now() };
        assert!(is_held(judge(former, &answer, MINUTE)));
    }
}
