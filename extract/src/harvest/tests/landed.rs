//! What of an answer lands, and what must not.

use super::*;
use crate::source::Secrets;

#[tokio::test]
async fn no_secret_that_a_site_repeats_is_in_what_lands() {
    let mut secrets = Secrets::default();
    for (name, value) in [("TOK", "S3CRET+/= x"), ("NUM", "4711471147114711")] {
        secrets.declare(name, "env:X");
        secrets.set(name, value);
    }
    let fields = "s = { path = \"/s\", type = \"string\" }\nl = { path = \"/l\", type = \"list<string>\" }\nn = { path = \"/n\", type = \"int64\" }";
    let source = with_fields("", fields).with_secrets(secrets);
    let page = r#"{"list": [
        {"id": "1", "s": "you sent S3CRET+\/= x", "l": ["k=S3CRET%2B%2F%3D%20x", "a"]},
        {"id": "2", "S3CRET+/= x": true, "other": {"deep": ["S3CRET%2b%2f%3d+x"]}},
        {"id": "S3CRET+/= x"},
        {"id": "4", "n": 4711471147114711, "m": 47114711471147110},
        {"id": "5", "s": S3CRET+/= x}], "total": 5}"#;
    let answer = Response::text("https://site.test/?k=S3CRET%2B%2F%3D%20x", page);
    let (harvest, _) = run(&source, &Key::new("a"), vec![answer]).await;
    let harvest = harvest.unwrap();
    let rows = arrow::util::pretty::pretty_format_batches(std::slice::from_ref(&harvest.batch)).unwrap().to_string();
    for form in ["S3CRET", "4711471147114711 ", "4711471147114711,"] {
        assert!(!rows.contains(form), "{form}: {rows}");
    }
    assert_eq!(ids(&harvest), ["1", "2", "{secret:TOK}", "4", "-"]);
    assert_eq!(column(&harvest, "s")[0], "you sent {secret:TOK}");
    assert!(column(&harvest, "_payload")[3].ends_with(r#""n":"{secret:NUM}","m":47114711471147110}"#), "{rows}");
    assert!(column(&harvest, "_url").iter().all(|url| url == "https://site.test/?k={secret:TOK}"), "{rows}");
    assert_eq!(harvest.set_aside, 2, "a number that is a secret is no number, and the last one is no JSON");
}

#[tokio::test]
async fn one_content_that_is_mapped_to_two_is_two() {
    // What names a type counts for no difference of content, but it may be a column.
    let source = with_fields("", "kind = { path = \"/__typename\", type = \"string\" }");
    let page =
        r#"{"list": [{"id": "1", "__typename": "A"}, {"id": "1", "__typename": "B"}, {"id": "1", "__typename": "B"}]}"#;
    let (harvest, _) = run(&source, &Key::new("a"), vec![text(page)]).await;
    let harvest = harvest.unwrap();
    assert_eq!((column(&harvest, "kind"), harvest.duplicates), (vec!["A".to_owned(), "B".to_owned()], 1));
}

#[tokio::test]
async fn what_an_item_said_last_while_its_list_was_read_is_its_newest_row() {
    fn ticking() -> Timestamp {
        static TICKS: AtomicU64 = AtomicU64::new(0);
        Timestamp::from_second(i64::try_from(TICKS.fetch_add(1, Ordering::SeqCst)).unwrap()).unwrap()
    }
    let source = with_fields("", "s = { path = \"/s\", type = \"string\" }");
    let cases = [("a", 1), ("aa", 1), ("ab", 2), ("aba", 2), ("abab", 2), ("abcb", 3)];
    for (said, rows) in cases {
        // Each page has something new beside it, so that none of them is the end.
        let page = |(n, text): (usize, char)| {
            let items = json!([{"id": "1", "s": text}, {"id": format!("new {n}"), "s": "-"}]);
            Response::answer("https://site.test/", json!({"list": items, "total": 99}))
        };
        let fetch = Scripted(Mutex::new(said.chars().enumerate().map(page).collect()));
        let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: ticking };
        let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
        let harvest = harvest(&fetch, &source, &Key::new("a"), &envelope, &identity, &|_| {}).await.unwrap();
        let times = harvest.batch.column_by_name("_fetched_at").unwrap();
        let times = times.as_primitive::<arrow::datatypes::TimestampMicrosecondType>().values().to_vec();
        let texts = times.into_iter().zip(column(&harvest, "s")).zip(ids(&harvest));
        let mut of_item: Vec<_> = texts.filter(|(_, id)| id == "1").map(|((at, text), _)| (at, text)).collect();
        of_item.sort();
        let newest = of_item.last().map(|(_, text)| text.as_str());
        assert_eq!((newest, of_item.len()), (said.get(said.len() - 1..), rows), "{said}");
    }
}

#[tokio::test]
async fn what_is_gone_later_ends_a_list_only_where_its_total_does_not_say_more() {
    // What the first page says of the total, and whether a 404 behind it is the end.
    for (page, is_end) in [
        (r#"{"list": [{"id": 1}, {"id": 2}]}"#, true),
        (r#"{"list": [{"id": 1}, {"id": 2}], "total": null}"#, true),
        (r#"{"list": [{"id": 1}, {"id": 2}], "total": 1}"#, true),
        (r#"{"list": [{"id": 1}, {"id": 2}], "total": 3}"#, false),
        // What came twice is no third.
        (r#"{"list": [{"id": 1}, {"id": 2}, {"id": 1}], "total": 3}"#, false),
        (r#"{"list": [{"id": 1}, {"id": null}, {"id": null}], "total": 4}"#, false),
    ] {
        let gone = FetchError::Gone { url: "https://a.example".to_owned(), reason: "it answered 410".to_owned() };
        let expected = if is_end { Ending::Whole } else { Ending::Short(gone.clone()) };
        let envelope =
            Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: || Timestamp::UNIX_EPOCH };
        let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
        let fetch = Failing(Some(page), gone);
        let found = harvest(&fetch, &plain(""), &Key::new("a"), &envelope, &identity, &|_| {}).await.unwrap();
        assert_eq!((found.ending, found.fetched > 1), (expected, true), "{page}");
    }
}
