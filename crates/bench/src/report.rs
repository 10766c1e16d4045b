//! The report: a table for people, JSON for programs.

use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

use crate::Size;
use crate::figure::{Figure, Verdict};

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    size: String,
    processors: usize,
    figures: Vec<Line>,
}

#[derive(Debug, Serialize)]
struct Line {
    #[serde(flatten)]
    figure: Figure,
    median: f64,
    low: f64,
    high: f64,
    verdict: Verdict,
}

impl Report {
    pub(crate) fn new(size: Size) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { size: format!("{size:?}").to_lowercase(), processors, figures: Vec::new() }
    }

    pub(crate) fn add(&mut self, figures: Vec<Figure>) {
        for figure in figures {
            let (low, high) = figure.range();
            let (median, verdict) = (figure.median(), figure.verdict());
            eprintln!("{}: {} {} ({verdict:?})", figure.name, number(median), figure.unit);
            self.figures.push(Line { figure, median, low, high, verdict });
        }
    }

    /// The median of a figure, and how much neighbours took.
    pub(crate) fn median(&self, name: &str) -> Option<(f64, f64)> {
        let line = self.figures.iter().find(|line| line.figure.name == name)?;
        Some((line.median, line.figure.stolen))
    }

    pub(crate) fn write(&self, file: &Path) -> anyhow::Result<()> {
        if let Some(directory) = file.parent() {
            std::fs::create_dir_all(directory)
                .with_context(|| format!("{} cannot be made", directory.display()))?;
        }
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::ASCII_MARKDOWN).force_no_tty();
        table.set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(["figure", "median", "range", "must be", "", "stolen", "note"]);
        for line in &self.figures {
            let Figure { name, unit, bound, stolen, note, .. } = &line.figure;
            table.add_row([
                name.clone(),
                format!("{} {unit}", number(line.median)),
                format!("{}–{}", number(line.low), number(line.high)),
                bound.map(|bound| bound.to_string()).unwrap_or_default(),
                match line.verdict {
                    Verdict::Met => "met",
                    Verdict::Missed => "MISSED",
                    Verdict::Disturbed => "disturbed",
                    Verdict::Told => "",
                }
                .to_owned(),
                format!("{:.0} %", stolen * 100.0),
                note.clone(),
            ]);
        }
        write!(f, "{table}")
    }
}

/// Three digits that mean something.
fn number(value: f64) -> String {
    let size = value.abs();
    if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 0.1 {
        format!("{value:.2}")
    } else {
        format!("{value:.4}")
    }
}
