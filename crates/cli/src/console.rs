//! The person or the script at the other end: where text goes, and who answers questions.

use std::io::{self, BufRead, IsTerminal as _, Write};

use crate::Failure;

/// Output, messages and input of one command. A test gives buffers, the process its own streams.
pub struct Console<'a> {
    /// What was asked for.
    pub out: Box<dyn Write + Send + 'a>,
    /// Everything else: warnings, progress, errors.
    pub err: Box<dyn Write + Send + 'a>,
    /// Manifests for `-f -`, and answers.
    pub input: Box<dyn BufRead + Send + 'a>,
    /// Who is there.
    pub audience: Audience,
    /// Whether `out` may carry colours.
    pub paint: Paint,
}

/// Who answers questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// A person at a terminal.
    Person,
    /// A script; a question is refused, and the refusal says which flag answers it.
    Script,
}

/// Whether output carries colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// A terminal that shows them.
    Colour,
    /// A pipe, a file, or somebody who set `NO_COLOR`.
    Plain,
}

impl Console<'static> {
    /// The streams of this process. Colours only on a terminal and without `NO_COLOR`.
    pub fn of_process() -> Self {
        let person = io::stdin().is_terminal() && io::stderr().is_terminal();
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colour = io::stdout().is_terminal() && !no_colour;
        Self {
            out: Box::new(io::stdout()),
            err: Box::new(io::stderr()),
            input: Box::new(io::BufReader::new(io::stdin())),
            audience: if person { Audience::Person } else { Audience::Script },
            paint: if colour { Paint::Colour } else { Paint::Plain },
        }
    }
}

impl Console<'_> {
    /// Tells of a failure. A reader that closed our output early gets no complaint.
    pub fn report(&mut self, failure: &Failure) {
        if failure.exit() != crate::Exit::Done {
            // Nobody is left to tell when this fails too.
            let _ = writeln!(self.err, "error: {failure}");
        }
    }

    /// One line that is not part of the answer.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), Failure> {
        writeln!(self.err, "{text}")?;
        Ok(())
    }

    /// Goes on only when a person says `yes`, or `--yes` said it beforehand.
    pub(crate) fn confirm(&mut self, question: &str, yes: Consent) -> Result<(), Failure> {
        match (yes, self.audience) {
            (Consent::Given, _) => Ok(()),
            (Consent::ToBeAsked, Audience::Script) => Err(Failure::usage(
                format!("{question} Nobody is there to answer"),
                "add --yes if it is meant",
            )),
            (Consent::ToBeAsked, Audience::Person) => {
                write!(self.err, "{question} Type yes to go on: ")?;
                self.err.flush()?;
                let mut answer = String::new();
                self.input.read_line(&mut answer)?;
                if answer.trim().eq_ignore_ascii_case("yes") {
                    Ok(())
                } else {
                    Err(Failure::failed("not confirmed; nothing was changed", ""))
                }
            }
        }
    }
}

/// Whether `--yes` was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Consent {
    /// It was.
    Given,
    /// It was not: ask.
    ToBeAsked,
}

impl From<bool> for Consent {
    fn from(yes: bool) -> Self {
        if yes { Self::Given } else { Self::ToBeAsked }
    }
}
