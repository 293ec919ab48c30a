//! Each function's version is held to what it answers.
//!
//! A table that was built with another answer would pass for up to date, unless the function says that it changed.

use std::collections::BTreeMap;

use arrow::util::display::array_value_to_string;
use catalog::PartsHash;
use datafusion::prelude::SessionContext;

use super::{functions, udfs};

/// What people and sites write, and what nobody should.
const TEXTS: [&str; 40] = [
    "",
    " ",
    "국밥",
    "한글",
    "\u{1112}\u{1161}\u{11ab}",
    "  국밥   한 그릇\n더 ",
    "a\u{200b}b\u{feff}c\u{00a0}d",
    "👨\u{200d}👩\u{200d}👧 가족",
    "<b>국밥</b> &amp; 수육",
    "맛있어요<br/>또 올게요",
    "3 < 5 그리고 <3",
    "앞<script>x('<b>')</script>뒤",
    "앞<!-- 비밀 -->뒤",
    "<p>하나</p><p>둘</p>",
    "&lt;b&gt; &#54620;&#xAE00; &amp;lt; &bogus;",
    "<a href=\"x>y\">링크</a>",
    "닫히지 않은 <b",
    "예약 010-1234-5678 로",
    "02-123-4567 또는 031)123-4567",
    "+82-10-1234-5678",
    "kim@example.com 문의",
    "1,234개 2025-11-24",
    "01012345678 01087654321",
    "1만+",
    "1.2만",
    "3천",
    "1,821",
    "리뷰 999+",
    "12억 3만",
    "-5",
    "4.50",
    "12,000원",
    "1만 2천원",
    "₩3,500",
    "무료",
    "변동",
    "2층",
    "지하 1층",
    "B2",
    "옥상",
];

/// What is written where a visit's day belongs.
const DAYS: [&str; 14] = [
    "2024.08.25",
    "24.8.25.일",
    "8.25.일",
    "8.25",
    "12.31.수",
    "2.29.목",
    "어제",
    "오늘",
    "3일 전",
    "2주 전",
    "5시간 전",
    "2025-11-24",
    "20.13.1",
    "그저께",
];

/// Every version that a function had, with the hash of its answers. A new answer is a new line, and the old one stays.
const PINNED: &[(&str, u32, &str)] = &[
    ("korean_floor", 1, "a683e8c8332235c776070a5050a47219"),
    ("korean_money", 1, "0441ca13a62e77d68366c866f574ecc0"),
    ("korean_number", 1, "274cfbc1df15487d587bc6bc2f5e6b4a"),
    ("korean_visit_date", 1, "e6996cfc7721c0020bf06b22a3834f80"),
    ("mask_contacts", 1, "337287773287f4dd506d0c6f4bd49eb9"),
    ("nfc", 1, "853d1d2d1f746ea799f9eac7a68fa8e1"),
    ("normalize_space", 1, "02ed12919e17c2f5bd838d134c212ffa"),
    ("strip_markup", 1, "203d43744d2710d0e4ab2b45c7409cec"),
];

#[tokio::test]
async fn a_changed_answer_is_a_higher_version() {
    let ctx = SessionContext::new();
    for udf in udfs() {
        ctx.register_udf(udf.as_ref().clone());
    }
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut found = BTreeMap::new();
    for function in functions() {
        let calls: Vec<String> = if function.name == "korean_visit_date" {
            let fetched = ["2026-01-02T03:04:05Z", "2024-02-29T16:00:00Z"];
            let call = |text: &str, at: &str| format!("korean_visit_date({}, timestamp '{at}')", quoted(text));
            fetched.iter().flat_map(|at| DAYS.iter().chain(&TEXTS[..4]).map(move |text| call(text, at))).collect()
        } else {
            TEXTS.iter().chain(&DAYS).map(|text| format!("{}({})", function.name, quoted(text))).collect()
        };
        let mut hash = PartsHash::new();
        for call in calls {
            let batches = ctx.sql(&format!("select {call}")).await.unwrap().collect().await.unwrap();
            let column = batches[0].column(0);
            let answer = if column.is_null(0) { "null".to_owned() } else { array_value_to_string(column, 0).unwrap() };
            hash.part(format!("{call} = {answer}"));
        }
        found.insert((function.name, function.version), hash.short_hex());
    }
    let pinned: BTreeMap<_, _> =
        PINNED.iter().map(|(name, version, hash)| ((*name, *version), (*hash).to_owned())).collect();
    let mut wrong = Vec::new();
    for ((name, version), hash) in &found {
        if pinned.get(&(name, *version)) != Some(hash) {
            let next = version + u32::from(pinned.contains_key(&(name, *version)));
            wrong.push(format!("    (\"{name}\", {next}, \"{hash}\"),"));
        }
        let newest = pinned.keys().filter(|(other, _)| other == name).map(|(_, version)| *version).max();
        assert!(newest.is_none_or(|newest| newest == *version), "{name}: its newest known version is the one it has");
    }
    assert!(
        wrong.is_empty(),
        "functions that answer differently: raise the version of each, and add to those that are known\n{}",
        wrong.join("\n")
    );
}
