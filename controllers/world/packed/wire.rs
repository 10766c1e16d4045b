//! How records are written and read: numbers of seven bits a byte, short texts in place, long and common ones in the pool.
//!
//! A part of a record is: how many pooled byte strings it has, their numbers, and then the rest. So the numbers can be
//! given back without understanding the rest.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::Timestamp;
use uuid::Uuid;

use super::pool::Pool;

/// Texts of so many bytes are pooled: the same script for a thousand guests is kept once, and a long one that nobody
/// shares costs little more than itself.
const LONG: usize = 64;
/// Few parts have more bytes.
const USUAL: usize = 256;
/// What stands for the length of a pooled text.
const POOLED: u64 = 1;
const READS: &str = "a record is read as it was written";

/// Bytes without a pool.
#[derive(Default)]
pub(super) struct Bytes(pub(super) Vec<u8>);

/// Writes one part.
pub(super) struct Writer<'p> {
    pool: &'p mut Pool,
    numbers: Vec<u32>,
    pub(super) body: Bytes,
    time: (i64, i32),
}

/// Reads one part.
pub(super) struct Reader<'p> {
    pool: &'p Pool,
    numbers: Cursor<'p>,
    pub(super) body: Cursor<'p>,
    time: (i64, i32),
}

/// Reads bytes without a pool.
#[derive(Clone, Copy)]
pub(super) struct Cursor<'b>(pub(super) &'b [u8]);

impl Bytes {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(super) fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(low_bits(number) | 0x80);
            number >>= 7;
        }
        self.0.push(low_bits(number));
    }

    /// Numbers near zero are short, on both sides of it.
    pub(super) fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    pub(super) fn uuid(&mut self, id: Uuid) {
        self.raw(id.as_bytes());
    }

    pub(super) fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(v4) => {
                self.byte(4);
                self.raw(&v4.octets());
            }
            IpAddr::V6(v6) => {
                self.byte(6);
                self.raw(&v6.octets());
            }
        }
    }

    pub(super) fn text(&mut self, text: &str) {
        self.number(text.len() as u64);
        self.raw(text.as_bytes());
    }
}

impl<'p> Writer<'p> {
    pub(super) fn new(pool: &'p mut Pool) -> Self {
        let (numbers, body) = (Vec::with_capacity(8), Bytes(Vec::with_capacity(USUAL)));
        Self { pool, numbers, body, time: (0, 0) }
    }

    pub(super) fn pooled(&mut self, bytes: &[u8]) {
        let number = self.pool.intern(bytes);
        self.numbers.push(number);
    }

    pub(super) fn pooled_id(&mut self, id: Uuid) {
        self.pooled(id.as_bytes());
    }

    /// A text: in place, or in the pool when it is long.
    pub(super) fn text(&mut self, text: &str) {
        if text.len() < LONG {
            self.body.number((text.len() as u64) << 1);
            self.body.raw(text.as_bytes());
        } else {
            self.body.number(POOLED);
            self.pooled(text.as_bytes());
        }
    }

    /// `<incarnation>.<revision>`, of which the first is the same for all; any other text as it is.
    pub(super) fn order(&mut self, order: &str) {
        if let Some((incarnation, revision)) = parse_order(order) {
            self.body.byte(1);
            self.pooled(&incarnation.to_be_bytes());
            self.body.number(revision);
        } else {
            self.body.byte(0);
            self.text(order);
        }
    }

    /// A time, short when it is near the one before it.
    pub(super) fn time(&mut self, time: Timestamp) {
        let (second, nanosecond) = (time.as_second(), time.subsec_nanosecond());
        let (last_second, last_nanosecond) = self.time;
        let same = nanosecond == last_nanosecond;
        let passed = second.wrapping_sub(last_second);
        // Times are of this era, so that the difference has two bits to spare.
        self.body.signed((passed << 1) | i64::from(!same));
        if !same {
            self.body.signed(i64::from(nanosecond));
        }
        self.time = (second, nanosecond);
    }

