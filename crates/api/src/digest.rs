//! The canonical form of a document and its short digest, by which a status says which wish it answers.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::document::{Document as _, Guest};

/// The first 16 hex digits of SHA-256 over a canonical document.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 8]);

/// A text that is not 16 lower-case hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a digest of 16 lower-case hex digits")]
pub struct DigestError;

impl Digest {
    /// The digest of a value's canonical form; see [`canonical_json`].
    pub fn of(value: &Value) -> Self {
        let hash = Sha256::digest(canonical_json(value));
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        Self(first)
    }

    /// The digest as a number, of which its digits are the text.
    pub const fn to_bits(self) -> u64 {
        u64::from_be_bytes(self.0)
    }

    /// The digest of that number.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits.to_be_bytes())
    }

    /// The digest of a guest's document in the form that [`Document::to_json`](crate::Document::to_json) gives it: with
    /// its id, addresses in their one spelling, and without fields that say only the default. So it does not move when
    /// the same wish is put in other words.
    pub fn of_guest(guest: &Guest) -> Self {
        Self::of(&guest.to_json())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.to_bits())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 16 || !text.bytes().all(digits) {
            return Err(DigestError);
        }
        u64::from_str_radix(text, 16).map(Self::from_bits).map_err(|_| DigestError)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Digest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a digest of 16 hex digits")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Digest, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

/// The one text of a JSON value: keys sorted, no white space, and nothing that is not given. Not given is a field that is
/// `null`, `""`, an empty array, or an object of which nothing is left. Elements of arrays stay, because their places count.
pub fn canonical_json(value: &Value) -> String {
    let mut text = String::with_capacity(256);
    write_value(value, &mut text);
    text
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(flag) => text.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            write!(text, "{number}").expect("writing to a String does not fail");
        }
        Value::String(string) => write_string(string, text),
        Value::Array(elements) => {
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_value(element, text);
            }
            text.push(']');
        }
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().filter(|(_, value)| is_given(value)).collect();
            fields.sort_unstable_by_key(|(name, _)| name.as_str());
            text.push('{');
            for (index, (name, value)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                write_value(value, text);
            }
            text.push('}');
        }
    }
}

fn write_string(string: &str, text: &mut String) {
    text.push_str(&serde_json::to_string(string).expect("any text is a JSON string"));
}

fn is_given(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(elements) => !elements.is_empty(),
        Value::Object(fields) => fields.values().any(is_given),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_canonical_form_is_sorted_dense_and_without_what_is_not_given() {
        let value = json!({"b": [1, null, "", {}], "a": {"y": "", "x": {"z": null}}, "c": "é\n", "d": {}, "e": []});
        assert_eq!(canonical_json(&value), r#"{"b":[1,null,"",{}],"c":"é\n"}"#);
    }

    #[test]
    fn the_digest_is_the_first_16_hex_digits_of_sha256() {
        // `echo -n '{"a":1}' | sha256sum`
        let digest = Digest::of(&json!({"a": 1, "b": null}));
        assert_eq!(digest.to_string(), "015abd7f5cc57a2d");
        assert_eq!(digest.to_string().parse(), Ok(digest));
        assert_eq!("015ABD7F5CC57A2D".parse::<Digest>(), Err(DigestError));
    }
}
