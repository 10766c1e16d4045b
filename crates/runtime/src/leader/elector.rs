//! The course of elections: campaign, lead, give back, campaign again.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use lochness_kv::Kv;
use lochness_mutant::Mutant;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::campaign::Campaign;
use super::keeper::{keep, run_out};
use super::pulse::Pulse;
use super::term::Term;
use super::{ElectorOptions, Keeper};
use crate::backoff::Backoff;
use crate::freeze::Gate;
use crate::metrics::{LeaderMetrics, Metrics};
use crate::trouble::Trouble;

/// Campaigns for one key, and leads while it holds it.
pub struct Elector {
    campaign: Campaign,
    metrics: LeaderMetrics,
    keeper: Option<Keeper>,
}

impl Elector {
    /// A candidate.
    pub fn new(kv: Arc<dyn Kv>, options: ElectorOptions, metrics: &Metrics) -> Self {
        let metrics = metrics.leader(&String::from_utf8_lossy(&options.key));
        metrics.standing_by();
        Self { campaign: Campaign { kv, options }, metrics, keeper: None }
    }

    /// Lets keepalives run apart from everything else.
    #[must_use]
    pub fn with_keeper(self, keeper: Option<Keeper>) -> Self {
        Self { keeper, ..self }
    }

    /// Campaigns until `token` is cancelled, and calls `lead` with every term that it wins. When the term is lost, `lead`
    /// has [`ElectorOptions::grace`] to return; when it returns, the term is given back.
    ///
    /// Demotion is checked before each poll of what `lead` returned. It shares its task with that check, but not with
    /// the keepalives: those go on while it computes.
    pub async fn run<F, Fut>(self, token: CancellationToken, mut lead: F)
    where
        F: FnMut(Term) -> Fut,
        Fut: Future<Output = ()>,
    {
        let mut backoff = Backoff::new(self.campaign.options.backoff);
        let mut failures = 0;
        let mut trouble = Trouble::default();
        loop {
            let vacant = tokio::select! {
                biased;
                () = token.cancelled() => return,
                vacant = self.campaign.vacancy() => vacant,
            };
            if lochness_mutant::is(Mutant::StandsLate) {
                sleep(Duration::from_secs(60)).await;
            }
            let started = Instant::now();
            // Once begun, a candidacy is not cancelled: a key that was won would stay until its lease ends.
            let stood = match vacant {
                Ok(()) => self.campaign.stand().await,
                Err(error) => Err(error),
            };
            if stood.is_ok() {
                trouble.is_over();
            }
            match stood {
                Ok(Some(won)) if token.is_cancelled() => {
                    let term = Term::new(won);
                    self.campaign.release(term.fence(), term.lease_id()).await;
                }
                Ok(Some(won)) => {
                    self.hold(Term::new(won), &token, &mut lead).await;
                    if started.elapsed() >= self.campaign.options.lease {
                        failures = 0;
                    }
                }
                Ok(None) => failures = 0,
                Err(error) if trouble.is_news() => {
                    warn!(%error, "cannot campaign for the leadership, will retry");
                }
                Err(error) => debug!(%error, "cannot campaign for the leadership, will retry"),
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = sleep(backoff.delay(failures)) => failures = failures.saturating_add(1),
            }
        }
    }

    /// Leads until the term is over, then gives the key back.
    async fn hold<F, Fut>(&self, term: Term, token: &CancellationToken, lead: &mut F)
    where
        F: FnMut(Term) -> Fut,
        Fut: Future<Output = ()>,
    {
        info!(revision = term.revision(), "leads");
        self.metrics.leading();
        // A task of its own, so that keepalives do not wait for whatever `lead` does; aborted when dropped.
        let mut keeper = JoinSet::new();
        let pulse = Pulse::new();
        match &self.keeper {
            None => {
                let kv = Arc::clone(&self.campaign.kv);
                keeper.spawn(Gate::current().guard(keep(kv, term.clone(), None)));
            }
            Some(Keeper { kv, runtime }) => {
                let kept = keep(Arc::clone(kv), term.clone(), Some(pulse.clone()));
                keeper.spawn_on(kept, runtime);
            }
        }
        let beat = async {
            match self.keeper {
                Some(_) => match pulse.beat().await {},
                None => std::future::pending().await,
            }
        };
        {
            let mut leading = pin!(lead(term.clone()));
            let end = tokio::select! {
                biased;
                () = term.lost().cancelled() => End::Over,
                reason = run_out(&term) => {
                    term.lose(reason);
                    End::Over
                }
                _ = keeper.join_next() => {
                    term.lose("the keeper of the lease has ended");
                    End::Over
                }
                () = token.cancelled() => End::Over,
                end = beat => end,
                () = &mut leading => End::Returned,
            };
            term.resign();
            self.metrics.standing_by();
            let grace = self.campaign.options.grace;
            // The keepalives go on meanwhile: no successor begins before this has ended.
            if end == End::Over && timeout(grace, leading).await.is_err() {
                warn!(?grace, "the leader's work did not end in time and is dropped");
            }
        }
        drop(keeper);
        self.campaign.release(term.fence(), term.lease_id()).await;
        info!(revision = term.revision(), "stands by");
    }
}

/// Why leading ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The term is lost, or shall end.
    Over,
    /// By itself.
    Returned,
}
