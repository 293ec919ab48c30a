//! Both fetchers against the replica: everything that can be harvested is harvested once, whatever the site does.

use std::collections::BTreeSet;
use std::process::Stdio;
use std::sync::Mutex;

use arrow::array::{Array, AsArray, RecordBatch};
use extract::Key;
use extract::fetch::{FetchError, FetchSettings, Fetchers, USER_AGENT};
use extract::harvest::{Envelope, KeyOutput, harvest};
use extract::identity::IdentityKey;
use extract::politeness::Hosts;
use extract::source::{EMBEDDED, Rate, Source};
use replica::{Replica, ReplicaOptions, Sizes, Switches};
use url::Url;

mod browser;
mod cost;
mod egress;
mod http;
mod pages;
mod reaping;
mod shapes;
mod stranger;
mod ways;

/// A replica, and fetchers that take it for the real site.
struct Site {
    replica: Replica,
    fetchers: Fetchers,
    places: Source,
    reviews: Source,
    /// What progress was told.
    told: Mutex<Vec<u64>>,
}

impl Site {
    async fn start(sizes: &[u64], switches: Switches) -> Self {
        let options = ReplicaOptions { sizes: Sizes::Explicit(sizes.to_vec()), switches, ..Default::default() };
        Self::with(options, str::to_owned).await
    }

    /// `edit` changes the source files.
    async fn with(options: ReplicaOptions, edit: impl Fn(&str) -> String) -> Self {
        let replica = Replica::start(options).await.unwrap();
        let base = Url::parse(replica.url()).unwrap();
        // 1000 a second: as good as no pace, and still through the same code.
        let hosts = Hosts::all_at(
            ["pcmap.place.naver.com", "pcmap-api.place.naver.com"],
            &base,
            Rate::parse("1000/s").unwrap(),
        );
        let settings = FetchSettings { hosts, user_agent: USER_AGENT.to_owned(), chromium: None, tabs: 2, now: clock };
        let source = |name: &str| {
            let (file, text) = EMBEDDED.into_iter().find(|(file, _)| file.starts_with(name)).unwrap();
            Source::parse(file, &edit(text)).unwrap_or_else(|problems| panic!("{problems:?}"))
        };
        Self {
            replica,
            fetchers: Fetchers::new(settings),
            places: source("naver_places"),
            reviews: source("naver_reviews"),
            told: Mutex::default(),
        }
    }

    async fn harvest(&self, source: &Source, key: &str) -> Result<KeyOutput, FetchError> {
        let envelope = Envelope { task: "t".to_owned(), dt: jiff::civil::date(2026, 10, 1), now: clock };
        let identity = IdentityKey::from_bytes(b"k9#fJ2-vQ8xLw3!zTn").unwrap();
        let fetch = self.fetchers.get(source.fetch_kind());
        let told = |records: u64| self.told.lock().unwrap().push(records);
        harvest(fetch.as_ref(), source, &Key::new(key), &envelope, &identity, &told).await
    }

    async fn reviews_of(&self, place: usize) -> Result<KeyOutput, FetchError> {
        self.harvest(&self.reviews, &self.place_id(place)).await
    }

    fn place_id(&self, place: usize) -> String {
        self.replica.truth().places().nth(place).unwrap().id
    }

    /// Ids of reviews of a place that are not spoilt, and how many are.
    fn expected(&self, place: usize) -> (BTreeSet<String>, u64) {
        let id = self.place_id(place);
        let truth = self.replica.truth();
        let reviews: Vec<_> = truth.reviews().filter(|review| review.place_id == id).collect();
        let sound = reviews.iter().filter(|review| review.spoilt.is_none()).map(|review| review.id.clone()).collect();
        (sound, reviews.iter().filter(|review| review.spoilt.is_some()).count() as u64)
    }

    /// Everything of a place was harvested, once.
    fn assert_complete(&self, place: usize, harvest: &KeyOutput) {
        let (sound, spoilt) = self.expected(place);
        let errors = texts(&harvest.batch, "_error");
        let ids = texts(&harvest.batch, "review_id");
        let found: Vec<&String> =
            ids.iter().zip(&errors).filter(|(_, error)| error.is_none()).filter_map(|(id, _)| id.as_ref()).collect();
        assert_eq!(found.len(), found.iter().collect::<BTreeSet<_>>().len(), "each once");
        assert_eq!(found.into_iter().cloned().collect::<BTreeSet<_>>(), sound);
        assert_eq!(harvest.set_aside, spoilt, "{:?}", errors.iter().flatten().collect::<Vec<_>>());
        assert_eq!(harvest.fetched, harvest.batch.num_rows() as u64);
    }
}

fn clock() -> jiff::Timestamp {
    "2026-10-01T03:00:00Z".parse().unwrap()
}

fn texts(batch: &RecordBatch, column: &str) -> Vec<Option<String>> {
    batch.column_by_name(column).unwrap().as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect()
}

/// Whether a Chromium is here. Says so when the test is skipped.
fn has_browser() -> bool {
    let script = "command -v chromium || command -v chromium-browser || command -v google-chrome || command -v google-chrome-stable";
    let found = std::process::Command::new("sh").args(["-c", script]).stdout(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        println!("skipped: no Chromium on the search path");
    }
    found
}
