//! Our requests and answers in the types of the client library. The one file that names `etcd_client`.

use std::time::Duration;

use bytes::Bytes;
use etcd_client as etcd;
use etcd_client::proto::PbTxnOpResponse;

use super::refusal::Refusal;
use crate::{
    Compare, Event, Header, KeyValue, KvError, LeaseId, Op, OpResponse, RangeRequest,
    RangeResponse, ServerStatus, Txn, TxnResponse, WatchBatch, WatchRequest,
};

pub(super) use etcd::{
    Certificate, Client, ConnectOptions, Error, Identity, KvClient, LeaseClient, MaintenanceClient,
    TlsOptions, WatchClient, WatchResponse, WatchStream,
};

/// Why a call failed.
pub(super) fn error(error: &Error) -> KvError {
    match error {
        Error::GRpcStatus(status) => {
            let refusal = refusal(status);
            if refusal.answer_is_too_large() {
                return KvError::Unknown(status.message().to_owned());
            }
            refusal.into_error()
        }
        // Found before anything is sent.
        Error::InvalidArgs(_) | Error::InvalidUri(_) | Error::InvalidMetadataValue(_) => {
            KvError::Invalid(error.to_string())
        }
        Error::LeaseKeepAliveError(reason) if reason == "lease not found" => KvError::LeaseNotFound,
        Error::IoError(_)
        | Error::TransportError(_)
        | Error::WatchError(_)
        | Error::Utf8Error(_)
        | Error::LeaseKeepAliveError(_)
        | Error::ElectError(_)
        | Error::EndpointError(_)
        | Error::EndpointsNotManaged
        | Error::Internal(_) => KvError::Unknown(error.to_string()),
    }
}

/// Why a read failed: unlike after a write, an answer that was too large can be asked for in smaller parts.
pub(super) fn read_error(failure: &Error) -> KvError {
    if let Error::GRpcStatus(status) = failure
        && refusal(status).answer_is_too_large()
    {
        return KvError::TooLarge(format!("the answer: {}", status.message()));
    }
    error(failure)
}

fn refusal(status: &tonic::Status) -> Refusal<'_> {
    use std::error::Error as _;
    let mut unsent = false;
    let mut source = status.source();
    while let Some(cause) = source {
        unsent |= cause.is::<tonic::ConnectError>();
        source = cause.source();
    }
    let code = status.code() as i32;
    Refusal { code, message: status.message(), unsent, source: status.source() }
}

pub(super) fn header(header: Option<&etcd::ResponseHeader>) -> Header {
    header.map_or_else(Header::default, |header| Header {
        cluster_id: header.cluster_id(),
        revision: header.revision(),
    })
}

pub(super) fn get_options(request: &RangeRequest) -> etcd::GetOptions {
    let mut options = etcd::GetOptions::new()
        .with_range(request.end.clone())
        .with_revision(request.revision)
        .with_limit(request.limit);
    if request.keys_only {
        options = options.with_keys_only();
    }
    if request.count_only {
        options = options.with_count_only();
    }
    options
}

pub(super) fn range_response(mut response: etcd::GetResponse) -> RangeResponse {
    RangeResponse {
        header: header(response.header()),
        more: response.more(),
        count: response.count(),
        kvs: response.take_kvs().into_iter().map(key_value).collect(),
    }
}

/// The library wants each key and value for itself: they are copied here, once.
pub(super) fn txn(txn: &Txn) -> etcd::Txn {
    let operations = |ops: &[Op]| ops.iter().map(operation).collect::<Vec<_>>();
    etcd::Txn::new()
        .when(txn.compares.iter().map(compare).collect::<Vec<_>>())
        .and_then(operations(&txn.success))
        .or_else(operations(&txn.failure))
}

fn compare(compare: &Compare) -> etcd::Compare {
    let equal = etcd::CompareOp::Equal;
    match compare {
        Compare::ModRevision(key, revision) => {
            etcd::Compare::mod_revision(&key[..], equal, *revision)
        }
        Compare::CreateRevision(key, revision) => {
            etcd::Compare::create_revision(&key[..], equal, *revision)
        }
        Compare::Value(key, value) => etcd::Compare::value(&key[..], equal, &value[..]),
    }
}

