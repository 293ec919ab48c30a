//! Dates as Korean review pages write them: `11.24.월` in the year of the page, `24.8.25.일` in earlier years.
//!
//! The hard part is the missing year. A page fetched on 2 January shows `12.31.수` for the day before yesterday, so a date that
//! would lie in the future belongs to the year before; the weekday is a second witness, and when both years disagree with it
//! the answer is null rather than a guess. When the page's own instant is there (`representativeVisitDateTime`, UTC) it decides:
//! it is the only field with a sure year, and its day is the day in Korea.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Date32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};
use jiff::civil::{Date, Weekday};

use super::{Function, documentation, over_arrays};

pub(super) const KOREAN_VISIT_DATE: Function = Function {
    name: "korean_visit_date",
    version: 1,
    syntax: "korean_visit_date(text utf8, fetched_at timestamp [, visited_at timestamp]) -> date",
    description: "The day meant by a date as Naver shows it (`11.24.월`, `24.8.25.일`), seen from the moment the page was fetched. \
                  A day without a year is in the fetch year, or in the year before if it would be in the future; a weekday that fits neither gives null. \
                  `visited_at`, an instant in UTC, decides when it is there: its day in Korea is the answer.",
    examples: &[
        ("korean_visit_date('11.24.월', timestamp '2025-12-01T00:00:00Z')", "2025-11-24"),
        ("korean_visit_date('12.31.수', timestamp '2026-01-02T00:00:00Z')", "2025-12-31"),
        ("korean_visit_date('24.8.25.일', timestamp '2025-12-01T00:00:00Z')", "2024-08-25"),
        ("korean_visit_date('24.8.25.월', timestamp '2025-12-01T00:00:00Z')", "null"),
        (
            "korean_visit_date('9.13.일', timestamp '2026-10-01T00:00:00Z', timestamp '2026-09-13T15:30:00Z')",
            "2026-09-14",
        ),
        ("korean_visit_date('어제', timestamp '2025-12-01T00:00:00Z')", "null"),
    ],
};

/// Korea has had no daylight saving time since 1988: its day begins nine hours before the day of UTC.
const KST_OFFSET_MICROS: i64 = 9 * 3_600 * 1_000_000;
const DAY_MICROS: i64 = 86_400 * 1_000_000;

/// The SQL function over columns.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct KoreanVisitDate {
    signature: Signature,
    documentation: Documentation,
}

impl KoreanVisitDate {
    pub(super) fn new() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
            documentation: documentation(&KOREAN_VISIT_DATE),
        }
    }
}

impl ScalarUDFImpl for KoreanVisitDate {
    fn name(&self) -> &str {
        KOREAN_VISIT_DATE.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Date32)
    }

    fn coerce_types(&self, found: &[DataType]) -> Result<Vec<DataType>> {
        let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        if !(2..=3).contains(&found.len()) {
            return plan_err!("expected 2 or 3 arguments of korean_visit_date, found {}", found.len());
        }
        for (place, kind) in found.iter().enumerate().skip(1) {
            if !matches!(kind, DataType::Timestamp(..) | DataType::Null | DataType::Utf8 | DataType::Utf8View) {
                return plan_err!(
                    "expected argument {} of korean_visit_date to be a timestamp, found {kind}",
                    place + 1
                );
            }
        }
        Ok([DataType::Utf8, instant.clone(), instant].into_iter().take(found.len()).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        over_arrays(&args, |arrays| {
            let instant = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
            let text = cast(&arrays[0], &DataType::Utf8)?;
            let text = text.as_string::<i32>();
            let fetched_at = cast(&arrays[1], &instant)?;
            let fetched_at = fetched_at.as_primitive::<TimestampMicrosecondType>();
            let visited_at = arrays.get(2).map(|array| cast(array, &instant)).transpose()?;
            let visited_at = visited_at.as_ref().map(AsArray::as_primitive::<TimestampMicrosecondType>);
            let days: Date32Array = (0..text.len())
                .map(|row| {
                    if let Some(at) = visited_at.filter(|at| at.is_valid(row)) {
                        return i32::try_from(kst_day(at.value(row))).ok();
                    }
                    if text.is_null(row) || fetched_at.is_null(row) {
                        return None;
                    }
                    let today = civil(kst_day(fetched_at.value(row)))?;
                    korean_visit_date(text.value(row), today).map(catalog::days_since_epoch)
                })
                .collect();
            Ok(Arc::new(days) as ArrayRef)
        })
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&self.documentation)
    }
}

