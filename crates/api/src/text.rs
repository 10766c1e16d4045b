//! Quoting of input in messages: short, on one line, and of the hostile part harmless.

use std::fmt::Write as _;

/// Bytes of input that a message quotes at most.
const QUOTE_LIMIT: usize = 64;

/// The text in double quotes, control characters escaped, cut to [`QUOTE_LIMIT`] bytes.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len().min(QUOTE_LIMIT) + 8);
    quoted.push('"');
    let mut cut = false;
    for (at, character) in text.char_indices() {
        if at + character.len_utf8() > QUOTE_LIMIT {
            cut = true;
            break;
        }
        if character.is_control() {
            write!(quoted, "{}", character.escape_debug())
                .expect("writing to a String does not fail");
        } else {
            quoted.push(character);
        }
    }
    quoted.push_str(if cut { "…\"" } else { "\"" });
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotation_is_short_and_on_one_line() {
        assert_eq!(quote("a\nb"), "\"a\\nb\"");
        let long = quote(&"é".repeat(1000));
        assert_eq!(long, format!("\"{}…\"", "é".repeat(32)));
    }
}