fn operation(op: &Op) -> etcd::TxnOp {
    match op {
        Op::Put { key, value, lease } => {
            let options = lease.map(|LeaseId(id)| etcd::PutOptions::new().with_lease(id));
            etcd::TxnOp::put(&key[..], &value[..], options)
        }
        Op::Delete { key, end } => {
            let options = etcd::DeleteOptions::new().with_range(&end[..]);
            etcd::TxnOp::delete(&key[..], Some(options))
        }
        Op::Range(request) => etcd::TxnOp::get(&request.key[..], Some(get_options(request))),
        Op::Txn(child) => etcd::TxnOp::txn(txn(child)),
    }
}

/// The answer to a transaction. etcd gives only the whole a full header, so the answers inside get that one too.
pub(super) fn txn_response(response: etcd::TxnResponse) -> TxnResponse {
    let header = header(response.header());
    stamped_txn_response(response.0, header)
}

fn stamped_txn_response(response: etcd::proto::PbTxnResponse, header: Header) -> TxnResponse {
    let responses = response.responses.into_iter().filter_map(|response| {
        Some(match response.response? {
            PbTxnOpResponse::ResponsePut(_) => OpResponse::Put,
            PbTxnOpResponse::ResponseRange(range) => {
                let range = range_response(etcd::GetResponse(range));
                OpResponse::Range(RangeResponse { header, ..range })
            }
            PbTxnOpResponse::ResponseDeleteRange(deleted) => OpResponse::Delete(deleted.deleted),
            PbTxnOpResponse::ResponseTxn(child) => {
                OpResponse::Txn(stamped_txn_response(child, header))
            }
        })
    });
    TxnResponse { header, succeeded: response.succeeded, responses: responses.collect() }
}

fn key_value(kv: etcd::KeyValue) -> KeyValue {
    let (create_revision, mod_revision) = (kv.create_revision(), kv.mod_revision());
    let (version, lease) = (kv.version(), lease(kv.lease()));
    let (key, value) = kv.into_key_value();
    KeyValue { key: key.into(), value: value.into(), create_revision, mod_revision, version, lease }
}

fn lease(id: i64) -> Option<LeaseId> {
    (id != 0).then_some(LeaseId(id))
}

pub(super) fn watch_options(request: &WatchRequest) -> etcd::WatchOptions {
    etcd::WatchOptions::new()
        .with_range(request.end.clone())
        .with_start_revision(request.start_revision)
        .with_fragment()
}

pub(super) fn watch_batch(response: WatchResponse) -> WatchBatch {
    let header = header(response.header());
    let fragment = response.0.fragment;
    let events = response.0.events.into_iter().filter_map(event).collect();
    WatchBatch { header, events, fragment }
}

fn event(event: etcd::proto::PbEvent) -> Option<Event> {
    let deleted = event.r#type == etcd::EventType::Delete as i32;
    let kv = event.kv?;
    let key = Bytes::from(kv.key);
    if deleted {
        return Some(Event::Delete { key, mod_revision: kv.mod_revision });
    }
    Some(Event::Put(KeyValue {
        key,
        value: kv.value.into(),
        create_revision: kv.create_revision,
        mod_revision: kv.mod_revision,
        version: kv.version,
        lease: lease(kv.lease),
    }))
}

pub(super) fn server_status(response: &etcd::StatusResponse) -> ServerStatus {
    ServerStatus {
        version: response.version().to_owned(),
        db_size: response.db_size(),
        // Alarms come as text here; asking for them as such would cost a proposal each time.
        no_space: response.errors().iter().any(|error| error.contains("NOSPACE")),
        header: header(response.header()),
    }
}

pub(super) fn seconds(ttl: i64) -> Duration {
    Duration::from_secs(u64::try_from(ttl).unwrap_or(0))
}
