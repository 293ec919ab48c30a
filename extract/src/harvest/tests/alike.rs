//! Items that name themselves in no readable way.

use super::*;

#[tokio::test]
async fn items_without_a_key_are_as_many_as_the_site_sent() {
    let sold_out = || json!({"id": null, "body": "sold out"});
    let responses = || {
        vec![
            document(&[sold_out(), review("a")]),
            // The answer begins with what the document has.
            answer(json!([sold_out(), review("a"), sold_out(), sold_out()])),
            answer(json!([sold_out(), review("b"), sold_out()])),
            // New ones push the last two onto this page.
            answer(json!([review("b"), sold_out(), sold_out(), review("c")])),
        ]
    };
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), responses()).await;
    let harvest = harvest.unwrap();
    assert_eq!(ids(&harvest), ["-", "a", "-", "-", "-", "b", "-", "-", "c"]);
    assert_eq!((harvest.fetched, harvest.set_aside, harvest.duplicates), (9, 6, 4));
    // A page that is opened again has the same ones.
    let twice = responses().into_iter().chain(responses()).collect();
    let (harvest, _) = run(&source(REVIEWS), &Key::new("1"), twice).await;
    let harvest = harvest.unwrap();
    assert_eq!((harvest.fetched, harvest.set_aside, harvest.duplicates), (9, 6, 4 + 13));
}

#[tokio::test]
async fn items_that_look_alike_on_different_pages_are_all_there_with_and_without_a_total() {
    let sold_out = json!({"id": null, "price": 7});
    for total in [Some(100), None] {
        for step in [5, 10] {
            let items: Vec<Value> = (0..100)
                .map(|n| if n % step < step / 5 { sold_out.clone() } else { json!({"id": n.to_string()}) })
                .collect();
            let mut pages: Vec<Response> = items
                .chunks(10)
                .map(|items| Response::answer("https://a.example/", json!({"list": items, "total": total})))
                .collect();
            // Sites answer with the last one again behind it.
            pages.extend(
                (0..3).map(|_| Response::answer("https://a.example/", json!({"list": items[90..], "total": total}))),
            );
            let (harvest, left) = run(&plain(""), &Key::new("a"), pages).await;
            let harvest = harvest.unwrap();
            assert_eq!((harvest.fetched, harvest.set_aside, harvest.short), (100, 20, 0), "{total:?} {step}");
            assert_eq!(left, 2, "one that has nothing new makes sure, {total:?} {step}");
        }
    }
}
