//! Days as Arrow counts them.
//!
//! `dt` is a civil date in the project's time zone; Arrow's `Date32` is days since 1970-01-01.
//! Nothing here knows a time zone: a day stays the day it was said to be.

use jiff::{SignedDuration, civil::Date};

const EPOCH: Date = Date::constant(1970, 1, 1);

/// Days since 1970-01-01, the value of a `Date32`.
///
/// ```
/// assert_eq!(catalog::days_since_epoch(catalog::Date::constant(1970, 1, 2)), 1);
/// ```
pub fn days_since_epoch(day: Date) -> i32 {
    let days = day.duration_since(EPOCH).as_hours() / 24;
    i32::try_from(days).unwrap_or(i32::MAX)
}

/// The date of a `Date32`; `None` outside the years -9999 to 9999.
pub fn date_of(days: i32) -> Option<Date> {
    EPOCH.checked_add(SignedDuration::from_hours(24 * i64::from(days))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for days in [-719_528, -1, 0, 1, 19_999, 20_727, 2_932_896] {
            let day = date_of(days).unwrap();
            assert_eq!(days_since_epoch(day), days, "{day}");
        }
        assert_eq!(date_of(20_727), Some(Date::constant(2026, 10, 1)));
        assert_eq!(date_of(i32::MAX), None);
    }
}
