//! The few words of nft's language that a ruleset is made of.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) const BOTH: [Self; 2] = [Self::V4, Self::V6];

    pub(super) const fn has(self, ip: IpAddr) -> bool {
        matches!((self, ip), (Self::V4, IpAddr::V4(_)) | (Self::V6, IpAddr::V6(_)))
    }

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

/// A ruleset that is being written.
#[derive(Debug, Default)]
pub(super) struct Text {
    text: String,
    depth: usize,
}

impl Text {
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

    /// A named set; `flags` may be empty.
    pub(super) fn set(
        &mut self,
        name: &str,
        element_type: &str,
        flags: &str,
        elements: impl IntoIterator<Item = String>,
    ) {
        self.open(format_args!("set {name}"));
        self.line(format_args!("type {element_type}"));
        if !flags.is_empty() {
            self.line(format_args!("flags {flags}"));
        }
        self.elements(elements);
        self.close();
    }

    /// A named map from `key_type` to verdicts.
    pub(super) fn map(
        &mut self,
        name: &str,
        key_type: &str,
        elements: impl IntoIterator<Item = String>,
    ) {
        self.open(format_args!("map {name}"));
        self.line(format_args!("type {key_type} : verdict"));
        self.elements(elements);
        self.close();
    }

    /// One element a line, so that two rulesets can be compared by eye.
    fn elements(&mut self, elements: impl IntoIterator<Item = String>) {
        let mut elements = elements.into_iter().peekable();
        if elements.peek().is_none() {
            return;
        }
        self.open(format_args!("elements ="));
        for element in elements {
            self.line(format_args!("{element},"));
        }
        self.close();
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

/// Whether a text can be the name of an interface and nothing else: users write it.
pub(super) fn is_interface_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    (1..=15).contains(&text.len()) && text.bytes().all(plain)
}
