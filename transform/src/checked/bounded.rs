//! Functions that can make values of any length, held to a length that one value may have.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Int64Type};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The longest value that a function may make, in bytes: as much as an answer of a site may have.
const MAX_VALUE: u64 = 16 << 20;
/// The most that one call may make for all rows of a batch.
const MAX_BATCH: u64 = 256 << 20;

/// How long the answer of a function is at most, by its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Growth {
    /// The first argument, as often as the second says.
    Times,
    /// As long as the second argument says, in characters or items.
    UpTo,
    /// From the first to the second argument, in steps of the third; one argument counts from zero.
    Range,
    /// The first argument with the third in each place of the second.
    Replaced,
    /// The first argument with the third in each place where the second fits, a pattern.
    Matched,
    /// All arguments together.
    Sum,
}

/// The functions that are bounded.
const GROWING: [(&str, Growth); 15] = [
    ("repeat", Growth::Times),
    ("array_repeat", Growth::Times),
    ("lpad", Growth::UpTo),
    ("rpad", Growth::UpTo),
    ("array_resize", Growth::UpTo),
    ("range", Growth::Range),
    ("generate_series", Growth::Range),
    ("replace", Growth::Replaced),
    ("regexp_replace", Growth::Matched),
    ("concat", Growth::Sum),
    ("concat_ws", Growth::Sum),
    ("array_concat", Growth::Sum),
    ("array_append", Growth::Sum),
    ("array_prepend", Growth::Sum),
    ("translate", Growth::Sum),
];

/// Puts bounded functions in the place of the engine's own.
pub(super) fn replace(functions: &mut [Arc<ScalarUDF>]) {
    for function in functions {
        if let Some((_, growth)) = GROWING.iter().find(|(name, _)| *name == function.name()) {
            *function = Arc::new(ScalarUDF::from(Bounded { inner: Arc::clone(function), growth: *growth }));
        }
    }
}

static CHECKER: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::from(Checker { signature: Signature::any(1, Volatility::Immutable) })));

/// A function that gives back what it is given, unless that is too long.
pub(super) fn checker() -> Arc<ScalarUDF> {
    Arc::clone(&CHECKER)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checker {
    signature: Signature,
}

impl ScalarUDFImpl for Checker {
    fn name(&self) -> &'static str {
        "bounded"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        Ok(kinds[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let value = args.args.into_iter().next();
        let value = value.ok_or_else(|| DataFusionError::Internal("a bound of nothing".to_owned()))?;
        let array = value.to_array(1)?;
        admit("||", (0..array.len()).map(|row| bytes_of(&array, row)))?;
        Ok(value)
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        self.inner.return_type(kinds)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn coerce_types(&self, kinds: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(kinds)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arguments = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let numbers: Vec<Option<ArrayRef>> =
            arguments.iter().map(|it| it.data_type().is_numeric().then(|| cast(it, &DataType::Int64).ok())?).collect();
        admit(self.name(), (0..rows).map(|row| self.growth.bytes(&arguments, &numbers, row)))?;
        self.inner.invoke_with_args(args)
    }
}

impl Growth {
    fn bytes(self, arguments: &[ArrayRef], numbers: &[Option<ArrayRef>], row: usize) -> u64 {
        let length = |place: usize| arguments.get(place).map_or(0, |array| bytes_of(array, row));
        let number = |place: usize| {
            let array = numbers.get(place)?.as_ref()?;
            array.is_valid(row).then(|| array.as_primitive::<Int64Type>().value(row))
        };
        let count = |place: usize| number(place).map_or(0, |number| u64::try_from(number).unwrap_or(0));
        // Nothing as often as one likes is nothing.
        let is_list = |place: usize| arguments.get(place).is_some_and(|array| array.data_type().is_nested());
        let is_nothing = |place: usize| arguments.get(place).is_none_or(|array| array.is_null(row));
        match self {
            Self::Times if is_nothing(0) || is_nothing(1) => 0,
            Self::Times => length(0).max(1).saturating_mul(count(1)),
            // A list is filled with whole values.
            Self::UpTo => count(1).saturating_mul(if is_list(0) { length(2).max(8) } else { 1 }),
            Self::Range => {
                let (first, last) = if arguments.len() == 1 { (Some(0), number(0)) } else { (number(0), number(1)) };
                let step = if arguments.len() > 2 { number(2) } else { Some(1) };
                let (Some(first), Some(last), Some(step)) = (first, last, step) else { return 0 };
                first.abs_diff(last).checked_div(step.unsigned_abs()).unwrap_or(0).saturating_mul(8)
            }
            Self::Replaced => {
                let places = length(0) / length(1).max(1) + 1;
                length(0).saturating_add(places.saturating_mul(length(2)))
            }
            Self::Matched => {
                // A short pattern fits everywhere, and what it found may be named in the replacement by two characters.
                let places = if arguments.len() > 3 { length(0) + 1 } else { 1 };
                let named = (length(2) / 2).saturating_mul(length(0));
                length(0).saturating_add(places.saturating_mul(length(2))).saturating_add(named)
            }
            Self::Sum => (0..arguments.len()).fold(0, |sum: u64, place| sum.saturating_add(length(place))),
        }
    }
}

/// How many bytes a text or a list has.
fn bytes_of(array: &ArrayRef, row: usize) -> u64 {
    if array.is_null(row) {
        return 0;
    }
    let bytes = match array.data_type() {
        DataType::Utf8 => array.as_string::<i32>().value(row).len(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).len(),
        DataType::Utf8View => array.as_string_view().value(row).len(),
        // With all that is in them, however deep.
        DataType::List(_) => return bytes_of_all(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => return bytes_of_all(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => return bytes_of_all(&array.as_fixed_size_list().value(row)),
        DataType::Struct(_) => return array.as_struct().columns().iter().map(|column| bytes_of(column, row)).sum(),
        _ => 8,
    };
    bytes as u64
}

fn bytes_of_all(values: &ArrayRef) -> u64 {
    if values.data_type().is_primitive() {
        return values.len() as u64 * 8;
    }
    // A place of its own has each of them, though it be empty.
    (0..values.len()).map(|place| bytes_of(values, place).max(8)).fold(0, u64::saturating_add)
}

fn admit(name: &str, values: impl Iterator<Item = u64>) -> Result<()> {
    let mut total: u64 = 0;
    for bytes in values {
        total = total.saturating_add(bytes);
        let (found, most, what) = if bytes > MAX_VALUE {
            (bytes, MAX_VALUE, "one value")
        } else if total > MAX_BATCH {
            (total, MAX_BATCH, "the rows of one batch")
        } else {
            continue;
        };
        return Err(DataFusionError::ResourcesExhausted(format!(
            "`{name}` would make {found} bytes for {what}, and may make {most}"
        )));
    }
    Ok(())
}
