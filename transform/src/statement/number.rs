//! Numbers that are written out with more digits than the engine would keep.
//!
//! The engine reads a number with a point, or one of twenty digits, as a double, which keeps fifteen to seventeen of them: what was
//! typed would be another number before anybody has reckoned with it. Such a one becomes a decimal of as many digits as it has; so
//! does a number that is cast to a decimal. Any other stays the double that it was.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{CastKind, DataType, ExactNumberInfo, Expr, Value, ValueWithSpan, VisitorMut};
use datafusion::sql::sqlparser::tokenizer::Span;

/// The most digits of a decimal.
const MOST_DIGITS: usize = 76;

/// Puts decimals in the place of numbers that a double would alter.
pub(super) struct ExactNumbers;

impl VisitorMut for ExactNumbers {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Cast { expr: inner, data_type, .. } if is_decimal(data_type) => exact_in(inner),
            Expr::Value(ValueWithSpan { value: Value::Number(text, _), span }) if is_altered(text) => {
                if let Some(exact) = decimal(text, *span) {
                    *expr = exact;
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The number that is cast, behind its sign and parentheses.
fn exact_in(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) | Expr::UnaryOp { expr: inner, .. } => exact_in(inner),
        Expr::Value(ValueWithSpan { value: Value::Number(text, _), span })
            if text.contains('.') || is_altered(text) =>
        {
            if let Some(exact) = decimal(text, *span) {
                *expr = exact;
            }
        }
        _ => {}
    }
}

fn is_decimal(kind: &DataType) -> bool {
    matches!(kind, DataType::Decimal(_) | DataType::Numeric(_) | DataType::Dec(_))
}

/// The digits before and behind the point. A number with an exponent is meant as a double.
fn digits(text: &str) -> Option<(&str, &str)> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let plain = |digits: &str| digits.bytes().all(|byte| byte.is_ascii_digit());
    (plain(whole) && plain(part)).then(|| (whole.trim_start_matches('0'), part))
}

/// Whether a double is another number.
fn is_altered(text: &str) -> bool {
    let Some((whole, part)) = digits(text) else { return false };
    let is_integer = !text.contains('.') && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok());
    let Ok(double) = text.parse::<f64>() else { return false };
    let kept = double.to_string();
    !is_integer
        && digits(&kept).is_none_or(|(w, p)| (w, p.trim_end_matches('0')) != (whole, part.trim_end_matches('0')))
}

/// The number as a decimal that has all its digits.
fn decimal(text: &str, span: Span) -> Option<Expr> {
    let (whole, part) = digits(text)?;
    let count = (whole.len() + part.len()).max(1);
    if count > MOST_DIGITS {
        return None;
    }
    let info = ExactNumberInfo::PrecisionAndScale(u64::try_from(count).ok()?, i64::try_from(part.len()).ok()?);
    let value = Value::SingleQuotedString(text.to_owned());
    Some(Expr::Cast {
        kind: CastKind::DoubleColon,
        expr: Box::new(Expr::Value(ValueWithSpan { value, span })),
        data_type: DataType::Decimal(info),
        array: false,
        format: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_double_would_alter_is_another_number() {
        for kept in [
            "0.1",
            "1",
            "1.50",
            "99999.995",
            "007.5",
            "9223372036854775807",
            "18446744073709551615",
            "1e300",
            "0",
            "0.0",
        ] {
            assert!(!is_altered(kept), "{kept}");
        }
        for altered in
            ["12345678901234567890.12", "0.12345678901234567890", "18446744073709551617", "9007199254740993.5"]
        {
            assert!(is_altered(altered), "{altered}");
            let exact = decimal(altered, Span::empty()).unwrap().to_string();
            assert!(exact.contains(altered), "{exact}");
        }
        assert_eq!(decimal(&"9".repeat(77), Span::empty()), None);
    }
}
