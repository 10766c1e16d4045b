//! Which keys a commit touches, and whether it is one that may share a transaction at all.

use std::cmp::Reverse;

use bytes::Bytes;
use lochness_kv::{KvError, Op};

use super::Commit;

/// How a commit touches a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Only compares it: any number may, at the same time.
    Compares,
    /// Writes it: alone.
    Writes,
}

/// Every key of a commit, once, ascending, with its strongest access.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Footprint(Vec<(Bytes, Access)>);

impl Footprint {
    /// The footprint of a commit.
    ///
    /// # Errors
    /// [`KvError::Invalid`] for what would make the store refuse the whole group, or could not be kept in order: reads,
    /// nested transactions, deletes of ranges, an empty key, a key written twice.
    pub(super) fn of(commit: &Commit) -> Result<Self, KvError> {
        let mut keys = Vec::with_capacity(commit.compares.len() + commit.writes.len());
        for write in &commit.writes {
            keys.push((written(write)?.clone(), Access::Writes));
        }
        for compare in &commit.compares {
            keys.push((compare.key().clone(), Access::Compares));
        }
        keys.sort_unstable_by(|(left, of_left), (right, of_right)| {
            left.cmp(right).then_with(|| Reverse(of_left).cmp(&Reverse(of_right)))
        });
        if keys.first().is_some_and(|(key, _)| key.is_empty()) {
            return Err(KvError::Invalid("a commit has an empty key".to_owned()));
        }
        let twice = |pair: &&[(Bytes, Access)]| pair[0] == pair[1] && pair[0].1 == Access::Writes;
        if let Some(pair) = keys.windows(2).find(twice) {
            let key = String::from_utf8_lossy(&pair[0].0);
            return Err(KvError::Invalid(format!("a commit writes {key} twice")));
        }
        keys.dedup_by(|later, kept| later.0 == kept.0);
        Ok(Self(keys))
    }

    /// The keys, ascending.
    pub(super) fn keys(&self) -> &[(Bytes, Access)] {
        &self.0
    }
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
    use lochness_kv::{Compare, RangeRequest, Txn};

    use super::*;

    fn of(compares: Vec<Compare>, writes: Vec<Op>) -> Result<Footprint, KvError> {
        Footprint::of(&Commit { compares, writes })
    }

    #[test]
    fn a_key_that_is_compared_and_written_counts_as_written_once() {
        let compares = vec![
            Compare::absent("b"),
            Compare::ModRevision("a".into(), 3),
            Compare::CreateRevision("a".into(), 2),
        ];
        let footprint = of(compares, vec![Op::put("a", "1"), Op::delete("c")]).unwrap();
        let expected: [(Bytes, Access); 3] = [
            ("a".into(), Access::Writes),
            ("b".into(), Access::Compares),
            ("c".into(), Access::Writes),
        ];
        assert_eq!(footprint.keys(), expected);
    }

    #[test]
    fn what_would_spoil_a_whole_group_is_refused() {
        let range = Op::Delete { key: "a".into(), end: "b".into() };
        for writes in [
            vec![Op::put("a", "1"), Op::delete("a")],
            vec![range],
            vec![Op::Range(RangeRequest::key("a"))],
            vec![Op::Txn(Txn::default())],
            vec![Op::put("", "1")],
        ] {
            let refused = of(Vec::new(), writes.clone());
            assert!(matches!(refused, Err(KvError::Invalid(_))), "{writes:?}: {refused:?}");
        }
    }
}
