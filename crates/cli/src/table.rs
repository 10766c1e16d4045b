//! Tables: columns aligned by spaces, colours only where they are wanted, nothing wrapped and nothing cut.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell as Painted, Color, ContentArrangement, Table};

use crate::console::Paint;

/// One field of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    mood: Mood,
}

/// What a cell's text means to the reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Nothing in particular.
    Plain,
    /// As wanted.
    Good,
    /// On its way, or waiting.
    Busy,
    /// A person may be needed.
    Bad,
}

impl Cell {
    /// A text that means nothing in particular; an empty one is shown as `-`, so that columns can be counted by `awk`.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self::with(text, Mood::Plain)
    }

    /// A text with its meaning.
    pub(crate) fn with(text: impl Into<String>, mood: Mood) -> Self {
        let text = text.into();
        Self { text: if text.is_empty() { "-".to_owned() } else { one_line(&text) }, mood }
    }

    /// The text.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    fn painted(&self) -> Painted {
        let cell = Painted::new(&self.text);
        match self.mood {
            Mood::Plain => cell,
            Mood::Good => cell.fg(Color::Green),
            Mood::Busy => cell.fg(Color::Yellow),
            Mood::Bad => cell.fg(Color::Red),
        }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self::new(text)
    }
}

/// The lines of a table, each with its line break.
pub(crate) fn render(header: &[&str], rows: &[Vec<Cell>], paint: Paint) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING).set_content_arrangement(ContentArrangement::Disabled).force_no_tty();
    let heads = header.iter().map(Painted::new);
    match paint {
        Paint::Colour => {
            table.enforce_styling();
            table.set_header(heads.map(|cell| cell.add_attribute(Attribute::Bold)));
        }
        Paint::Plain => {
            table.set_header(heads);
        }
    }
    for row in rows {
        table.add_row(row.iter().map(Cell::painted));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Control characters would move the cursor or break the row, and documents come from anybody.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_rows_end_without_blanks() {
        let rows = vec![vec!["web-1".into(), Cell::new("")], vec!["a".into(), "Running".into()]];
        let text = render(&["NAME", "PHASE"], &rows, Paint::Plain);
        assert_eq!(text, "NAME    PHASE\nweb-1   -\na       Running\n");
    }

    #[test]
    fn colours_appear_only_where_they_are_wanted() {
        let rows = vec![vec![Cell::with("Failed", Mood::Bad)]];
        assert!(render(&["PHASE"], &rows, Paint::Colour).contains('\u{1b}'));
        assert!(!render(&["PHASE"], &rows, Paint::Plain).contains('\u{1b}'));
    }

    #[test]
    fn a_name_with_control_characters_stays_in_its_cell() {
        assert_eq!(Cell::new("a\n\u{1b}[2Jb").text(), "a  [2Jb");
    }
}
