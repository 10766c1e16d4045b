//! A set of addresses as disjoint ranges: memory by what is used, never by the size of the subnet.

use std::collections::BTreeMap;

/// A set of numbers, kept as disjoint, non-adjacent inclusive ranges. All operations are `O(log ranges)`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct RangeSet {
    /// First to last of each range.
    ranges: BTreeMap<u128, u128>,
    len: u64,
}

impl RangeSet {
    /// How many numbers are in the set.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// How many ranges it takes: what the set costs.
    #[cfg(test)]
    pub(crate) fn ranges(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn contains(&self, number: u128) -> bool {
        self.range_of(number).is_some()
    }

    /// Adds a number; `false` when it was there.
    pub(crate) fn insert(&mut self, number: u128) -> bool {
        if self.contains(number) {
            return false;
        }
        let mut first = number;
        let mut last = number;
        if let Some((&start, &end)) = self.ranges.range(..number).next_back()
            && end.checked_add(1) == Some(number)
        {
            first = start;
        }
        if let Some(next) = number.checked_add(1)
            && let Some(end) = self.ranges.remove(&next)
        {
            last = end;
        }
        self.ranges.insert(first, last);
        self.len += 1;
        true
    }

    /// Takes a number out; `false` when it was not there.
    pub(crate) fn remove(&mut self, number: u128) -> bool {
        let Some((first, last)) = self.range_of(number) else { return false };
        self.ranges.remove(&first);
        if first < number {
            self.ranges.insert(first, number - 1);
        }
        if number < last {
            self.ranges.insert(number + 1, last);
        }
        self.len -= 1;
        true
    }

    /// The first number at or above `from` that is not in the set; `None` when there is none up to the greatest.
    pub(crate) fn first_absent(&self, from: u128) -> Option<u128> {
        match self.range_of(from) {
            None => Some(from),
            Some((_, last)) => last.checked_add(1),
        }
    }

    fn range_of(&self, number: u128) -> Option<(u128, u128)> {
        let (&first, &last) = self.ranges.range(..=number).next_back()?;
        (number <= last).then_some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_plain_set_of_numbers(
            operations in prop::collection::vec((any::<bool>(), 0_u128..40), 0..200),
            from in 0_u128..45,
        ) {
            let mut ranges = RangeSet::default();
            let mut model = BTreeSet::new();
            for (insert, number) in operations {
                if insert {
                    prop_assert_eq!(ranges.insert(number), model.insert(number));
                } else {
                    prop_assert_eq!(ranges.remove(number), model.remove(&number));
                }
                prop_assert_eq!(ranges.len(), model.len() as u64);
            }
            let expected = (from..=45).find(|number| !model.contains(number));
            prop_assert_eq!(ranges.first_absent(from), expected);
            for (first, last) in &ranges.ranges {
                prop_assert!(first <= last);
                prop_assert!(!ranges.ranges.contains_key(&(last + 1)), "adjacent ranges are one");
            }
        }
    }

    #[test]
    fn the_greatest_number_has_no_successor() {
        let mut ranges = RangeSet::default();
        ranges.insert(u128::MAX);
        assert_eq!(ranges.first_absent(u128::MAX), None);
    }
}
