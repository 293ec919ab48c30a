//! The sum of values that differ.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::Decimal128Type;
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

use super::wide::Wide;

/// Each value with the number of rows that have it, so that a window that slides can forget them again.
pub(super) struct DistinctSum {
    rows: HashMap<i128, u64>,
    wide: Wide,
}

impl fmt::Debug for DistinctSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DistinctSum({:?}, {} values)", self.wide, self.rows.len())
    }
}

impl DistinctSum {
    pub(super) fn new(wide: Wide) -> Self {
        Self { rows: HashMap::new(), wide }
    }

    fn add(&mut self, array: &ArrayRef) {
        for value in array.as_primitive::<Decimal128Type>().iter().flatten() {
            *self.rows.entry(value).or_insert(0) += 1;
        }
    }
}

impl Accumulator for DistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&self.wide.widen(&values[0])?);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for value in self.wide.widen(&values[0])?.as_primitive::<Decimal128Type>().iter().flatten() {
            if let Entry::Occupied(mut rows) = self.rows.entry(value) {
                *rows.get_mut() -= 1;
                if *rows.get() == 0 {
                    rows.remove();
                }
            }
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for values in states[0].as_list::<i32>().iter().flatten() {
            self.add(&values);
        }
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.wide.array(self.rows.keys().copied().map(Some))?;
        Ok(vec![SingleRowListArrayBuilder::new(values).with_nullable(true).build_list_scalar()])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.rows.keys().try_fold(0, |sum, value| self.wide.add(sum, *value))?;
        let sum = (!self.rows.is_empty()).then_some(sum);
        ScalarValue::try_from_array(&self.wide.narrow([sum])?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.capacity() * size_of::<(i128, u64)>()
    }
}
