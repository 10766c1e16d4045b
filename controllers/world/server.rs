//! What the store's servers say of themselves.

/// What the store's servers last said of themselves, and whether they serve. Nothing is decided by it: it is for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Server {
    /// Their version, once one was told.
    pub version: Option<String>,
    /// Bytes that the database of the one that answered occupies.
    pub size: Option<i64>,
    /// Why nothing can be written, if so.
    pub trouble: Option<ServerTrouble>,
}

/// Why the store takes no writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerTrouble {
    /// Its `NOSPACE` alarm is raised.
    NoSpace,
    /// A member answers, and no majority stands behind it.
    NoQuorum,
    /// No member answers.
    NoAnswer,
}

impl ServerTrouble {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::NoSpace, Self::NoQuorum, Self::NoAnswer];

    /// A word for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoSpace => "no_space",
            Self::NoQuorum => "no_quorum",
            Self::NoAnswer => "no_answer",
        }
    }

    /// What it is and what to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::NoSpace => {
                "etcd is out of space (NOSPACE alarm): compact, defragment and disarm it, or raise its quota"
            }
            Self::NoQuorum => {
                "etcd has lost its quorum: start its members again, or restore it from a snapshot"
            }
            Self::NoAnswer => "no member of etcd answers",
        }
    }
}
