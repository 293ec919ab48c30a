//! The wider number in which sums are kept, and the way back.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Decimal128Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Decimal128Type};
use datafusion::common::{DataFusionError, Result};

/// The digits that a kept sum may have.
const DIGITS: u8 = 38;

/// Sums of one type: kept in 128 bits, in which every sum of 2^63 integers fits.
#[derive(Debug, Clone)]
pub(super) struct Wide {
    /// What the sum is given out as.
    kind: DataType,
    /// How many of its digits stand behind the point.
    scale: i8,
}

impl Wide {
    /// For sums of this type, unless they are kept otherwise.
    pub(super) fn of(kind: &DataType) -> Option<Self> {
        let scale = match kind {
            DataType::Int64 | DataType::UInt64 | DataType::Duration(_) => 0,
            DataType::Decimal128(_, scale) => *scale,
            _ => return None,
        };
        Some(Self { kind: kind.clone(), scale })
    }

    /// The type that sums are kept in.
    pub(super) fn state(&self) -> DataType {
        DataType::Decimal128(DIGITS, self.scale)
    }

    /// Values as they are added.
    pub(super) fn widen(&self, array: &ArrayRef) -> Result<ArrayRef> {
        match array.data_type() {
            DataType::Duration(_) => strictly(&strictly(array, &DataType::Int64)?, &self.state()),
            _ => strictly(array, &self.state()),
        }
    }

    /// One more value.
    pub(super) fn add(&self, sum: i128, value: i128) -> Result<i128> {
        sum.checked_add(value).ok_or_else(|| self.does_not_fit("more than 128 bits"))
    }

    /// Sums as they are kept.
    pub(super) fn array(&self, sums: impl IntoIterator<Item = Option<i128>>) -> Result<ArrayRef> {
        let array = sums.into_iter().collect::<Decimal128Array>().with_precision_and_scale(DIGITS, self.scale)?;
        Ok(Arc::new(array))
    }

    /// Sums as they are given out.
    pub(super) fn narrow(&self, sums: impl IntoIterator<Item = Option<i128>>) -> Result<ArrayRef> {
        let array = self.array(sums)?;
        let narrowed = match &self.kind {
            DataType::Decimal128(digits, scale) => {
                let array = array.as_primitive::<Decimal128Type>().clone();
                array
                    .with_precision_and_scale(*digits, *scale)
                    .and_then(|array| array.validate_decimal_precision(*digits).map(|()| Arc::new(array) as ArrayRef))
                    .map_err(DataFusionError::from)
            }
            DataType::Duration(_) => strictly(&array, &DataType::Int64).and_then(|array| strictly(&array, &self.kind)),
            kind => strictly(&array, kind),
        };
        narrowed.map_err(|error| self.does_not_fit(&error.message()))
    }

    fn does_not_fit(&self, why: &str) -> DataFusionError {
        let hint = match self.kind {
            DataType::Decimal128(..) => "sum a part of the rows, or fewer digits",
            _ => "cast to a decimal first",
        };
        DataFusionError::Execution(format!("`sum` of {}: the answer does not fit, {hint} ({why})", self.kind))
    }
}

fn strictly(array: &ArrayRef, kind: &DataType) -> Result<ArrayRef> {
    Ok(cast_with_options(array, kind, &CastOptions { safe: false, ..CastOptions::default() })?)
}
