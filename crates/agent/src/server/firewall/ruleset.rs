//! What a ruleset may say, and what sets it has. Pure.
//!
//! Guarantees: a text that is accepted here concerns `table inet lochness` and `table bridge lochness` alone, whoever
//! wrote it: no other table is named, nothing is flushed beside them, no file is included, no variable is defined, and
//! no packet of the host itself is looked at. What else nft thinks of the text, nft says.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::reader::Reader;
use super::tokens::{Invalid, Token, tokens};

/// The name of our tables.
pub(crate) const TABLE: &str = "lochness";
/// The families in which we have a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    Inet,
    Bridge,
}

/// A ruleset that may be applied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Ruleset {
    /// Line by line, without comments.
    pub(super) lines: Vec<Line>,
    pub(super) sets: BTreeMap<String, Declared>,
}

/// A line of a ruleset, and the set whose elements it lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) text: String,
    pub(super) elements_of: Option<String>,
}

/// What a name that can have elements stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    pub(crate) family: Family,
    pub(crate) kind: Kind,
    /// As they were written, with single spaces, by their keys.
    pub(crate) elements: BTreeMap<String, String>,
    /// Whether the other table has a set of this name too, so that the name alone says too little.
    pub(crate) is_ambiguous: bool,
}

/// Sets have elements, maps have elements with values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Set,
    Map,
}

impl Family {
    pub(crate) const BOTH: [Self; 2] = [Self::Inet, Self::Bridge];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        }
    }

    pub(super) fn of(word: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|family| family.word() == word)
    }

    /// Hooks where packets of guests pass, and none that the host sends or receives by another way than their bridges.
    pub(super) fn allows_hook(self, hook: &str) -> bool {
        match self {
            Self::Inet => hook == "forward",
            Self::Bridge => matches!(hook, "prerouting" | "forward" | "postrouting"),
        }
    }
}

impl Kind {
    /// What tells an element from the others: of a map's element, what stands before the value.
    pub(crate) fn key(self, element: &str) -> &str {
        match self {
            Self::Set => element,
            Self::Map => element.split_once(" : ").map_or(element, |(key, _)| key),
        }
    }
}

impl Ruleset {
    /// Reads a text, and refuses one that concerns more than our tables.
    pub(crate) fn parse(text: &str) -> Result<Self, Invalid> {
        let tokens = tokens(text)?;
        Reader::new(&tokens).read()
    }

    /// What the name stands for, if it can have elements.
    pub(crate) fn set(&self, name: &str) -> Option<&Declared> {
        self.sets.get(name)
    }

    /// What nft is given to have this ruleset, with other elements in these sets, and nothing else in our tables.
    pub(crate) fn whole(&self, elements: &BTreeMap<String, Vec<String>>) -> String {
        let mut text = String::new();
        for family in Family::BOTH {
            let family = family.word();
            // The first line makes the second one work where there is no such table yet.
            let _infallible =
                writeln!(text, "table {family} {TABLE}\ndelete table {family} {TABLE}");
        }
        for line in &self.lines {
            if !line.elements_of.as_ref().is_some_and(|set| elements.contains_key(set)) {
                text += &line.text;
            }
            text.push('\n');
        }
        for family in Family::BOTH {
            // Both are there in the end, also when the ruleset is about one alone.
            let _infallible = writeln!(text, "table {} {TABLE}", family.word());
        }
        for (name, elements) in elements {
            if let Some(declared) = self.sets.get(name) {
                declared.write(&mut text, Change::Add, name, elements);
            }
        }
        text
    }
}

/// What happens to elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Add,
    Delete,
}

impl Declared {
    /// The statement that changes so many elements; none for none.
    pub(crate) fn write(&self, text: &mut String, change: Change, name: &str, elements: &[String]) {
        if elements.is_empty() {
            return;
        }
        let verb = match change {
            Change::Add => "add",
            Change::Delete => "delete",
        };
        let (family, list) = (self.family.word(), elements.join(", "));
        let _infallible = writeln!(text, "{verb} element {family} {TABLE} {name} {{ {list} }}");
    }
}