/// The day in Korea of an instant, as days since 1970-01-01.
fn kst_day(micros: i64) -> i64 {
    micros.saturating_add(KST_OFFSET_MICROS).div_euclid(DAY_MICROS)
}

fn civil(days: i64) -> Option<Date> {
    catalog::date_of(i32::try_from(days).ok()?)
}

/// The day that `text` means on a page that was fetched on `today` (the day in Korea).
pub(super) fn korean_visit_date(text: &str, today: Date) -> Option<Date> {
    // `월` and `일` are both units and weekdays: the last letter is a weekday unless it stands right behind a digit.
    let mut text = text.trim().trim_end_matches("요일");
    let mut weekday = None;
    let mut letters = text.chars().rev();
    if let Some((named, letter)) = letters.next().and_then(|letter| Some((weekday_of(letter)?, letter)))
        && letters.next().is_some_and(|before| !before.is_ascii_digit())
    {
        weekday = Some(named);
        text = text.trim_end_matches(letter);
    }
    let mut numbers: Vec<i16> = Vec::with_capacity(3);
    for part in text.split(['.', '년', '월', '일', ' ']).filter(|part| !part.is_empty()) {
        numbers.push(part.parse().ok()?);
        if numbers.len() > 3 {
            return None;
        }
    }
    let fits = |day: &Date| *day <= today && weekday.is_none_or(|named| day.weekday() == named);
    let day_in = |year: i16, month: i16, day: i16| Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok();
    match numbers[..] {
        [month, day] => {
            [today.year(), today.year() - 1].into_iter().filter_map(|year| day_in(year, month, day)).find(fits)
        }
        [year, month, day] => day_in(if year < 100 { 2000 + year } else { year }, month, day).filter(fits),
        _ => None,
    }
}

fn weekday_of(letter: char) -> Option<Weekday> {
    Some(match letter {
        '월' => Weekday::Monday,
        '화' => Weekday::Tuesday,
        '수' => Weekday::Wednesday,
        '목' => Weekday::Thursday,
        '금' => Weekday::Friday,
        '토' => Weekday::Saturday,
        '일' => Weekday::Sunday,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_date_is_resolved_against_the_day_of_the_fetch() {
        let cases = [
            ("11.24.월", date(2025, 12, 1), Some(date(2025, 11, 24))),
            ("12.1.월", date(2025, 12, 1), Some(date(2025, 12, 1))),
            ("12.2.화", date(2025, 12, 1), None), // tomorrow; and in 2024 it was a Monday
            ("12.2.월", date(2025, 12, 1), Some(date(2024, 12, 2))),
            ("2.29.목", date(2024, 3, 1), Some(date(2024, 2, 29))),
            ("2.29.목", date(2025, 1, 1), Some(date(2024, 2, 29))),
            ("2.29", date(2026, 1, 1), None),
            ("24.8.25.일", date(2025, 12, 1), Some(date(2024, 8, 25))),
            ("24.8.25", date(2025, 12, 1), Some(date(2024, 8, 25))),
            ("26.8.25.화", date(2025, 12, 1), None), // the future
            ("2024년 8월 25일 일요일", date(2025, 12, 1), Some(date(2024, 8, 25))),
            ("2024년 8월 25일", date(2025, 12, 1), Some(date(2024, 8, 25))),
            ("8월 25일 월요일", date(2025, 12, 1), Some(date(2025, 8, 25))),
            ("13.45.월", date(2025, 12, 1), None),
            ("1.2.3.4.월", date(2025, 12, 1), None),
            ("", date(2025, 12, 1), None),
            ("방금 전", date(2025, 12, 1), None),
        ];
        for (text, today, expected) in cases {
            assert_eq!(korean_visit_date(text, today), expected, "{text} seen on {today}");
        }
    }

    proptest! {
        #[test]
        fn what_a_page_writes_within_a_year_is_read_back(days in 0_i64..20_000, age in 0_i64..360) {
            let today = civil(days + 360).unwrap();
            let day = civil(days + 360 - age).unwrap();
            let letter = ['월', '화', '수', '목', '금', '토', '일'][usize::try_from(day.weekday().to_monday_zero_offset()).unwrap()];
            let short = format!("{}.{}.{letter}", day.month(), day.day());
            prop_assert_eq!(korean_visit_date(&short, today), Some(day));
            if day.year() >= 2000 {
                let long = format!("{}.{}.{}.{letter}", day.year() % 100, day.month(), day.day());
                prop_assert_eq!(korean_visit_date(&long, today), Some(day));
            }
        }

        #[test]
        fn no_text_makes_it_fail(text in "\\PC*") {
            let _ = korean_visit_date(&text, date(2026, 1, 1));
        }
    }
}
