//! Which keys a commit touches, and whether it is one that may share a transaction at all.

use std::cmp::Reverse;
use std::hash::BuildHasher as _;

use bytes::Bytes;
use lochness_kv::{KvError, Op, Txn};
use rustc_hash::FxBuildHasher;

/// How a commit touches a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Only compares it: any number may, at the same time.
    Compares,
    /// Writes it: alone.
    Writes,
}

/// Stands for a key in the order of commits: its hash. Keys that share one wait for each other without need, and that is
/// all.
pub(super) type Line = u64;

/// The line of every key of a commit, each once, ascending, with its strongest access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footprint(Vec<(Line, Access)>);

impl Footprint {
    /// The footprint of a commit.
    ///
    /// # Errors
    /// [`KvError::Invalid`] for what would make the store refuse the whole group, or could not be kept in order: reads,
    /// nested transactions, deletes of ranges, something to do otherwise, an empty key, a key written twice.
    pub(super) fn of(commit: &Txn) -> Result<Self, KvError> {
        let writes = &commit.success;
        if !commit.failure.is_empty() {
            return Err(KvError::Invalid("a commit does something when it fails".to_owned()));
        }
        let mut lines = Vec::with_capacity(commit.compares.len() + writes.len());
        for write in writes {
            lines.push((line(written(write)?)?, Access::Writes));
        }
        refuse_twice(writes, &lines)?;
        for compare in &commit.compares {
            lines.push((line(compare.key())?, Access::Compares));
        }
        lines.sort_unstable_by_key(|(line, access)| (*line, Reverse(*access)));
        lines.dedup_by_key(|(line, _)| *line);
        Ok(Self(lines))
    }

    /// The lines, ascending.
    pub(super) fn lines(&self) -> &[(Line, Access)] {
        &self.0
    }
}

fn line(key: &Bytes) -> Result<Line, KvError> {
    if key.is_empty() {
        return Err(KvError::Invalid("a commit has an empty key".to_owned()));
    }
    Ok(FxBuildHasher.hash_one(key))
}

/// Looks among writes of one line for two of one key.
fn refuse_twice(writes: &[Op], lines: &[(Line, Access)]) -> Result<(), KvError> {
    let mut sorted: Vec<_> = lines.iter().map(|(line, _)| *line).zip(writes).collect();
    sorted.sort_unstable_by_key(|(line, _)| *line);
    for same in sorted.chunk_by(|(one, _), (other, _)| one == other) {
        for (at, (_, write)) in same.iter().enumerate() {
            let key = written(write)?;
            if same[..at].iter().any(|(_, earlier)| written(earlier).is_ok_and(|it| it == key)) {
                let key = String::from_utf8_lossy(key);
                return Err(KvError::Invalid(format!("a commit writes {key} twice")));
            }
        }
    }
    Ok(())
}

fn written(write: &Op) -> Result<&Bytes, KvError> {
    match write {
        Op::Put { key, .. } => Ok(key),
        Op::Delete { key, end } if end.is_empty() => Ok(key),
        Op::Delete { .. } => Err(KvError::Invalid("a commit deletes a range".to_owned())),
        Op::Range(_) | Op::Txn(_) => {
            Err(KvError::Invalid("a commit holds more than puts and deletes".to_owned()))
        }
    }
}

#[cfg(test)]
mod tests {
    use lochness_kv::{Compare, RangeRequest};

    use super::*;

    fn of(compares: Vec<Compare>, writes: Vec<Op>) -> Result<Footprint, KvError> {
        Footprint::of(&Txn { compares, success: writes, failure: Vec::new() })
    }

    #[test]
    fn a_key_that_is_compared_and_written_counts_as_written_once() {
        let compares = vec![
            Compare::absent("b"),
            Compare::ModRevision("a".into(), 3),
            Compare::CreateRevision("a".into(), 2),
        ];
        let footprint = of(compares, vec![Op::put("a", "1"), Op::delete("c")]).unwrap();
        let mut expected = [
            (line(&"a".into()).unwrap(), Access::Writes),
            (line(&"b".into()).unwrap(), Access::Compares),
            (line(&"c".into()).unwrap(), Access::Writes),
        ];
        expected.sort_unstable();
        assert_eq!(footprint.lines(), expected);
    }

    #[test]
    fn what_would_spoil_a_whole_group_is_refused() {
        let range = Op::Delete { key: "a".into(), end: "b".into() };
        for writes in [
            vec![Op::put("a", "1"), Op::delete("a")],
            vec![range],
            vec![Op::Range(RangeRequest::key("a"))],
            vec![Op::Txn(Txn::default().into())],
            vec![Op::put("", "1")],
        ] {
            let refused = of(Vec::new(), writes.clone());
            assert!(matches!(refused, Err(KvError::Invalid(_))), "{writes:?}: {refused:?}");
        }
        let otherwise = Txn { failure: vec![Op::put("a", "1")], ..Txn::default() };
        assert!(matches!(Footprint::of(&otherwise), Err(KvError::Invalid(_))));
    }
}
