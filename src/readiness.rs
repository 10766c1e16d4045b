//! How far this process has come: what `/readyz` answers, in words.

use std::sync::{Arc, Mutex, PoisonError};

use lochness_controllers::loops::Health;
use lochness_controllers::readiness::Readiness;

/// How far the process has come. Cloning gives the same one.
#[derive(Clone)]
pub(crate) struct Progress(Arc<Mutex<Stage>>);

enum Stage {
    /// No etcd has answered yet; says what the last attempt met.
    Connecting(String),
    /// The loops' machinery runs.
    Running(Health),
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
            Stage::Running(health) => health.readiness(),
        }
    }

    fn set(&self, stage: Stage) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = stage;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_no_etcd_has_answered_says_what_it_met() {
        let progress = Progress::new();
        progress.connecting("connection refused".to_owned());
        let readiness = progress.readiness();
        assert!(
            matches!(&readiness, Readiness::NotReady(why) if why.contains("connection refused")),
            "{readiness:?}"
        );
    }
}
