use proptest::prelude::*;
use serde_json::{Value, json};

use unicode_normalization::UnicodeNormalization as _;

use super::*;
use crate::source::EMBEDDED;

fn key() -> IdentityKey {
    IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap()
}

fn scrubbed(item: &Value, source: &Source) -> Json {
    let mut item = Json::from(item.clone());
    scrub(&mut item, source, &key());
    item
}

fn reviews() -> Source {
    Source::parse(EMBEDDED[1].0, EMBEDDED[1].1).unwrap()
}

#[test]
fn weak_keys_are_refused() {
    let cases: [(&[u8], Option<WeakKey>); 9] = [
        (b"", Some(WeakKey::TooShort { found_bytes: 0 })),
        (b"  \n", Some(WeakKey::TooShort { found_bytes: 0 })),
        (b"short", Some(WeakKey::TooShort { found_bytes: 5 })),
        (b"aaaaaaaaaaaaaaaaaaaaaaaa", Some(WeakKey::Known)),
        (b"changeme-changeme", Some(WeakKey::Known)),
        (b"MyOwnPassword2026!", Some(WeakKey::Known)),
        (b"0123456789abcdef", Some(WeakKey::Known)),
        (b"4f1b8a97c2d06e35\n", None),
        (&[0, 200, 3, 17, 255, 9, 1, 88, 90, 4, 33, 7, 61, 128, 5, 2], None),
    ];
    for (bytes, refused) in cases {
        assert_eq!(IdentityKey::from_bytes(bytes).err(), refused, "{bytes:?}");
    }
}

