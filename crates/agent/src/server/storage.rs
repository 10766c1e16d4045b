//! Where a host's records are kept: one append-only file, or memory.
//!
//! Guarantees: a batch is there whole or not at all, also after a crash in the middle of a write (a torn last line is
//! dropped); what [`Storage::append`] accepted is read back by [`Storage::load`]. The file is rewritten, whole and
//! atomically, when most of it is outdated.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::fence::Fence;
use super::record::Record;
use super::state::State;

/// A log below this many records is never worth a rewrite.
const REWRITE_FLOOR: usize = 1_000;
/// Rewrite when the log is so many times what it would be afterwards.
const REWRITE_FACTOR: usize = 4;
/// Nor is a log below so many bytes.
const REWRITE_FLOOR_BYTES: u64 = 16 * 1024 * 1024;

/// Whether the disk must confirm every batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The kernel has it: it survives the process, and may be lost with the host, whose guests are lost with it.
    #[default]
    Kernel,
    /// The disk has it.
    Disk,
}

/// The records of one host.
#[derive(Debug)]
pub struct Storage {
    medium: Medium,
    /// Records since the last rewrite.
    appended: usize,
    /// What they take, and what the last rewrite took: a few large records are many small ones.
    appended_bytes: u64,
    rewritten_bytes: u64,
}

/// Memory that outlives the host that writes to it, as a disk would. Clones are the same memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<Vec<Record>>>);

#[derive(Debug)]
enum Medium {
    Memory(MemoryDisk),
    Disk { directory: PathBuf, open: Option<File>, durability: Durability },
}

/// Why records cannot be read or kept.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// A line before the last is no batch of records.
    #[error("{path}: line {line} is damaged: {source}")]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
    /// A record cannot be written as JSON.
    #[error("record cannot be encoded: {0}")]
    Encode(serde_json::Error),
}

impl Storage {
    /// Keeps records in `memory`.
    pub fn memory(memory: &MemoryDisk) -> Self {
        Self::on(Medium::Memory(memory.clone()))
    }

    /// Keeps records in `directory`, which is made if it is not there. One host a directory, one process at a time.
    pub fn disk(directory: impl Into<PathBuf>, durability: Durability) -> Self {
        let directory = directory.into();
        Self::on(Medium::Disk { directory, open: None, durability })
    }

    fn on(medium: Medium) -> Self {
        Self { medium, appended: 0, appended_bytes: 0, rewritten_bytes: 0 }
    }

    /// Every record, oldest first. Cuts a torn end off, so that the next batch begins on a line of its own.
    pub(crate) fn load(&mut self) -> Result<Vec<Record>, StorageError> {
        let records = match &mut self.medium {
            Medium::Memory(memory) => memory.lock().clone(),
            Medium::Disk { directory, open, .. } => {
                *open = None;
                load_file(directory)?
            }
        };
        self.appended = records.len();
        Ok(records)
    }

    /// Keeps a batch. After an error nothing is known of it: load again.
    pub(crate) fn append(&mut self, batch: &[Record]) -> Result<(), StorageError> {
        match &mut self.medium {
            Medium::Memory(memory) => memory.lock().extend_from_slice(batch),
            Medium::Disk { directory, open, durability } => {
                let mut line = serde_json::to_vec(batch).map_err(StorageError::Encode)?;
                line.push(b'\n');
                let path = log_path(directory);
                append_line(directory, open, *durability, &line)
                    .map_err(|source| StorageError::Io { path, source })?;
                self.appended_bytes += line.len() as u64;
            }
        }
        self.appended += batch.len();
        Ok(())
    }

    /// Whether the log is worth a rewrite, when `live` records would do.
    pub(crate) fn is_bloated(&self, live: usize) -> bool {
        let has_many = self.appended > REWRITE_FLOOR && self.appended > REWRITE_FACTOR * live;
        let is_large = self.appended_bytes > REWRITE_FLOOR_BYTES
            && self.appended_bytes / REWRITE_FACTOR as u64 > self.rewritten_bytes;
        has_many || is_large
    }

    /// Replaces everything by `records`.
    pub(crate) fn rewrite(&mut self, records: &[Record]) -> Result<(), StorageError> {
        match &mut self.medium {
            Medium::Memory(memory) => *memory.lock() = records.to_vec(),
            Medium::Disk { directory, open, durability } => {
                *open = None;
                let path = log_path(directory);
                self.rewritten_bytes = write_file(directory, *durability, records)
                    .map_err(|source| StorageError::Io { path, source })?;
                self.appended_bytes = 0;
            }
        }
        self.appended = records.len();
        Ok(())
    }
}

