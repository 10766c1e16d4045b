//! What the machine gave: time of processes, memory, and what neighbours took. Linux alone.

use std::time::{Duration, Instant};

use anyhow::Context as _;

/// Ticks of `/proc` a second; Linux has told programs 100 on every architecture for decades.
const TICKS_A_SECOND: f64 = 100.0;
const KIB: u64 = 1024;

/// Time on a processor that a process has had, all its threads together.
pub(crate) fn processor_time(pid: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    // The name in parentheses may have spaces.
    let rest = text.rsplit_once(')').map(|(_, rest)| rest).context("a name in parentheses")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks = |index: usize| -> anyhow::Result<f64> {
        Ok(fields.get(index).with_context(|| path.clone())?.parse()?)
    };
    Ok(Duration::from_secs_f64((ticks(11)? + ticks(12)?) / TICKS_A_SECOND))
}

/// Bytes of memory that a process has in use (RSS).
pub(crate) fn memory(pid: u32) -> anyhow::Result<u64> {
    of_status(pid, "VmRSS:")
}

/// The most that it ever had in use.
pub(crate) fn peak_memory(pid: u32) -> anyhow::Result<u64> {
    of_status(pid, "VmHWM:")
}

fn of_status(pid: u32, name: &'static str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context(name)?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * KIB)
}

/// From now on, how much of the processors neighbours take.
pub(crate) struct Stopwatch {
    began: Instant,
    total: f64,
    stolen: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let (total, stolen) = ticks()?;
        Ok(Self { began: Instant::now(), total, stolen })
    }

    /// Time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The share of the processors' time since the start that went to neighbours.
    pub(crate) fn stolen(&self) -> anyhow::Result<f64> {
        let (total, stolen) = ticks()?;
        let passed = total - self.total;
        Ok(if passed > 0.0 { (stolen - self.stolen) / passed } else { 0.0 })
    }
}

/// Ticks of all processors, and those of them that were stolen.
fn ticks() -> anyhow::Result<(f64, f64)> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    let line = text.lines().next().context("/proc/stat is empty")?;
    let fields: Vec<f64> =
        line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal; what follows is counted in user already.
    Ok((fields.iter().take(8).sum(), fields.get(7).copied().unwrap_or(0.0)))
}
