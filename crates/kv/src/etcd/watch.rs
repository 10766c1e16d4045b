//! Watches on etcd. What the client library leaves to its users happens here: waiting for `created`, renewing an
//! expired token, telling why a watch was cancelled, fragments.

use async_trait::async_trait;

use super::endpoint::{Failure, Member};
use super::wire;
use crate::{KvError, RangeRequest, WatchBatch, WatchRequest, WatchStream};

/// Opens a watch and waits until etcd has registered it, so that nothing written afterwards is missed.
pub(super) async fn open(
    member: Member,
    request: WatchRequest,
) -> Result<Box<dyn WatchStream>, Failure> {
    let stream = match create(&member, &request).await {
        // etcd 3.4 says of an expired token that permission is denied, and the library renews none for a watch.
        Err(Failure::Told(KvError::PermissionDenied(_))) if member.authenticates => {
            member.renew_token().await?;
            create(&member, &request).await?
        }
        other => other?,
    };
    check_start(&member, &request).await?;
    Ok(Box::new(EtcdWatch { stream }))
}

async fn create(member: &Member, request: &WatchRequest) -> Result<wire::WatchStream, Failure> {
    let options = wire::watch_options(request);
    let mut stream = member.watch.clone().watch(request.key.clone(), Some(options)).await?;
    match stream.message().await? {
        Some(answer) if answer.created() && !answer.canceled() => Ok(stream),
        Some(answer) => Err(Failure::Told(cancelled(&answer))),
        None => Err(Failure::Told(ended())),
    }
}

/// A watch that starts at exactly the compacted revision is accepted by etcd, but a deletion made by that very revision
/// is gone (etcd 19179). So the start counts as kept only when the revision before it can be read.
async fn check_start(member: &Member, request: &WatchRequest) -> Result<(), Failure> {
    if request.start_revision <= 1 {
        return Ok(());
    }
    let before = RangeRequest {
        revision: request.start_revision - 1,
        count_only: true,
        ..RangeRequest::key(request.key.clone())
    };
    match member.range(&before).await.map_err(Failure::into_error) {
        // A start that is still to come can be waited for.
        Ok(_) | Err(KvError::Invalid(_)) => Ok(()),
        Err(error) => Err(Failure::Told(error)),
    }
}

struct EtcdWatch {
    stream: wire::WatchStream,
}

#[async_trait]
impl WatchStream for EtcdWatch {
    async fn next(&mut self) -> Result<WatchBatch, KvError> {
        match self.stream.message().await {
            Ok(Some(answer)) if answer.canceled() || answer.compact_revision() > 0 => {
                Err(cancelled(&answer))
            }
            Ok(Some(answer)) => Ok(wire::watch_batch(answer)),
            Ok(None) => Err(ended()),
            Err(error) => Err(wire::error(&error).of_no_effect()),
        }
    }

    async fn request_progress(&mut self) -> Result<(), KvError> {
        self.stream.request_progress().await.map_err(|_| ended())
    }
}

fn ended() -> KvError {
    KvError::Unavailable("the watch ended".into())
}

/// etcd tells why only in words, and 3.4 not even always.
fn cancelled(answer: &wire::WatchResponse) -> KvError {
    let reason = answer.cancel_reason();
    if answer.compact_revision() > 0 {
        return KvError::Compacted(answer.compact_revision());
    }
    if reason.contains("compacted") {
        return KvError::Compacted(0);
    }
    if ["permission denied", "auth", "user name"].iter().any(|word| reason.contains(word)) {
        return KvError::PermissionDenied(reason.to_owned());
    }
    KvError::Unavailable(format!("the watch was cancelled: {reason}"))
}
