//! One figure of the report: its rounds, their median and range, and what it is held against.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What was measured, round for round.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// What it is.
    pub(crate) name: String,
    /// Of what.
    pub(crate) unit: &'static str,
    /// One value a round.
    pub(crate) rounds: Vec<f64>,
    /// What it should be, if anything is said.
    pub(crate) bound: Option<Bound>,
    /// The largest share of the processors that neighbours took in any round.
    pub(crate) stolen: f64,
    /// What else a reader needs.
    pub(crate) note: String,
}

/// What a figure should be.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    /// As much or more.
    AtLeast(f64),
    /// As much or less.
    AtMost(f64),
}

/// Whether it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    /// It is.
    Met,
    /// It is not.
    Missed,
    /// Neighbours took too much to say.
    Disturbed,
    /// Nothing was asked.
    Told,
}

/// Above this share of stolen time there is no verdict.
pub(crate) const STOLEN_LIMIT: f64 = 0.10;

impl Bound {
    /// Whether the value is within it.
    pub(crate) fn is_kept(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, "≥ {least}"),
            Self::AtMost(most) => write!(f, "≤ {most}"),
        }
    }
}

impl Figure {
    /// A figure without a bound.
    pub(crate) fn told(name: impl Into<String>, unit: &'static str, rounds: Vec<f64>) -> Self {
        Self { name: name.into(), unit, rounds, bound: None, stolen: 0.0, note: String::new() }
    }

    /// With what it should be.
    pub(crate) fn bounded(self, bound: Bound) -> Self {
        Self { bound: Some(bound), ..self }
    }

    /// With how much neighbours took.
    pub(crate) fn stolen(self, shares: &[f64]) -> Self {
        Self { stolen: shares.iter().copied().fold(0.0, f64::max), ..self }
    }

    /// With a word for the reader.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The middle of the rounds.
    pub(crate) fn median(&self) -> f64 {
        median(&self.rounds)
    }

    /// The lowest and the highest round.
    pub(crate) fn range(&self) -> (f64, f64) {
        let low = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let high = self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (low, high)
    }

    /// Whether it is what it should be.
    pub(crate) fn verdict(&self) -> Verdict {
        match self.bound {
            None => Verdict::Told,
            Some(_) if self.stolen > STOLEN_LIMIT => Verdict::Disturbed,
            Some(bound) if bound.is_kept(self.median()) => Verdict::Met,
            Some(_) => Verdict::Missed,
        }
    }
}

/// The middle value; of an even number, the lower one of the two in the middle.
pub(crate) fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value that this share of all is not above.
pub(crate) fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        clippy::cast_sign_loss,
        reason = "a position in a short list"
    )]
    let position = (last as f64 * share).floor() as usize;
    sorted.get(position).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_range_are_those_of_the_rounds() {
        let figure = Figure::told("x", "s", vec![3.0, 1.0, 2.0]);
        let shown = format!("{} {:?}", figure.median(), figure.range());
        assert_eq!(shown, "2 (1.0, 3.0)");
        assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0], 0.99).to_string(), "3");
    }

    #[test]
    fn a_figure_that_neighbours_disturbed_has_no_verdict() {
        let figure = Figure::told("x", "s", vec![1.0]).bounded(Bound::AtMost(2.0));
        assert_eq!(figure.clone().stolen(&[0.02]).verdict(), Verdict::Met);
        assert_eq!(figure.clone().stolen(&[0.02, 0.2]).verdict(), Verdict::Disturbed);
        assert_eq!(figure.bounded(Bound::AtLeast(2.0)).verdict(), Verdict::Missed);
    }
}
