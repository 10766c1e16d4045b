//! What a long run says at its end. Each part prints it, and appends it to the file that `SIM_REPORT` names, if one is: a
//! run of several processes has one report.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::time::Duration;

use tokio::time::Instant;

use crate::hunt::number;

/// Says it.
pub(crate) fn report(text: &str) {
    println!("{text}");
    let Some(path) = std::env::var_os("SIM_REPORT") else { return };
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| writeln!(file, "{text}")).expect("the report can be written");
}

/// When a part that is allowed so many seconds has to end, if it is told.
pub(crate) fn deadline(variable: &str) -> Option<Instant> {
    number(variable).map(|seconds| Instant::now() + Duration::from_secs(seconds))
}

/// The first line that says anything.
pub(crate) fn first_line(text: &str) -> &str {
    text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default()
}
