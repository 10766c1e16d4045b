//! Whether this process could lead: what `/readyz` answers, in words.

use std::sync::{Arc, Mutex, PoisonError};

use lochness_controllers::loops::Health;
use lochness_controllers::world::{Connection, Replacement, ServerTrouble};

/// How far the process has come. Cloning gives the same one.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Stage>>);

enum Stage {
    /// No etcd has answered yet; says what the last attempt met.
    Connecting(String),
    /// The loops' machinery runs.
    Running(Health),
}

/// Ready or not, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Readiness {
    /// The view follows the store; says what the process does.
    Ready(&'static str),
    /// It does not; says why.
    NotReady(String),
}

impl Progress {
    /// A process that has just begun.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Stage::Connecting("first attempt under way".to_owned()))))
    }

    /// The last attempt to connect failed so.
    pub(crate) fn connecting(&self, trouble: String) {
        self.set(Stage::Connecting(trouble));
    }

    /// The store was reached, and the operator started.
    pub(crate) fn running(&self, health: Health) {
        self.set(Stage::Running(health));
    }

    /// Ready or not, now.
    pub(crate) fn readiness(&self) -> Readiness {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Stage::Connecting(trouble) => {
                Readiness::NotReady(format!("not connected to etcd: {trouble}"))
            }
            Stage::Running(health) => {
                of(health.connection(), health.server().trouble, health.is_leading())
            }
        }
    }

    fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

/// A former leader whose view is interrupted is not ready either: the other one should be looked at.
fn of(connection: Connection, trouble: Option<ServerTrouble>, leads: bool) -> Readiness {
    match (connection, trouble) {
        (Connection::Live | Connection::Interrupted(_), Some(trouble)) => {
            Readiness::NotReady(trouble.advice().to_owned())
        }
        (connection, _) => of_view(connection, leads),
    }
}

fn of_view(connection: Connection, leads: bool) -> Readiness {
    match connection {
        Connection::Live if leads => Readiness::Ready("leading"),
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
        let progress = Progress::new();
        progress.connecting("connection refused".to_owned());
        let (reason, what) = (Reason::ClusterIdChanged, "another cluster".to_owned());
        let replaced = Connection::Replaced(Replacement { reason, what });
        let cases = [
            (progress.readiness(), "connection refused"),
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
