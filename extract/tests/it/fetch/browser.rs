//! The browser: all reviews of a place.

use std::time::{Duration, Instant};

use extract::harvest::Ending;
use replica::{Arrivals, Block, BlockSpan, Fault, Robots};

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_review_is_harvested_once_and_nobody_is_named() {
    if !has_browser() {
        return;
    }
    let switches = Switches { spoilt: 0.1, drift: 0.2, ..Default::default() };
    let site = Site::start(&[600, 0, 3, 10, 11, 20], switches).await;
    let mut clicks = 0;
    for place in 0..6 {
        let harvest = site.reviews_of(place).await.unwrap();
        site.assert_complete(place, &harvest);
        clicks += harvest.requests - 1;
    }
    let stats = site.replica.stats();
    assert_eq!(stats.pictures, 0, "no picture was loaded");
    assert_eq!(stats.operations["getVisitorReviews"], clicks, "every answer was taken");
    assert_eq!((clicks, stats.robots), (59 + 1 + 1, 1));

    let harvest = site.reviews_of(0).await.unwrap();
    let lake: String = harvest
        .batch
        .columns()
        .iter()
        .filter_map(|column| column.as_string_opt::<i32>())
        .flat_map(|column| column.iter().flatten())
        .collect::<Vec<_>>()
        .join("\n");
    let id = site.place_id(0);
    let truth = site.replica.truth();
    let (mut identities, mut contacts) = (0, 0);
    for review in truth.reviews().filter(|review| review.place_id == id) {
        for name in &review.identity {
            assert!(!lake.contains(&format!("\"{name}\"")), "{name} reached the lake");
            identities += 1;
        }
        for contact in &review.contacts {
            assert!(!lake.contains(contact), "{contact} reached the lake");
            contacts += 1;
        }
    }
    println!("{identities} identities and {contacts} contacts were looked for");
    assert!(identities > 300);
    let hashes: BTreeSet<_> = texts(&harvest.batch, "author_hash").into_iter().flatten().collect();
    assert!(hashes.len() > 5 && hashes.iter().all(|hash| hash.len() == 64));
    let keyword_lists = harvest.batch.column_by_name("keywords").unwrap().as_list::<i32>().clone();
    assert!((0..keyword_lists.len()).any(|row| !keyword_lists.value(row).is_empty()));
    site.fetchers.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn troubles_that_pass_lose_nothing() {
    if !has_browser() {
        return;
    }
    let site = Site::start(&[87, 42], Switches::default()).await;
    let cases = [
        ("429", Switches { too_many: Fault::times(0.4, 1), retry_after: 1, ..Default::default() }),
        ("5xx", Switches { server_error: Fault::times(0.5, 2), ..Default::default() }),
        ("garbage", Switches { garbage: Fault::times(0.5, 2), ..Default::default() }),
        ("cut", Switches { cut: Fault::times(0.5, 1), ..Default::default() }),
        ("errors", Switches { partial_errors: Fault::times(0.5, 2), ..Default::default() }),
        ("slow", Switches { slow: Fault::once(0.4), slow_for: Duration::from_millis(400), ..Default::default() }),
        ("half", Switches { half_rendered: Fault::times(1.0, 2), ..Default::default() }),
        ("resend", Switches { resend_first: true, latency: Duration::from_millis(30), ..Default::default() }),
        ("jitter", Switches { jitter: Duration::from_millis(60), ..Default::default() }),
        ("inflated", Switches { inflated_total: 7, ..Default::default() }),
        (
            "all",
            Switches {
                server_error: Fault::once(0.2),
                garbage: Fault::once(0.2),
                cut: Fault::once(0.2),
                partial_errors: Fault::once(0.2),
                half_rendered: Fault::once(0.5),
                resend_first: true,
                spoilt: 0.2,
                drift: 0.5,
                ..Default::default()
            },
        ),
    ];
    for (name, switches) in cases {
        let before = site.replica.stats();
        site.replica.set_switches(switches);
        let start = Instant::now();
        for place in 0..2 {
            let harvest = site.reviews_of(place).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            site.assert_complete(place, &harvest);
        }
        let stats = site.replica.stats();
        let of = |stats: &replica::Stats| {
            stats.too_many
                + stats.server_errors
                + stats.garbage
                + stats.cut
                + stats.partial_errors
                + stats.slow
                + stats.half_rendered
        };
        println!("{name}: {} troubles, {:?}", of(&stats) - of(&before), start.elapsed());
        assert!(of(&stats) > of(&before) || matches!(name, "resend" | "jitter" | "inflated"), "{name} did not happen");
    }
    site.fetchers.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reviews_that_shift_the_pages_come_twice_and_land_once() {
    if !has_browser() {
        return;
    }
    let site = Site::start(&[95], Switches::default()).await;
    let (before, _) = site.expected(0);
    site.replica
        .set_switches(Switches { arrivals: Some(Arrivals { every: 2, reviews: 3, limit: 12 }), ..Default::default() });
    let harvest = site.reviews_of(0).await.unwrap();
    assert!(harvest.duplicates > 0 && site.replica.stats().arrived > 0);
    let found: BTreeSet<String> = texts(&harvest.batch, "review_id").into_iter().flatten().collect();
    assert!(found.is_superset(&before), "what was there when the page was opened is all there");
    assert_eq!(found.len() as u64, harvest.fetched);
    site.fetchers.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn troubles_that_stay_are_told_and_the_next_key_is_well() {
    if !has_browser() {
        return;
    }
    let site = Site::with(ReplicaOptions { sizes: Sizes::Explicit(vec![35, 25]), ..Default::default() }, |text| {
        text.replace("reloads = 4", "reloads = 1").replace("ready_timeout = \"15s\"", "ready_timeout = \"2s\"")
    })
    .await;
    let poisoned = BTreeSet::from([site.place_id(0)]);
    let cases = [
        (Switches { poisoned, ..Default::default() }, "it answered 500", 0),
        (
            Switches { half_rendered: Fault::always(1.0), ..Default::default() },
            "expected a document with its state in a script, found none",
            0,
        ),
        // What the document brought along is there, whatever the clicks bring.
        (Switches { garbage: Fault::always(1.0), ..Default::default() }, "expected JSON, found", 10),
        (Switches { partial_errors: Fault::always(1.0), ..Default::default() }, "upstream request timed out", 10),
    ];
    for (switches, expected, came) in cases {
        site.replica.set_switches(switches);
        let (told, fetched) = match site.reviews_of(0).await {
            Err(error) => (error.to_string(), 0),
            Ok(KeyOutput { ending: Ending::Short(error), fetched, .. }) => (error.to_string(), fetched),
            Ok(KeyOutput { ending: Ending::Unreadable(why), fetched, .. }) => (why, fetched),
            Ok(harvest) => panic!("{:?}", harvest.ending),
        };
        assert!(told.contains(expected) && fetched == came, "{fetched}: {told}");
        assert!(!told.contains(site.replica.url()), "{told}");
        site.replica.set_switches(Switches::default());
        let harvest = site.reviews_of(1).await.unwrap();
        site.assert_complete(1, &harvest);
    }
    let ending = site.harvest(&site.reviews, "404").await.unwrap().ending;
    assert!(matches!(&ending, Ending::Gone(why) if why.contains("it answered 404")), "{ending:?}");
    site.fetchers.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_page_stops_the_host_wherever_it_comes() {
    if !has_browser() {
        return;
    }
    // As the document, and as the answer to a click.
    for after in [0, 2] {
        let site = Site::start(
            &[95],
            Switches { block: Some(Block { after, span: BlockSpan::Forever }), ..Default::default() },
        )
        .await;
        let error = match site.reviews_of(0).await {
            Err(error) | Ok(KeyOutput { ending: Ending::Short(error), .. }) => error,
            Ok(harvest) => panic!("{:?}", harvest.ending),
        };
        assert!(
            matches!(&error, FetchError::Blocked { host, evidence } if host == "pcmap.place.naver.com" && evidence.contains("제한되었습니다")),
            "{error}"
        );
        let asked = site.replica.stats().requests;
        assert!(matches!(site.reviews_of(0).await, Err(FetchError::Blocked { .. })));
        assert_eq!(site.replica.stats().requests, asked, "nobody asks again");
        site.fetchers.close().await;
    }
}

#[tokio::test]
async fn a_page_that_may_not_be_read_starts_no_browser() {
    let site =
        Site::start(&[5], Switches { robots: Robots::Deny("/restaurant".to_owned()), ..Default::default() }).await;
    assert!(matches!(site.reviews_of(0).await.unwrap().ending, Ending::Refused(_)));
    assert_eq!(site.fetchers.browser().process_group().await, None);
    assert_eq!(site.replica.stats().review_pages.len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tabs_work_side_by_side() {
    if !has_browser() {
        return;
    }
    let site =
        Site::start(&[45, 55, 65, 35], Switches { latency: Duration::from_millis(20), ..Default::default() }).await;
    let harvests = tokio::join!(site.reviews_of(0), site.reviews_of(1), site.reviews_of(2), site.reviews_of(3));
    for (place, harvest) in [harvests.0, harvests.1, harvests.2, harvests.3].into_iter().enumerate() {
        site.assert_complete(place, &harvest.unwrap());
    }
    assert!(site.replica.stats().peak_in_flight <= 2, "two tabs ask two things at a time");
    site.fetchers.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pace_holds_for_clicks() {
    if !has_browser() {
        return;
    }
    let replica =
        Replica::start(ReplicaOptions { sizes: Sizes::Explicit(vec![65]), ..Default::default() }).await.unwrap();
    let base = Url::parse(replica.url()).unwrap();
    let hosts = Hosts::all_at(["pcmap.place.naver.com"], &base, Rate::parse("5/s").unwrap());
    let fetchers =
        Fetchers::new(FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 1, now: clock });
    let source = Source::parse(EMBEDDED[1].0, EMBEDDED[1].1).unwrap();
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: clock };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    let key = Key::new(replica.truth().places().next().unwrap().id);
    let start = Instant::now();
    let harvest = harvest(fetchers.get(source.fetch_kind()).as_ref(), &source, &key, &envelope, &identity, &|_| {})
        .await
        .unwrap();
    assert_eq!((harvest.fetched, harvest.requests), (65, 7));
    assert!(start.elapsed() >= Duration::from_millis(1_200), "a page and six clicks at 5/s took {:?}", start.elapsed());
    fetchers.close().await;
}
