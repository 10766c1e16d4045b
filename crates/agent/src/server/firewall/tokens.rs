//! A ruleset's text in pieces, as nft's own scanner cuts it. Pure.
//!
//! Guarantees: what is said here to be inside of braces is so for nft too. Only what hides braces or ends of statements
//! from a reader could make the two differ: strings, comments, continued lines, variables. Strings end on their line,
//! comments are left out, and the rest is refused.

/// One piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Anything without white space, strings and the signs below.
    Word(&'a str),
    /// A string with its quotation marks.
    Quoted(&'a str),
    /// `{`
    Open,
    /// `}`
    Close,
    /// `,`
    Comma,
    /// `;`
    Semicolon,
    /// The end of a line.
    Newline,
}

/// A text that no ruleset may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub(crate) struct Invalid {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) what: String,
}

/// The pieces, each with its line.
pub(super) fn tokens(text: &str) -> Result<Vec<(usize, Token<'_>)>, Invalid> {
    let mut found = Vec::new();
    for (index, line) in text.split('\n').enumerate() {
        let number = index + 1;
        cut_line(line, |token| found.push((number, token)))
            .map_err(|what| Invalid { line: number, what })?;
        found.push((number, Token::Newline));
    }
    Ok(found)
}

fn cut_line<'a>(line: &'a str, mut found: impl FnMut(Token<'a>)) -> Result<(), String> {
    let mut rest = line;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let Some(first) = rest.chars().next() else { return Ok(()) };
        let length = match first {
            '#' => return Ok(()),
            '"' => string_length(rest)?,
            '{' | '}' | ',' | ';' => 1,
            _ => word_length(rest)?,
        };
        let (piece, after) = rest.split_at(length);
        found(match first {
            '"' => Token::Quoted(piece),
            '{' => Token::Open,
            '}' => Token::Close,
            ',' => Token::Comma,
            ';' => Token::Semicolon,
            _ => Token::Word(piece),
        });
        rest = after;
    }
}

fn string_length(rest: &str) -> Result<usize, String> {
    let end = rest[1..].find('"').ok_or("a string does not end on its line")?;
    let content = &rest[1..=end];
    match content.chars().find(|c| !matches!(c, ' '..='~') || *c == '\\') {
        Some(bad) => Err(format!("{bad:?} stands in a string")),
        None => Ok(end + 2),
    }
}

fn word_length(rest: &str) -> Result<usize, String> {
    let ends = |c: char| matches!(c, ' ' | '\t' | '#' | '"' | '{' | '}' | ',' | ';');
    let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
    // A variable could be anything, a backslash joins lines, and nothing else here is a sign of nft's language.
    match word.chars().find(|c| !c.is_ascii_graphic() || matches!(c, '$' | '\\' | '`' | '\'')) {
        Some(bad) => Err(format!("{bad:?} is not allowed")),
        None => Ok(word.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str) -> Vec<Token<'_>> {
        tokens(text).unwrap().into_iter().map(|(_, token)| token).collect()
    }

    #[test]
    fn braces_in_strings_and_comments_are_none() {
        use Token::{Close, Comma, Newline, Open, Quoted, Semicolon, Word};
        assert_eq!(
            pieces("set a{ \"}\" . b,c; # } \" {\n}"),
            [
                Word("set"),
                Word("a"),
                Open,
                Quoted("\"}\""),
                Word("."),
                Word("b"),
                Comma,
                Word("c"),
                Semicolon,
                Newline,
                Close,
                Newline
            ]
        );
    }

    #[test]
    fn what_could_hide_a_brace_is_refused_with_its_line() {
        for text in ["\"open", "a \\", "$x", "`id`", "a\u{0}b", "\"a\\\"", "b\u{e4}r", "a\rb", "'"]
        {
            let error = tokens(&format!("first\n{text}\n")).unwrap_err();
            assert_eq!(error.line, 2, "{text:?}: {error}");
        }
    }
}
