//! `nft monitor`: who changes the firewall of the host, as it happens.
//!
//! Guarantees: costs nothing while nobody does; however much a change says, only the line that ends it is kept.

use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, ChildStdout};

use super::Nft;
use crate::server::program::ProgramError;

/// Enough for the line that ends a change.
const LINE_KEPT: usize = 160;
/// What comes within this time of a change belongs to it.
pub(crate) const SETTLE: Duration = Duration::from_millis(100);

/// Somebody changed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// Who, where that is told.
    pub(crate) process: Option<u32>,
}

/// A running monitor; it ends when it is dropped.
pub(crate) struct Monitor {
    _child: Child,
    lines: BufReader<ChildStdout>,
    /// The beginning of the line that is being read.
    kept: Vec<u8>,
}

impl Monitor {
    pub(crate) fn start(nft: &Nft) -> Result<Self, ProgramError> {
        let mut child = nft.runner().start("nft", &["monitor"])?;
        let stdout = child.stdout.take().ok_or_else(|| ProgramError::Broken {
            program: "nft".to_owned(),
            why: "it has no output".to_owned(),
        })?;
        // What it complains about is told by its end.
        drop(child.stderr.take());
        Ok(Self { _child: child, lines: BufReader::new(stdout), kept: Vec::new() })
    }

    /// Waits for a change, and says which process made it, as far as it is told. `Err`: the monitor ended. Whoever gives
    /// up waiting misses nothing.
    pub(crate) async fn change(&mut self) -> Result<Change, ()> {
        loop {
            let line = self.line().await?;
            if let Some(change) = change_in(&line) {
                return Ok(change);
            }
        }
    }

    /// The beginning of the next line.
    async fn line(&mut self) -> Result<String, ()> {
        loop {
            let buffer = self.lines.fill_buf().await.map_err(|_| ())?;
            if buffer.is_empty() {
                return Err(());
            }
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let piece = &buffer[..end.unwrap_or(buffer.len())];
            let room = LINE_KEPT.saturating_sub(self.kept.len()).min(piece.len());
            self.kept.extend_from_slice(&piece[..room]);
            let used = end.map_or(buffer.len(), |end| end + 1);
            self.lines.consume(used);
            if end.is_some() {
                let line = std::mem::take(&mut self.kept);
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
        }
    }
}

/// What `# new generation 7 by process 1234 (nft)` says. None: another line.
fn change_in(line: &str) -> Option<Change> {
    let rest = line.strip_prefix("# new generation ")?;
    let process =
        rest.split_once(" by process ").and_then(|(_, process)| process.split(' ').next());
    Some(Change { process: process.and_then(|process| process.parse().ok()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_that_ends_a_change_names_its_process() {
        assert_eq!(
            change_in("# new generation 2 by process 12637 (nft)"),
            Some(Change { process: Some(12637) })
        );
        assert_eq!(change_in("# new generation 2"), Some(Change { process: None }));
        assert_eq!(change_in("add table inet lochness"), None);
    }
}
