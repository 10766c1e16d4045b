//! Is it still as good as it was? Bounds that are checked in, against a short run.
//!
//! They are ratios and counts, which a slow machine does not move much, each with room for noise: what they catch is a
//! step back, not a few percent. What the product is to reach stands with each figure, and is another matter.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};

use crate::figure::{Bound, STOLEN_LIMIT};
use crate::report::Report;

/// Bounds by the figure's name.
pub(crate) struct Guard(BTreeMap<String, Bound>);

impl Guard {
    /// Reads them.
    pub(crate) fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let bounds = serde_json::from_str(&text)
            .with_context(|| format!("{} is not figures with their bounds", file.display()))?;
        Ok(Self(bounds))
    }

    /// Says of each bound how it was kept.
    ///
    /// # Errors
    /// Which figures are worse than their bounds, or were not measured.
    pub(crate) fn check(&self, report: &Report) -> anyhow::Result<()> {
        let mut wrong = Vec::new();
        for (name, bound) in &self.0 {
            let Some((median, stolen)) = report.median(name) else {
                wrong.push(format!("{name}: was not measured"));
                continue;
            };
            let is_kept = bound.is_kept(median);
            let so = format!("{name}: {median:.3}, must be {bound}");
            match (is_kept, stolen > STOLEN_LIMIT) {
                (true, _) => println!("as good as before: {so}"),
                (false, true) => println!("neighbours took too much to say: {so}"),
                (false, false) => wrong.push(so),
            }
        }
        if !wrong.is_empty() {
            bail!("worse than before:\n  {}", wrong.join("\n  "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Size;
    use crate::figure::Figure;

    fn checked(median: f64, stolen: f64) -> Result<(), String> {
        let guard = Guard([("pace".to_owned(), Bound::AtLeast(0.5))].into());
        let mut report = Report::new(Size::Tiny);
        report.add(vec![Figure::told("pace", "×", vec![median]).stolen(&[stolen])]);
        guard.check(&report).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn a_figure_that_is_worse_than_its_bound_is_named() {
        assert_eq!(checked(0.6, 0.0), Ok(()));
        let told = checked(0.4, 0.0).expect_err("it is worse");
        assert!(told.contains("pace: 0.400, must be ≥ 0.5"), "{told}");
        assert_eq!(checked(0.4, 0.2), Ok(()), "nobody can say");
    }

    #[test]
    fn a_figure_that_was_not_measured_is_no_good_figure() {
        let guard = Guard([("pace".to_owned(), Bound::AtLeast(0.5))].into());
        let told = guard.check(&Report::new(Size::Tiny)).expect_err("it is not there");
        assert!(told.to_string().contains("pace: was not measured"), "{told}");
    }
}
