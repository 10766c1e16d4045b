//! Byte strings that many records have in common, each kept once and counted.
//!
//! Guarantees: a number stays the same bytes' for as long as any record has it; bytes that no record has any more are
//! dropped, so memory follows what the store holds and not what it once held.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

/// See the module. Its `Debug` tells no contents: texts of documents may be secrets.
#[derive(Default)]
pub(super) struct Pool {
    slots: Vec<Slot>,
    free: Vec<u32>,
    numbers: FxHashMap<Arc<[u8]>, u32>,
}

struct Slot {
    bytes: Arc<[u8]>,
    uses: u32,
}

impl Pool {
    /// The number of these bytes; one more use of them.
    pub(super) fn intern(&mut self, bytes: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(bytes) {
            self.slots[index(*number)].uses += 1;
            return *number;
        }
        let bytes: Arc<[u8]> = bytes.into();
        let slot = Slot { bytes: Arc::clone(&bytes), uses: 1 };
        let number = if let Some(number) = self.free.pop() {
            self.slots[index(number)] = slot;
            number
        } else {
            self.slots.push(slot);
            u32::try_from(self.slots.len() - 1).expect("memory ends before the numbers do")
        };
        self.numbers.insert(bytes, number);
        number
    }

    /// One use less.
    pub(super) fn release(&mut self, number: u32) {
        let slot = &mut self.slots[index(number)];
        slot.uses -= 1;
        if slot.uses == 0 {
            let bytes = std::mem::replace(&mut slot.bytes, Arc::from(&[][..]));
            self.numbers.remove(&bytes);
            self.free.push(number);
        }
    }

    /// The bytes of a number that is in use.
    pub(super) fn get(&self, number: u32) -> &[u8] {
        &self.slots[index(number)].bytes
    }

    /// How many byte strings are kept.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("kept", &self.numbers.len()).finish_non_exhaustive()
    }
}

fn index(number: u32) -> usize {
    usize::try_from(number).expect("a processor that runs this has at least 32 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_once_and_for_as_long_as_they_are_used() {
        let mut pool = Pool::default();
        let first = pool.intern(b"a");
        assert_eq!((pool.intern(b"a"), pool.len()), (first, 1));
        let other = pool.intern(b"b");
        pool.release(first);
        assert_eq!((pool.get(first), pool.get(other)), (&b"a"[..], &b"b"[..]));
        pool.release(first);
        assert_eq!(pool.len(), 1);
        assert_eq!(pool.intern(b"c"), first, "its number is given anew");
        assert_eq!(pool.get(first), b"c");
    }
}
