//! What etcd refuses before it looks at any key: sizes, empty keys, one key written twice.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::{KvError, Op, Txn};

/// etcd's `--max-txn-ops`.
const MAX_OPERATIONS: usize = 128;
/// etcd's `--max-request-bytes`.
const MAX_BYTES: usize = 1_572_864;
/// What one operation costs on the wire besides its key and value, roughly.
const OVERHEAD_BYTES: usize = 16;

/// Refuses what etcd refuses by the request alone.
pub(super) fn check(txn: &Txn) -> Result<(), KvError> {
    check_level(txn, MAX_OPERATIONS)?;
    written(&txn.success)?;
    written(&txn.failure)?;
    let bytes = size(txn);
    if bytes > MAX_BYTES {
        return Err(KvError::TooLarge(format!("{bytes} bytes, at most {MAX_BYTES}")));
    }
    Ok(())
}

/// Compares and both branches count apart; a child has what its parent left over.
fn check_level(txn: &Txn, allowed: usize) -> Result<(), KvError> {
    let operations = txn.compares.len().max(txn.success.len()).max(txn.failure.len());
    let Some(left) = allowed.checked_sub(operations) else {
        return Err(KvError::TooLarge(format!("{operations} operations, {allowed} allowed here")));
    };
    if txn.compares.iter().any(|compare| compare.key().is_empty()) {
        return Err(empty_key());
    }
    for op in txn.success.iter().chain(&txn.failure) {
        match op {
            Op::Put { key, .. } | Op::Delete { key, .. } if key.is_empty() => {
                return Err(empty_key());
            }
            Op::Range(range) if range.key.is_empty() => return Err(empty_key()),
            Op::Txn(child) => check_level(child, left)?,
            Op::Put { .. } | Op::Delete { .. } | Op::Range(_) => {}
        }
    }
    Ok(())
}

pub(super) fn empty_key() -> KvError {
    KvError::Invalid("key is not provided".into())
}

/// Keys that one branch puts, and intervals that it deletes.
#[derive(Default)]
struct Written {
    puts: BTreeSet<Bytes>,
    deletes: Vec<(Bytes, Bytes)>,
}

impl Written {
    fn add_put(&mut self, key: &Bytes) -> Result<(), KvError> {
        if self.deletes_key(key) || !self.puts.insert(key.clone()) {
            return Err(duplicate(key));
        }
        Ok(())
    }

    fn deletes_key(&self, key: &Bytes) -> bool {
        self.deletes.iter().any(
            |(from, end)| {
                if end.is_empty() { from == key } else { from <= key && key < end }
            },
        )
    }
}

/// etcd's own rule with its own asymmetry: a delete of one child is held against the puts of the children after it, not
/// against those before it. Both branches of one child may put the same key, since only one is taken.
fn written(ops: &[Op]) -> Result<Written, KvError> {
    let mut all = Written::default();
    for op in ops {
        if let Op::Delete { key, end } = op {
            all.deletes.push((key.clone(), end.clone()));
        }
    }
    for op in ops {
        if let Op::Txn(child) = op {
            let success = written(&child.success)?;
            let failure = written(&child.failure)?;
            for key in &success.puts {
                all.add_put(key)?;
            }
            for key in failure.puts.iter().filter(|key| !success.puts.contains(*key)) {
                all.add_put(key)?;
            }
            all.deletes.extend(success.deletes);
            all.deletes.extend(failure.deletes);
        }
    }
    for op in ops {
        if let Op::Put { key, .. } = op {
            all.add_put(key)?;
        }
    }
    Ok(all)
}

fn duplicate(key: &Bytes) -> KvError {
    KvError::Invalid(format!("duplicate key {} in one transaction", key.escape_ascii()))
}

fn size(txn: &Txn) -> usize {
    let compares: usize = txn.compares.iter().map(|c| c.key().len() + OVERHEAD_BYTES).sum();
    let operations: usize = txn
        .success
        .iter()
        .chain(&txn.failure)
        .map(|op| {
            OVERHEAD_BYTES
                + match op {
                    Op::Put { key, value, .. } => key.len() + value.len(),
                    Op::Delete { key, end } => key.len() + end.len(),
                    Op::Range(range) => range.key.len() + range.end.len(),
                    Op::Txn(child) => size(child),
                }
        })
        .sum();
    compares + operations
}
