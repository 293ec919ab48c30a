use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::source::EMBEDDED;

fn key() -> IdentityKey {
    IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap()
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
        ("문의kim@naver.com으로", "문의[email]으로"),
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
    let mut item = json!({
        "id": "66e3f0aa01012345678bcdef",
        "author": {"id": "abc", "objectId": 77, "nickname": "김철수", "imageUrl": "https://x/y.png", "url": "https://m.place/my/abc", "from": "naver", "review": {"totalCount": 3}, "newField": "kim"},
        "loginIdno": "l1", "userIdno": "u1",
        "body": "사장님 010-1234-5678 친절",
        "reply": {"body": "문의 02-123-4567", "editedBy": "owner1"},
        "media": [{"thumbnail": "https://x/010-1234-5678.jpg"}],
        "votedKeywords": [{"name": "a@b.kr"}],
    });
    scrub(&mut item, &reviews(), &key());
    let hash = |id: &str| key().hash("naver_reviews", id);
    assert_eq!(
        item,
        json!({
            "id": "66e3f0aa01012345678bcdef",
            "author": {"id": hash("abc"), "objectId": hash("77"), "review": {"totalCount": 3}},
            "body": "사장님 [phone] 친절",
            "reply": {"body": "문의 [phone]"},
            "media": [{"thumbnail": "https://x/[phone].jpg"}],
            "votedKeywords": [{"name": "[email]"}],
        })
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
        let mut item = json!({"id": "r1", "author": author});
        scrub(&mut item, &reviews(), &key());
        let text = item.to_string();
        assert!(!text.contains("김철수") && !text.contains("abc\""), "{author}: {text}");
    }
}

#[test]
fn the_name_of_an_item_is_never_masked() {
    let mut item = json!({"id": "010-1234-5678", "reviewId": "01012345678", "body": "01012345678"});
    scrub(&mut item, &reviews(), &key());
    assert_eq!(item, json!({"id": "010-1234-5678", "reviewId": "01012345678", "body": "[phone]"}));
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
