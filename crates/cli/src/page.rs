//! A page about one object: indented lines of names and values. Nothing that a document says can break a line.

use jiff::Timestamp;
use lochness_api::Key;
use lochness_api::status::Condition;
use serde_json::{Map, Value};

use crate::rows::event_line;
use crate::span;
use crate::table::one_line;

/// The lines so far.
#[derive(Debug, Default)]
pub(crate) struct Page(String);

impl Page {
    /// The whole text.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// A name and a value; an empty one is shown as `-`.
    pub(crate) fn line(&mut self, depth: usize, name: &str, value: &str) {
        let value = if value.is_empty() { "-" } else { value };
        self.push(depth, &format!("{name}: {value}"));
    }

    /// What the lines that follow are about.
    pub(crate) fn heading(&mut self, text: &str) {
        self.push(0, &format!("{text}:"));
    }

    /// A JSON value, one line a field.
    pub(crate) fn value(&mut self, depth: usize, value: &Value) {
        if let Value::Object(fields) = value {
            self.fields(depth, fields);
        } else {
            self.line(depth, "value", &value.to_string());
        }
    }

    /// Conditions with their ages; no heading when there are none.
    pub(crate) fn conditions(&mut self, now: Timestamp, conditions: &[Condition]) {
        if !conditions.is_empty() {
            self.heading("Conditions");
        }
        for condition in conditions {
            let age = span::ago(now, condition.last_transition);
            let name = format!("{}={}", condition.kind, condition.status);
            let message = match condition.message.as_str() {
                "" => String::new(),
                message => format!(": {message}"),
            };
            let text = format!("{} since {age}{message}", condition.reason);
            self.line(1, &name, &text);
        }
    }

    /// Events with their counts and ages; no heading when there are none.
    pub(crate) fn events(&mut self, now: Timestamp, events: &[(Key, Value)]) {
        if !events.is_empty() {
            self.heading("Events");
        }
        for line in events.iter().filter_map(|(key, value)| event_line(key, value, now)) {
            self.push(1, &line);
        }
    }

    fn fields(&mut self, depth: usize, fields: &Map<String, Value>) {
        for (name, value) in fields {
            match value {
                Value::Null => {}
                Value::Object(inner) => {
                    self.push(depth, &format!("{name}:"));
                    self.fields(depth + 1, inner);
                }
                Value::String(text) => self.line(depth, name, text),
                Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                    self.line(depth, name, &value.to_string());
                }
            }
        }
    }

    fn push(&mut self, depth: usize, text: &str) {
        self.0.push_str(&"  ".repeat(depth));
        self.0.push_str(&one_line(text));
        self.0.push('\n');
    }
}
