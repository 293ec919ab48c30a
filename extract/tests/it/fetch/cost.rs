//! Measurements: not part of the suite, run by name with `--ignored --nocapture`.

use std::time::{Duration, Instant};

use super::*;

/// What a click costs, early and late.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn the_ten_thousandth_review_costs_what_the_tenth_did() {
    let site = Site::start(&[5_000], Switches::default()).await;
    let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: clock };
    let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
    let marks = Mutex::new(Vec::new());
    let group = Mutex::new(None);
    let start = Instant::now();
    let progress = |records: u64| {
        let rss = if records.is_multiple_of(500) { group.lock().unwrap().map(rss_megabytes) } else { None };
        marks.lock().unwrap().push((records, start.elapsed(), rss));
    };
    let key = Key::new(site.place_id(0));
    let fetch = site.fetchers.get(site.reviews.fetch_kind());
    // Once for the browser to start and for its group to be known.
    site.fetchers.get(site.reviews.fetch_kind());
    let find = async {
        while group.lock().unwrap().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let found = site.fetchers.browser().process_group().await;
            *group.lock().unwrap() = found;
        }
    };
    let (harvest, ()) =
        tokio::join!(harvest(fetch.as_ref(), &site.reviews, &key, &envelope, &identity, &progress), find);
    assert_eq!(harvest.unwrap().fetched, 5_000);
    let marks = marks.into_inner().unwrap();
    let at = |records: u64| marks.iter().find(|mark| mark.0 >= records).unwrap().1;
    for (records, elapsed, rss) in &marks {
        if let Some(rss) = rss {
            println!("{records} reviews after {elapsed:?}, browser {rss} MB");
        }
    }
    println!(
        "501-1000: {:?}, 4501-5000: {:?}, whole {:?}",
        at(1_000).saturating_sub(at(500)),
        at(5_000).saturating_sub(at(4_500)),
        at(5_000)
    );
    site.fetchers.close().await;
}

/// 200 places and 20,000 reviews, as the demo has them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a test"]
async fn a_small_city_is_crawled() {
    let site = Site::with(ReplicaOptions::default(), str::to_owned).await;
    let start = Instant::now();
    let places = site.harvest(&site.places, "서울 맛집").await.unwrap();
    println!("{} places after {:?}", places.fetched, start.elapsed());
    let next = std::sync::atomic::AtomicUsize::new(0);
    let worker = || async {
        let mut reviews = 0;
        loop {
            let place = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            if place >= 200 {
                return reviews;
            }
            reviews += site.reviews_of(place).await.unwrap().fetched;
        }
    };
    let (one, two) = tokio::join!(worker(), worker());
    println!("{} reviews after {:?}", one + two, start.elapsed());
    assert_eq!(one + two, site.replica.truth().total());
    site.fetchers.close().await;
}

/// Memory of a process group: what the kernel would give back, shared pages by their share.
fn rss_megabytes(group: u32) -> u64 {
    let script = r#"for p in $(ps -eo pid=,pgid= | awk -v g="$1" '$2==g{print $1}'); do awk '/^Pss:/{print $2}' /proc/$p/smaps_rollup 2>/dev/null; done"#;
    let output = std::process::Command::new("sh").args(["-c", script, "sh", &group.to_string()]).output().unwrap();
    let kilobytes =
        String::from_utf8_lossy(&output.stdout).lines().filter_map(|line| line.trim().parse::<u64>().ok()).sum::<u64>();
    kilobytes / 1024
}
