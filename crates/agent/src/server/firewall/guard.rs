//! Keeps what is stored in force on a real host.
//!
//! ```text
//!   start ─▶ NotYet ─▶ applied ─▶ Yes ◀──── applied again ────┐
//!               │                  │ somebody changed it      │
//!               └─ refused ─▶ No ◀─┴── and it is refused ─────┘
//! ```
//! Guarantees: no guest job is begun before the stored ruleset was tried, and none that makes a guest run while it is not
//! in force; what somebody else does to our tables is put right as soon as the kernel tells of it, and within a minute
//! when it does not. What others do to tables of their own is none of our business. Idle, this waits for one line of
//! one process.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::InForce;
use super::enforcer::Enforcer;
use crate::server::host::Host;
use crate::server::nft::{Change, Monitor, Nft, SETTLE, Tables};

/// Looks without being told.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After the monitor or a repair failed; doubled up to the other.
const RETRY_MIN: Duration = Duration::from_secs(1);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A new monitor listens by then; what happened before it did is looked for.
const MONITOR_LISTENS: Duration = Duration::from_millis(300);

impl Host {
    /// Guards the firewall of a real host, for ever. Answers at once where there is none.
    pub(crate) async fn guard_firewall(&self) {
        let Enforcer::Nft(nft) = self.enforcer() else { return };
        self.restore(nft).await;
        let mut retry = RETRY_MIN;
        loop {
            let began = Instant::now();
            match Monitor::start(nft) {
                Ok(monitor) => self.watch(nft, monitor).await,
                Err(error) => {
                    tracing::warn!(host = self.name(), %error, "cannot watch the firewall");
                }
            }
            tracing::debug!(host = self.name(), "the firewall's monitor ended, will start another");
            if began.elapsed() > RETRY_MAX {
                retry = RETRY_MIN;
            }
            sleep(retry).await;
            retry = (retry * 2).min(RETRY_MAX);
        }
    }

    /// After a change failed: what was in force before still is, or is again.
    pub(crate) async fn keep_former(&self) {
        let Enforcer::Nft(nft) = self.enforcer() else { return };
        if self.core().state.firewall.applied.is_none() {
            return;
        }
        match nft.look().await {
            Ok(Tables::Ours) => {}
            Ok(Tables::Others) => {
                self.put_right(nft).await;
            }
            Err(error) => tracing::warn!(host = self.name(), %error, "cannot look at the firewall"),
        }
    }

    /// Puts the stored ruleset in force at the start, and lets the guests' jobs begin.
    async fn restore(&self, nft: &Nft) {
        if let Ok(_turn) = self.firewall_turn().acquire().await
            && self.put_right(nft).await
        {
            tracing::info!(host = self.name(), "the stored ruleset is in force");
        }
        self.firewall_is_tried();
    }

    /// Looks when something happened, and from time to time. Ends with the monitor.
    async fn watch(&self, nft: &Nft, mut monitor: Monitor) {
        let mut retry = RETRY_MIN;
        let mut was_right = true;
        let mut next = Instant::now() + MONITOR_LISTENS;
        loop {
            let foreign = tokio::select! {
                biased;
                change = monitor.change() => match change {
                    Ok(first) => self.settled(nft, first, &mut monitor).await,
                    Err(()) => return,
                },
                () = sleep_until(next) => Ok(true),
            };
            let Ok(foreign) = foreign else { return };
            // Repairs that do not help are changes too, and must not lead to more of them.
            if !foreign || (!was_right && Instant::now() < next) {
                continue;
            }
            was_right = self.look_after(nft).await;
            retry = if was_right { RETRY_MIN } else { (retry * 2).min(RETRY_MAX) };
            next = Instant::now() + if was_right { LOOK_EVERY } else { retry };
        }
    }

    /// Waits until nothing more comes, and says whether anybody else had a part in it. `Err`: the monitor ended.
    async fn settled(&self, nft: &Nft, first: Change, monitor: &mut Monitor) -> Result<bool, ()> {
        let is_foreign =
            |change: Change| !change.process.is_some_and(|process| nft.is_own(process));
        let mut changes = vec![first];
        let deadline = Instant::now() + SETTLE;
        loop {
            tokio::select! {
                biased;
                () = sleep_until(deadline) => break,
                change = monitor.change() => changes.push(change?),
            }
        }
        // A change of ours that is under way is over when we have the turn.
        let _turn = self.firewall_turn().acquire().await.map_err(|_| ())?;
        Ok(changes.into_iter().any(is_foreign))
    }

    /// Looks, and puts right what is wrong. Says whether all is well then.
    async fn look_after(&self, nft: &Nft) -> bool {
        let Ok(_turn) = self.firewall_turn().acquire().await else { return true };
        if self.core().state.firewall.applied.is_none() {
            return true;
        }
        // A second look, because a list that is made while the kernel sorts a large set anew can say too little.
        for _ in 0..2 {
            match nft.look().await {
                Ok(Tables::Ours) => return true,
                Ok(Tables::Others) => {}
                Err(error) => {
                    tracing::warn!(host = self.name(), %error, "cannot look at the firewall");
                    return false;
                }
            }
        }
        let was_right = self.core().in_force == InForce::Yes;
        if !self.put_right(nft).await {
            return false;
        }
        if was_right {
            tracing::warn!(host = self.name(), "somebody changed our tables, they are as before");
            self.core().note_repair();
        }
        nft.is_known()
    }

    /// Applies what is stored, and says whether that is in force. Whoever calls has the turn.
    async fn put_right(&self, nft: &Nft) -> bool {
        let wanted = self.core().state.firewall.again();
        let applied = match wanted {
            None => Ok(false),
            Some(Err(refusal)) => Err(refusal.to_string()),
            Some(Ok(wanted)) => {
                let applied = nft.apply(&wanted.whole()).await;
                applied.map(|()| true).map_err(|error| error.to_string())
            }
        };
        let mut core = self.core();
        match applied {
            Ok(is_stored) => {
                let before = std::mem::replace(&mut core.in_force, InForce::Yes);
                if matches!(before, InForce::No(_)) {
                    tracing::info!(host = self.name(), "the stored ruleset is in force again");
                    core.firewall_moved();
                }
                is_stored
            }
            Err(why) => {
                let now = InForce::No(why);
                if core.in_force != now {
                    let InForce::No(error) = &now else { return false };
                    tracing::error!(
                        host = self.name(),
                        error,
                        "the stored ruleset is not in force, so no guest is started"
                    );
                    let before = std::mem::replace(&mut core.in_force, now);
                    // At the start whoever asks waits for this.
                    if before != InForce::NotYet {
                        core.firewall_moved();
                    }
                }
                false
            }
        }
    }
}
