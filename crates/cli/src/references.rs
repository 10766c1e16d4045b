//! What manifests say about objects that are in the store already: names that are taken, and references by name to objects
//! whose id is not made of their name. Both would make a second object where one was meant, so both are refused.

use std::collections::{BTreeMap, BTreeSet};

use lochness_api::manifest::{Location, Manifest, id_of};
use lochness_api::{Key, Kind};
use serde_json::Value;

use crate::kind_word::singular;
use crate::object::documents;
use crate::{Console, Failure, Session};

/// Notes about what does not exist yet; more would hide the outcome.
const NOTES_SHOWN: usize = 10;

/// Names by id, a kind.
type Known = BTreeMap<Kind, BTreeMap<String, Option<String>>>;

/// Compares manifests with the store. References to what does not exist yet are fine, since order does not matter; they
/// are noted, because they may be slips.
///
/// # Errors
/// All faults at once, each with its place.
pub(crate) async fn check_references(
    session: &Session,
    console: &mut Console<'_>,
    manifests: &[Manifest],
) -> Result<(), Failure> {
    let mut kinds: BTreeSet<Kind> = manifests.iter().map(|manifest| manifest.kind).collect();
    kinds.extend(manifests.iter().flat_map(references).map(|(kind, _)| kind));
    let mut known = Known::new();
    for kind in kinds {
        let objects = documents(session, kind).await?;
        let names = objects.into_iter().map(|(id, object)| (id, object.name())).collect();
        known.insert(kind, names);
    }
    let (faults, notes) = compare(manifests, &known);
    if !faults.is_empty() {
        return Err(Failure::usage(
            format!("the manifests do not fit the store; nothing was changed{}", faults.concat()),
            "",
        ));
    }
    for note in notes.iter().take(NOTES_SHOWN) {
        console.note(note)?;
    }
    if notes.len() > NOTES_SHOWN {
        console.note(&format!("note: and {} more", notes.len() - NOTES_SHOWN))?;
    }
    Ok(())
}

fn compare(manifests: &[Manifest], known: &Known) -> (Vec<String>, Vec<String>) {
    let together: BTreeSet<(Kind, String)> =
        manifests.iter().map(|manifest| (manifest.kind, manifest.id.to_string())).collect();
    let mut faults = Vec::new();
    let mut notes = Vec::new();
    for manifest in manifests {
        faults.extend(name_taken(manifest, known, &together));
        for (kind, id) in references(manifest) {
            if together.contains(&(kind, id.clone())) || exists(known, kind, &id) {
                continue;
            }
            match named_otherwise(known, kind, &id) {
                Some((name, real)) => faults.push(fault(
                    &manifest.location,
                    &format!("{} {name:?} exists with the id {real}: write that", singular(kind)),
                )),
                None => notes.push(format!(
                    "note: {}: {} {} refers to a {} that does not exist yet ({id}): is its name right?",
                    manifest.location,
                    singular(manifest.kind),
                    manifest.name.as_deref().unwrap_or("without a name"),
                    singular(kind)
                )),
            }
        }
    }
    (faults, notes)
}

fn name_taken(
    manifest: &Manifest,
    known: &Known,
    together: &BTreeSet<(Kind, String)>,
) -> Option<String> {
    // A VLAN's name is its tag, which is its id.
    let name = manifest.name.as_ref().filter(|_| manifest.kind != Kind::Vlan)?;
    let own = manifest.id.to_string();
    let (other, _) = known.get(&manifest.kind)?.iter().find(|(id, has)| {
        has.as_ref() == Some(name)
            && **id != own
            && !together.contains(&(manifest.kind, (*id).clone()))
    })?;
    let text = format!(
        "{} {name:?} exists with the id {other}: write metadata.id if that is meant, or choose \
         another name",
        singular(manifest.kind)
    );
    Some(fault(&manifest.location, &text))
}

fn exists(known: &Known, kind: Kind, id: &str) -> bool {
    known.get(&kind).is_some_and(|objects| objects.contains_key(id))
}

