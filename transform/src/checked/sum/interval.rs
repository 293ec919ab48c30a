//! The sum of intervals, each part of which has a bound of its own.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Scalar};
use arrow::compute::kernels::numeric::{add, sub};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::Accumulator;

#[derive(Debug)]
pub(super) struct IntervalSum {
    /// One value, once there is one.
    sum: Option<ArrayRef>,
    /// How many values are in it: without any it is null.
    count: i64,
    kind: DataType,
}

impl IntervalSum {
    pub(super) fn new(kind: &DataType) -> Self {
        Self { sum: None, count: 0, kind: kind.clone() }
    }

    fn change(&mut self, values: &ArrayRef, adds: bool) -> Result<()> {
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let value = values.slice(row, 1);
            self.sum = Some(match self.sum.take() {
                None => value,
                Some(sum) => {
                    let (sum, value) = (Scalar::new(sum), Scalar::new(value));
                    let changed = if adds { add(&sum, &value) } else { sub(&sum, &value) };
                    changed.map_err(|error| {
                        let kind = &self.kind;
                        DataFusionError::Execution(format!("`sum` of {kind}: the answer does not fit ({error})"))
                    })?
                }
            });
            self.count += if adds { 1 } else { -1 };
        }
        Ok(())
    }
}

impl Accumulator for IntervalSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], true)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.change(&values[0], false)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.change(&states[0], true)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match &self.sum {
            Some(sum) if self.count > 0 => ScalarValue::try_from_array(&Arc::clone(sum), 0),
            _ => ScalarValue::try_from(&self.kind),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.sum.as_ref().map_or(0, Array::get_array_memory_size)
    }
}
