//! What an agent's answers become in a report, and how two lists differ. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use lochness_agent::wire::{AgentGuest, AgentImage, FirewallState, Power};
use lochness_api::{GuestId, ImageId};

use crate::reports::{FirewallReport, ImageState, ReportedGuest};

/// The guests of a list as reported ones.
pub(super) fn guests(list: Vec<AgentGuest>) -> BTreeMap<GuestId, ReportedGuest> {
    list.into_iter().map(|guest| (guest.id, reported(guest))).collect()
}

fn reported(guest: AgentGuest) -> ReportedGuest {
    let addresses = guest.nics.iter().filter_map(|nic| nic.address.trim().parse().ok());
    let addresses = addresses.map(|ip: std::net::IpAddr| ip.to_canonical()).collect();
    ReportedGuest { state: guest.known_state(), addresses, record: Arc::new(guest) }
}

/// The images of a list. What the host loop is about to fetch, or could not, stays as it was unless it is there now.
pub(super) fn images(
    list: &[AgentImage],
    former: Option<BTreeMap<ImageId, ImageState>>,
) -> BTreeMap<ImageId, ImageState> {
    let mut images = former.unwrap_or_default();
    images.retain(|_, state| *state != ImageState::Present);
    images.extend(list.iter().filter_map(|image| Some((image.image_id()?, ImageState::Present))));
    images
}

/// What is in force, if anything is.
pub(super) fn firewall(state: FirewallState) -> Option<FirewallReport> {
    Some(FirewallReport { hash: state.hash?, revision: state.revision?, error: state.error })
}

/// How a list differs from the one before.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// Guests whose record changed, that appeared or that vanished, in order; and those whose word means something only now,
    /// since of others of their type the list begins to say what they do.
    pub(super) guests: Vec<GuestId>,
    /// Whether the host has other guests than before, not only the same in another state.
    pub(super) membership: bool,
    /// Whether an address may have become free.
    pub(super) freed: bool,
}

/// How `new` differs from `former`; without a former list everything in it is new.
pub(super) fn difference(
    former: Option<&BTreeMap<GuestId, ReportedGuest>>,
    new: &BTreeMap<GuestId, ReportedGuest>,
) -> Difference {
    let nothing = BTreeMap::new();
    let former = former.unwrap_or(&nothing);
    let mut difference = Difference::default();
    for (id, guest) in new {
        match former.get(id) {
            Some(before) if before == guest => {}
            Some(before) => {
                difference.guests.push(*id);
                difference.freed |= before.addresses != guest.addresses;
            }
            None => {
                difference.guests.push(*id);
                difference.membership = true;
            }
        }
    }
    for (id, _) in former.iter().filter(|(id, _)| !new.contains_key(id)) {
        difference.guests.push(*id);
        difference.membership = true;
        difference.freed = true;
    }
    let quiet: Vec<_> = new.iter().filter(|(_, guest)| !is_told(guest)).collect();
    if !quiet.is_empty() {
        let (before, now) = (types_told(former), types_told(new));
        let means_more = |guest: &ReportedGuest| {
            let its_type = guest.record.guest_type.as_deref();
            now.contains(&its_type) && !before.contains(&its_type)
        };
        let those = quiet.into_iter().filter(|(_, guest)| means_more(guest));
        difference.guests.extend(those.map(|(id, _)| *id));
    }
    difference.guests.sort_unstable();
    difference.guests.dedup();
    difference
}

/// Whether the list says what the guest does.
fn is_told(guest: &ReportedGuest) -> bool {
    guest.state.power() != Power::Unclear
}

/// The types of guests of some of which the list says what they do.
fn types_told(list: &BTreeMap<GuestId, ReportedGuest>) -> BTreeSet<Option<&str>> {
    let told = list.values().filter(|guest| is_told(guest));
    told.map(|guest| guest.record.guest_type.as_deref()).collect()
}

#[cfg(test)]
mod tests {
    use lochness_agent::wire::Nic;
    use uuid::Uuid;

    use super::*;

    fn guest(number: u128, state: &str, address: &str) -> AgentGuest {
        let mut guest = AgentGuest::new(GuestId::new(Uuid::from_u128(number)));
        state.clone_into(&mut guest.state);
        guest.nics = vec![Nic { address: address.to_owned(), ..Nic::default() }];
        guest
    }

    fn list(list: &[(u128, &str, &str)]) -> BTreeMap<GuestId, ReportedGuest> {
        guests(list.iter().map(|(id, state, ip)| guest(*id, state, ip)).collect())
    }

    fn numbers(difference: &Difference) -> Vec<u128> {
        difference.guests.iter().map(|id| id.uuid().as_u128()).collect()
    }

    #[test]
    fn a_list_that_stayed_differs_in_nothing() {
        let list = list(&[(1, "running", "10.0.0.1")]);
        assert_eq!(difference(Some(&list), &list), Difference::default());
    }

    #[test]
    fn guests_that_appear_change_or_vanish_are_named() {
        let before = list(&[(1, "running", ""), (2, "running", ""), (3, "running", "")]);
        let after = list(&[(0, "running", ""), (2, "crashed", ""), (3, "running", "")]);
        let difference = difference(Some(&before), &after);
        assert_eq!(numbers(&difference), [0, 1, 2]);
        assert!(difference.membership && difference.freed);
    }

    #[test]
    fn a_guest_of_which_nothing_is_said_is_named_when_of_another_something_is() {
        let before = list(&[(1, "create", ""), (2, "create", "")]);
        let after = list(&[(1, "create", ""), (2, "running", "")]);
        assert_eq!(numbers(&difference(Some(&before), &after)), [1, 2]);
        let later = list(&[(1, "create", ""), (2, "crashed", "")]);
        assert_eq!(numbers(&difference(Some(&after), &later)), [2]);
    }

    #[test]
    fn a_changed_state_is_no_change_of_membership() {
        let before = list(&[(1, "running", "10.0.0.1")]);
        let difference = difference(Some(&before), &list(&[(1, "paused", "10.0.0.1")]));
        assert_eq!(numbers(&difference), [1]);
        assert!(!difference.membership && !difference.freed);
    }

    #[test]
    fn addresses_are_read_in_their_one_spelling_and_nonsense_is_none() {
        let list = list(&[(1, "running", "::ffff:10.0.0.7"), (2, "running", "soon")]);
        let addresses: Vec<_> = list.values().map(|guest| guest.addresses.clone()).collect();
        let seven: std::net::IpAddr = "10.0.0.7".parse().unwrap();
        assert_eq!(addresses, [vec![seven], vec![]]);
    }

    #[test]
    fn images_that_are_being_fetched_stay_so_until_the_host_lists_them() {
        let id = |number| ImageId::new(Uuid::from_u128(number));
        let image = |number| AgentImage { id: id(number).to_string(), ..AgentImage::default() };
        let failed = ImageState::Failed("no".to_owned());
        let former = BTreeMap::from([
            (id(1), ImageState::Present),
            (id(2), failed.clone()),
            (id(3), failed.clone()),
        ]);
        let images = images(&[image(2), image(4)], Some(former));
        let expected =
            [(id(2), ImageState::Present), (id(3), failed), (id(4), ImageState::Present)];
        assert_eq!(images, BTreeMap::from(expected));
    }
}