/// The object whose name gives this id although it has another one.
fn named_otherwise<'a>(known: &'a Known, kind: Kind, id: &str) -> Option<(&'a str, &'a str)> {
    known.get(&kind)?.iter().find_map(|(real, name)| {
        let name = name.as_deref()?;
        (id_of(kind, name).to_string() == id).then_some((name, real.as_str()))
    })
}

fn fault(location: &Location, text: &str) -> String {
    format!("\n  {location}: {text}")
}

/// Everything that a manifest refers to.
fn references(manifest: &Manifest) -> Vec<(Kind, String)> {
    let fields: &[(&str, Kind)] = match manifest.kind {
        Kind::Guest => &[
            ("flavor", Kind::Flavor),
            ("hypervisor", Kind::Hypervisor),
            ("network", Kind::Network),
            ("subnet", Kind::Subnet),
            ("fwgroup", Kind::FwGroup),
            ("vlangroup", Kind::VlanGroup),
        ],
        Kind::Flavor => &[("image", Kind::Image)],
        Kind::Subnet => &[("network", Kind::Network)],
        Kind::Hypervisor
        | Kind::Network
        | Kind::Image
        | Kind::FwGroup
        | Kind::Vlan
        | Kind::VlanGroup => &[],
    };
    let document = &manifest.document;
    let own = fields.iter().filter_map(|(field, kind)| given(*kind, document.get(field)));
    let rules = document.get("rules").and_then(Value::as_array).into_iter().flatten();
    let groups = rules.filter_map(|rule| given(Kind::FwGroup, rule.get("group")));
    let beside = manifest.extra.iter().filter_map(|(key, _)| match_extra(key));
    own.chain(groups).chain(beside).collect()
}

fn given(kind: Kind, value: Option<&Value>) -> Option<(Kind, String)> {
    let id = value?.as_str().filter(|id| !id.is_empty())?;
    Some((kind, id.to_owned()))
}

fn match_extra(key: &Key) -> Option<(Kind, String)> {
    if let Key::HypervisorSubnet(_, subnet) = key {
        return Some((Kind::Subnet, subnet.to_string()));
    }
    if let Key::VlanGroupMember(_, tag) = key {
        return Some((Kind::Vlan, tag.to_string()));
    }
    None
}

#[cfg(test)]
mod tests {
    use lochness_api::manifest::ObjectId;
    use serde_json::json;

    use super::*;

    fn guest(name: &str, network: &str) -> Manifest {
        Manifest {
            kind: Kind::Guest,
            id: ObjectId::Uuid(id_of(Kind::Guest, name)),
            name: Some(name.to_owned()),
            document: json!({"network": network}),
            extra: Vec::new(),
            location: Location { file: "a.yaml".into(), line: 3, column: 1 },
        }
    }

    fn known(kind: Kind, id: &str, name: &str) -> Known {
        Known::from([(kind, BTreeMap::from([(id.to_owned(), Some(name.to_owned()))]))])
    }

    #[test]
    fn a_name_that_another_object_has_is_refused_with_its_id() {
        let manifest = guest("web-1", "");
        let (faults, _) = compare(&[manifest], &known(Kind::Guest, "other-id", "web-1"));
        assert_eq!(faults.len(), 1);
        assert!(faults[0].contains("a.yaml:3:1") && faults[0].contains("other-id"), "{faults:?}");
    }

    #[test]
    fn a_reference_by_name_to_an_object_with_its_own_id_is_refused_with_that_id() {
        let network = id_of(Kind::Network, "prod").to_string();
        let (faults, notes) =
            compare(&[guest("web-1", &network)], &known(Kind::Network, "real-id", "prod"));
        assert!(faults[0].contains("real-id"), "{faults:?}");
        assert!(notes.is_empty());
    }

    #[test]
    fn what_does_not_exist_yet_is_only_noted() {
        let network = id_of(Kind::Network, "prod").to_string();
        let (faults, notes) = compare(&[guest("web-1", &network)], &Known::new());
        assert!(faults.is_empty());
        let note = format!(
            "note: a.yaml:3:1: guest web-1 refers to a network that does not exist yet ({network}): is its name right?"
        );
        assert_eq!(notes, [note]);
    }
}
