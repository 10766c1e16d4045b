//! Spans of time, amounts of memory and numbers of addresses, as people write and read them.

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

/// Above this a number of addresses is shown as a power of two: IPv4 never is.
const EXACT_ADDRESSES: u128 = 1 << 32;

/// A number of addresses: as it is up to 2^32, and as the nearest power of two beyond, such as `2^64`.
pub(crate) fn addresses(amount: u128) -> String {
    if amount <= EXACT_ADDRESSES {
        return amount.to_string();
    }
    // Nearest by ratio: from the square root of two times a power on, the next one is nearer.
    let floor = amount.ilog2();
    let half = (amount >> (floor - 16)) * 10 / (1 << 16);
    format!("2^{}", if half >= 14 { floor + 1 } else { floor })
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
    fn numbers_of_addresses_that_no_one_can_read_are_powers_of_two() {
        for (amount, text) in [
            (0, "0"),
            (16_777_213, "16777213"),
            (1 << 32, "4294967296"),
            ((1 << 33) + 1, "2^33"),
            (u128::from(u64::MAX) - 3, "2^64"),
            (3 << 60, "2^62"),
            (u128::MAX, "2^128"),
        ] {
            assert_eq!(addresses(amount), text, "{amount}");
        }
    }

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
