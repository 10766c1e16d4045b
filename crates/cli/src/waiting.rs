//! Waiting for many objects at once, on one live copy of the store.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use lochness_api::{Key, Kind};
use lochness_kv::prefix_end;

use crate::follow::{Change, Follow, Range};
use crate::goal::{Goal, Verdict};
use crate::object::Object;
use crate::{Console, Failure, Session};

/// Up to so many objects are watched key by key; more are watched as whole kinds.
const WATCHED_SINGLY: usize = 4;

/// Reasons that a failure lists; more would hide the first.
const REASONS_SHOWN: usize = 10;

/// One object and what is wanted of it.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Which kind.
    pub(crate) kind: Kind,
    /// Its id.
    pub(crate) id: String,
    /// What output calls it.
    pub(crate) title: String,
    /// What is waited for.
    pub(crate) goal: Goal,
}

/// Waits until all targets are reached, and prints a line for each.
///
/// # Errors
/// [`Failure::TimedOut`] when the time is over, [`Failure::Failed`] when one will never be reached; both say why.
pub(crate) async fn wait_for(
    session: &Session,
    console: &mut Console<'_>,
    targets: Vec<Target>,
) -> Result<(), Failure> {
    let deadline = session.deadline();
    let mut follow = Follow::open(session.kv(), ranges(session, &targets)).await?;
    let mut pending: BTreeMap<(Kind, String), (Target, String)> = targets
        .into_iter()
        .map(|target| ((target.kind, target.id.clone()), (target, String::new())))
        .collect();
    let mut hopeless = Vec::new();
    let mut due: BTreeSet<(Kind, String)> = pending.keys().cloned().collect();
    loop {
        for identity in &due {
            let Some((target, reason)) = pending.get_mut(identity) else { continue };
            let object = object_of(session, &follow, target.kind, &target.id);
            match target.goal.judge(object.as_ref()) {
                Verdict::Reached => {
                    writeln!(console.out, "{} {}", target.title, target.goal.done())?;
                    pending.remove(identity);
                }
                Verdict::Never(why) => {
                    hopeless.push(format!("\n  {}: {why}", target.title));
                    pending.remove(identity);
                }
                Verdict::NotYet(why) => *reason = why,
            }
        }
        console.out.flush()?;
        if pending.is_empty() {
            return if hopeless.is_empty() { Ok(()) } else { Err(never(&hopeless)) };
        }
        due = match follow.changed(Some(deadline)).await? {
            Change::Keys(keys) => keys.iter().filter_map(|key| identity(session, key)).collect(),
            Change::All => pending.keys().cloned().collect(),
            Change::Nothing => return Err(timed_out(pending.into_values(), &hopeless)),
        };
    }
}

/// An object out of a live copy; `None` when there is neither document nor status.
pub(crate) fn object_of(
    session: &Session,
    follow: &Follow<'_>,
    kind: Kind,
    id: &str,
) -> Option<Object> {
    let document = follow.get(&session.key(&Key::document(kind, id)?)).cloned();
    let status = follow.get(&session.key(&Key::status(kind, id)?)).cloned();
    if document.is_none() && status.is_none() {
        return None;
    }
    Some(Object { kind, id: id.to_owned(), document, status })
}

/// Which object a key of a document or of a status belongs to.
pub(crate) fn identity(session: &Session, key: &[u8]) -> Option<(Kind, String)> {
    let key = session.prefix().parse(key).ok()?;
    if let Some(found) = key.as_document() {
        return Some(found);
    }
    let text = key.to_string();
    let (plural, id) = text.strip_prefix("status/")?.split_once('/')?;
    Some((Kind::from_plural(plural)?, id.to_owned()))
}

/// Documents and statuses of a kind.
pub(crate) fn ranges_of(session: &Session, kind: Kind) -> [Range; 2] {
    let whole = |path: String| {
        let start = Bytes::from(format!("{}{path}", session.prefix()));
        let end = prefix_end(&start);
        (start, end)
    };
    [whole(format!("{}/", kind.plural())), whole(format!("status/{}/", kind.plural()))]
}

fn ranges(session: &Session, targets: &[Target]) -> Vec<Range> {
    if targets.len() > WATCHED_SINGLY {
        let kinds: BTreeSet<Kind> = targets.iter().map(|target| target.kind).collect();
        return kinds.into_iter().flat_map(|kind| ranges_of(session, kind)).collect();
    }
    let single = |key: Key| {
        let start = session.key(&key);
        let end = Bytes::from([start.as_ref(), b"\0"].concat());
        (start, end)
    };
    targets
        .iter()
        .flat_map(|target| {
            [Key::document(target.kind, &target.id), Key::status(target.kind, &target.id)]
        })
        .flatten()
        .map(single)
        .collect()
}

fn never(reasons: &[String]) -> Failure {
    Failure::failed(
        format!("this will not come by itself:{}", shown(reasons)),
        "lochnessctl describe tells more",
    )
}

fn timed_out(pending: impl Iterator<Item = (Target, String)>, hopeless: &[String]) -> Failure {
    let mut reasons: Vec<String> =
        pending.map(|(target, why)| format!("\n  {}: {why}", target.title)).collect();
    let count = reasons.len();
    reasons.extend_from_slice(hopeless);
    Failure::timed_out(
        format!("the time is over, {count} not as wanted:{}", shown(&reasons)),
        "lochnessctl describe tells more; --timeout waits longer",
    )
}

fn shown(reasons: &[String]) -> String {
    let first = reasons.iter().take(REASONS_SHOWN).cloned().collect::<String>();
    match reasons.len().saturating_sub(REASONS_SHOWN) {
        0 => first,
        more => format!("{first}\n  and {more} more"),
    }
}