    pub(super) fn finish(self) -> Vec<u8> {
        let mut part = Bytes(Vec::with_capacity(self.body.0.len() + self.numbers.len() * 2 + 2));
        part.number(self.numbers.len() as u64);
        for number in self.numbers {
            part.number(u64::from(number));
        }
        part.raw(&self.body.0);
        part.0
    }
}

impl<'b> Cursor<'b> {
    pub(super) fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().expect(READS);
        self.0 = rest;
        *first
    }

    pub(super) fn raw(&mut self, length: usize) -> &'b [u8] {
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken
    }

    pub(super) fn number(&mut self) -> u64 {
        let (mut number, mut shift) = (0, 0);
        loop {
            let byte = self.byte();
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return number;
            }
            shift += 7;
        }
    }

    pub(super) fn length(&mut self) -> usize {
        usize::try_from(self.number()).expect(READS)
    }

    pub(super) fn signed(&mut self) -> i64 {
        let number = self.number();
        (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
    }

    pub(super) fn uuid(&mut self) -> Uuid {
        Uuid::from_slice(self.raw(16)).expect(READS)
    }

    pub(super) fn ip(&mut self) -> IpAddr {
        if self.byte() == 4 {
            let octets: [u8; 4] = self.raw(4).try_into().expect(READS);
            Ipv4Addr::from(octets).into()
        } else {
            let octets: [u8; 16] = self.raw(16).try_into().expect(READS);
            Ipv6Addr::from(octets).into()
        }
    }

    pub(super) fn text(&mut self) -> String {
        let length = self.length();
        utf8(self.raw(length)).to_owned()
    }
}

impl<'p> Reader<'p> {
    pub(super) fn new(pool: &'p Pool, part: &'p [u8]) -> Self {
        let mut body = Cursor(part);
        let count = body.number();
        let numbers = body;
        for _ in 0..count {
            body.number();
        }
        Self { pool, numbers, body, time: (0, 0) }
    }

    pub(super) fn pooled(&mut self) -> &'p [u8] {
        self.pool.get(pool_number(self.numbers.number()))
    }

    pub(super) fn pooled_id(&mut self) -> Uuid {
        Uuid::from_slice(self.pooled()).expect(READS)
    }

    pub(super) fn pooled_text(&mut self) -> String {
        utf8(self.pooled()).to_owned()
    }

    pub(super) fn text(&mut self) -> String {
        let length = self.body.number();
        if length == POOLED {
            return self.pooled_text();
        }
        let length = usize::try_from(length >> 1).expect(READS);
        utf8(self.body.raw(length)).to_owned()
    }

    pub(super) fn order(&mut self) -> String {
        if self.body.byte() == 0 {
            return self.text();
        }
        let incarnation = u64::from_be_bytes(self.pooled().try_into().expect(READS));
        format!("{incarnation}.{}", self.body.number())
    }

    pub(super) fn time(&mut self) -> Timestamp {
        let passed = self.body.signed();
        let (last_second, last_nanosecond) = self.time;
        let second = last_second.wrapping_add(passed >> 1);
        let nanosecond = if passed & 1 == 0 {
            last_nanosecond
        } else {
            i32::try_from(self.body.signed()).expect(READS)
        };
        self.time = (second, nanosecond);
        Timestamp::new(second, nanosecond).expect(READS)
    }
}

/// Gives back what a part has of the pool.
pub(super) fn release(pool: &mut Pool, part: &[u8]) {
    let mut numbers = Cursor(part);
    for _ in 0..numbers.number() {
        pool.release(pool_number(numbers.number()));
    }
}

fn parse_order(text: &str) -> Option<(u64, u64)> {
    let (incarnation, revision) = text.split_once('.')?;
    let numbers = (incarnation.parse().ok()?, revision.parse().ok()?);
    let (incarnation, revision): (u64, u64) = numbers;
    (format!("{incarnation}.{revision}") == text).then_some(numbers)
}

fn pool_number(number: u64) -> u32 {
    u32::try_from(number).expect(READS)
}

fn utf8(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect(READS)
}

fn low_bits(number: u64) -> u8 {
    (number & 0x7f).to_le_bytes()[0]
}
