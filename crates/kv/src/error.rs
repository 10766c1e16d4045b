//! Why an operation on the store failed, by what the caller may do about it.

/// etcd's own words.
const NO_LEADER: &str = "no leader";

/// A failed operation on the store.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum KvError {
    /// No answer, or one that says "later". The operation may have happened.
    #[error("etcd gave no answer, the operation may have happened: {0}")]
    Unknown(String),
    /// The operation did not happen, and may be tried again later (no leader, too many requests, no connection).
    #[error("etcd is not available: {0}")]
    Unavailable(String),
    /// The revision asked for has been compacted; list again. Carries the oldest revision that is still there, 0 when
    /// the server did not say.
    #[error("revision is compacted, the oldest kept is {0}")]
    Compacted(i64),
    /// The store is out of space (`NOSPACE`): puts, transactions and lease grants fail until a person makes room.
    #[error(
        "etcd is out of space (NOSPACE alarm): compact, defragment and disarm, or raise its quota"
    )]
    NoSpace,
    /// The request has more operations or more bytes than the server takes.
    #[error("request is too large for etcd: {0}")]
    TooLarge(String),
    /// The lease is unknown or has expired.
    #[error("lease is unknown or has expired")]
    LeaseNotFound,
    /// User, password or role do not suffice.
    #[error("etcd refuses access: {0}")]
    PermissionDenied(String),
    /// The request itself is wrong, and will stay so (a key put twice, an empty key, a future revision).
    #[error("etcd refuses the request: {0}")]
    Invalid(String),
}

impl KvError {
    /// Whether the operation may have happened although it failed. Reads never change anything, so for them this only
    /// means "try again".
    pub fn is_unknown_outcome(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }

    /// Whether a member answered that it knows no leader: a majority of the members is away, or they are electing.
    pub fn says_no_leader(&self) -> bool {
        matches!(self, Self::Unavailable(reason) if reason.contains(NO_LEADER))
    }

    /// The same error of an operation that changes nothing, and of which nothing can be in doubt.
    #[must_use]
    pub(crate) fn of_no_effect(self) -> Self {
        if let Self::Unknown(reason) = self { Self::Unavailable(reason) } else { self }
    }
}
