//! Spans of time and amounts of memory, as people write and read them.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// Reads `90`, `90s`, `5m`, `1h 30m`; a bare number means seconds.
///
/// # Errors
/// Says what would be right.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no span of time; write 30s, 5m or 1h30m");
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let span: SignedDuration = text.trim().parse().map_err(|_| wrong())?;
    Duration::try_from(span).map_err(|_| wrong())
}

/// How long ago, in the two or one largest useful units: `12s`, `4m`, `3h`, `2d`. The future counts as now.
pub(crate) fn ago(now: Timestamp, then: Timestamp) -> String {
    let seconds = now.as_second().saturating_sub(then.as_second()).max(0);
    match seconds {
        ..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Megabytes as documents count them, in the unit that reads best: `512M`, `16G`, `1.5T`.
pub(crate) fn megabytes(amount: u64) -> String {
    match amount {
        ..1_024 => format!("{amount}M"),
        1_024..1_048_576 => scaled(amount, 1_024, 'G'),
        _ => scaled(amount, 1_048_576, 'T'),
    }
}

fn scaled(amount: u64, unit: u64, letter: char) -> String {
    let whole = amount / unit;
    let tenth = (amount % unit) * 10 / unit;
    if tenth == 0 { format!("{whole}{letter}") } else { format!("{whole}.{tenth}{letter}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_people_write_them() {
        assert_eq!(parse("90"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse("1h30m"), Ok(Duration::from_secs(5_400)));
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert!(parse("soon").is_err());
        assert!(parse("-5s").is_err());
    }

    #[test]
    fn ages_use_one_unit_and_never_go_below_zero() {
        let at = |second| Timestamp::from_second(second).unwrap();
        assert_eq!(ago(at(59), at(0)), "59s");
        assert_eq!(ago(at(180), at(0)), "3m");
        assert_eq!(ago(at(7_200), at(0)), "2h");
        assert_eq!(ago(at(259_200), at(0)), "3d");
        assert_eq!(ago(at(0), at(5)), "0s");
    }

    #[test]
    fn memory_is_shown_in_the_unit_that_reads_best() {
        assert_eq!(megabytes(512), "512M");
        assert_eq!(megabytes(1_536), "1.5G");
        assert_eq!(megabytes(65_536), "64G");
        assert_eq!(megabytes(3_145_728), "3T");
    }
}