#[test]
fn the_hash_is_stable_keyed_and_scoped() {
    let other = IdentityKey::from_bytes(b"another key, 16+ bytes").unwrap();
    let hash = key().hash("naver_reviews", "5f2a");
    assert_eq!(hash, key().hash("naver_reviews", "5f2a"));
    assert_eq!(hash.len(), 64);
    assert_ne!(hash, key().hash("naver_reviews", "5f2b"));
    assert_ne!(hash, key().hash("other", "5f2a"));
    assert_ne!(hash, other.hash("naver_reviews", "5f2a"));
    // RFC 4231 has no scoped case; this pins the construction HMAC(key, scope ‖ 0 ‖ id).
    let mut plain = Hmac::<Sha256>::new_from_slice(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    plain.update(b"naver_reviews\x005f2a");
    let expected = plain.finalize().into_bytes().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    assert_eq!(hash, expected);
}

#[test]
fn texts_are_masked() {
    let cases = [
        // Mobile numbers.
        ("예약은 010-1234-5678로 하세요", "예약은 [phone]로 하세요"),
        ("01012345678", "[phone]"),
        ("010.1234.5678 / 011 234 5678", "[phone] / [phone]"),
        ("전화:010 1234 5678!", "전화:[phone]!"),
        ("+82 10-1234-5678", "[phone]"),
        ("+821012345678", "[phone]"),
        ("82-10-1234-5678", "[phone]"),
        ("０１０－１２３４－５６７８", "[phone]"),
        ("공일공 1234 5678", "[phone]"),
        ("(010)1234-5678", "[phone]"),
        ("010-1234–5678", "[phone]"),
        ("070-8888-9999, 0507-1234-5678", "[phone], [phone]"),
        // Fixed lines.
        ("02-123-4567", "[phone]"),
        ("(02) 123-4567", "[phone]"),
        ("031)123-4567", "[phone]"),
        ("02)1234-5678", "[phone]"),
        // E-mail.
        ("문의 kim.cs+place@example.co.kr 로", "문의 [email] 로"),
        ("홍길동@한글.com", "[email]"),
        ("초록숲@gmail.com", "[email]"),
        ("초록숲45@gmail.com, e\u{301}t\u{e9}.x@a.fr", "[email], [email]"),
        // What touches it may be a part of it.
        ("문의kim@naver.com으로", "[email]으로"),
        ("a @ b.com", "[email]"),
        ("x＠example.com", "[email]"),
        // Resident numbers.
        ("900101-1234567", "[resident number]"),
        ("주민 041231 - 4000000 임", "주민 [resident number] 임"),
        ("9001011234568", "[resident number]"),
        // All at once.
        ("900101-2345678 010-1111-2222 a@b.kr", "[resident number] [phone] [email]"),
    ];
    for (text, expected) in cases {
        assert_eq!(mask(text).as_deref(), Some(expected), "{text}");
    }
}

#[test]
fn other_numbers_are_left_alone() {
    let cases = [
        "3번째 방문, 15,000원",
        "24.8.25.일",
        "2026-09-13T04:38:00.000Z",
        "66e3f01012345678ab12cd34",
        "id_01012345678",
        "20260913043800123",
        "1601123456789",
        "990231 12345",
        "주문번호 0101234567890123",
        "1588-1234",
        "37.5665, 126.9780",
        "@onggi 인스타",
        "별점 4.5/5 @ 망원동",
        "https://pup-review-phinf.pstatic.net/MjAyNjA5MTNfMjQ1/0105.jpg",
        "02시 30분 - 1234번 버스",
        "901301-1234567",
    ];
    for text in cases {
        assert_eq!(mask(text), None, "{text}");
    }
}

#[test]
fn an_item_loses_who_wrote_it() {
    let item = json!({
        "id": "66e3f0aa01012345678bcdef",
        "author": {"id": "abc", "objectId": 77, "nickname": "김철수", "imageUrl": "https://x/y.png", "url": "https://m.place/my/abc", "from": "naver", "review": {"totalCount": 3}, "newField": "kim"},
        "loginIdno": "l1", "userIdno": "u1",
        "body": "사장님 010-1234-5678 친절",
        "reply": {"body": "문의 02-123-4567", "editedBy": "owner1"},
        "media": [{"thumbnail": "https://x/1.jpg", "type": "010-1234-5678.jpg"}],
        "votedKeywords": [{"name": "a@b.kr"}],
        "writerName": "김철수", "cursor": "c1",
    });
    let hash = |id: &str| key().hash("naver_reviews", id);
    assert_eq!(
        scrubbed(&item, &reviews()),
        json!({
            "id": "66e3f0aa01012345678bcdef",
            "author": {"id": hash("abc"), "objectId": hash("77"), "review": {"totalCount": 3}},
            "body": "사장님 [phone] 친절",
            "reply": {"body": "문의 [phone]"},
            "media": [{"type": "[phone].jpg"}],
            "votedKeywords": [{"name": "[email]"}],
            "cursor": "c1",
        })
        .into()
    );
}

#[test]
fn an_author_of_another_shape_leaks_nothing() {
    for author in [
        json!("김철수"),
        json!(["김철수", "abc"]),
        json!({"nickname": "김철수"}),
        json!(12),
        json!({"id": {"name": "김철수"}}),
        json!({"id": ["김철수"]}),
        json!(null),
    ] {
        let text = scrubbed(&json!({"id": "r1", "author": author}), &reviews()).to_string();
        assert!(!text.contains("김철수") && !text.contains("abc\""), "{author}: {text}");
    }
}

/// A member that takes another shape holds the same persons: what a rule can't reach any more is not kept.
#[test]
fn a_person_of_another_shape_is_not_kept() {
    let source = Source::parse(
        "x.toml",
        "name = \"x\"\nfetch = \"http\"\nevery = \"1d\"\n[keys]\nlist = [\"a\"]\n[http]\nurl = \"https://a.example/{key}\"\n\
         [items]\npath = \"/items\"\nkey = \"id\"\n[fields]\nid = { path = \"/id\", type = \"id\" }\n\
         uid = { path = \"/user/id\", type = \"hash\" }\nlevel = { path = \"/user/level\", type = \"int64\" }\n\
         body = { path = \"/body\", type = \"string\" }\n\
         [identity]\ndrop = [\"/user/pic\", \"/friends/*/pic\"]\nnames = [\"/user/nick\"]\n",
    )
    .unwrap();
    let user = json!({ "nick": "ZorbaCanary", "id": "uid-canary-55123", "pic": "https://pic.example/p1", "level": 3 });
    let plain = scrubbed(&json!({ "id": "1", "user": user, "body": "thanks" }), &source);
    assert_eq!(plain.get("user").unwrap().get("level").unwrap().to_string(), "3");
    for user in [
        json!([user]),
        json!({ "v": user }),
        json!({ "level": 3, "v": [user] }),
        json!("ZorbaCanary"),
        json!([["ZorbaCanary", "uid-canary-55123"]]),
    ] {
        for (more, friends) in [("by ZorbaCanary", json!(null)), ("", json!({ "pic": "https://pic.example/p1" }))] {
            let item = json!({ "id": "1", "user": user, "body": format!("thanks {more}"), "friends": friends });
            let text = scrubbed(&item, &source).to_string();
            let is_looked_for = user.get("v").is_none();
            for canary in ["uid-canary", "pic.example"] {
                assert!(!text.contains(canary), "{item}: {text}");
            }
            assert!(!text.contains("Zorba") || !is_looked_for, "{item}: {text}");
            assert!(text.contains("thanks"), "{text}");
        }
    }
}

#[test]
fn the_name_of_an_item_is_never_masked() {
    let item = json!({"id": "010-1234-5678", "reviewId": "01012345678", "body": "01012345678"});
    assert_eq!(
        scrubbed(&item, &reviews()),
        json!({"id": "010-1234-5678", "reviewId": "01012345678", "body": "[phone]"}).into()
    );
}

#[test]
fn a_list_or_an_object_is_no_name_of_an_item() {
    for id in [
        json!(["kim@example.org", "010-1234-5678"]),
        json!({"mail": "kim@example.org", "phone": "010-1234-5678"}),
        json!([["010-1234-5678"], {"a": "kim@example.org"}]),
    ] {
        let text = scrubbed(&json!({"id": id}), &reviews()).to_string();
        assert!(!text.contains("kim@") && !text.contains("1234"), "{text}");
    }
}

#[test]
fn who_is_named_in_another_text_is_named_nowhere() {
    let item = json!({
        "id": "r1", "author": {"id": "abc", "nickname": "밝은토끼45", "from": "NAVER"},
        "body": "NAVER 예약", "reply": {"body": "밝은토끼45님, 감사합니다. 밝은토끼45님!"},
    });
    let text = scrubbed(&item, &reviews()).to_string();
    assert!(text.contains("[name]님, 감사합니다. [name]님!") && !text.contains("밝은토끼"), "{text}");
    assert!(text.contains("NAVER 예약"), "what is no name is left alone: {text}");
    // A source that doesn't say where names stand: everything that is removed may be one.
    let text = EMBEDDED[1].1.replace("names = [\"/author/nickname\"]\n", "");
    let source = Source::parse("t.toml", &text).unwrap();
    for (nickname, reply, expected) in [
        ("kim", "kim, thank you. Our kimchi", "[name], thank you. Our kimchi"),
        ("국밥", "국밥님", "[name]님"),
        ("a", "a b", "a b"),
        ("kim (2)", "kim (2)!", "[name]!"),
        ("", "x", "x"),
    ] {
        let item = json!({"id": "r1", "userIdno": nickname, "reply": {"body": reply}});
        let scrubbed = scrubbed(&item, &source);
        assert_eq!(scrubbed.get("reply").and_then(|reply| reply.get("body")).and_then(Json::as_str), Some(expected));
    }
}

#[test]
fn a_name_is_hidden_wherever_it_may_stand() {
    let text = EMBEDDED[1].1.replace("names = [", "masks = { code = '7\\d{6}' }\nnames = [\"/author/phone\", ");
    let text = text.replace("allow = [", "allow = [\"extra\", ");
    let text = text.replace("[fields]\n", "[fields]\nseen = { path = \"/extra/seen\", type = \"int64\" }\n");
    let source = Source::parse("t.toml", &text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let (nickname, phone) = ("김철수", 821_012_345_678_u64);
    // What stands in an item, and what becomes of it.
    let cases = [
        (json!("김철수 님"), json!("[name] 님")),
        (json!(["김철수", {"x": "김철수"}]), json!(["[name]", {"x": "[name]"}])),
        (json!({"김철수": 1, "x 김철수": {"010-1234-5678": 2}}), json!({"[name]": 1, "x [name]": {"[phone]": 2}})),
        (json!({"a@b.kr": 1, "7000001": 2, "name": "김철수"}), json!({"[email]": 1, "[code]": 2, "name": "[name]"})),
        // A number is a name as a whole; where the source counts it is none.
        (json!([phone, 7_000_001, 70_000_011]), json!(["[name]", "[code]", 70_000_011])),
        (json!({"seen": 7_000_001, "other": 7_000_001}), json!({"seen": 7_000_001, "other": "[code]"})),
    ];
    for (extra, expected) in cases {
        let item = json!({"id": "r1", "author": {"nickname": nickname, "phone": phone}, "extra": extra});
        assert_eq!(scrubbed(&item, &source), json!({"id": "r1", "author": {}, "extra": expected}).into(), "{item}");
    }
    // Two ids with one name in them stay two, and each stays the same.
    let hash = |id: &str| key().hash("naver_reviews", id);
    for (id, expected) in [
        ("김철수", hash("김철수")),
        ("김철수-1", hash("김철수-1")),
        ("김철수-2", hash("김철수-2")),
        ("r1", "r1".to_owned()),
        ("010-1234-5678", "010-1234-5678".to_owned()),
    ] {
        let item = json!({"id": id, "author": {"nickname": nickname}});
        assert_eq!(scrubbed(&item, &source), json!({"id": expected, "author": {}}).into());
    }
    // Who is called as a member is does not rename it.
    let item = json!({"id": "r1", "author": {"nickname": "body"}, "body": "맛", "reply": {"body": "body 님"}});
    let expected = json!({"id": "r1", "author": {}, "body": "맛", "reply": {"body": "[name] 님"}});
    assert_eq!(scrubbed(&item, &source), expected.into());
}

#[test]
fn what_has_no_members_is_not_kept_where_rules_speak_of_members() {
    for item in [json!("김철수"), json!(["김철수"]), json!(7), json!(true)] {
        let mut kept = Json::from(item.clone());
        assert!(scrub(&mut kept, &reviews(), &key()) && kept.is_null(), "{item}");
        // A source that names nobody keeps what came.
        let mut kept = Json::from(item.clone());
        assert!(!scrub(&mut kept, &crate::source::tests::any(), &key()) && kept == item.clone().into(), "{item}");
    }
}

#[test]
fn a_source_may_name_what_else_is_masked() {
    let text = EMBEDDED[1].1.replace(
        "[identity]\n",
        "[identity]\nmasks = { plate = '\\d{2,3}[가-힣] ?\\d{4}', us_phone = '\\(\\d{3}\\) \\d{3}-\\d{4}' }\n",
    );
    let source = Source::parse("t.toml", &text).unwrap_or_else(|problems| panic!("{problems:?}"));
    let item = json!({"id": "12가3456", "body": "12가3456 차주, (212) 555-0100 또는 010-1234-5678"});
    assert_eq!(
        scrubbed(&item, &source),
        json!({"id": "12가3456", "body": "[plate] 차주, [us_phone] 또는 [phone]"}).into()
    );
    for (masks, expected) in [
        ("{ x = '(' }", "expected `x` to be a regular expression: "),
        ("{ x = 'a*' }", "expected `x` to be a pattern of something"),
        ("{ X = 'a' }", "expected a name of a-z"),
    ] {
        let text = EMBEDDED[1].1.replace("[identity]\n", &format!("[identity]\nmasks = {masks}\n"));
        let problems = Source::parse("t.toml", &text).unwrap_err();
        assert!(problems[0].message.starts_with(expected), "{}", problems[0]);
    }
}

#[test]
fn what_nothing_has_to_be_taken_from_is_said_so() {
    let changed = |text: &str| scrub(&mut Json::parse(text).unwrap(), &reviews(), &key());
    assert!(!changed(r#"{"id": "r1", "body": "맛있어요", "rating": 4.50}"#));
    for text in [
        r#"{"id": "r1", "author": {"id": 1}}"#,
        r#"{"id": "r1", "new": 1}"#,
        r#"{"id": "r1", "author": {"__typename": "A"}}"#,
        r#"{"id": "r1", "isFollowing": false}"#,
        r#"{"id": "r1", "body": "010-1234-5678"}"#,
    ] {
        assert!(changed(text), "{text}");
    }
}

#[test]
fn bytes_that_are_no_text_are_masked_too() {
    assert_eq!(mask_bytes("맛 010-1234-5678".as_bytes()), "맛 [phone]".as_bytes());
    assert_eq!(mask_bytes(b"\xb8\xc0 010-1234-5678 \xff"), b"\xb8\xc0 [phone] \xff");
}

proptest! {
    #[test]
    fn a_mobile_number_never_survives(before in "[가-힣 ,.!]{0,8}", middle in "[0-9]{3,4}", end in "[0-9]{4}", gap in "[-. ]?", after in "[가-힣 !]{0,8}") {
        let number = format!("010{gap}{middle}{gap}{end}");
        let text = format!("{before}{number}{after}");
        let masked = mask(&text).unwrap_or_default();
        prop_assert!(masked.contains("[phone]"), "{text} → {masked}");
        prop_assert!(!masked.contains(&end) || after.contains(&end), "{text} → {masked}");
    }

    #[test]
    fn masking_twice_is_masking_once(text in ".{0,60}") {
        if let Some(masked) = mask(&text) {
            prop_assert_eq!(mask(&masked), None);
        }
    }
}

#[test]
fn a_person_is_hidden_however_the_name_is_spelt_and_by_the_id_that_was_hashed() {
    let file = "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n\
        [http]\nurl = \"https://a.example/\"\n[items]\npath = \"/list\"\nkey = \"id\"\n[fields]\n\
        id = { path = \"/id\", type = \"id\", required = true }\nwriter = { path = \"/user/id\", type = \"hash\" }\n\
        body = { path = \"/body\", type = \"string\" }\n\
        [identity]\nnames = [\"/user/nick\"]\ndrop = [\"/user/nick\"]\n";
    let source = Source::parse("rows.toml", file).unwrap();
    let nick = "G\u{fc}nther 김철수";
    let body = |text: &str| {
        let item = json!({"id": "9", "user": {"id": "user-778899", "nick": nick}, "body": text});
        match scrubbed(&item, &source) {
            Json::Object(members) => match members.into_iter().find(|(name, _)| name.as_str() == "body") {
                Some((_, Json::Text(text))) => text.as_str().to_owned(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    let apart: String = nick.nfd().collect();
    for spelt in [nick.to_owned(), apart.clone(), nick.to_uppercase(), apart.to_lowercase(), "user-778899".to_owned()] {
        assert_eq!(body(&format!("by {spelt}!")), "by [name]!", "{spelt}");
    }
    assert_eq!(body("user-7788990 and xuser-778899"), "user-7788990 and xuser-778899");
}

/// A source whose items have a writer with an id that is hashed.
fn rows(id: &str) -> Source {
    let file = format!(
        "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n\
        [http]\nurl = \"https://a.example/\"\n[items]\npath = \"/list\"\nkey = \"id\"\n[fields]\n\
        id = {{ path = \"/id\", type = \"{id}\" }}\nwriter = {{ path = \"/user/id\", type = \"hash\" }}\n\
        num = {{ path = \"/num\", type = \"int64\" }}\nat = {{ path = \"/at\", type = \"timestamp\" }}\n\
        [identity]\nallow = [\"more\"]\nnames = [\"/user/nick\"]\ndrop = [\"/user/nick\"]\n"
    );
    Source::parse("rows.toml", &file).unwrap_or_else(|problems| panic!("{problems:?}"))
}

#[test]
fn an_id_that_is_hashed_is_hidden_wherever_it_may_stand() {
    let source = rows("id");
    // The writer's id, what stands beside it, and what becomes of that.
    let cases = [
        (json!(778_899_123), json!({"more": "id 778899123 here"}), json!({"more": "id [name] here"})),
        (json!(778_899_123), json!({"more": "id778899123, 7788991234"}), json!({"more": "id[name], 7788991234"})),
        (json!(778_899_123), json!({"more": [778_899_123, 778_899_124]}), json!({"more": ["[name]", 778_899_124]})),
        (json!("778899123"), json!({"more": {"n": 778_899_123.0}}), json!({"more": {"n": "[name]"}})),
        (json!(778_899_123.0), json!({"more": {"778899123": "778899123"}}), json!({"more": {"[name]": "[name]"}})),
        (json!(778_899_123), json!({"num": 778_899_123}), json!({"num": "[name]"})),
        (json!(778_899_123), json!({"num": "778899123"}), json!({"num": "[name]"})),
        (
            json!("user-77"),
            json!({"more": "https://a/u/user%2D77?x, USER-77"}),
            json!({"more": "https://a/u/[name]?x, [name]"}),
        ),
        (json!({"v": ["user-77"]}), json!({"more": "user-77"}), json!({"more": "[name]"})),
        // A short number is a count, or a year, as often as somebody's id: only where nobody counts it is looked for.
        (
            json!(2026),
            json!({"num": 2026, "at": "2026-10-01T00:00:00Z"}),
            json!({"num": 2026, "at": "2026-10-01T00:00:00Z"}),
        ),
        (json!(2026), json!({"num": "2026", "more": "2026, 20261"}), json!({"num": "2026", "more": "[name], 20261"})),
        (json!(202), json!({"num": 202, "more": [202, "202"]}), json!({"num": 202, "more": [202, "202"]})),
        (json!("abc"), json!({"more": "abc"}), json!({"more": "abc"})),
    ];
    let hash = |id: &Value| {
        key().hash("rows", id.as_str().map_or_else(|| Json::from(id.clone()).to_string(), str::to_owned).as_str())
    };
    for (id, beside, expected) in cases {
        let with = |id: Value, beside: &Value| {
            let mut item = json!({"id": "r1", "user": {"id": id}});
            item.as_object_mut().unwrap().extend(beside.as_object().unwrap().clone());
            item
        };
        let expected = Json::from(with(json!(hash(&id)), &expected));
        assert_eq!(scrubbed(&with(id.clone(), &beside), &source), expected, "{id} {beside}");
    }
}

#[test]
fn an_items_own_id_says_nobody_s() {
    let hash = |id: &str| json!(key().hash("rows", id));
    // The writer's id and name, the item's, and whether that is hashed.
    for (user, nick, id, is_hashed) in [
        (json!("user-778899"), "kim", json!("user-778899:77"), true),
        (json!("user-778899"), "kim", json!("USER-778899"), true),
        (json!("user-778899"), "kim", json!("x/user%2D778899/1"), true),
        (json!("user-778899"), "kim", json!("user-7788990:77"), false),
        (json!(778_899), "kim", json!("778899-1"), true),
        (json!(778_899), "kim", json!("r778899"), true),
        (json!(778_899), "kim", json!(778_899), true),
        (json!("778899"), "kim", json!(778_899), true),
        (json!(778_899), "kim", json!("7788990-1"), false),
        (json!(778_899), "kim", json!(7_788_990), false),
        (json!(12), "kim", json!("12-1"), false),
        (json!("u1"), "@kim", json!("review-kim-3"), true),
        (json!("u1"), "kim", json!("kimchi-3"), false),
    ] {
        let item = json!({"id": id, "user": {"id": user, "nick": nick}});
        let text = id.as_str().map_or_else(|| id.to_string(), str::to_owned);
        let found = scrubbed(&item, &rows("id"));
        let expected = if is_hashed { hash(&text) } else { id.clone() };
        assert_eq!(found.get("id"), Some(&Json::from(expected)), "{item}");
        assert!(!is_hashed || !found.to_string().contains("778899"), "{found}");
    }
    // An id that is both is hashed once.
    let both = Source::parse(
        "t.toml",
        "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n\
        [http]\nurl = \"https://a.example/\"\n[items]\npath = \"/list\"\nkey = \"id\"\n[fields]\n\
        id = { path = \"/id\", type = \"id\" }\nwriter = { path = \"/id\", type = \"hash\" }\n",
    )
    .unwrap();
    assert_eq!(scrubbed(&json!({"id": "user-778899"}), &both), json!({"id": hash("user-778899")}).into());
}

#[test]
fn a_declared_name_is_found_in_every_writing() {
    let source = rows("id");
    for (nick, text, expected) in [
        ("김민수", "http://h/u/%EA%B9%80%EB%AF%BC%EC%88%98", "http://h/u/[name]"),
        ("김민수", "&#44608;&#xBBFC;&#49688;", "[name]"),
        ("김민수", r#"{"nick":"\uae40\ubbfc\uc218"}"#, r#"{"nick":"[name]"}"#),
        ("김민수", "김\u{200b}민수 님", "[name] 님"),
        ("Kim Min Su", "Kim  Min\u{a0}Su", "[name]"),
        ("Tom & Jerry", "Tom &amp; Jerry", "[name]"),
        ("Tom &amp; Jerry", "Tom & Jerry, Tom &amp; Jerry", "[name], [name]"),
        ("@minsu", "thanks minsu, @minsu", "thanks [name], [name]"),
        ("minsu", "@MinSu", "@[name]"),
        ("20250101", "on 20250101", "on [name]"),
    ] {
        let item = json!({"id": "r1", "user": {"id": "u1", "nick": nick}, "more": text});
        assert_eq!(scrubbed(&item, &source).get("more").and_then(Json::as_str), Some(expected), "{nick} in {text}");
    }
}
