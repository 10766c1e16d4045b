//! Groups of commits as transactions: what fits into one, how it looks, and what its answer means for each.

use std::collections::VecDeque;
use std::sync::Arc;

use lochness_kv::{Compare, KvError, Op, OpResponse, Txn, TxnResponse};
use lochness_mutant::Mutant;
use tokio::sync::oneshot;

use super::footprint::Footprint;
use super::{CommitterOptions, Verdict};

/// Bytes that an operation or a compare takes on the wire beside its keys and values, at most: tags, lengths, numbers.
const OPERATION_BYTES: usize = 64;

/// A commit on its way, and who waits for its verdict.
#[derive(Debug)]
pub(super) struct Ticket {
    /// What to write. Whoever handed it in may have to hand it in again.
    pub(super) commit: Arc<Txn>,
    /// How much of a transaction it takes.
    pub(super) weight: Weight,
    /// The keys that it touches.
    pub(super) footprint: Footprint,
    /// Where its verdict goes.
    pub(super) reply: oneshot::Sender<Verdict>,
}

/// How much of a transaction a commit takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weight {
    /// Its compares or its writes, whichever are more.
    pub(super) operations: usize,
    /// Its size on the wire, rounded up.
    pub(super) bytes: usize,
}

/// What a transaction may hold. etcd counts the operations of each level, the largest child on top of its parent: for N
/// children of at most k compares or writes, N + k.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    operations: usize,
    bytes: usize,
}

impl Limits {
    /// What is left beside the fence.
    pub(super) fn new(options: &CommitterOptions, fence: &Compare) -> Self {
        let bytes = options.max_bytes.saturating_sub(compare_bytes(fence));
        Self { operations: options.max_ops, bytes }
    }

    /// Weighs a commit.
    ///
    /// # Errors
    /// [`KvError::TooLarge`] when it does not fit into a transaction even alone.
    pub(super) fn weigh(self, commit: &Txn) -> Result<Weight, KvError> {
        let compares: usize = commit.compares.iter().map(compare_bytes).sum();
        let writes: usize = commit.success.iter().map(write_bytes).sum();
        let operations = commit.compares.len().max(commit.success.len());
        let weight = Weight { operations, bytes: OPERATION_BYTES + compares + writes };
        if 1 + operations > self.operations {
            let most = self.operations - 1;
            return Err(KvError::TooLarge(format!(
                "{operations} operations in a commit, at most {most}"
            )));
        }
        if weight.bytes > self.bytes {
            let (bytes, most) = (weight.bytes, self.bytes);
            return Err(KvError::TooLarge(format!("a commit of {bytes} bytes, at most {most}")));
        }
        Ok(weight)
    }

    /// Takes as many from the head of `free` as fit into one transaction. Whoever no longer waits for its verdict is left
    /// out, and handed to `dropped`.
    pub(super) fn fill(
        self,
        free: &mut VecDeque<Ticket>,
        mut dropped: impl FnMut(Ticket),
    ) -> Vec<Ticket> {
        let mut group = Vec::with_capacity(free.len().min(self.operations));
        let mut total = Weight::default();
        while let Some(ticket) = free.pop_front() {
            if ticket.reply.is_closed() {
                dropped(ticket);
                continue;
            }
            let operations = total.operations.max(ticket.weight.operations);
            let bytes = total.bytes + ticket.weight.bytes;
            if group.len() + 1 + operations > self.operations || bytes > self.bytes {
                free.push_front(ticket);
                break;
            }
            total = Weight { operations, bytes };
            group.push(ticket);
        }
        group
    }
}

/// The transaction of a group. Copies no commit: they are shared.
pub(super) fn transaction(fence: &Compare, group: &[Ticket]) -> Txn {
    let child = |ticket: &Ticket| Op::Txn(Arc::clone(&ticket.commit));
    Txn {
        compares: if lochness_mutant::is(Mutant::FenceDropped) {
            vec![]
        } else {
            vec![fence.clone()]
        },
        success: group.iter().map(child).collect(),
        failure: Vec::new(),
    }
}

/// What the answer to a group's transaction means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// One verdict a commit, in order.
    Each(Vec<Verdict>),
    /// The same for all.
    All(Verdict),
    /// Nothing of it happened, and one of them may be to blame: try the halves.
    Refused(KvError),
}

/// Reads the answer to the transaction of `commits` commits.
pub(super) fn read(answer: Result<TxnResponse, KvError>, commits: usize) -> Answer {
    match answer {
        Ok(answer) if !answer.succeeded => Answer::All(Verdict::Fenced),
        Ok(answer) => verdicts(&answer, commits),
        Err(error) => match error {
            KvError::Unknown(_) => Answer::All(Verdict::Unknown(error)),
            // What lies in a commit: its size, a lease that is gone, a request that etcd finds wrong.
            KvError::TooLarge(_) | KvError::LeaseNotFound | KvError::Invalid(_) => {
                Answer::Refused(error)
            }
            KvError::Unavailable(_)
            | KvError::NoSpace
            | KvError::Compacted(_)
            | KvError::PermissionDenied(_) => Answer::All(Verdict::Rejected(error)),
        },
    }
}