/// One element as it is compared and sent: its pieces with single spaces.
pub(crate) fn element(text: &str) -> Result<String, Invalid> {
    let invalid = |what: &str| Invalid { line: 1, what: format!("{what} in the element {text:?}") };
    let mut pieces = tokens(text)?;
    pieces.pop();
    let words = pieces.into_iter().map(|(_, token)| match token {
        Token::Word(word) | Token::Quoted(word) => Ok(word),
        Token::Open | Token::Close | Token::Comma | Token::Semicolon | Token::Newline => {
            Err(invalid("a separator"))
        }
    });
    let words: Vec<_> = words.collect::<Result<_, _>>()?;
    if words.is_empty() { Err(invalid("nothing")) } else { Ok(words.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USUAL: &str = r#"table bridge lochness
delete table bridge lochness
table inet lochness {
  set ln_a { # members
    type ipv4_addr
    elements = {
      10.0.0.1,
      10.0.0.2,
    }
  }
  map ln_m {
    type ifname . ipv4_addr : verdict; elements = { "br0"  . 10.0.0.3 : goto ln_group } }
  chain ln_group { tcp dport { 22, 80 } accept; }
  chain ln_forward {
    type filter hook forward priority 0; policy accept;
    ip saddr @ln_a ip daddr vmap { 10.0.0.9 : drop }
  }
}
"#;

    #[test]
    fn sets_and_maps_are_found_with_their_elements() {
        let ruleset = Ruleset::parse(USUAL).unwrap();
        let set = ruleset.set("ln_a").unwrap();
        assert_eq!((set.family, set.kind), (Family::Inet, Kind::Set));
        assert_eq!(set.elements.keys().collect::<Vec<_>>(), ["10.0.0.1", "10.0.0.2"]);
        let map = ruleset.set("ln_m").unwrap();
        assert_eq!(map.elements["\"br0\" . 10.0.0.3"], "\"br0\" . 10.0.0.3 : goto ln_group");
        assert!(ruleset.set("ln_group").is_none());
    }

    #[test]
    fn elements_in_statements_of_their_own_count_too() {
        let text = format!("{USUAL}add element inet lochness ln_a {{ 10.0.0.7 }}\n");
        let ruleset = Ruleset::parse(&text).unwrap();
        assert!(ruleset.set("ln_a").unwrap().elements.contains_key("10.0.0.7"));
    }

    #[test]
    fn what_nft_gets_replaces_both_tables_and_says_the_same() {
        let whole = Ruleset::parse(USUAL).unwrap().whole(&BTreeMap::new());
        let begin = "table inet lochness\ndelete table inet lochness\ntable bridge lochness\ndelete table bridge lochness\n";
        assert!(whole.starts_with(begin), "{whole}");
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&whole).contains(
            "chain ln_group { tcp dport { 22 , 80 } accept ; } chain ln_forward { type filter hook forward priority 0 ; policy accept ;"
        ), "{whole}");
        assert!(!whole.contains('#'), "{whole}");
        assert!(whole.ends_with("table inet lochness\ntable bridge lochness\n"), "{whole}");
    }

    #[test]
    fn other_elements_take_the_place_of_those_in_the_text() {
        let elements = BTreeMap::from([("ln_a".to_owned(), vec!["10.0.0.8".to_owned()])]);
        let whole = Ruleset::parse(USUAL).unwrap().whole(&elements);
        assert!(!whole.contains("10.0.0.1,") && !whole.contains("10.0.0.2"), "{whole}");
        assert!(whole.ends_with("add element inet lochness ln_a { 10.0.0.8 }\n"), "{whole}");
        assert!(whole.contains("10.0.0.3 : goto ln_group"), "{whole}");
        let reread = Ruleset::parse(&whole).unwrap();
        assert_eq!(reread.set("ln_a").unwrap().elements.len(), 1);
    }

    #[test]
    fn a_set_of_both_tables_is_ambiguous_by_its_name_alone() {
        let both = "table inet lochness { set a { type ipv4_addr; } }\ntable bridge lochness { set a { type ether_addr; } }";
        assert!(Ruleset::parse(both).unwrap().set("a").unwrap().is_ambiguous);
        assert!(!Ruleset::parse(USUAL).unwrap().set("ln_a").unwrap().is_ambiguous);
    }

    #[test]
    fn an_element_is_one_element() {
        assert_eq!(element(" 10.0.0.1  :  goto x "), Ok("10.0.0.1 : goto x".to_owned()));
        for text in ["", " ", "a, b", "a } ; flush ruleset", "a\nb", "a # b\n", "{ a }", "$x"] {
            element(text).expect_err(text);
        }
    }
}
