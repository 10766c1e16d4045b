//! Hardware addresses.

use std::fmt;
use std::str::FromStr;

use md5::{Digest as _, Md5};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::GuestId;

/// A hardware address of six bytes. Written `02:ab:…` in lower case; read with `:` or `-` and in any case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mac([u8; 6]);

/// A text that is no hardware address of six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hardware address of six bytes, such as 02:00:5e:10:00:01")]
pub struct MacError;

impl Mac {
    /// Wraps six bytes.
    pub const fn new(bytes: [u8; 6]) -> Self {
        Self(bytes)
    }

    /// The six bytes, first on the wire first.
    pub const fn bytes(self) -> [u8; 6] {
        self.0
    }

    /// `02` and the first five bytes of the MD5 of the id's text: the rule of the original, so that an adopted guest
    /// keeps the address it was created with.
    pub fn of_guest(guest: GuestId) -> Self {
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let digest = Md5::digest(guest.uuid().hyphenated().encode_lower(&mut text));
        Self([0x02, digest[0], digest[1], digest[2], digest[3], digest[4]])
    }

    /// Whether the address names a group (multicast, broadcast) or nobody (all zero), so that no nic can have it.
    pub fn is_unusable(self) -> bool {
        self.0[0] & 1 == 1 || self.0 == [0; 6]
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // By hand: rulesets name each guest's several times, and are made of many guests.
        const DIGITS: [u8; 16] = *b"0123456789abcdef";
        let mut text = [b':'; 17];
        for (byte, digits) in self.0.iter().zip(text.chunks_mut(3)) {
            digits[0] = DIGITS[usize::from(byte >> 4)];
            digits[1] = DIGITS[usize::from(byte & 0xf)];
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let text = text.as_bytes();
        let separator = *text.get(2).ok_or(MacError)?;
        if text.len() != 17 || !matches!(separator, b':' | b'-') {
            return Err(MacError);
        }
        let mut bytes = [0; 6];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let at = index * 3;
            if index > 0 && text[at - 1] != separator {
                return Err(MacError);
            }
            *byte = nibble(text[at])? << 4 | nibble(text[at + 1])?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Mac;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a hardware address")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Mac, E> {
                text.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Text)
    }
}

fn nibble(digit: u8) -> Result<u8, MacError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(MacError),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_mac_is_one_mac() {
        let mac: Mac = "02:AB:cd:00:11:ff".parse().unwrap();
        assert_eq!("02-ab-CD-00-11-FF".parse(), Ok(mac));
        assert_eq!(mac.to_string(), "02:ab:cd:00:11:ff");
    }

    #[test]
    fn what_is_no_mac_is_refused() {
        for text in [
            "",
            "02",
            "02:ab:cd:00:11",
            "02:ab:cd:00:11:ff:00",
            "02:ab-cd:00:11:ff",
            "02:ab:cd:00:11:fg",
            "02ab.cd00.11ff",
            "é2:ab:cd:00:11:f",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(MacError), "{text}");
        }
    }

    #[test]
    fn a_guest_without_mac_gets_the_one_that_the_original_computed() {
        // `echo -n 00000000-0000-4000-8000-000000000001 | md5sum`
        let guest = "00000000-0000-4000-8000-000000000001".parse().unwrap();
        assert_eq!(Mac::of_guest(guest).to_string(), "02:45:9c:79:99:f4");
    }
}
