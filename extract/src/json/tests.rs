use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

#[test]
fn what_nobody_changed_is_printed_as_it_came() {
    for text in [
        r#"{"id":100000000000000000001,"price":1,"price":2,"w":1.10,"big":123456789012345678901234567890,"e":1e5,"huge":1e400,"zero":-0.0}"#,
        r#"["\u00e9\/\ud83d\ude00","lone \ud83d","tab\t","quote\"","\u0000","국밥"]"#,
        r#"[[],{},null,true,false,""]"#,
    ] {
        assert_eq!(Json::parse(text).unwrap().to_string(), text);
    }
}

#[test]
fn the_last_of_two_members_counts_and_both_stay() {
    let value = Json::parse(r#"{"a": 1, "a": 2}"#).unwrap();
    assert_eq!(value.get("a"), Some(&Json::Number("2".into())));
    assert_eq!(value.to_string(), r#"{"a":1,"a":2}"#);
}

#[test]
fn odd_text_is_kept_as_data() {
    let cases = [
        (r#""nul \u0000 here""#, "nul \0 here"),
        (r#""lone \ud83d high""#, r"lone \ud83d high"),
        (r#""lone \uDE00 low""#, r"lone \uDE00 low"),
        (r#""\ud83d\ude00\ud83d""#, "😀\\ud83d"),
        (r#""kept \\ud83d, \ud83d""#, r"kept \ud83d, \ud83d"),
        ("\"e\u{301}\"", "e\u{301}"),
    ];
    for (text, expected) in cases {
        assert_eq!(Json::parse(text).unwrap().as_str(), Some(expected), "{text}");
    }
}

#[test]
fn what_is_no_json_is_refused_with_its_place() {
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    let many = format!("[{}0]", "0,".repeat(MOST_VALUES));
    let cases = [
        ("", "expected a value at byte 0, found the end"),
        ("{\"a\": NaN}", "expected a value at byte 6, found `N`"),
        ("[1, 2", "expected `,` or `]` at byte 5, found the end"),
        ("[01]", "expected `,` or `]` at byte 2, found `1`"),
        ("[1.]", "expected a digit at byte 3, found `]`"),
        ("[-]", "expected a digit at byte 2, found `]`"),
        ("{a: 1}", "expected a name at byte 1, found `a`"),
        ("[\"a\nb\"]", "expected the end of a text at byte 3, found `\\n`"),
        ("[\"\\x\"]", "expected an escape at byte 2, found `\\\\`"),
        ("[\"\\u12g4\"]", "expected `\\u` and four hexadecimal digits at byte 2, found `\\\\`"),
        ("[tru]", "expected a value at byte 1, found `t`"),
        ("1 2", "expected the end at byte 2, found `2`"),
        (&deep, "expected at most 128 levels, found more"),
        (&many, "expected at most 200000 values, found more"),
    ];
    for (text, expected) in cases {
        assert_eq!(Json::parse(text).unwrap_err(), expected, "{}", crate::items::excerpt(text, 40));
    }
}

#[test]
fn a_value_is_cut_without_believing_what_is_in_it() {
    let text = r#" {"a": [1, NaN, "},]", {"b": [0]}], "c" : "x\"y", "d": 1e } "#;
    let Cut::Object(members) = cut(text).unwrap() else { panic!("an object") };
    assert_eq!(members, [(r#""a""#, r#"[1, NaN, "},]", {"b": [0]}]"#), (r#""c""#, r#""x\"y""#), (r#""d""#, "1e")]);
    assert_eq!(cut(members[0].1).unwrap(), Cut::List(vec!["1", "NaN", r#""},]""#, r#"{"b": [0]}"#]));
    assert_eq!((cut("[ ]").unwrap(), cut("{}").unwrap()), (Cut::List(vec![]), Cut::Object(vec![])));
    assert_eq!(cut(" 7").unwrap(), Cut::Scalar("7"));
    for broken in ["", "  \n", "{", "[}", "{\"a\": \"x", "{a: 1}", "{\"a\"}", "[1] 2", "\\", "[\"\\"] {
        let found = cut(broken);
        assert!(found.is_err() || matches!(found, Ok(Cut::Scalar("\\"))), "{broken}: {found:?}");
    }
}

proptest! {
    #[test]
    fn what_serde_reads_is_read_alike(text in arbitrary()) {
        let written = text.to_string();
        let ours = Json::parse(&written).unwrap();
        prop_assert_eq!(&serde_json::from_str::<Value>(&ours.to_string()).unwrap(), &text);
        prop_assert_eq!(ours.to_string(), written);
    }

    #[test]
    fn no_text_breaks_it(text in "[\\[\\]{}\",:\\\\0-9eE.truefalsn \u{e9}-]{0,60}") {
        let strict = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        // Ours takes half surrogates and numbers that no float holds; nothing that serde takes is refused.
        prop_assert!(!strict || Json::parse(&text).is_ok());
        let _ = cut(&text);
    }
}

fn arbitrary() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,8}|[\"\\\\\n\t/]{0,4}".prop_map(Value::from)
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec(("[a-z\"\\\\]{0,4}", inner), 0..5)
                .prop_map(|members| json!(members.into_iter().collect::<serde_json::Map<_, _>>())),
        ]
    })
}
