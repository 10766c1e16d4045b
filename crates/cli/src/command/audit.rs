//! `lochnessctl audit`: checks the whole store, and what the hosts list, against the invariants.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};
use lochness_agent::{HttpOptions, HttpTransport, Transport};
use serde_json::json;

use crate::audit::{Finding, Repair, Store, ask_all, findings, lasting};
use crate::console::Consent;
use crate::table::{Cell, Mood, render};
use crate::{Console, Failure, Session};

/// Between the first look and the second: what is under way has gone on by then.
const BETWEEN_LOOKS: Duration = Duration::from_secs(2);

/// The flags of `audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// How to say what is found.
    #[arg(long, short, value_enum, default_value_t = Format::Table)]
    output: Format,

    /// Mend what can be mended safely, each in a transaction that compares what was read. Writes keys of the operator.
    #[arg(long)]
    repair: bool,

    /// Do not ask before repairs.
    #[arg(long, short, requires = "repair")]
    yes: bool,

    /// A file whose first line is the token that the agents want.
    #[arg(long, value_name = "FILE", env = "LOCHNESS_AGENT_TOKEN_FILE")]
    agent_token_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Audit {
    pub(crate) async fn run(
        &self,
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<(), Failure> {
        let transport = self.transport()?;
        let first = look(session, &transport).await?;
        let found = if first.is_empty() {
            first
        } else {
            tokio::time::sleep(BETWEEN_LOOKS).await;
            lasting(&first, look(session, &transport).await?)
        };
        self.show(&found, console)?;
        let left =
            if self.repair { self.mend(&found, session, console).await? } else { found.len() };
        match left {
            0 => Ok(()),
            left if self.repair => {
                let what = format!("{left} findings are left to people");
                Err(Failure::failed(what, "each row says what to do"))
            }
            left => {
                let what = format!("{left} findings");
                Err(Failure::failed(what, "each row says what to do; --repair does what is safe"))
            }
        }
    }

    fn transport(&self) -> Result<Arc<dyn Transport>, Failure> {
        let bearer = match &self.agent_token_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    let what = format!("the token file {} cannot be read: {error}", file.display());
                    Failure::usage(what, "look at --agent-token-file, LOCHNESS_AGENT_TOKEN_FILE")
                })?;
                Some(text.lines().next().unwrap_or_default().to_owned())
            }
        };
        let transport = HttpTransport::new(HttpOptions { bearer, ..HttpOptions::default() });
        let transport = transport.map_err(|error| Failure::failed(error.to_string(), ""))?;
        Ok(Arc::new(transport))
    }

    fn show(&self, found: &[Finding], console: &mut Console<'_>) -> Result<(), Failure> {
        if self.output == Format::Json {
            let items: Vec<_> = found.iter().map(Finding::to_json).collect();
            let list = json!({ "kind": "Audit", "findings": items });
            writeln!(console.out, "{list:#}")?;
        } else if found.is_empty() {
            writeln!(console.out, "nothing is wrong")?;
        } else {
            let row = |it: &Finding| {
                vec![
                    Cell::with(it.rule.as_str(), Mood::Bad),
                    it.subject.as_str().into(),
                    it.what.as_str().into(),
                    it.advice().into(),
                ]
            };
            let rows: Vec<_> = found.iter().map(row).collect();
            write!(
                console.out,
                "{}",
                render(&["RULE", "OBJECT", "WHAT", "DO"], &rows, console.paint)
            )?;
        }
        console.out.flush()?;
        Ok(())
    }

    /// Mends what can be mended. How much is left.
    async fn mend(
        &self,
        found: &[Finding],
        session: &Session,
        console: &mut Console<'_>,
    ) -> Result<usize, Failure> {
        let repairs: Vec<_> = found.iter().filter_map(Finding::repair).collect();
        let mut left = found.len() - repairs.len();
        if repairs.is_empty() {
            return Ok(left);
        }
        let question =
            format!("{} keys of the operator will be written. Is it meant?", repairs.len());
        console.confirm(&question, Consent::from(self.yes))?;
        for Repair { say, compares, ops } in repairs {
            if session.write(compares.clone(), ops.clone()).await?.succeeded {
                console.note(&format!("done: {say}"))?;
            } else {
                left += 1;
                console.note(&format!("changed meanwhile, not done: {say}"))?;
            }
        }
        Ok(left)
    }
}

async fn look(session: &Session, transport: &Arc<dyn Transport>) -> Result<Vec<Finding>, Failure> {
    let (_, list) = session.list("").await?;
    let store = Store::new(session.prefix().clone(), list);
    let lists = ask_all(&store, transport).await;
    Ok(findings(&store, &lists))
}
