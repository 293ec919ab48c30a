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
