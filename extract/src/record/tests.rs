use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMicrosecondType};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::source::{EMBEDDED, Pointer};

fn reviews() -> Source {
    Source::parse(EMBEDDED[1].0, EMBEDDED[1].1).unwrap()
}

fn identity() -> IdentityKey {
    IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap()
}

fn mapped(item: &Value) -> Record {
    let source = reviews();
    map(&source, &Key::new("1001"), &identity(), &mut UnfitRules::new(&source), Item::Raw(&item.to_string()))
}

fn field(kind: FieldType) -> Field {
    Field { column: "c".to_owned(), from: From::Item(Pointer::parse("/v").unwrap()), kind, required: false, zone: None }
}

#[test]
fn a_time_without_a_zone_is_an_instant_where_it_is_known_whose_clock_is_meant() {
    let of = |zone: Option<&str>, text: &str| {
        let zone = zone.map(|zone| TimeZone::get(zone).unwrap());
        convert(&Field { zone, ..field(FieldType::Timestamp) }, &Json::from(json!(text)))
    };
    let at = |text: &str| Ok(Cell::Time(text.parse::<Timestamp>().unwrap().as_microsecond()));
    for (text, expected) in [
        ("2026-04-27 06:19:52", "2026-04-26T21:19:52Z"),
        ("2026-04-27T06:19:52.5", "2026-04-26T21:19:52.5Z"),
        ("2026-04-27", "2026-04-26T15:00:00Z"),
        ("2026-04-27T06:19:52+02:00", "2026-04-27T04:19:52Z"),
        ("2026-04-27T06:19:52[America/New_York]", "2026-04-27T10:19:52Z"),
        ("2026-04-27T06:19:52-04:00[America/New_York]", "2026-04-27T10:19:52Z"),
    ] {
        assert_eq!(of(Some("Asia/Seoul"), text), at(expected), "{text}");
    }
    assert_eq!(
        of(Some("Europe/Berlin"), "2026-03-29 02:30:00"),
        at("2026-03-29T01:30:00Z"),
        "in the gap of summer time"
    );
    assert_eq!(of(Some("Asia/Seoul"), " "), Ok(Cell::Null));
    for (zone, text, part) in [
        (Some("Asia/Seoul"), "yesterday", "found the text \"yesterday\""),
        (None, "2026-04-27", "say whose clock it is"),
        // An offset that no clock has is not left out in favour of the source's own.
        (Some("Asia/Seoul"), "2026-04-27T01:00:00-25:00", "found the text \"2026-04-27T01:00:00-25:00\""),
        (Some("Asia/Seoul"), "2026-04-27T01:00:00+09:75", "found the text \"2026-04-27T01:00:00+09:75\""),
        (None, "yesterday", "found the text \"yesterday\""),
        (None, "9999-12-31T23:59:59Z", "an instant up to 9999-12-30T22:00:00.999999999Z, the last one that is kept"),
        (Some("America/New_York"), "9999-12-31", "the last one that is kept"),
        (Some("Asia/Seoul"), "2026-04-27T06:19:52[Mars/Base]", "found the text"),
    ] {
        let message = of(zone, text).unwrap_err();
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn values_become_cells_or_errors() {
    use FieldType::{Bool, Count, Float64, Id, Int64, ListString, String as Text, Timestamp as Time};
    let text = |text: &str| Ok(Cell::Text(text.to_owned()));
    let cases = [
        (Text, json!("맛\0있다"), text("맛\0있다")),
        (Text, json!("e\u{301}"), text("e\u{301}")),
        (Text, json!(404), Err("expected `c` to be a text, found the number 404")),
        (Id, json!(1_265_317_185), text("1265317185")),
        (Id, json!("1265317185"), text("1265317185")),
        (Text, json!(""), text("")),
        (Text, json!(true), Err("expected `c` to be a text, found the boolean true")),
        (Text, json!({"a": 1}), Err("expected `c` to be a text, found an object")),
        (Int64, json!(3), Ok(Cell::Int(3))),
        (Int64, json!(3.0), Ok(Cell::Int(3))),
        (Int64, json!("1,821"), Ok(Cell::Int(1821))),
        (Int64, json!("-1,234,567"), Ok(Cell::Int(-1_234_567))),
        (Int64, json!(" 12 "), Ok(Cell::Int(12))),
        (Int64, json!(""), Ok(Cell::Null)),
        (Int64, json!(null), Ok(Cell::Null)),
        (Int64, json!(3.5), Err("expected `c` to be a whole number, found the number 3.5")),
        (Int64, json!(1e300), Err("expected `c` to be a whole number, found the number 1e+300")),
        (Int64, json!(u64::MAX), Err("expected `c` to be a whole number, found the number 18446744073709551615")),
        (Int64, json!("1,82"), Err("expected `c` to be a whole number, found the text \"1,82\"")),
        (Int64, json!("1만+"), Err("expected `c` to be a whole number, found the text \"1만+\"")),
        (Float64, json!("4.43"), Ok(Cell::Float(4.43))),
        (Float64, json!("1,234.5"), Ok(Cell::Float(1234.5))),
        (Float64, json!(4), Ok(Cell::Float(4.0))),
        (Float64, json!("NaN"), Err("expected `c` to be a number, found the text \"NaN\"")),
        (Float64, json!("1e999"), Err("expected `c` to be a number, found the text \"1e999\"")),
        (Time, json!("2026-09-13T04:38:00.000Z"), Ok(Cell::Time(1_789_274_280_000_000))),
        (Time, json!("2026-09-13T13:38:00+09:00"), Ok(Cell::Time(1_789_274_280_000_000))),
        (Time, json!("2026-09-13T22:38:00+18:00"), Ok(Cell::Time(1_789_274_280_000_000))),
        (Time, json!("2026-09-12T10:38:00-18:00"), Ok(Cell::Time(1_789_274_280_000_000))),
        (
            Time,
            json!("2026-09-12T10:38:00-18:01"),
            Err(
                "expected `c` to be an instant such as 2026-09-13T04:38:00Z, found the text \"2026-09-12T10:38:00-18:01\"",
            ),
        ),
        (
            Time,
            json!("2026-09-12T03:38:00-25:00"),
            Err(
                "expected `c` to be an instant such as 2026-09-13T04:38:00Z, found the text \"2026-09-12T03:38:00-25:00\"",
            ),
        ),
        (
            Time,
            json!("2026-09-13T04:38:00"),
            Err(
                "expected `c` to be an instant such as 2026-09-13T04:38:00Z, found the text \"2026-09-13T04:38:00\": say whose clock it is, `zone = \"Asia/Seoul\"`",
            ),
        ),
        (
            Time,
            json!(1_789_274_280),
            Err("expected `c` to be an instant such as 2026-09-13T04:38:00Z, found the number 1789274280"),
        ),
        (Bool, json!(false), Ok(Cell::Bool(false))),
        (Bool, json!("true"), Err("expected `c` to be true or false, found the text \"true\"")),
        (Count, json!([1, null, 3]), Ok(Cell::Int(3))),
        (Count, json!(3), Err("expected `c` to be a list, found the number 3")),
        (ListString, json!(["a", null, 7]), Ok(Cell::List(vec![Some("a".to_owned()), None, Some("7".to_owned())]))),
        (ListString, json!([null]), Ok(Cell::List(vec![None]))),
        (ListString, json!([]), Ok(Cell::List(vec![]))),
        (ListString, json!([["a"]]), Err("expected each element of `c` to be a text, found a list")),
    ];
    for (kind, value, expected) in cases {
        let item = json!({ "v": value });
        assert_eq!(
            cell(&field(kind), &Key::new("k"), &Json::from(item.clone())),
            expected.map_err(str::to_owned),
            "{kind:?} {item}"
        );
    }
}

#[test]
fn a_list_has_the_places_that_the_site_gave_it() {
    let item = Json::from(json!({"l": ["b", null, "c"], "o": [{"n": "b"}, {"n": null}, null, {"n": "c"}]}));
    let texts = |texts: &[Option<&str>]| Ok(Cell::List(texts.iter().map(|text| text.map(str::to_owned)).collect()));
    for (path, expected) in [
        ("/l", texts(&[Some("b"), None, Some("c")])),
        ("/l/*", texts(&[Some("b"), None, Some("c")])),
        // A member that an element does not have is no element.
        ("/o/*/n", texts(&[Some("b"), Some("c")])),
    ] {
        let field = Field { from: From::Item(Pointer::parse(path).unwrap()), ..field(FieldType::ListString) };
        let cell = cell(&field, &Key::new("k"), &item);
        assert_eq!(cell, expected, "{path}");
        let array = array(field.kind, [&cell.unwrap(), &Cell::Null, &Cell::List(Vec::new())].into_iter());
        let list = array.as_list::<i32>();
        assert_eq!((list.value(0).len(), list.value(0).null_count()), if path == "/o/*/n" { (2, 0) } else { (3, 1) });
        assert!(list.is_null(1) && list.is_valid(2) && list.value(2).is_empty());
    }
}

#[test]
fn a_full_review_is_mapped() {
    let item = json!({
        "id": "66e3f0aa", "rating": null, "author": {"id": "u1", "nickname": "kim"}, "body": "국밥이 맛있어요", "visited": "9.13.일", "created": "9.14.월",
        "representativeVisitDateTime": "2026-09-13T04:38:00.000Z", "visitCount": 2, "viewCount": "1,021", "originType": "영수증",
        "votedKeywords": [{"code": "food_good", "name": "음식이 맛있어요"}, {"code": "kind", "displayName": "친절해요"}],
        "visitCategories": [{"code": "w", "keywords": [{"name": "데이트"}, {"name": "점심에 방문"}]}, {"keywords": []}],
        "tags": [], "media": [{"type": "image"}], "reply": {"body": "감사합니다", "created": "9.15.화"},
    });
    let record = mapped(&item);
    assert_eq!(
        (record.error.as_deref(), record.key.as_deref(), record.order.map(|at| at.to_string())),
        (None, Some("66e3f0aa"), Some("2026-09-13T04:38:00Z".to_owned()))
    );
    assert!(!record.payload.contains("kim") && !record.payload.contains("\"u1\""));
    let key = Key::new("1001");
    let row =
        Row { record, url: "https://a.example/r".into(), fetched_at: "2026-10-01T00:00:00.123456Z".parse().unwrap() };
    let columns = Columns { key: &key, task: "t1", dt: jiff::civil::date(2026, 10, 1) };
    let batch = batch(&reviews(), &columns, &[row]).unwrap();
    let names: Vec<String> = batch.schema().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names[..4], ["review_id", "place_id", "author_hash", "rating"]);
    assert_eq!(names[names.len() - 7..], ["_key", "_payload", "_error", "_task", "_url", "_fetched_at", "dt"]);
    let text = |name: &str| batch.column_by_name(name).unwrap().as_string::<i32>().value(0).to_owned();
    let list = |name: &str| {
        batch
            .column_by_name(name)
            .unwrap()
            .as_list::<i32>()
            .value(0)
            .as_string::<i32>()
            .iter()
            .map(|text| text.unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!((text("place_id"), text("_key"), text("author_hash").len()), ("1001".to_owned(), "1001".to_owned(), 64));
    assert_eq!(list("keywords"), ["음식이 맛있어요", "친절해요"]);
    assert_eq!(list("keyword_codes"), ["food_good", "kind"]);
    assert_eq!(list("situations"), ["데이트", "점심에 방문"]);
    assert!(list("tags").is_empty() && batch.column_by_name("tags").unwrap().is_valid(0));
    assert!(batch.column_by_name("rating").unwrap().as_primitive::<Float64Type>().is_null(0));
    assert_eq!(batch.column_by_name("view_count").unwrap().as_primitive::<Int64Type>().value(0), 1021);
    assert_eq!(
        batch.column_by_name("_fetched_at").unwrap().as_primitive::<TimestampMicrosecondType>().value(0),
        1_790_812_800_123_456
    );
    assert_eq!(batch.column_by_name("dt").unwrap().as_primitive::<arrow::datatypes::Date32Type>().value(0), 20_727);
}

#[test]
fn what_can_not_be_mapped_keeps_its_payload_and_says_why() {
    let cases = [
        (json!({"body": "x"}), "expected `review_id` to be an id, found nothing at `/id|reviewId`", None),
        (
            json!({"id": "r", "visitCount": "두 번", "representativeVisitDateTime": "어제"}),
            "expected `visited_at` to be an instant such as 2026-09-13T04:38:00Z, found the text \"어제\"; expected `visit_count` to be a whole number, found the text \"두 번\"",
            Some("r"),
        ),
        (
            // A rule speaks of who edited the reply, and the text may say who: it is told, and not kept.
            json!({"id": "r", "reply": "감사"}),
            "expected an object on the way to `reply_body` at /reply/body, found the text \"[removed]\"; expected an object on the way to `reply_created` at /reply/created|date, found the text \"[removed]\"",
            Some("r"),
        ),
        // What has no members is kept by no rule that speaks of them.
        (
            json!("김철수"),
            "expected an item to be an object, found a text; it is not kept, because the source has identity rules",
            None,
        ),
        (
            json!(["김철수"]),
            "expected an item to be an object, found a list; it is not kept, because the source has identity rules",
            None,
        ),
        (json!(null), "expected an item to be an object, found null", None),
    ];
    for (item, error, key) in cases {
        let payload = if item.is_object() { item.to_string() } else { "null".to_owned() };
        let payload = payload.replace("감사", "[removed]");
        let record = mapped(&item);
        assert_eq!((record.error.as_deref(), record.key.as_deref(), record.payload), (Some(error), key, payload));
    }
}

#[test]
fn an_empty_batch_has_the_schema() {
    let key = Key::new("1001");
    let batch = batch(&reviews(), &Columns { key: &key, task: "t", dt: jiff::civil::date(2026, 10, 1) }, &[]).unwrap();
    assert_eq!((batch.num_rows(), batch.schema()), (0, reviews().schema()));
}

proptest! {
    #[test]
    fn no_item_breaks_the_mapping(text in ".{0,20}", number in any::<f64>(), depth in 0_usize..20) {
        let mut value = json!({"id": text, "visitCount": number, "media": text, "votedKeywords": [{"name": number}, text]});
        for _ in 0..depth {
            value = json!({"id": "r", "author": value.clone(), "reply": value});
            if value.to_string().len() > 10_000 { break; }
        }
        let record = mapped(&value);
        prop_assert!(record.error.is_some() || record.key.is_some());
        let row = Row { record, url: "u".into(), fetched_at: Timestamp::UNIX_EPOCH };
        let key = Key::new("1001");
        prop_assert_eq!(batch(&reviews(), &Columns { key: &key, task: "t", dt: jiff::civil::date(2026, 10, 1) }, &[row]).unwrap().num_rows(), 1);
    }
}

#[test]
fn half_a_surrogate_pair_is_no_text_and_what_looks_like_one_is() {
    let text = |raw: &str| {
        let raw = format!(r#"{{"id": "r1", "body": {raw}}}"#);
        let source = reviews();
        let record = map(&source, &Key::new("1001"), &identity(), &mut UnfitRules::new(&source), Item::Raw(&raw));
        let place = reviews().fields().iter().position(|field| field.column == "body").unwrap();
        (
            record.cells[place].clone(),
            record.error.is_some_and(|error| error.contains("half of a character")),
            record.payload,
        )
    };
    for (raw, expected) in [
        (r#""\\ud800""#, Some(r"\ud800")),
        (r#""\ud83d\ude00""#, Some("😀")),
        (r#""cut \ud83d""#, None),
        (r#""\ude00\ud83d""#, None),
        // Something of it is masked beside the half.
        (r#""call 010-1234-5678 \ud83d""#, None),
    ] {
        let (cell, is_told, payload) = text(raw);
        assert_eq!(cell, expected.map_or(Cell::Null, |text| Cell::Text(text.to_owned())), "{raw}");
        assert_eq!(is_told, expected.is_none(), "{raw}");
        assert!(payload.contains(raw) || raw.contains("010"), "what came is kept as it came: {payload}");
    }
}
