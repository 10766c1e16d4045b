//! From bytes to fields: strict JSON, read once, with every fault collected and every leftover kept.
//!
//! Guarantees: any bytes give fields or faults, in time linear in their length (but for sorting), with bounded recursion
//! (128 levels) and a bounded number of faults. Texts without escapes are borrowed from the value, so that an id or an
//! address costs no allocation. `null`, `""` and absent are one: not given.

use std::borrow::Cow;
use std::fmt;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{FieldError, Invalid};
use crate::text::quote;

/// The largest document, in bytes. etcd itself takes 1.5 MiB a request; a status and an agent request are built from it.
pub(crate) const SIZE_LIMIT: usize = 1024 * 1024;

/// Faults of one document that are told; more are counted.
const FAULT_LIMIT: usize = 32;

/// A JSON value that borrows its texts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Node<'a> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'a, str>),
    List(Vec<Node<'a>>),
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

impl Node<'_> {
    /// What it is, for messages.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a text",
            Self::List(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    fn is_given(&self) -> bool {
        match self {
            Self::Null => false,
            Self::Text(text) => !text.is_empty(),
            Self::Bool(_) | Self::Number(_) | Self::List(_) | Self::Object(_) => true,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(flag) => Value::Bool(flag),
            Self::Number(number) => Value::Number(number),
            Self::Text(text) => Value::String(text.into_owned()),
            Self::List(elements) => {
                Value::Array(elements.into_iter().map(Node::into_value).collect())
            }
            Self::Object(fields) => Value::Object(into_map(fields)),
        }
    }
}

/// The fields of one object, taken out one by one; what is left is unknown.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    path: String,
    entries: Vec<(Cow<'a, str>, Node<'a>)>,
}

/// What is wrong with a document so far.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    list: Vec<FieldError>,
    more: usize,
}

impl Faults {
    pub(crate) fn push(&mut self, field: impl Into<String>, reason: impl Into<String>) {
        if self.list.len() < FAULT_LIMIT {
            self.list.push(FieldError { field: field.into(), reason: reason.into() });
        } else {
            self.more += 1;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether something was said about a field.
    pub(crate) fn names(&self, field: &str) -> bool {
        self.list.iter().any(|fault| fault.field == field)
    }

    pub(crate) fn into_invalid(mut self) -> Invalid {
        if self.more > 0 {
            let reason = format!("and {} more faults", self.more);
            self.list.push(FieldError { field: String::new(), reason });
        }
        Invalid(self.list)
    }
}

/// Reads the value of a document's key as an object.
pub(crate) fn parse_object<'a>(
    value: &'a [u8],
    faults: &mut Faults,
) -> Result<Fields<'a>, Invalid> {
    let whole = |reason: String| Invalid(vec![FieldError { field: String::new(), reason }]);
    if value.iter().all(u8::is_ascii_whitespace) {
        return Err(whole("the value is empty; to delete an object, delete its key".into()));
    }
    if value.len() > SIZE_LIMIT {
        return Err(whole(format!("{} bytes, more than {SIZE_LIMIT}", value.len())));
    }
    // What is UTF-8 as a whole need not be asked string by string; where it is not, the slice says where.
    let read = match std::str::from_utf8(value) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(value),
    };
    let node: Node<'a> = read.map_err(|error| whole(format!("not a JSON document: {error}")))?;
    let Node::Object(mut entries) = node else {
        return Err(whole(format!("must be a JSON object, is {}", node.type_name())));
    };
    sort_fields(&mut entries, &Path::Root, faults);
    Ok(Fields { path: String::new(), entries })
}

