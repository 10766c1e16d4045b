//! The image document: a disk image, and where hosts fetch it.

use std::fmt;

use serde_json::{Map, Value};

use super::field::Writer;
use super::parse::{Faults, parse_object};
use super::{Document, Invalid, Kind, Metadata};
use crate::ImageId;
use crate::text::quote;

/// A disk image, and where it comes from.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// The key's id.
    pub id: ImageId,
    /// Name, labels and what else the user keeps there.
    pub metadata: Metadata,
    /// URL that hosts fetch. Required.
    pub source: String,
    /// 64 lower-case hex digits that the fetched bytes must have.
    pub sha256: Option<String>,
    /// Format of the bytes; the agent finds out when not given.
    pub format: Option<ImageFormat>,
    /// Fields that we do not know.
    pub other: Map<String, Value>,
}

/// Format of a disk image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ImageFormat {
    /// The bytes of the disk.
    Raw,
    /// QEMU's sparse format.
    Qcow2,
}

impl ImageFormat {
    /// The word in documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Document for Image {
    const KIND: Kind = Kind::Image;

    fn parse(id: &str, value: &[u8]) -> Result<Self, Invalid> {
        let mut faults = Faults::default();
        let mut fields = parse_object(value, &mut faults)?;
        let id = fields.own_id(id, &mut faults);
        let metadata = fields.metadata(&mut faults);
        let source = fields.parsed("source", &mut faults, parse_url);
        fields.require("source", source.as_ref(), &mut faults);
        let sha256 = fields.parsed("sha256", &mut faults, parse_sha256);
        let format = fields.parsed("format", &mut faults, |text| match text {
            "raw" => Ok(ImageFormat::Raw),
            "qcow2" => Ok(ImageFormat::Qcow2),
            _ => Err(format!("must be raw or qcow2, is {}", quote(text))),
        });
        match (id, source) {
            (Some(id), Some(source)) if faults.is_empty() => {
                Ok(Self { id, metadata, source, sha256, format, other: fields.into_rest() })
            }
            _ => Err(faults.into_invalid()),
        }
    }

    fn to_json(&self) -> Value {
        let mut writer = Writer::new(&self.other);
        writer.put("id", self.id.to_string());
        writer.metadata(&self.metadata);
        writer.put("source", self.source.as_str());
        writer.text("sha256", self.sha256.as_ref());
        writer.text("format", self.format);
        writer.finish()
    }

    fn metadata(&self) -> Option<&Metadata> {
        Some(&self.metadata)
    }
}

/// Only the shape: which schemes work is the agent's to say. The reason does not repeat the URL, which may hold a password.
fn parse_url(text: &str) -> Result<String, String> {
    let rest = text.split_once("://").filter(|(scheme, rest)| {
        scheme.starts_with(|first: char| first.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte))
            && !rest.is_empty()
    });
    if rest.is_none() {
        return Err("must be a URL such as http://images.example/debian.qcow2".into());
    }
    if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
        return Err("must not contain white space or control characters".into());
    }
    Ok(text.to_owned())
}

fn parse_sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        Ok(text.to_ascii_lowercase())
    } else {
        Err(format!("must be 64 hex digits, is {}", quote(text)))
    }
}
