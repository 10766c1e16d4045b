//! `lochnessctl schema`: the JSON Schema of a kind's manifests, for editors.

use clap::Args;
use lochness_api::schema;

use crate::kind_word::KindWord;
use crate::{Console, Failure};

/// The flags of `schema`.
#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Of which kind; one schema for all of them when it is not given.
    kind: Option<KindWord>,
}

impl Schema {
    pub(crate) fn run(&self, console: &mut Console<'_>) -> Result<(), Failure> {
        let schema = self.kind.map_or_else(schema::of_all, |kind| schema::of(kind.0));
        writeln!(console.out, "{schema:#}")?;
        Ok(())
    }
}
