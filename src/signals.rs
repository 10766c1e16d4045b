//! The signals that end the process.

use tokio::signal::unix::{SignalKind, signal};
use tracing::{info, warn};

/// Waits for SIGTERM or SIGINT.
pub async fn terminated() {
    tokio::select! {
        biased;
        () = received(SignalKind::terminate(), "SIGTERM") => {}
        () = received(SignalKind::interrupt(), "SIGINT") => {}
    }
}

async fn received(kind: SignalKind, name: &str) {
    match signal(kind) {
        Ok(mut signal) => {
            signal.recv().await;
            info!(signal = name, "told to stop");
        }
        Err(error) => {
            warn!(signal = name, %error, "cannot listen for a signal: it ends the process at once");
            std::future::pending::<()>().await;
        }
    }
}
