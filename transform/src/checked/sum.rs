//! `sum` that fails when the answer does not fit. It adds in a wider number and looks at the end.

mod distinct;
mod interval;
mod wide;

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator};

use distinct::DistinctSum;
use interval::IntervalSum;
use wide::Wide;

/// Puts the checked function in the place of the engine's own.
pub(super) fn replace(functions: &mut [Arc<AggregateUDF>]) {
    for function in functions.iter_mut().filter(|function| function.name() == "sum") {
        *function = Arc::new(AggregateUDF::from(CheckedSum { inner: Arc::clone(function) }));
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    inner: Arc<AggregateUDF>,
}

/// How a sum is made.
enum Way {
    Wide(Wide),
    Distinct(Wide),
    Intervals,
    /// As the engine does it: of numbers with a point, whose sums end at infinity.
    Engine,
}

impl Way {
    fn of(kind: &DataType, distinct: bool) -> Self {
        match (Wide::of(kind), kind) {
            (Some(wide), _) if distinct => Self::Distinct(wide),
            (Some(wide), _) => Self::Wide(wide),
            (None, DataType::Interval(_)) if !distinct => Self::Intervals,
            _ => Self::Engine,
        }
    }
}

impl AggregateUDFImpl for CheckedSum {
    of_the_engine!();

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(match Way::of(args.return_field.data_type(), args.is_distinct) {
            Way::Wide(wide) => Box::new(WideSum::new(wide)),
            Way::Distinct(wide) => Box::new(DistinctSum::new(wide)),
            Way::Intervals => Box::new(IntervalSum::new(args.return_field.data_type())),
            Way::Engine => return self.inner.accumulator(args),
        })
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        Ok(match Way::of(args.return_type(), args.is_distinct) {
            Way::Wide(wide) => vec![Arc::new(Field::new(format!("{}[sum]", args.name), wide.state(), true))],
            Way::Distinct(wide) => {
                let item = Field::new_list_field(wide.state(), true);
                vec![Arc::new(Field::new_list(format!("{}[sum distinct]", args.name), item, false))]
            }
            Way::Intervals | Way::Engine => return self.inner.state_fields(args),
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        match Way::of(args.return_field.data_type(), args.is_distinct) {
            Way::Wide(_) => true,
            Way::Distinct(_) | Way::Intervals => false,
            Way::Engine => self.inner.groups_accumulator_supported(args),
        }
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match Way::of(args.return_field.data_type(), args.is_distinct) {
            Way::Wide(wide) => Ok(Box::new(WideSums { sums: Vec::new(), wide })),
            _ => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match Way::of(args.return_field.data_type(), args.is_distinct) {
            Way::Engine => self.inner.create_sliding_accumulator(args),
            _ => self.accumulator(args),
        }
    }
}

/// One sum, of all rows or of a window that slides.
struct WideSum {
    sum: i128,
    /// How many values are in it: without any it is null.
    count: i64,
    wide: Wide,
}

impl fmt::Debug for WideSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WideSum({:?})", self.wide)
    }
}

impl WideSum {
    fn new(wide: Wide) -> Self {
        Self { sum: 0, count: 0, wide }
    }

    fn add(&mut self, array: &ArrayRef, sign: i128) -> Result<()> {
        for value in array.as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum = self.wide.add(self.sum, sign * value)?;
            self.count += if sign > 0 { 1 } else { -1 };
        }
        Ok(())
    }

    fn value(&self) -> Option<i128> {
        (self.count > 0).then_some(self.sum)
    }
}

impl Accumulator for WideSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&self.wide.widen(&values[0])?, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&self.wide.widen(&values[0])?, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(&states[0], 1)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::try_from_array(&self.wide.array([self.value()])?, 0)?])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&self.wide.narrow([self.value()])?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of many groups.
struct WideSums {
    sums: Vec<Option<i128>>,
    wide: Wide,
}

impl WideSums {
    fn add(&mut self, values: &ArrayRef, groups: &[usize], filter: Option<&BooleanArray>, total: usize) -> Result<()> {
        self.sums.resize(total, None);
        let counts = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, (group, value)) in groups.iter().zip(values.as_primitive::<Decimal128Type>()).enumerate() {
            if let Some(value) = value.filter(|_| counts(row)) {
                let sum = &mut self.sums[*group];
                *sum = Some(self.wide.add(sum.unwrap_or(0), value)?);
            }
        }
        Ok(())
    }
}

impl GroupsAccumulator for WideSums {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        groups: &[usize],
        filter: Option<&BooleanArray>,
        total: usize,
    ) -> Result<()> {
        self.add(&self.wide.widen(&values[0])?, groups, filter, total)
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.add(&values[0], groups, None, total)
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        self.wide.narrow(emit.take_needed(&mut self.sums))
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![self.wide.array(emit.take_needed(&mut self.sums))?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let widened = self.wide.widen(&values[0])?;
        let counts = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let kept = widened.as_primitive::<Decimal128Type>().iter().enumerate();
        Ok(vec![self.wide.array(kept.map(|(row, value)| value.filter(|_| counts(row))))?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Option<i128>>()
    }
}
