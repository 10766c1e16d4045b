//! A watch that only counts: how many keys of a kind have come, and when the last one did.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use lochness_api::keys::Key;
use lochness_api::status::Phase;
use lochness_api::{Prefix, SubnetId};
use lochness_kv::{EtcdKv, Event, Kv as _, RangeRequest, WatchRequest};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Whoever looks on while nothing comes is told so often how far it is.
const TELL: Duration = Duration::from_secs(10);

/// How far apart in time the count is asked for.
const CLOSEST: Duration = Duration::from_millis(5);
const FARTHEST: Duration = Duration::from_millis(500);

/// What has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Count {
    /// Index keys: guests that are placed.
    pub(crate) placed: usize,
    /// Guests' statuses that say `Running`, counted once each.
    pub(crate) running: usize,
    /// Guests' statuses that came at all.
    pub(crate) statuses: usize,
    /// All events.
    pub(crate) events: u64,
    /// Transactions in which somebody wrote what is not a user's document: entries in etcd's log that are ours.
    pub(crate) entries: u64,
}

/// Counts what comes under the prefix.
pub(crate) struct Tally {
    counts: watch::Receiver<Count>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Tally {
    /// Counts from now on.
    pub(crate) async fn start(kv: Arc<EtcdKv>) -> anyhow::Result<Self> {
        let prefix = Prefix::default();
        let from = kv.range(RangeRequest::key("none")).await?.header.revision + 1;
        let mut stream = kv.watch(WatchRequest::prefix(prefix.as_str().to_owned(), from)).await?;
        let (sender, counts) = watch::channel(Count::default());
        let task = tokio::spawn(async move {
            let mut count = Count::default();
            let mut running = std::collections::HashSet::new();
            let mut newest = 0;
            loop {
                let batch = stream.next().await?;
                for event in &batch.events {
                    count.events += 1;
                    let key = prefix.parse(event.key()).ok();
                    let is_users = matches!(key, Some(Key::Guest(_) | Key::Subnet(_)));
                    if !is_users && event.revision() > newest {
                        newest = event.revision();
                        count.entries += 1;
                    }
                    let Event::Put(kv) = event else { continue };
                    match key {
                        Some(Key::Placement(..)) => count.placed += 1,
                        Some(Key::GuestStatus(id)) => {
                            count.statuses += 1;
                            let phase = phase(&kv.value);
                            if phase == Some(Phase::Running) && running.insert(id) {
                                count.running += 1;
                            }
                        }
                        _ => {}
                    }
                }
                if sender.send(count).is_err() {
                    return Ok(());
                }
            }
        });
        Ok(Self { counts, task })
    }

    /// What has come by now.
    pub(crate) fn now(&self) -> Count {
        *self.counts.borrow()
    }

    /// When the count is as wished; an error when it is not within `limit`.
    pub(crate) async fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut enough: impl FnMut(&Count) -> bool,
    ) -> anyhow::Result<Instant> {
        let deadline = Instant::now() + limit;
        loop {
            let waiting = self.counts.wait_for(|count| enough(count));
            let ended = tokio::time::timeout(TELL, waiting).await.map(|came| came.map(drop));
            match ended {
                Ok(Ok(())) => return Ok(Instant::now()),
                Ok(Err(_)) => bail!("the watch ended while waiting until {what}"),
                Err(_) if Instant::now() < deadline => {
                    eprintln!("   until {what}: {:?}", self.now());
                }
                Err(_) => bail!("not within {limit:?}: {what}; {:?}", self.now()),
            }
        }
    }
}

/// Waits until there are so many reserved addresses, and asks ever more closely how far it is: a watch would be work for
/// etcd that the reference does not have.
pub(crate) async fn until_reserved(
    kv: &EtcdKv,
    subnet: SubnetId,
    all: usize,
    limit: Duration,
) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let addresses = format!("{}subnets/{subnet}/addresses/", Prefix::default().as_str());
        let request = RangeRequest { count_only: true, ..RangeRequest::prefix(addresses) };
        let taken = usize::try_from(kv.range(request).await?.count)?;
        if taken >= all {
            return Ok(());
        }
        let so_far = began.elapsed();
        if so_far > limit {
            bail!("not within {limit:?}: {taken} of {all} addresses are reserved");
        }
        // Half of what is left at the rate until now.
        let (done, left) = (u32::try_from(taken.max(1))?, u32::try_from(all - taken)?);
        let half = so_far.saturating_mul(left) / done / 2;
        tokio::time::sleep(half.clamp(CLOSEST, FARTHEST)).await;
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The phase in a status, read without the rest.
fn phase(value: &[u8]) -> Option<Phase> {
    #[derive(serde::Deserialize)]
    struct Told {
        phase: Phase,
    }
    serde_json::from_slice::<Told>(value).ok().map(|told| told.phase)
}
