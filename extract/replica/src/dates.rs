//! Dates in the site's shapes. The site thinks in Korean time; only `representativeVisitDateTime` is UTC.

use jiff::civil::{Date, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// Korean time, which has had no daylight saving since 1988.
pub(crate) fn korea() -> TimeZone {
    TimeZone::fixed(Offset::constant(9))
}

/// The Korean day of an instant.
pub(crate) fn day(at: Timestamp) -> Date {
    at.to_zoned(korea()).date()
}

/// Midnight in Korea, as an instant.
pub(crate) fn midnight(day: Date) -> Timestamp {
    // A fixed offset has no gaps, so this only fails at the ends of time.
    day.to_zoned(korea()).map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
}

/// `at` and some seconds; the instant itself at the ends of time.
pub(crate) fn plus(at: Timestamp, seconds: i64) -> Timestamp {
    at.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(at)
}

fn weekday(day: Date) -> &'static str {
    match day.weekday() {
        Weekday::Monday => "월",
        Weekday::Tuesday => "화",
        Weekday::Wednesday => "수",
        Weekday::Thursday => "목",
        Weekday::Friday => "금",
        Weekday::Saturday => "토",
        Weekday::Sunday => "일",
    }
}

/// `11.24.월` in the year of `today`, `24.8.25.일` in any other.
pub(crate) fn short(day: Date, today: Date) -> String {
    let tail = format!("{}.{}.{}", day.month(), day.day(), weekday(day));
    if day.year() == today.year() { tail } else { format!("{:02}.{tail}", day.year().rem_euclid(100)) }
}

/// `2026-09-13T04:38:00.000Z`.
pub(crate) fn utc(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%S.000Z").to_string()
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    #[test]
    fn the_year_is_left_out_in_the_current_one() {
        assert_eq!(short(date(2025, 11, 24), date(2025, 12, 1)), "11.24.월");
        assert_eq!(short(date(2024, 8, 25), date(2025, 12, 1)), "24.8.25.일");
        assert_eq!(short(date(2009, 1, 3), date(2025, 12, 1)), "09.1.3.토");
    }

    #[test]
    fn after_midnight_the_utc_day_is_the_day_before() {
        let at = plus(midnight(date(2026, 9, 13)), 30 * 60);
        assert_eq!(utc(at), "2026-09-12T15:30:00.000Z");
        assert_eq!(day(at), date(2026, 9, 13));
    }
}
