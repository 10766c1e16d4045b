//! What Prometheus knows of every process, under its usual names, and the version.
//!
//! Read from `/proc` when it is scraped; where there is none, those samples are absent.

use std::fs;

use anyhow::Context as _;
use lochness_runtime::clock::{Clock as _, SystemClock};
use lochness_runtime::metrics::Metrics;
use prometheus::core::{Collector, Desc};
use prometheus::{Counter, Gauge, IntGauge, IntGaugeVec, Opts, proto};

/// Ticks of processor time in a second: a constant of Linux' interface, whatever the kernel's own clock does.
const TICKS_PER_SECOND: f64 = 100.0;

/// Fields of `/proc/self/stat` after the program's name, counted from 0: time in user and in system mode, in ticks.
const USER_TICKS: usize = 11;

/// Reads `/proc/self` at every scrape.
pub(crate) struct ProcessMetrics {
    cpu: Counter,
    memory: IntGauge,
    files: IntGauge,
    started: Gauge,
}

impl ProcessMetrics {
    /// Shows the process and its version among `metrics`.
    pub(crate) fn register(metrics: &Metrics) -> anyhow::Result<()> {
        let registry = &metrics.registry;
        let build = IntGaugeVec::new(
            Opts::new("lochness_build_info", "Always 1; the label says which version runs"),
            &["version"],
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        registry.register(Box::new(build))?;
        let process = Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds",
            )?,
            memory: IntGauge::new(
                "process_resident_memory_bytes",
                "Resident memory size in bytes",
            )?,
            files: IntGauge::new("process_open_fds", "Number of open file descriptors")?,
            started: Gauge::new(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds",
            )?,
        };
        let now = std::time::Duration::from_millis(SystemClock.unix_millis().unsigned_abs());
        process.started.set(now.as_secs_f64());
        registry.register(Box::new(process)).context("the metrics of the process")
    }

    fn samples(&self) -> Vec<&dyn Collector> {
        let mut samples: Vec<&dyn Collector> = vec![&self.started];
        if let Some(seconds) = read("stat").as_deref().and_then(cpu_seconds) {
            self.cpu.reset();
            self.cpu.inc_by(seconds);
            samples.push(&self.cpu);
        }
        if let Some(bytes) = read("status").as_deref().and_then(resident_bytes) {
            self.memory.set(bytes);
            samples.push(&self.memory);
        }
        if let Ok(files) = fs::read_dir("/proc/self/fd") {
            self.files.set(i64::try_from(files.count()).unwrap_or(i64::MAX));
            samples.push(&self.files);
        }
        samples
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        let all: [&dyn Collector; 4] = [&self.cpu, &self.memory, &self.files, &self.started];
        all.into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<proto::MetricFamily> {
        self.samples().into_iter().flat_map(Collector::collect).collect()
    }
}

fn read(file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/self/{file}")).ok()
}

/// The program's name stands in parentheses and may hold anything, so the fields are counted from the last one.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut ticks = fields.split(' ').skip(USER_TICKS).map_while(|field| field.parse::<u32>().ok());
    let (user, system) = (ticks.next()?, ticks.next()?);
    Some((f64::from(user) + f64::from(system)) / TICKS_PER_SECOND)
}

fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: i64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_found_behind_any_program_name() {
        let stat = "7 (a) b ) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("7 (x) S 1"), None);
    }

    #[test]
    fn resident_memory_is_given_in_bytes() {
        assert_eq!(resident_bytes("VmPeak:\t  9 kB\nVmRSS:\t    2048 kB\n"), Some(2_097_152));
        assert_eq!(resident_bytes("VmPeak:\t  9 kB\n"), None);
    }

    #[test]
    fn a_scrape_shows_this_process_and_its_version() {
        let metrics = Metrics::new();
        ProcessMetrics::register(&metrics).unwrap();
        let text = metrics.gather_text();
        for name in [
            "lochness_build_info{version=",
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_start_time_seconds ",
        ] {
            assert!(text.contains(name), "{name} is missing in\n{text}");
        }
    }
}
