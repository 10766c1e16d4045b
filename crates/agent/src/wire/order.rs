//! Numbers that only rise: epochs of leaders, orders of jobs, revisions of firewalls.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// `<incarnation>.<revision>`, compared pairwise. The incarnation comes first, so that a store that was restored to an
/// older revision never repeats a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Order {
    /// Which life of the store (`operator/incarnation`).
    pub incarnation: u64,
    /// A revision of that store.
    pub revision: u64,
}

/// Why a text is no [`Order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not <incarnation>.<revision>")]
pub struct ParseOrderError;

impl Order {
    /// The pair.
    pub const fn new(incarnation: u64, revision: u64) -> Self {
        Self { incarnation, revision }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.incarnation, self.revision)
    }
}

impl FromStr for Order {
    type Err = ParseOrderError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (incarnation, revision) = text.split_once('.').ok_or(ParseOrderError)?;
        Ok(Self { incarnation: number(incarnation)?, revision: number(revision)? })
    }
}

/// Digits alone: `u64` itself would take a sign.
fn number(digits: &str) -> Result<u64, ParseOrderError> {
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(ParseOrderError);
    }
    digits.parse().map_err(|_| ParseOrderError)
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Order {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_incarnation_is_above_every_revision_of_an_earlier_one() {
        assert!(Order::new(2, 1) > Order::new(1, u64::MAX));
        assert!(Order::new(1, 10) > Order::new(1, 9));
    }

    #[test]
    fn text_and_number_are_the_same() {
        for order in
            [Order::new(0, 0), Order::new(1_763_000_000, 42), Order::new(u64::MAX, u64::MAX)]
        {
            assert_eq!(order.to_string().parse(), Ok(order));
        }
        for text in
            ["", "1", "1.", ".1", "1.2.3", "+1.2", "1.-2", "1.18446744073709551616", "a.b", "1 .2"]
        {
            assert_eq!(text.parse::<Order>(), Err(ParseOrderError), "{text}");
        }
    }
}
