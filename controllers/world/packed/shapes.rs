//! Conditions without their words and times: there are few, for all three parts come from closed sets.

use lochness_api::status::{ConditionStatus, ConditionType, Reason};
use rustc_hash::FxHashMap;

/// Question, answer and reason.
pub(super) type Shape = (ConditionType, ConditionStatus, Reason);

/// Every one that was seen, with its number. None is ever dropped: the sets are closed, so there is an end to them.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    all: Vec<Shape>,
    numbers: FxHashMap<Shape, u64>,
}

impl Shapes {
    pub(super) fn number(&mut self, shape: Shape) -> u64 {
        let all = &mut self.all;
        *self.numbers.entry(shape).or_insert_with(|| {
            all.push(shape);
            all.len() as u64 - 1
        })
    }

    pub(super) fn get(&self, number: u64) -> Shape {
        let index = usize::try_from(number).expect("numbers are places in a list in memory");
        self.all[index]
    }
}
