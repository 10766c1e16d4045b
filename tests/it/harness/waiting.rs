//! Waiting on conditions, with a deadline and the last reason why they did not hold.

use std::time::Duration;

use tokio::time::Instant;

/// Generous: a loaded machine must not fail a test. A condition that holds is seen at once all the same.
const PATIENCE: Duration = Duration::from_secs(45);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(25);

/// Waits until `look` is `Ok`, and panics with what it last said when that takes too long.
pub(crate) async fn eventually<T>(what: &str, look: impl AsyncFnMut() -> Result<T, String>) -> T {
    eventually_within(PATIENCE, what, look).await
}

/// The same with a time that the test is about.
pub(crate) async fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<T, String>,
) -> T {
    let start = Instant::now();
    loop {
        match look().await {
            Ok(found) => return found,
            Err(why) if start.elapsed() >= patience => {
                panic!("waited {patience:?} in vain until {what}: {why}")
            }
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

/// Looks again and again for as long as `span`: what must not happen has that long to happen.
pub(crate) async fn stays(
    span: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<(), String>,
) {
    let start = Instant::now();
    while start.elapsed() < span {
        if let Err(why) = look().await {
            panic!("{what} for {:?} only, not for {span:?}: {why}", start.elapsed());
        }
        tokio::time::sleep(LOOK).await;
    }
}
