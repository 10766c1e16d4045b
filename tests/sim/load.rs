//! S16: what one process has under way at once is bounded by the constants of its code, and one guest has one worker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::{Method, Request};
use lochness_runtime::committer::CommitterOptions;
use serde_json::Value;

/// Requests to one agent besides those that take turns: its list, and what is read with it.
const PROBES: usize = 1;
/// Transactions besides the committer's: the candidate's own.
const CANDIDACIES: usize = 1;

/// What one process has under way.
pub(crate) struct Load {
    /// At most so many requests to one address.
    most: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    requests: BTreeMap<String, usize>,
    changes: BTreeMap<String, usize>,
    transactions: usize,
}

/// While it lives, something is under way.
pub(crate) struct UnderWay {
    load: Arc<Load>,
    what: What,
}

enum What {
    Request { authority: String, change: Option<String> },
    Transaction,
}

impl Load {
    /// Nothing is under way. One agent gets `turns` requests at once; `hosts` may be taken to be at one address.
    pub(crate) fn new(turns: usize, hosts: usize) -> Arc<Self> {
        Arc::new(Self { most: (turns + PROBES) * hosts, inner: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request goes out; and what is wrong with that.
    pub(crate) fn asks(self: &Arc<Self>, request: &Request<Bytes>) -> (UnderWay, Option<String>) {
        let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
        let change = change_of(request);
        let mut inner = self.lock();
        let requests = inner.requests.entry(authority.clone()).or_default();
        *requests += 1;
        let requests = *requests;
        let at_once = change.as_ref().map_or(0, |guest| {
            let changes = inner.changes.entry(guest.clone()).or_default();
            *changes += 1;
            *changes
        });
        drop(inner);
        let wrong = if requests > self.most {
            Some(format!("S16: {requests} requests to {authority} at once, {} may be", self.most))
        } else if at_once > 1 {
            Some(format!("S16: {at_once} workers ask for one change of {change:?} at once"))
        } else {
            None
        };
        let what = What::Request { authority, change };
        (UnderWay { load: Arc::clone(self), what }, wrong)
    }

    /// A transaction goes out; and what is wrong with that.
    pub(crate) fn writes(self: &Arc<Self>) -> (UnderWay, Option<String>) {
        let most = CommitterOptions::default().max_in_flight + CANDIDACIES;
        let now = {
            let mut inner = self.lock();
            inner.transactions += 1;
            inner.transactions
        };
        let wrong = (now > most).then(|| format!("S16: {now} transactions at once, {most} may be"));
        (UnderWay { load: Arc::clone(self), what: What::Transaction }, wrong)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut inner = self.load.lock();
        let end = |counts: &mut BTreeMap<String, usize>, key: &str| {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
            }
        };
        match &self.what {
            What::Request { authority, change } => {
                end(&mut inner.requests, authority);
                if let Some(guest) = change {
                    end(&mut inner.changes, guest);
                }
            }
            What::Transaction => inner.transactions -= 1,
        }
    }
}

/// Which job of which guest a request is to do: that of its path, `/guests/<id>/<action>`, or of its body, and its order.
/// A delete may go out while the create that it supersedes still waits for its answer.
fn change_of(request: &Request<Bytes>) -> Option<String> {
    if request.method() == Method::GET {
        return None;
    }
    let rest = request.uri().path().strip_prefix("/guests")?;
    let order = request.headers().get("X-Lochness-Order").and_then(|order| order.to_str().ok());
    let guest = if rest.is_empty() {
        let body: Value = serde_json::from_slice(request.body()).ok()?;
        body["id"].as_str()?.to_owned()
    } else {
        rest.to_owned()
    };
    Some(format!("{guest} by order {}", order.unwrap_or("-")))
}
