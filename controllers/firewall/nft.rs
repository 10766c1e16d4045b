//! The few words of nft's language that a ruleset is made of.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use crate::world::{Family, SEPARATOR};

impl Family {
    /// Ends the names of sets.
    pub(super) const fn digit(self) -> char {
        match self {
            Self::V4 => '4',
            Self::V6 => '6',
        }
    }

    /// The word before `saddr` and `daddr`.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }

    pub(super) const fn set_type(self) -> &'static str {
        match self {
            Self::V4 => "ipv4_addr",
            Self::V6 => "ipv6_addr",
        }
    }

    pub(super) const fn nfproto(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }
}

/// A piece of a ruleset that is being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece {
    /// Depends on the rules.
    Text(String),
    /// The place of a set's elements.
    Elements(String),
}

/// A ruleset that is being written: its text, with places for the elements of sets.
#[derive(Debug, Default)]
pub(super) struct Skeleton {
    done: Vec<Piece>,
    text: String,
    depth: usize,
}

impl Skeleton {
    pub(super) fn line(&mut self, line: fmt::Arguments<'_>) {
        let indent = self.depth;
        writeln!(self.text, "{:indent$}{line}", "").expect("a string takes everything");
    }

    pub(super) fn open(&mut self, head: fmt::Arguments<'_>) {
        self.line(format_args!("{head} {{"));
        self.depth += 2;
    }

    pub(super) fn close(&mut self) {
        self.depth -= 2;
        self.line(format_args!("}}"));
    }

    pub(super) fn chain(&mut self, name: &str, lines: impl IntoIterator<Item = impl fmt::Display>) {
        self.open(format_args!("chain {name}"));
        for line in lines {
            self.line(format_args!("{line}"));
        }
        self.close();
    }

    /// A set or a map whose elements come and go. `kind` is `set` or `map`; the type is what stands before its elements.
    pub(super) fn place(&mut self, kind: &str, name: &str, of: &str) {
        self.open(format_args!("{kind} {name}"));
        self.line(format_args!("{of}"));
        self.done.push(Piece::Text(std::mem::take(&mut self.text)));
        self.done.push(Piece::Elements(name.to_owned()));
        self.close();
    }

    /// A set that belongs to the rules.
    pub(super) fn fixed_set(&mut self, name: &str, of: &str, elements: &BTreeSet<String>) {
        self.open(format_args!("set {name}"));
        self.line(format_args!("{of}"));
        self.text.push_str(&elements_text(&joined(elements)));
        self.close();
    }

    pub(super) fn finish(mut self) -> Vec<Piece> {
        self.done.push(Piece::Text(self.text));
        self.done
    }
}

/// The elements of a set as they stand in a declaration: one a line, so that two rulesets can be compared by eye.
pub(super) fn elements_text(joined: &str) -> String {
    if joined.is_empty() {
        String::new()
    } else {
        format!("    elements = {{\n      {joined},\n    }}\n")
    }
}

/// Elements with [`SEPARATOR`] between them.
pub(super) fn joined(elements: &BTreeSet<String>) -> String {
    let elements: Vec<&str> = elements.iter().map(String::as_str).collect();
    elements.join(SEPARATOR)
}

/// Whether a text can be the name of an interface and nothing else: users write it.
pub(super) fn is_interface_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=15).contains(&text.len()) && text.bytes().all(plain)
}
