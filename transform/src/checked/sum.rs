//! `sum` of integers that fails when the answer does not fit. It adds in twice the width and looks at the end.

use std::fmt;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type, Field, FieldRef};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
    utils::AggregateOrderSensitivity,
};

/// What sums are kept in: every sum of 2^63 integers fits.
const WIDE: DataType = DataType::Decimal128(38, 0);

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

impl CheckedSum {
    fn is_checked(kind: &DataType, distinct: bool) -> bool {
        !distinct && matches!(kind, DataType::Int64 | DataType::UInt64)
    }
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(kinds)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if Self::is_checked(args.return_field.data_type(), args.is_distinct) {
            return Ok(Box::new(WideSum::new(args.return_field.data_type())));
        }
        self.inner.accumulator(args)
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        if Self::is_checked(args.return_type(), args.is_distinct) {
            return Ok(vec![Arc::new(Field::new(format!("{}[sum]", args.name), WIDE, true))]);
        }
        self.inner.state_fields(args)
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        if Self::is_checked(args.return_field.data_type(), args.is_distinct) {
            let kind = args.return_field.data_type().clone();
            return Ok(Box::new(WideSums { sums: Vec::new(), kind }));
        }
        self.inner.create_groups_accumulator(args)
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        if Self::is_checked(args.return_field.data_type(), args.is_distinct) {
            return Ok(Box::new(WideSum::new(args.return_field.data_type())));
        }
        self.inner.create_sliding_accumulator(args)
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn widen(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast_with_options(array, &WIDE, &CastOptions { safe: false, ..CastOptions::default() })?)
}

fn narrow(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    cast_with_options(array, kind, &CastOptions { safe: false, ..CastOptions::default() }).map_err(|error| {
        DataFusionError::Execution(format!(
            "`sum` of {kind}: the answer does not fit, cast to a decimal first ({error})"
        ))
    })
}

fn wide(values: impl IntoIterator<Item = Option<i128>>) -> Result<ArrayRef> {
    Ok(Arc::new(values.into_iter().collect::<Decimal128Array>().with_precision_and_scale(38, 0)?))
}

/// One sum, of all rows or of a window that slides.
struct WideSum {
    sum: i128,
    /// How many values are in it: without any it is null.
    count: i64,
    kind: DataType,
}

impl fmt::Debug for WideSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WideSum({})", self.kind)
    }
}

impl WideSum {
    fn new(kind: &DataType) -> Self {
        Self { sum: 0, count: 0, kind: kind.clone() }
    }

    fn add(&mut self, array: &ArrayRef, sign: i128) {
        for value in array.as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum += sign * value;
            self.count += if sign > 0 { 1 } else { -1 };
        }
    }

    fn value(&self) -> Option<i128> {
        (self.count > 0).then_some(self.sum)
    }
}

impl Accumulator for WideSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&widen(&values[0])?, 1);
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.add(&widen(&values[0])?, -1);
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.add(&states[0], 1);
        Ok(())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(self.value(), 38, 0)])
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        ScalarValue::try_from_array(&narrow(&wide([self.value()])?, &self.kind)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sums of many groups.
struct WideSums {
    sums: Vec<Option<i128>>,
    kind: DataType,
}

impl WideSums {
    fn add(&mut self, values: &ArrayRef, groups: &[usize], filter: Option<&BooleanArray>, total: usize) {
        self.sums.resize(total, None);
        let counts = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        for (row, (group, value)) in groups.iter().zip(values.as_primitive::<Decimal128Type>()).enumerate() {
            if let Some(value) = value.filter(|_| counts(row)) {
                let sum = &mut self.sums[*group];
                *sum = Some(sum.unwrap_or(0) + value);
            }
        }
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
        self.add(&widen(&values[0])?, groups, filter, total);
        Ok(())
    }

    fn merge_batch(&mut self, values: &[ArrayRef], groups: &[usize], total: usize) -> Result<()> {
        self.add(&values[0], groups, None, total);
        Ok(())
    }

    fn evaluate(&mut self, emit: EmitTo) -> Result<ArrayRef> {
        narrow(&wide(emit.take_needed(&mut self.sums))?, &self.kind)
    }

    fn state(&mut self, emit: EmitTo) -> Result<Vec<ArrayRef>> {
        Ok(vec![wide(emit.take_needed(&mut self.sums))?])
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        let widened = widen(&values[0])?;
        let counts = |row: usize| filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row));
        let kept = widened.as_primitive::<Decimal128Type>().iter().enumerate();
        Ok(vec![wide(kept.map(|(row, value)| value.filter(|_| counts(row))))?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<Option<i128>>()
    }
}
