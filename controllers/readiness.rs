//! Whether a process could lead: what `/readyz` answers once etcd was reached, in words.
//!
//! Ready is who has a view that follows a store that serves. Whether anybody leads does not matter: a process that stands
//! by is ready while nobody does, for it is the one that will.

use lochness_mutant::Mutant;

use crate::world::{Connection, Replacement, ServerTrouble};

/// Ready or not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Readiness {
    /// The view follows the store; says what the process does.
    Ready(&'static str),
    /// It does not; says why.
    NotReady(String),
}

/// A former leader whose view is interrupted is not ready either: the other one should be looked at.
pub(crate) fn of(connection: Connection, trouble: Option<ServerTrouble>, leads: bool) -> Readiness {
    match (connection, trouble) {
        (Connection::Live | Connection::Interrupted(_), Some(trouble)) => {
            Readiness::NotReady(trouble.advice().to_owned())
        }
        (connection, _) => of_view(connection, leads),
    }
}

fn of_view(connection: Connection, leads: bool) -> Readiness {
    match connection {
        Connection::Interrupted(_) if lochness_mutant::is(Mutant::ReadyWithoutStore) => {
            Readiness::Ready("standing by")
        }
        Connection::Live if leads => Readiness::Ready("leading"),
        Connection::Live if lochness_mutant::is(Mutant::StandbyUnready) => {
            Readiness::NotReady("another process leads, or nobody does".to_owned())
        }
        Connection::Live => Readiness::Ready("standing by"),
        Connection::Starting => Readiness::NotReady("the store is being read".to_owned()),
        Connection::Interrupted(why) => {
            Readiness::NotReady(format!("the view of the store is interrupted: {why}"))
        }
        Connection::Replaced(Replacement { what, .. }) => Readiness::NotReady(format!(
            "the store is not the one that was there before ({what}): nothing is changed until a person has looked \
             and runs lochnessctl accept-store"
        )),
    }
}

#[cfg(test)]
mod tests {
    use lochness_api::status::Reason;

    use super::*;

    #[test]
    fn a_live_view_is_ready_and_says_who_leads() {
        assert_eq!(of(Connection::Live, None, true), Readiness::Ready("leading"));
        assert_eq!(of(Connection::Live, None, false), Readiness::Ready("standing by"));
    }

    #[test]
    fn what_keeps_a_process_from_being_ready_is_said_in_words() {
        let (reason, what) = (Reason::ClusterIdChanged, "another cluster".to_owned());
        let replaced = Connection::Replaced(Replacement { reason, what });
        let cases = [
            (of(Connection::Starting, None, false), "is being read"),
            (of(Connection::Interrupted("compacted".to_owned()), None, true), "compacted"),
            (of(replaced, None, true), "accept-store"),
            (of(Connection::Live, Some(ServerTrouble::NoSpace), true), "out of space"),
            (
                of(Connection::Interrupted(String::new()), Some(ServerTrouble::NoQuorum), false),
                "quorum",
            ),
        ];
        for (readiness, words) in cases {
            assert!(
                matches!(&readiness, Readiness::NotReady(why) if why.contains(words)),
                "{readiness:?}"
            );
        }
    }
}
