//! A number as its digits: no float comes between.

/// A longer one is no number of anything.
const MOST_DIGITS: usize = 64;

/// The digits of a whole number without its sign, however it is written: `12.0`, `1.2e1` and `-12` are `12`.
pub(crate) fn whole_digits(number: &str) -> Option<String> {
    let number = number.strip_prefix(['-', '+']).unwrap_or(number);
    let (mantissa, exponent) = match number.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
        None => (number, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = format!("{whole}{fraction}");
    if whole.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // How many of them stand before the point.
    let before = i64::try_from(whole.len()).ok()?.checked_add(exponent)?;
    let before = usize::try_from(before).ok().filter(|before| *before <= MOST_DIGITS)?;
    if digits.len() > before {
        if digits.bytes().skip(before).any(|digit| digit != b'0') {
            return None;
        }
        digits.truncate(before);
    }
    let digits = format!("{digits:0<before$}");
    let significant = digits.trim_start_matches('0');
    Some(if significant.is_empty() { "0" } else { significant }.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_number_is_its_digits() {
        for (number, expected) in [
            ("12", Some("12")),
            ("-12.0", Some("12")),
            ("1.2e1", Some("12")),
            ("1200E-2", Some("12")),
            ("1.2e+3", Some("1200")),
            ("0", Some("0")),
            ("0.0e5", Some("0")),
            ("007", Some("7")),
            ("12.5", None),
            ("12e-1", None),
            ("1e65", None),
            ("1e99999999999999999999", None),
            ("", None),
            (".5", None),
            ("12a", None),
            ("{secret:N}", None),
        ] {
            assert_eq!(whole_digits(number).as_deref(), expected, "{number}");
        }
    }
}
