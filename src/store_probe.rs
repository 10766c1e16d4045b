//! Asks etcd how it is, every few seconds: what it says is for people, on `/readyz`, in the metrics, in `status/cluster`.
//!
//! Guarantees: trouble that lasts is logged when it begins, once a minute and when it ends; one question that brings
//! nothing is no trouble yet. Nothing is decided here: whether a write is taken, each write finds out by itself.

use std::time::Duration;

use lochness_controllers::loops::Health;
use lochness_controllers::world::{Server, ServerTrouble};
use lochness_kv::{Kv, KvError, RangeRequest, ServerStatus};
use lochness_runtime::Trouble;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

/// Between two looks while all is well.
const PERIOD: Duration = Duration::from_secs(5);
/// Before what failed is tried again: members that change places need about a second.
const AGAIN: Duration = Duration::from_secs(1);
/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(3);
/// So many looks in a row must fail.
const FAILURES: u32 = 2;

/// Looks for ever, and tells `health` what it sees. `key` is any key: reading it takes a majority of the members.
pub(crate) async fn probe(kv: &dyn Kv, key: String, health: Health) {
    let mut failures = 0;
    let mut told = Trouble::default();
    loop {
        let (status, read) = look(kv, &key).await;
        let former = health.server();
        let trouble = judge(status.as_ref(), read.as_ref().copied());
        let status = status.ok();
        let unsure = matches!(trouble, Some(ServerTrouble::NoQuorum | ServerTrouble::NoAnswer));
        failures = if unsure { failures + 1 } else { 0 };
        let trouble = if unsure && failures < FAILURES { former.trouble } else { trouble };
        let server = Server {
            version: status.as_ref().map(|it| it.version.clone()).or(former.version),
            size: status.as_ref().map(|it| it.db_size).or(former.size),
            trouble,
        };
        tell(&mut told, trouble, former.trouble);
        health.set_server(server);
        sleep(if trouble.is_some() || failures > 0 { AGAIN } else { PERIOD }).await;
    }
}

/// What a member says of itself, and whether a majority answers a read.
async fn look(kv: &dyn Kv, key: &str) -> (Result<ServerStatus, KvError>, Result<(), KvError>) {
    let read = RangeRequest { count_only: true, ..RangeRequest::key(key.to_owned()) };
    let (status, read) =
        tokio::join!(timeout(PATIENCE, kv.status()), timeout(PATIENCE, kv.range(read)));
    let late = || KvError::Unknown(format!("no answer within {PATIENCE:?}"));
    let status = status.unwrap_or_else(|_| Err(late()));
    (status, read.unwrap_or_else(|_| Err(late())).map(drop))
}

fn judge(
    status: Result<&ServerStatus, &KvError>,
    read: Result<(), &KvError>,
) -> Option<ServerTrouble> {
    match (status, read) {
        // Who may not read this key has a server all the same.
        (_, Err(KvError::PermissionDenied(_) | KvError::Invalid(_))) | (Err(_), Ok(())) => None,
        (Ok(status), Ok(())) => status.no_space.then_some(ServerTrouble::NoSpace),
        (Ok(_), Err(_)) => Some(ServerTrouble::NoQuorum),
        (Err(one), Err(other)) if one.says_no_leader() || other.says_no_leader() => {
            Some(ServerTrouble::NoQuorum)
        }
        (Err(_), Err(_)) => Some(ServerTrouble::NoAnswer),
    }
}

fn tell(told: &mut Trouble, now: Option<ServerTrouble>, former: Option<ServerTrouble>) {
    if now != former {
        // One kind of trouble that follows another is news.
        let was_told = told.is_over();
        if was_told && now.is_none() {
            info!("etcd takes writes again");
        }
    }
    if let Some(trouble) = now
        && told.is_news()
    {
        warn!(trouble = trouble.as_str(), "{}: nothing is written until then", trouble.advice());
    }
}

#[cfg(test)]
mod tests {
    use lochness_kv::Header;

    use super::*;

    fn status(no_space: bool) -> ServerStatus {
        ServerStatus { version: String::new(), db_size: 0, no_space, header: Header::default() }
    }

    #[test]
    fn what_answers_and_what_does_not_tells_the_kind_of_trouble() {
        let silent = KvError::Unknown(String::new());
        let leaderless = KvError::Unavailable("etcdserver: no leader".to_owned());
        let denied = KvError::PermissionDenied(String::new());
        let (fine, full) = (status(false), status(true));
        assert_eq!(judge(Ok(&fine), Ok(())), None);
        assert_eq!(judge(Ok(&full), Ok(())), Some(ServerTrouble::NoSpace));
        assert_eq!(judge(Ok(&fine), Err(&silent)), Some(ServerTrouble::NoQuorum));
        assert_eq!(judge(Err(&leaderless), Err(&silent)), Some(ServerTrouble::NoQuorum));
        assert_eq!(judge(Err(&silent), Err(&silent)), Some(ServerTrouble::NoAnswer));
        assert_eq!(judge(Err(&silent), Err(&denied)), None);
    }
}
