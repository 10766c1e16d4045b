//! The etcd under a stage: its own, of one member or several, or one that it shares with other stages.

use std::path::PathBuf;

use lochness_kv::EtcdConfig;
use lochness_kv::test_support::{EtcdOptions, EtcdProcess};

/// Members of etcd. Those that the stage owns end with it.
pub(crate) struct Members {
    own: Vec<EtcdProcess>,
    endpoint: String,
}

impl Members {
    /// One of the stage's own.
    pub(crate) fn one(options: &EtcdOptions) -> Self {
        Self::of(vec![EtcdProcess::start_with(options)])
    }

    /// A cluster of the stage's own.
    pub(crate) fn several(count: usize) -> Self {
        Self::of(EtcdProcess::start_cluster(count))
    }

    /// Somebody else's.
    pub(crate) fn shared(endpoint: &str) -> Self {
        Self { own: Vec::new(), endpoint: endpoint.to_owned() }
    }

    fn of(own: Vec<EtcdProcess>) -> Self {
        let endpoints: Vec<_> = own.iter().map(|member| member.endpoint().to_owned()).collect();
        Self { own, endpoint: endpoints.join(",") }
    }

    /// Where it is reached; several endpoints are separated by commas.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Reaches all members.
    pub(crate) fn config(&self) -> EtcdConfig {
        let endpoints = self.endpoint.split(',').map(str::to_owned).collect();
        EtcdConfig { endpoints, ..EtcdConfig::default() }
    }

    /// Whether nobody else uses it.
    pub(crate) fn is_own(&self) -> bool {
        !self.own.is_empty()
    }

    /// One member.
    pub(crate) fn member(&mut self, place: usize) -> &mut EtcdProcess {
        &mut self.own[place]
    }

    /// Ends the first member, and with it a store that has but one, as a crash would.
    pub(crate) fn kill(&mut self) {
        self.own[0].kill();
    }

    /// Ends it as an administrator would.
    pub(crate) fn stop(&mut self) {
        self.own[0].stop();
    }

    /// Starts it again with its data.
    pub(crate) fn restart(&mut self) {
        self.own[0].restart();
    }

    /// Where its data lies.
    pub(crate) fn data_dir(&self) -> PathBuf {
        self.own[0].data_dir()
    }
}