impl<'a> Fields<'a> {
    /// Full path of a field of this object.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Takes a field out; `None` when it is not given.
    pub(crate) fn take(&mut self, name: &str) -> Option<Node<'a>> {
        let at = self.entries.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        let (_, node) = self.entries.remove(at);
        node.is_given().then_some(node)
    }

    /// A field that is a text.
    pub(crate) fn text(&mut self, name: &str, faults: &mut Faults) -> Option<Cow<'a, str>> {
        let node = self.take(name)?;
        if let Node::Text(text) = node {
            return Some(text);
        }
        self.wrong_type(name, "a text", &node, faults);
        None
    }

    /// A field whose text `parse` understands; its error is the reason.
    pub(crate) fn parsed<T>(
        &mut self,
        name: &str,
        faults: &mut Faults,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.text(name, faults)?;
        match parse(&text) {
            Ok(value) => Some(value),
            Err(reason) => {
                faults.push(self.path(name), reason);
                None
            }
        }
    }

    /// A field that is a whole number from 0 to `limit`. A float with an integral value counts.
    pub(crate) fn number(&mut self, name: &str, limit: u64, faults: &mut Faults) -> Option<u64> {
        let node = self.take(name)?;
        let Node::Number(number) = node else {
            self.wrong_type(name, "a number", &node, faults);
            return None;
        };
        match whole_number(&number) {
            Some(value) if value <= limit => Some(value),
            _ => {
                let reason = format!("must be a whole number from 0 to {limit}, is {number}");
                faults.push(self.path(name), reason);
                None
            }
        }
    }

    /// A field that is an object.
    pub(crate) fn object(&mut self, name: &str, faults: &mut Faults) -> Option<Fields<'a>> {
        let node = self.take(name)?;
        if let Node::Object(entries) = node {
            return Some(Fields { path: self.path(name), entries });
        }
        self.wrong_type(name, "an object", &node, faults);
        None
    }

    /// A field that is an array of objects; one that is not given is empty.
    pub(crate) fn objects(&mut self, name: &str, faults: &mut Faults) -> Vec<Fields<'a>> {
        let Some(node) = self.take(name) else { return Vec::new() };
        let Node::List(elements) = node else {
            self.wrong_type(name, "an array", &node, faults);
            return Vec::new();
        };
        let mut objects = Vec::with_capacity(elements.len());
        for (index, element) in elements.into_iter().enumerate() {
            let path = format!("{}[{index}]", self.path(name));
            if let Node::Object(entries) = element {
                objects.push(Fields { path, entries });
            } else {
                faults.push(path, format!("must be an object, is {}", element.type_name()));
            }
        }
        objects
    }

    /// Says that a field is missing.
    pub(crate) fn require<T>(&self, name: &str, value: Option<&T>, faults: &mut Faults) {
        let path = self.path(name);
        if value.is_none() && !faults.names(&path) {
            faults.push(path, "required, not given");
        }
    }

    /// All fields, in the order of their names.
    pub(crate) fn into_entries(self) -> Vec<(Cow<'a, str>, Node<'a>)> {
        self.entries
    }

    /// What nobody took.
    pub(crate) fn into_rest(self) -> Map<String, Value> {
        into_map(self.entries)
    }

    fn wrong_type(&self, name: &str, wanted: &str, node: &Node<'_>, faults: &mut Faults) {
        faults.push(self.path(name), format!("must be {wanted}, is {}", node.type_name()));
    }
}

fn into_map(fields: Vec<(Cow<'_, str>, Node<'_>)>) -> Map<String, Value> {
    fields.into_iter().map(|(name, node)| (name.into_owned(), node.into_value())).collect()
}

/// Where a value stands, rendered only when there is something to say about it.
#[derive(Clone, Copy)]
enum Path<'p> {
    Root,
    Field(&'p Path<'p>, &'p str),
    Element(&'p Path<'p>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Field(parent, name) => {
                let dot = if matches!(parent, Self::Root) { "" } else { "." };
                write!(f, "{parent}{dot}{}", cut(name))
            }
            Self::Element(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// Sorts the fields of every object below and says which names stand twice.
fn sort_fields(entries: &mut [(Cow<'_, str>, Node<'_>)], path: &Path<'_>, faults: &mut Faults) {
    entries.sort_by(|(left, _), (right, _)| left.cmp(right));
    for pair in entries.windows(2) {
        if pair[0].0 == pair[1].0 {
            faults.push(path.to_string(), format!("field {} stands twice", quote(&pair[0].0)));
        }
    }
    for (name, node) in entries {
        sort_below(node, &Path::Field(path, name), faults);
    }
}

fn sort_below(node: &mut Node<'_>, path: &Path<'_>, faults: &mut Faults) {
    match node {
        Node::Object(fields) => sort_fields(fields, path, faults),
        Node::List(elements) => {
            for (index, element) in elements.iter_mut().enumerate() {
                sort_below(element, &Path::Element(path, index), faults);
            }
        }
        Node::Null | Node::Bool(_) | Node::Number(_) | Node::Text(_) => {}
    }
}

/// A field's name for a path, cut so that even a path of 128 levels can be printed.
fn cut(name: &str) -> String {
    name.chars().filter(|character| !character.is_control()).take(64).collect()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the float is checked to be a whole number that a u64 holds exactly"
)]
fn whole_number(number: &Number) -> Option<u64> {
    /// Up to here every whole number has a float of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    number.as_u64().or_else(|| {
        let float = number.as_f64()?;
        (float.fract() == 0.0 && (0.0..=EXACT).contains(&float)).then_some(float as u64)
    })
}

impl<'de> Deserialize<'de> for Node<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Node::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Node::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
        Number::from_f64(number).map(Node::Number).ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Node::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = access.next_element()? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut entries = Vec::with_capacity(8);
        while let Some((Name(name), node)) = access.next_entry()? {
            entries.push((name, node));
        }
        Ok(Node::Object(entries))
    }
}

/// A field's name, borrowed where it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a field")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(NameVisitor)
    }
}
