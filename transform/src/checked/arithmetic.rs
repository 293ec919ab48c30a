//! `+`, `-` and `*` of integers that fail when the answer does not fit.

use std::sync::{Arc, LazyLock};

use arrow::array::{Array, Datum, Scalar};
use arrow::compute::kernels::numeric::{add, mul, sub};
use arrow::datatypes::DataType;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

/// What is done with two integers of one type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
}

impl Operation {
    fn sign(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
        }
    }
}

static FUNCTIONS: LazyLock<[Arc<ScalarUDF>; 3]> = LazyLock::new(|| {
    [Operation::Add, Operation::Subtract, Operation::Multiply].map(|it| Arc::new(ScalarUDF::from(Checked::new(it))))
});

/// The function that does it.
pub(super) fn function(operation: Operation) -> Arc<ScalarUDF> {
    Arc::clone(match operation {
        Operation::Add => &FUNCTIONS[0],
        Operation::Subtract => &FUNCTIONS[1],
        Operation::Multiply => &FUNCTIONS[2],
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl Checked {
    fn new(operation: Operation) -> Self {
        Self { operation, signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        self.operation.sign()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, kinds: &[DataType]) -> Result<DataType> {
        Ok(kinds[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let [one, two] = args.args.as_slice() else {
            return Err(DataFusionError::Internal(format!("`{}` of other than two numbers", self.operation.sign())));
        };
        let (one, two) = (datum(one)?, datum(two)?);
        let answer = match self.operation {
            Operation::Add => add(one.as_ref(), two.as_ref()),
            Operation::Subtract => sub(one.as_ref(), two.as_ref()),
            Operation::Multiply => mul(one.as_ref(), two.as_ref()),
        };
        let answer = answer.map_err(|error| {
            DataFusionError::Execution(format!(
                "`{}` of {}: the answer does not fit, cast to a wider type first ({error})",
                self.operation.sign(),
                args.return_field.data_type()
            ))
        })?;
        if constant && answer.len() == 1 {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?));
        }
        Ok(ColumnarValue::Array(answer))
    }
}

fn datum(value: &ColumnarValue) -> Result<Box<dyn Datum>> {
    Ok(match value {
        ColumnarValue::Array(array) => Box::new(Arc::clone(array)),
        ColumnarValue::Scalar(scalar) => Box::new(Scalar::new(scalar.to_array()?)),
    })
}
