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

/// Hands over pages and tells how many were asked for; behind the last one it answers what it is told to.
struct Paged(Vec<Vec<u32>>, Option<u64>);

#[async_trait]
impl Fetch for Paged {
    async fn fetch(
        &self,
        _: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError> {
        let mut pages = self.0.iter();
        loop {
            let items: Vec<Value> = pages.next().into_iter().flatten().map(|id| json!({"id": id})).collect();
            let page = json!({"list": items, "total": self.1}).to_string();
            if on(text(&page)) == FetchFlow::Stop {
                return Ok(());
            }
        }
    }
}

#[tokio::test]
async fn neither_a_short_page_nor_a_total_of_a_page_ends_a_list() {
    let of = async |sized: bool, ends: bool, sizes: &[u32], total: Option<u64>| {
        let mut next = 0;
        let pages = sizes.iter().map(|size| ((next..next + size).collect(), next += size).0).collect();
        let more = if sized { "size=3&" } else { "" };
        let text = format!(
            "name = \"rows\"\nfetch = \"http\"\nevery = \"1d\"\nkeys.list = [\"a\"]\n[http]\n\
             url = \"https://a.example/l?{}p={{page}}\"\npage_size = 3\nshort_page_ends = {ends}\n\
             [items]\npath = \"/list\"\ntotal = \"/total\"\nkey = \"id\"\n[fields]\nid = {{ path = \"/id\", type = \"id\" }}\n",
            more.replace('3', "{size}")
        );
        let source = Source::parse("rows.toml", &text).unwrap();
        let envelope =
            Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: || Timestamp::UNIX_EPOCH };
        let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
        let found =
            harvest(&Paged(pages, total), &source, &Key::new("a"), &envelope, &identity, &|_| {}).await.unwrap();
        assert_eq!(found.ending, Ending::Whole);
        (found.fetched, found.requests, found.short)
    };
    // Whether the request says a size of 3, whether short pages end, the pages, the total: records, requests, and what is missing.
    for (sized, ends, sizes, total, expected) in [
        // What a site takes out of its pages, and a site that gives fewer than it is asked for.
        (true, false, &[3, 2, 3, 1][..], None, (9, 5, 0)),
        (true, false, &[2, 2, 2, 2], None, (8, 5, 0)),
        (false, false, &[3, 2, 3, 1], None, (9, 5, 0)),
        (true, true, &[3, 2, 3, 1], None, (5, 2, 0)),
        (false, true, &[3, 2, 3, 1], None, (5, 2, 0)),
        // A total is the end, but not where a full page reaches it: that may be the page's own.
        (true, false, &[3, 2], Some(5), (5, 2, 0)),
        (true, false, &[3, 3], Some(6), (6, 3, 0)),
        (true, false, &[3, 3, 3], Some(3), (9, 4, 0)),
        (false, false, &[3, 3, 1], Some(3), (7, 4, 0)),
        (true, false, &[2], Some(2), (2, 1, 0)),
        (false, false, &[2], Some(2), (2, 2, 0)),
        (false, true, &[2], Some(2), (2, 1, 0)),
        // One that says more is asked again behind a short and behind an empty page.
        (true, true, &[3, 1, 3], Some(7), (7, 4, 0)),
        (true, false, &[3, 0, 3, 1], Some(7), (7, 4, 0)),
        (true, false, &[3, 0, 0, 1], Some(7), (3, 3, 4)),
    ] {
        assert_eq!(of(sized, ends, sizes, total).await, expected, "{sized} {ends} {sizes:?} {total:?}");
    }
}
