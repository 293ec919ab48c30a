//! Numbers as Korean pages write them: `1,821`, `1만+`, `2억 3,000만원`, `지하 1층`.

use super::Function;

pub(super) const KOREAN_NUMBER: Function = Function {
    name: "korean_number",
    version: 1,
    syntax: "korean_number(text utf8) -> float64",
    description: "The number in a count as pages show it: thousands commas, 천/만/억 and a trailing `+` or counter word (개, 명, 건, 회, 원) are understood; \
                  anything else gives null.",
    examples: &[
        ("korean_number('1,821')", "1821.0"),
        ("korean_number('1만+')", "10000.0"),
        ("korean_number('1.2만')", "12000.0"),
        ("korean_number('1억 2천만')", "120000000.0"),
        ("korean_number('많음')", "null"),
    ],
};

pub(super) const KOREAN_MONEY: Function = Function {
    name: "korean_money",
    version: 1,
    syntax: "korean_money(text utf8) -> int64",
    description: "An amount of money in won: `55만원`, `2억 3,000만`, `12,000원`. Anything else gives null.",
    examples: &[
        ("korean_money('55만원')", "550000"),
        ("korean_money('2억 3,000만원')", "230000000"),
        ("korean_money('12,000원')", "12000"),
        ("korean_money('협의')", "null"),
    ],
};

pub(super) const KOREAN_FLOOR: Function = Function {
    name: "korean_floor",
    version: 1,
    syntax: "korean_floor(text utf8) -> int64",
    description: "The floor as a number: `3층` is 3, `지하 1층` and `B1` are -1, `반지하` is 0, the floor before the slash in `3층/5층`. Anything else gives null.",
    examples: &[
        ("korean_floor('3층')", "3"),
        ("korean_floor('지하 1층')", "-1"),
        ("korean_floor('3층/5층')", "3"),
        ("korean_floor('B2')", "-2"),
        ("korean_floor('반지하')", "0"),
        ("korean_floor('옥탑')", "null"),
    ],
};

/// Counter words that may follow a number without changing it.
const COUNTERS: [&str; 6] = ["개", "명", "건", "회", "원", "번"];

pub(super) fn korean_number(text: &str) -> Option<f64> {
    let text = text.trim().trim_end_matches('+').trim_end();
    let text = COUNTERS.iter().find_map(|counter| text.strip_suffix(counter)).unwrap_or(text);
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));

    // `total` holds what a 만 or 억 has closed, `section` the thousands and hundreds below it, `digits` the number being read.
    let (mut total, mut section, mut digits) = (0.0_f64, 0.0_f64, String::new());
    let mut seen = false;
    for letter in text.trim_end_matches('+').chars() {
        let scale = match letter {
            '0'..='9' | '.' => {
                digits.push(letter);
                seen = true;
                continue;
            }
            ',' | ' ' => continue,
            '백' => 1e2,
            '천' => 1e3,
            '만' => 1e4,
            '억' => 1e8,
            _ => return None,
        };
        let number = if digits.is_empty() { if section > 0.0 { 0.0 } else { 1.0 } } else { digits.parse().ok()? };
        digits.clear();
        seen = true;
        if scale >= 1e4 {
            total += (section + number) * scale;
            section = 0.0;
        } else {
            section += if number == 0.0 { scale } else { number * scale };
        }
    }
    if !seen {
        return None;
    }
    let rest: f64 = if digits.is_empty() { 0.0 } else { digits.parse().ok()? };
    let number = total + section + rest;
    Some(if negative { -number } else { number })
}

pub(super) fn korean_money(text: &str) -> Option<i64> {
    let won = korean_number(text)?.round();
    // Beyond 2^53 a float no longer holds every won; no price is there.
    if won.abs() > 9_007_199_254_740_992.0 {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, reason = "whole and within 2^53, checked above")]
    Some(won as i64)
}

pub(super) fn korean_floor(text: &str) -> Option<i64> {
    let text = text.split('/').next()?.trim();
    if text.starts_with("반지하") {
        return Some(0);
    }
    let (sign, rest) =
        ["지하", "B", "b", "-"].iter().find_map(|below| text.strip_prefix(below)).map_or((1, text), |rest| (-1, rest));
    let rest = rest.trim().trim_end_matches('층').trim_end_matches(['F', 'f']).trim();
    rest.parse::<u16>().ok().map(|floor| sign * i64::from(floor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_people_read_them() {
        let cases = [
            ("0", Some(0.0)),
            ("583", Some(583.0)),
            ("1,821", Some(1821.0)),
            (" 1,821개 ", Some(1821.0)),
            ("4.43", Some(4.43)),
            ("천", Some(1000.0)),
            ("2천5백", Some(2500.0)),
            ("3만 5천", Some(35000.0)),
            ("1억2천3백만", Some(123_000_000.0)),
            ("100+", Some(100.0)),
            ("-3", Some(-3.0)),
            ("", None),
            ("+", None),
            ("1.2.3", None),
            ("약 30", None),
        ];
        for (text, expected) in cases {
            assert_eq!(korean_number(text), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_number_with_commas_is_that_number(number in 0_u32..1_000_000_000) {
            let plain = number.to_string();
            let mut commas = String::new();
            for (place, digit) in plain.chars().enumerate() {
                if place > 0 && (plain.len() - place) % 3 == 0 {
                    commas.push(',');
                }
                commas.push(digit);
            }
            prop_assert_eq!(korean_number(&commas), Some(f64::from(number)));
        }

        #[test]
        fn no_text_makes_them_fail(text in "\\PC*") {
            let _ = (korean_number(&text), korean_money(&text), korean_floor(&text));
        }
    }
}
