//! Whether the work of a term gets on: what runs on another runtime cannot tell by itself.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};

/// So often it beats.
const BEAT: Duration = Duration::from_millis(500);
/// Work that has not got on for so long does not get on. Far more than tens of thousands of tasks that are due at once
/// take, each having its turn.
const STILL: Duration = Duration::from_secs(30);

/// Beats where the work is done. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Pulse(Arc<Mutex<Instant>>);

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }

    /// Beats for as long as it is polled.
    pub(super) async fn beat(&self) -> std::convert::Infallible {
        loop {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            sleep(BEAT).await;
        }
    }

    /// Waits until it has stood still for long.
    pub(super) async fn stands_still(&self) -> &'static str {
        loop {
            let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let left = STILL.saturating_sub(last.elapsed());
            if left.is_zero() {
                return "the work of this process does not get on";
            }
            sleep(left).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_pulse_that_nobody_polls_stands_still_after_half_a_minute() {
        let pulse = Pulse::new();
        let beating = timeout(STILL * 3, pulse.beat());
        let still = timeout(STILL * 2, pulse.stands_still());
        let (_, still) = tokio::join!(beating, still);
        assert!(still.is_err());
        let began = Instant::now();
        pulse.stands_still().await;
        assert!(began.elapsed() <= STILL);
    }
}
