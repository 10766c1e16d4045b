//! The program nft, in the host's network namespace: what is put in force, what is there, and who changes it.
//!
//! Guarantees: what is applied is one transaction of the kernel's, so that all of it is in force or nothing of it; after
//! every one the tables are listed, and that list is what they are compared with.

mod monitor;
mod probe;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub(crate) use monitor::{Change, Monitor, SETTLE};

use super::firewall::ruleset::{Family, TABLE};
use super::program::{ProgramError, Ran, Runner};

/// For one transaction. 50,000 elements take about two seconds.
const APPLY_LIMIT: Duration = Duration::from_secs(20);
/// For one look.
const LIST_LIMIT: Duration = Duration::from_secs(20);
/// So many of our last processes are remembered, to know their changes from those of others.
const OWN_KEPT: usize = 64;

/// The nft of one host. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Nft(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    runner: Runner,
    /// What the host lacks; nothing, and it is offered.
    missing: Vec<String>,
    /// Whether a bridge of the host separates VLANs.
    filters_vlans: bool,
    /// How our tables were listed right after we had changed them last.
    reference: Mutex<Option<String>>,
    own: Mutex<VecDeque<u32>>,
}

/// How our tables are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tables {
    /// As we left them.
    Ours,
    /// Somebody changed or removed them, or we do not know how we left them.
    Others,
}

impl Nft {
    /// Looks what the host has, and puts in order what it may. `namespace` is a name or a path; none: that of this
    /// process.
    pub async fn open(namespace: Option<&str>) -> Self {
        let runner = Runner::new(namespace);
        let missing = probe::missing(&runner).await;
        for lack in &missing {
            tracing::warn!(lack, "this host cannot have a firewall, and does not offer one");
        }
        let filters_vlans = super::ports::filters_vlans(&runner).await;
        if !filters_vlans {
            tracing::info!("Unsupported: vlan: no bridge of this host has vlan_filtering on");
        }
        let (reference, own) = (Mutex::default(), Mutex::default());
        Self(Arc::new(Inner { runner, missing, filters_vlans, reference, own }))
    }

    /// What the host lacks, in words for people; empty when it can have a firewall.
    pub fn missing(&self) -> &[String] {
        &self.0.missing
    }

    /// Whether guests on a bridge of the host can be kept apart by VLANs.
    pub fn filters_vlans(&self) -> bool {
        self.0.filters_vlans
    }

    pub(crate) fn runner(&self) -> &Runner {
        &self.0.runner
    }

    /// Puts `text` in force, and takes note of how the tables are then.
    pub(crate) async fn apply(&self, text: &str) -> Result<(), ProgramError> {
        // Until it is known how the tables are now, no list of them will do.
        let former = self.set_reference(None);
        let applied = self.nft(&["-f", "-"], text, APPLY_LIMIT).await;
        if let Err(error) = applied {
            self.set_reference(former);
            return Err(error);
        }
        match self.list().await {
            Ok(list) => {
                self.set_reference(Some(list));
            }
            Err(error) => tracing::warn!(%error, "cannot list tables that were applied"),
        }
        Ok(())
    }

    /// How our tables are now.
    pub(crate) async fn look(&self) -> Result<Tables, ProgramError> {
        let wanted = self.lock_reference().clone();
        let found = match self.list().await {
            Ok(found) => Some(found),
            Err(ProgramError::Failed(words)) if words.contains("No such file or directory") => None,
            Err(error) => return Err(error),
        };
        Ok(if wanted.is_some() && wanted == found { Tables::Ours } else { Tables::Others })
    }

    /// Whether it is known how we left our tables.
    pub(crate) fn is_known(&self) -> bool {
        self.lock_reference().is_some()
    }

    /// Whether a process of ours has this id.
    pub(crate) fn is_own(&self, pid: u32) -> bool {
        self.lock_own().contains(&pid)
    }

    /// Our tables without what counts.
    async fn list(&self) -> Result<String, ProgramError> {
        let mut list = String::new();
        // One after the other: nft looks for both in the family of the first when they are asked for at once.
        for family in Family::BOTH {
            let words = ["-s", "list", "table", family.word(), TABLE];
            list += &self.nft(&words, "", LIST_LIMIT).await?.output;
        }
        Ok(list)
    }

    async fn nft(
        &self,
        arguments: &[&str],
        input: &str,
        limit: Duration,
    ) -> Result<Ran, ProgramError> {
        let ran = self.0.runner.run("nft", arguments, input, limit).await?;
        if let Some(pid) = ran.pid {
            let mut own = self.lock_own();
            own.push_back(pid);
            if own.len() > OWN_KEPT {
                own.pop_front();
            }
        }
        Ok(ran)
    }

    fn set_reference(&self, list: Option<String>) -> Option<String> {
        std::mem::replace(&mut *self.lock_reference(), list)
    }

    fn lock_reference(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.0.reference.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_own(&self) -> std::sync::MutexGuard<'_, VecDeque<u32>> {
        self.0.own.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
