//! The store in etcd.

mod config;

use std::time::Duration;

use async_trait::async_trait;

pub use config::{EtcdConfig, Pem, Secret, TlsConfig};

use crate::{
    Kv, KvError, LeaseId, RangeRequest, RangeResponse, ServerStatus, Txn, TxnResponse,
    WatchRequest, WatchStream,
};

/// The store in etcd. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct EtcdKv {}

impl EtcdKv {
    /// Connects.
    pub async fn connect(_config: EtcdConfig) -> Result<Self, KvError> {
        todo!()
    }
}

#[async_trait]
impl Kv for EtcdKv {
    async fn range(&self, _request: RangeRequest) -> Result<RangeResponse, KvError> {
        todo!()
    }
    async fn txn(&self, _txn: Txn) -> Result<TxnResponse, KvError> {
        todo!()
    }
    async fn watch(&self, _request: WatchRequest) -> Result<Box<dyn WatchStream>, KvError> {
        todo!()
    }
    async fn lease_grant(&self, _ttl: Duration) -> Result<(LeaseId, Duration), KvError> {
        todo!()
    }
    async fn lease_keepalive(&self, _lease: LeaseId) -> Result<Duration, KvError> {
        todo!()
    }
    async fn lease_revoke(&self, _lease: LeaseId) -> Result<(), KvError> {
        todo!()
    }
    async fn status(&self) -> Result<ServerStatus, KvError> {
        todo!()
    }
}
