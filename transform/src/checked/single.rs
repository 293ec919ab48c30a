//! Functions of one value that the rule puts around a part of an expression.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, PrimitiveArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float32Type, Float64Type, Int64Type};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// What is done with the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Single {
    /// By how many places bits are shifted: fails beyond those that there are, where the engine would begin again at zero.
    Places,
    /// A number that may be none: there is one NaN, behind all numbers. `0.0 / 0.0` makes one with a sign, which the engine sorts
    /// before them.
    OneNan,
}

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 2]> = LazyLock::new(|| {
    [Single::Places, Single::OneNan].map(|single| {
        Arc::new(ScalarUDF::from(SingleFunction { single, signature: Signature::any(1, Volatility::Immutable) }))
    })
});

/// The function that does it.
pub(super) fn function(single: Single) -> Arc<ScalarUDF> {
    Arc::clone(match single {
        Single::Places => &FUNCTIONS[0],
        Single::OneNan => &FUNCTIONS[1],
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct SingleFunction {
    single: Single,
    signature: Signature,
}

impl ScalarUDFImpl for SingleFunction {
    fn name(&self) -> &'static str {
        match self.single {
            Single::Places => "places",
            Single::OneNan => "one_nan",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        Ok(kinds[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value = args.args.into_iter().next();
        let value = value.ok_or_else(|| DataFusionError::Internal(format!("`{}` of nothing", self.name())))?;
        let constant = matches!(value, ColumnarValue::Scalar(_));
        let array = value.to_array(1)?;
        let array = match self.single {
            Single::Places => places(array)?,
            Single::OneNan => one_nan(array),
        };
        Ok(if constant {
            ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
        } else {
            ColumnarValue::Array(array)
        })
    }
}

fn places(array: ArrayRef) -> Result<ArrayRef> {
    let bits = array.data_type().primitive_width().unwrap_or(0) * 8;
    let numbers = cast(&array, &DataType::Int64)?;
    let fits = |number: &i64| usize::try_from(*number).is_ok_and(|number| number < bits);
    match numbers.as_primitive::<Int64Type>().iter().flatten().find(|number| !fits(number)) {
        Some(number) => Err(DataFusionError::Execution(format!(
            "a shift by {number} of {}: the answer does not fit, it has {bits} bits",
            array.data_type()
        ))),
        None => Ok(array),
    }
}

fn one_nan(array: ArrayRef) -> ArrayRef {
    match array.data_type() {
        DataType::Float64 => replaced::<Float64Type>(array, f64::is_nan, f64::NAN),
        DataType::Float32 => replaced::<Float32Type>(array, f32::is_nan, f32::NAN),
        _ => array,
    }
}

fn replaced<T: ArrowPrimitiveType>(array: ArrayRef, is: impl Fn(T::Native) -> bool, by: T::Native) -> ArrayRef {
    let numbers = array.as_primitive::<T>();
    if !numbers.values().iter().any(|number| is(*number)) {
        return array;
    }
    let changed: PrimitiveArray<T> = numbers.unary(|number| if is(number) { by } else { number });
    Arc::new(changed)
}
