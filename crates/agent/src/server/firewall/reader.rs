//! Reads a ruleset, and refuses what concerns more than our tables. Pure.
//!
//! Guarantees: every statement on the top level is one of the five that are about our tables; what stands in a table's block
//! is nft's matter, but for what takes text from elsewhere, and for hooks where the host's own packets pass.

use std::collections::BTreeMap;

use super::ruleset::{Declared, Family, Kind, Line, Ruleset, TABLE};
use super::tokens::{Invalid, Token};

/// Deeper than any ruleset needs to be.
const DEPTH: usize = 16;
/// These take text from elsewhere. Also as a part of a word: nft's scanner reads `1include` as two words.
const FOREIGN: [&str; 2] = ["include", "define"];

/// Reads statement after statement.
pub(super) struct Reader<'a> {
    tokens: &'a [(usize, Token<'a>)],
    at: usize,
    ruleset: Ruleset,
    /// The line of the ruleset that is being written: its number in the source and whose elements it lists.
    line: Option<(usize, Option<String>)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(tokens: &'a [(usize, Token<'a>)]) -> Self {
        Self { tokens, at: 0, ruleset: Ruleset::default(), line: None }
    }

    pub(super) fn read(mut self) -> Result<Ruleset, Invalid> {
        while let Some(token) = self.peek() {
            match token {
                Token::Semicolon | Token::Newline => self.take(None),
                Token::Word(_) => self.statement()?,
                Token::Quoted(_) | Token::Open | Token::Close | Token::Comma => {
                    return Err(self.wrong("a statement begins with a word"));
                }
            }
        }
        Ok(self.ruleset)
    }

    fn statement(&mut self) -> Result<(), Invalid> {
        let words = self.head();
        let allowed = match words.as_slice() {
            ["table", family, TABLE] | ["add", "table", family, TABLE] => {
                Family::of(family).map(|family| (family, None))
            }
            ["delete" | "flush", "table", family, TABLE] => {
                let closed = self.tokens.get(self.at + words.len());
                let is_whole = !matches!(closed, Some((_, Token::Open)));
                Family::of(family).filter(|_| is_whole).map(|family| (family, None))
            }
            ["add", "element", family, TABLE, name] => {
                Family::of(family).map(|family| (family, Some(*name)))
            }
            _ => None,
        };
        let Some((family, elements_of)) = allowed else {
            let text = words.join(" ");
            return Err(self.wrong(&format!(
                "{text:?} is refused: only table inet {TABLE} and table bridge {TABLE} may be touched"
            )));
        };
        for _ in &words {
            self.take(elements_of);
        }
        match (self.peek(), elements_of) {
            (Some(Token::Open), None) => self.table(family),
            (Some(Token::Open), Some(name)) => self.elements(name),
            _ => Ok(()),
        }
    }

    /// The words from here to the next sign.
    fn head(&self) -> Vec<&'a str> {
        let words = self.tokens[self.at..]
            .iter()
            .map_while(|(_, token)| if let Token::Word(word) = token { Some(*word) } else { None });
        words.collect()
    }

    /// `{ … }` of a table.
    fn table(&mut self, family: Family) -> Result<(), Invalid> {
        self.take(None);
        loop {
            match self.peek() {
                None => return Err(self.wrong("a table does not end")),
                Some(Token::Close) => {
                    self.take(None);
                    return Ok(());
                }
                Some(Token::Semicolon | Token::Newline) => self.take(None),
                Some(_) => self.object(family)?,
            }
        }
    }

    /// One thing in a table: a set, a map, a chain or whatever else nft knows.
    fn object(&mut self, family: Family) -> Result<(), Invalid> {
        let words = self.head();
        if words.first() == Some(&"flags") {
            // A dormant table is there and does nothing.
            return Err(self.wrong("flags of a table are refused"));
        }
        for word in &words {
            self.check(word)?;
            self.take(None);
        }
        let declared = match words.as_slice() {
            ["set", name] => Some((*name, Kind::Set)),
            ["map", name] => Some((*name, Kind::Map)),
            _ => None,
        };
        let is_block = matches!(self.peek(), Some(Token::Open));
        match declared.filter(|_| is_block) {
            Some((name, kind)) => {
                self.declare(family, kind, name)?;
                self.set(name)
            }
            None => self.block(family),
        }
    }

    fn declare(&mut self, family: Family, kind: Kind, name: &str) -> Result<(), Invalid> {
        let fresh = Declared { family, kind, elements: BTreeMap::new(), is_ambiguous: false };
        let known = self.ruleset.sets.entry(name.to_owned()).or_insert_with(|| fresh.clone());
        if known.family != family {
            known.is_ambiguous = true;
        } else if known.kind != kind {
            return Err(self.wrong(&format!("{name} is a set and a map")));
        }
        Ok(())
    }

    /// `{ … }` of a set or a map.
    fn set(&mut self, name: &str) -> Result<(), Invalid> {
        self.take(None);
        loop {
            match self.peek() {
                None => return Err(self.wrong("a set does not end")),
                Some(Token::Close) => {
                    self.take(None);
                    return Ok(());
                }
                Some(Token::Word("elements")) => self.element_list(name)?,
                Some(Token::Word(word)) if word.starts_with("elements") => {
                    return Err(self.wrong("elements are given as elements = { … }"));
                }
                Some(Token::Word(word)) => {
                    self.check(word)?;
                    self.take(None);
                }
                Some(Token::Quoted(_) | Token::Comma | Token::Semicolon | Token::Newline) => {
                    self.take(None);
                }
                Some(Token::Open) => return Err(self.wrong("a block in a set is refused")),
            }
        }
    }

    /// `elements = { … }`, on lines of its own.
    fn element_list(&mut self, name: &str) -> Result<(), Invalid> {
        self.take(Some(name));
        let Some(Token::Word("=")) = self.peek() else {
            return Err(self.wrong("elements are given as elements = { … }"));
        };
        self.take(Some(name));
        match self.peek() {
            Some(Token::Open) => self.elements(name),
            _ => Err(self.wrong("elements are given as elements = { … }")),
        }
    }

    /// `{ element, element }` of a set.
    fn elements(&mut self, name: &str) -> Result<(), Invalid> {
        self.take(Some(name));
        let mut element: Vec<&str> = Vec::new();
        loop {
            let token = self.peek();
            if let Some(Token::Word(word) | Token::Quoted(word)) = token {
                self.check(word)?;
                element.push(word);
                self.take(Some(name));
                continue;
            }
            match token {
                None => return Err(self.wrong("a list of elements does not end")),
                Some(Token::Open | Token::Semicolon) => {
                    return Err(self.wrong("elements are separated by commas"));
                }
                _ => self.take(Some(name)),
            }
            if token != Some(Token::Newline) && !element.is_empty() {
                self.add_element(name, &element.join(" "))?;
                element.clear();
            }
            if token == Some(Token::Close) {
                return Ok(());
            }
        }
    }

    fn add_element(&mut self, name: &str, element: &str) -> Result<(), Invalid> {
        let Some(declared) = self.ruleset.sets.get_mut(name) else {
            return Err(self.wrong(&format!("{name} is not declared")));
        };
        let key = declared.kind.key(element).to_owned();
        declared.elements.insert(key, element.to_owned());
        Ok(())
    }

    /// The rest of a thing in a table: up to its end, or its block.
    fn block(&mut self, family: Family) -> Result<(), Invalid> {
        let mut depth = 0;
        let mut words = [""; 3];
        while let Some(token) = self.peek() {
            match token {
                Token::Open => depth += 1,
                Token::Close | Token::Semicolon | Token::Newline if depth == 0 => return Ok(()),
                Token::Close => depth -= 1,
                Token::Word(word) => {
                    self.check(word)?;
                    words = [words[1], words[2], word];
                    self.check_hook(family, words)?;
                }
                Token::Semicolon | Token::Newline | Token::Comma | Token::Quoted(_) => {}
            }
            if depth > DEPTH {
                return Err(self.wrong("blocks are nested too deep"));
            }
            self.take(None);
        }
        Err(self.wrong("a block does not end"))
    }

    /// `KIND hook HOOK`: only filters, only where the host's own packets do not pass.
    fn check_hook(&self, family: Family, words: [&str; 3]) -> Result<(), Invalid> {
        let [kind, "hook", hook] = words else { return Ok(()) };
        if kind != "filter" {
            return Err(self.wrong(&format!("a chain of type {kind} is refused")));
        }
        if !family.allows_hook(hook) {
            let family = family.word();
            let what = format!("hook {hook} is refused in {family}: it is the host's own");
            return Err(self.wrong(&what));
        }
        Ok(())
    }

    fn check(&self, word: &str) -> Result<(), Invalid> {
        match FOREIGN.iter().find(|foreign| word.contains(*foreign)) {
            Some(foreign) => Err(self.wrong(&format!("{foreign} is refused"))),
            None => Ok(()),
        }
    }

    fn peek(&self) -> Option<Token<'a>> {
        self.tokens.get(self.at).map(|(_, token)| *token)
    }

    /// Takes a token over into the ruleset's own text. Elements stand on lines of their own.
    fn take(&mut self, elements_of: Option<&str>) {
        let Some((number, token)) = self.tokens.get(self.at) else { return };
        self.at += 1;
        let here = (*number, elements_of.map(str::to_owned));
        let piece = match token {
            Token::Word(word) | Token::Quoted(word) => word,
            Token::Open => "{",
            Token::Close => "}",
            Token::Comma => ",",
            Token::Semicolon => ";",
            // Every line of ours ends as its own did.
            Token::Newline => "",
        };
        if self.line.as_ref() != Some(&here) {
            self.line = Some(here);
            let elements_of = elements_of.map(str::to_owned);
            self.ruleset.lines.push(Line { text: String::new(), elements_of });
        }
        if let Some(line) = self.ruleset.lines.last_mut() {
            if !line.text.is_empty() && !piece.is_empty() {
                line.text.push(' ');
            }
            line.text += piece;
        }
    }

    fn wrong(&self, what: &str) -> Invalid {
        let last = self.tokens.last().map_or(1, |(line, _)| *line);
        let line = self.tokens.get(self.at).map_or(last, |(line, _)| *line);
        Invalid { line, what: what.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        Ruleset::parse(text).expect_err(text).to_string()
    }

    #[test]
    fn nothing_but_our_tables_may_be_touched() {
        for text in [
            "flush ruleset",
            "table inet lochness { }; flush ruleset",
            "table inet lochness { }\nflush ruleset\n",
            "table inet filter { }",
            "table ip lochness { }",
            "table lochness { }",
            "delete table inet filter",
            "flush table ip nat",
            "add rule inet filter input drop",
            "insert rule inet lochness x drop",
            "add element inet filter s { 1.2.3.4 }",
            "add chain inet filter x",
            "delete chain inet lochness x",
            "list ruleset",
            "reset counters",
            "rename chain inet lochness a b",
            "include \"/etc/passwd\"",
            "table inet lochness { include \"/etc/passwd\" }",
            "table inet lochness { chain a { include \"/etc/passwd\" } }",
            "table inet lochness { 1include \"/etc/passwd\" }",
            "define x = 1",
            "table inet lochness { define x = { 1.2.3.4 } }",
            "redefine x = 1",
            "table inet lochness { chain a { ip saddr $x drop } }",
            "table inet lochness { } }\nflush ruleset",
            "table inet lochness { chain a { }",
            "table inet lochness { set a {",
            "table inet lochness { set a { elements = { 1.2.3.4",
            "\"table\" inet lochness { }",
            "{ flush ruleset }",
            "table inet lochness \\\nfilter { }",
            "delete table inet lochness { flush ruleset }",
            "\u{b}table inet lochness",
            "monitor",
            "table inet lochness {\n flags dormant\n chain a { }\n}",
            "table inet lochness { flags owner; }",
        ] {
            refusal(text);
        }
    }

    #[test]
    fn the_hosts_own_packets_are_not_looked_at() {
        for (family, hook) in [
            ("inet", "input"),
            ("inet", "output"),
            ("inet", "prerouting"),
            ("inet", "postrouting"),
            ("inet", "ingress"),
            ("bridge", "input"),
            ("bridge", "output"),
            ("bridge", "ingress"),
        ] {
            let text = format!(
                "table {family} lochness {{ chain a {{ type filter hook {hook} priority 0; }} }}"
            );
            let error = refusal(&text);
            assert!(error.contains(hook), "{error}");
        }
        let nat = "table inet lochness {\n chain a { type nat hook postrouting priority 0; } }";
        assert!(refusal(nat).starts_with("line 2: "), "{}", refusal(nat));
        let offload =
            "table inet lochness { flowtable f { hook ingress priority 0; devices = { eth0 }; } }";
        refusal(offload);
    }
}