fn verdicts(answer: &TxnResponse, commits: usize) -> Answer {
    let revision = answer.header.revision;
    let verdict = |response: &OpResponse| match response {
        OpResponse::Txn(child) if child.succeeded => Some(Verdict::Committed { revision }),
        OpResponse::Txn(_) => Some(Verdict::Conflict { revision }),
        OpResponse::Put | OpResponse::Delete(_) | OpResponse::Range(_) => None,
    };
    let verdicts: Option<Vec<_>> = answer.responses.iter().map(verdict).collect();
    match verdicts {
        Some(verdicts) if verdicts.len() == commits => Answer::Each(verdicts),
        _ => Answer::All(Verdict::Unknown(KvError::Unknown(format!(
            "the answer to {commits} commits has {} parts, or other ones",
            answer.responses.len()
        )))),
    }
}

fn compare_bytes(compare: &Compare) -> usize {
    OPERATION_BYTES
        + match compare {
            Compare::ModRevision(key, _) | Compare::CreateRevision(key, _) => key.len(),
            Compare::Value(key, value) => key.len() + value.len(),
        }
}

fn write_bytes(write: &Op) -> usize {
    OPERATION_BYTES
        + match write {
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Delete { key, end } => key.len() + end.len(),
            // Refused before they are sent.
            Op::Range(_) | Op::Txn(_) => 0,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(max_ops: usize, max_bytes: usize) -> Limits {
        let options = CommitterOptions { max_ops, max_bytes, ..CommitterOptions::default() };
        Limits::new(&options, &Compare::CreateRevision("leader".into(), 7))
    }

    fn ticket(limits: Limits, name: usize, puts: usize) -> Ticket {
        let writes = (0..puts).map(|put| Op::put(format!("{name}/{put}"), "value")).collect();
        let commit = Txn { success: writes, ..Txn::default() };
        let (reply, verdict) = oneshot::channel();
        // Someone waits for every verdict in these tests.
        std::mem::forget(verdict);
        let footprint = Footprint::of(&commit).unwrap();
        Ticket { weight: limits.weigh(&commit).unwrap(), footprint, commit: commit.into(), reply }
    }

    fn sizes(limits: Limits, puts: impl IntoIterator<Item = usize>) -> Vec<usize> {
        let puts = puts.into_iter().enumerate();
        let mut free: VecDeque<_> = puts.map(|(at, puts)| ticket(limits, at, puts)).collect();
        let mut sizes = Vec::new();
        while !free.is_empty() {
            sizes.push(limits.fill(&mut free, |_| ()).len());
        }
        sizes
    }

    #[test]
    fn the_commits_and_the_operations_of_the_largest_one_stay_within_the_limit() {
        let limits = limits(128, 1 << 20);
        assert_eq!(sizes(limits, [4; 300]), [124, 124, 52]);
        assert_eq!(sizes(limits, [1; 300]), [127, 127, 46]);
        assert_eq!(sizes(limits, [127, 1, 127]), [1, 1, 1]);
        assert_eq!(sizes(limits, [126, 1, 126]), [2, 1]);
        let alone = Txn { success: vec![Op::put("a", "b"); 128], ..Txn::default() };
        assert!(matches!(limits.weigh(&alone), Err(KvError::TooLarge(_))));
    }

    #[test]
    fn the_bytes_of_a_group_stay_within_the_limit() {
        let limits = limits(128, 1_000);
        let groups = sizes(limits, [1; 20]);
        assert!(groups.iter().all(|group| *group < 10), "{groups:?}");
        assert_eq!(groups.iter().sum::<usize>(), 20);
    }

    #[test]
    fn who_no_longer_waits_is_left_out() {
        let limits = limits(128, 1 << 20);
        let mut left = ticket(limits, 0, 1);
        left.reply = oneshot::channel().0;
        let mut free = VecDeque::from([left, ticket(limits, 1, 1)]);
        let mut dropped = 0;
        assert_eq!(limits.fill(&mut free, |_| dropped += 1).len(), 1);
        assert_eq!(dropped, 1);
    }

    #[test]
    fn an_answer_of_another_shape_is_an_unknown_outcome() {
        let answer = TxnResponse { succeeded: true, ..TxnResponse::default() };
        assert!(matches!(read(Ok(answer), 2), Answer::All(Verdict::Unknown(_))));
    }
}