/// Forgets epoch, floor and orders of a host whose agent does not run: for a number that was poisoned. Everything else
/// stays. The answer is how many guests had an order.
pub fn reset_fence(mut storage: Storage) -> Result<usize, StorageError> {
    let mut state = State::of(storage.load()?);
    let orders = state.fence.len();
    state.fence = Fence::default();
    storage.rewrite(&state.records())?;
    Ok(orders)
}

impl MemoryDisk {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Record>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn log_path(directory: &std::path::Path) -> PathBuf {
    directory.join("state.log")
}

fn load_file(directory: &std::path::Path) -> Result<Vec<Record>, StorageError> {
    let path = log_path(directory);
    let io_error = |source| StorageError::Io { path: path.clone(), source };
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_error(error)),
    };
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    if whole < bytes.len() {
        let file = OpenOptions::new().write(true).open(&path).map_err(io_error)?;
        file.set_len(whole as u64).map_err(io_error)?;
    }
    let mut records = Vec::new();
    let lines = bytes[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    for (index, line) in lines.enumerate() {
        let batch: Vec<Record> = serde_json::from_slice(line).map_err(|source| {
            StorageError::Damaged { path: path.clone(), line: index + 1, source }
        })?;
        records.extend(batch);
    }
    Ok(records)
}

fn append_line(
    directory: &std::path::Path,
    open: &mut Option<File>,
    durability: Durability,
    line: &[u8],
) -> io::Result<()> {
    let file = if let Some(file) = open {
        file
    } else {
        fs::create_dir_all(directory)?;
        open.insert(OpenOptions::new().create(true).append(true).open(log_path(directory))?)
    };
    file.write_all(line)?;
    match durability {
        Durability::Kernel => Ok(()),
        Durability::Disk => file.sync_data(),
    }
}

fn write_file(
    directory: &std::path::Path,
    durability: Durability,
    records: &[Record],
) -> io::Result<u64> {
    fs::create_dir_all(directory)?;
    let new = directory.join("state.log.new");
    let mut writer = BufWriter::new(File::create(&new)?);
    for record in records {
        serde_json::to_writer(&mut writer, std::slice::from_ref(record))?;
        writer.write_all(b"\n")?;
    }
    let file = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
    let length = file.metadata()?.len();
    if durability == Durability::Disk {
        file.sync_all()?;
    }
    fs::rename(&new, log_path(directory))?;
    if durability == Durability::Disk {
        File::open(directory)?.sync_all()?;
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests write boots alone.
    fn boots(records: &[Record]) -> Vec<&str> {
        assert!(records.iter().all(|record| matches!(record, Record::Boot(_))), "{records:?}");
        let names = records.iter().filter_map(|record| {
            if let Record::Boot(name) = record { Some(name.as_str()) } else { None }
        });
        names.collect()
    }

    #[test]
    fn a_batch_that_was_torn_in_the_middle_is_dropped_whole_and_the_next_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let mut storage = Storage::disk(directory.path(), Durability::Kernel);
        storage.append(&[Record::Boot("one".into())]).unwrap();
        storage.append(&[Record::Boot("two".into()), Record::Boot("three".into())]).unwrap();
        let path = log_path(directory.path());
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 4]).unwrap();

        let mut storage = Storage::disk(directory.path(), Durability::Kernel);
        assert_eq!(boots(&storage.load().unwrap()), ["one"]);
        storage.append(&[Record::Boot("four".into())]).unwrap();
        assert_eq!(boots(&storage.load().unwrap()), ["one", "four"]);
    }

    #[test]
    fn damage_before_the_end_is_an_error_and_not_a_shorter_history() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(log_path(directory.path()), "[]\n{nonsense\n[]\n").unwrap();
        let error = Storage::disk(directory.path(), Durability::Kernel).load().unwrap_err();
        assert!(matches!(error, StorageError::Damaged { line: 2, .. }), "{error}");
    }

    #[test]
    fn a_rewrite_replaces_everything_and_later_batches_follow_it() {
        let directory = tempfile::tempdir().unwrap();
        let mut storage = Storage::disk(directory.path(), Durability::Disk);
        storage.append(&[Record::Boot("old".into())]).unwrap();
        storage.rewrite(&[Record::Boot("new".into())]).unwrap();
        storage.append(&[Record::Boot("newer".into())]).unwrap();
        assert_eq!(boots(&storage.load().unwrap()), ["new", "newer"]);
    }

    #[test]
    fn a_few_large_records_make_a_log_worth_a_rewrite_as_many_small_ones_do() {
        let directory = tempfile::tempdir().unwrap();
        let mut storage = Storage::disk(directory.path(), Durability::Kernel);
        let large = [Record::Boot("x".repeat(2 * 1024 * 1024 + 1))];
        for _ in 0..8 {
            assert!(!storage.is_bloated(1));
            storage.append(&large).unwrap();
        }
        assert!(storage.is_bloated(1));
        storage.rewrite(&large).unwrap();
        assert!(!storage.is_bloated(1));
    }
}
