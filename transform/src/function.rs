//! The SQL functions that Korean review and listing data needs, and that no engine brings along.
//!
//! Each is a pure function of its arguments: no clock, no locale, no state. What a function does is shown by examples that are
//! part of its documentation and run as tests, so the documentation cannot drift from the code. Each has a version
//! that is part of the mark of every model that calls it: a function that answers differently gets a higher one, and those models
//! are built again. `versions.rs` holds each version to what it answers.

mod date;
mod number;
mod text;
#[cfg(test)]
mod versions;

use std::borrow::Cow;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, Int64Array, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::scalar_doc_sections::DOC_SECTION_OTHER;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// One SQL function: its name, how it is called, what it does, and examples that are tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Function {
    /// The name in SQL.
    pub name: &'static str,
    /// Raised whenever it begins to answer differently.
    pub version: u32,
    /// How it is called, with the types of arguments and result.
    pub syntax: &'static str,
    /// What it does, in a sentence or two.
    pub description: &'static str,
    /// SQL expressions and the text of their results.
    pub examples: &'static [(&'static str, &'static str)],
}

/// Every function that models may call beyond those of the engine.
pub fn functions() -> &'static [Function] {
    FUNCTIONS
}

const FUNCTIONS: &[Function] = &[
    date::KOREAN_VISIT_DATE,
    number::KOREAN_NUMBER,
    number::KOREAN_MONEY,
    number::KOREAN_FLOOR,
    text::NFC,
    text::NORMALIZE_SPACE,
    text::STRIP_MARKUP,
    text::MASK_CONTACTS,
];

/// The functions as the engine takes them.
pub(crate) fn udfs() -> Vec<Arc<ScalarUDF>> {
    let of_text = [
        TextFunction::new(&number::KOREAN_NUMBER, Apply::Float(number::korean_number)),
        TextFunction::new(&number::KOREAN_MONEY, Apply::Int(number::korean_money)),
        TextFunction::new(&number::KOREAN_FLOOR, Apply::Int(number::korean_floor)),
        TextFunction::new(&text::NFC, Apply::Text(text::nfc)),
        TextFunction::new(&text::NORMALIZE_SPACE, Apply::Text(text::normalize_space)),
        TextFunction::new(&text::STRIP_MARKUP, Apply::Text(text::strip_markup)),
        TextFunction::new(&text::MASK_CONTACTS, Apply::Text(text::mask_contacts)),
    ];
    of_text
        .into_iter()
        .map(ScalarUDF::from)
        .chain([ScalarUDF::from(date::KoreanVisitDate::new())])
        .map(Arc::new)
        .collect()
}

/// The engine's own form of a function's documentation; `information_schema.routines` shows it.
fn documentation(function: &Function) -> Documentation {
    let mut doc = Documentation::builder(DOC_SECTION_OTHER, function.description, function.syntax);
    if let Some((sql, answer)) = function.examples.first() {
        doc = doc.with_sql_example(format!("select {sql}; -- {answer}"));
    }
    doc.build()
}

/// What a function of one text answers. `None` is SQL's null.
#[derive(Clone, Copy)]
enum Apply {
    Text(fn(&str) -> Cow<'_, str>),
    Float(fn(&str) -> Option<f64>),
    Int(fn(&str) -> Option<i64>),
}

/// A function of one text: null for null, otherwise what [`Apply`] answers.
struct TextFunction {
    about: &'static Function,
    apply: Apply,
    signature: Signature,
    documentation: Documentation,
}

impl TextFunction {
    fn new(about: &'static Function, apply: Apply) -> Self {
        Self {
            about,
            apply,
            signature: Signature::string(1, Volatility::Immutable),
            documentation: documentation(about),
        }
    }
}

impl std::fmt::Debug for TextFunction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextFunction").field("name", &self.about.name).finish_non_exhaustive()
    }
}

// A function is its name: there is one of each.
impl PartialEq for TextFunction {
    fn eq(&self, other: &Self) -> bool {
        self.about.name == other.about.name
    }
}
impl Eq for TextFunction {}
impl Hash for TextFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.about.name.hash(state);
    }
}

impl ScalarUDFImpl for TextFunction {
    fn name(&self) -> &str {
        self.about.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.apply {
            Apply::Text(_) => DataType::Utf8,
            Apply::Float(_) => DataType::Float64,
            Apply::Int(_) => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| {
            let input = cast(&arrays[0], &DataType::Utf8)?;
            let input = input.as_string::<i32>();
            Ok(match self.apply {
                Apply::Text(apply) => Arc::new(input.iter().map(|text| text.map(apply)).collect::<StringArray>()),
                Apply::Float(apply) => {
                    Arc::new(input.iter().map(|text| text.and_then(apply)).collect::<Float64Array>())
                }
                Apply::Int(apply) => Arc::new(input.iter().map(|text| text.and_then(apply)).collect::<Int64Array>()),
            })
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// Runs `answer` over the arguments as arrays; constants in, constant out, so that the planner can fold the call.
fn over_arrays(
    args: &ScalarFunctionArgs,
    answer: impl FnOnce(&[ArrayRef]) -> Result<ArrayRef>,
) -> Result<ColumnarValue> {
    let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
    let arrays = ColumnarValue::values_to_arrays(&args.args)?;
    let array = answer(&arrays)?;
    if constant && array.len() == 1 {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use arrow::util::display::array_value_to_string;
    use datafusion::prelude::SessionContext;

    use super::*;

    #[tokio::test]
    async fn every_example_is_true() {
        let ctx = SessionContext::new();
        for udf in udfs() {
            ctx.register_udf(udf.as_ref().clone());
        }
        for function in functions() {
            assert!(!function.examples.is_empty(), "{} shows nothing", function.name);
            for (sql, expected) in function.examples {
                let batches = ctx.sql(&format!("select {sql}")).await.unwrap().collect().await.unwrap();
                let column = batches[0].column(0);
                let found =
                    if column.is_null(0) { "null".to_owned() } else { array_value_to_string(column, 0).unwrap() };
                assert_eq!(&found, expected, "select {sql}");
            }
        }
    }

    #[tokio::test]
    async fn columns_and_constants_answer_alike() {
        let ctx = SessionContext::new();
        for udf in udfs() {
            ctx.register_udf(udf.as_ref().clone());
        }
        let sql = "select count(*) from (values ('1만+'), ('1,821'), (null)) as t(a) where korean_number(a) > 1000";
        let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
        assert_eq!(array_value_to_string(batches[0].column(0), 0).unwrap(), "2");
    }

    #[test]
    fn what_is_listed_is_what_is_registered() {
        let listed: BTreeSet<_> = functions().iter().map(|function| function.name.to_owned()).collect();
        let registered: BTreeSet<_> = udfs().iter().map(|udf| udf.name().to_owned()).collect();
        assert_eq!(listed, registered);
    }
}
