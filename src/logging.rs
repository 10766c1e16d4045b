//! Where log lines go: to standard error, as text for people or as one JSON object a line.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::Subscriber;

use crate::config::{Log, LogFormat};

/// Begins to log. Once a process; a later call changes nothing.
pub fn init(log: &Log) {
    // The filter was parsed when the configuration was checked.
    let filter = EnvFilter::try_new(&log.filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = Subscriber::builder().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber is refused, which a process that logs already does not mind.
    let _already = match log.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
}
