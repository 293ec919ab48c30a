//! A site that answers as scripted, a lake in memory, and short timeouts.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arrow::array::{Array, AsArray};
use async_trait::async_trait;
use catalog::{Date, Lake, Timestamp, Version};
use extract::fetch::{Fetch, FetchError, FetchFlow, FetchRequest, FetchSettings, Fetchers, Response, USER_AGENT};
use extract::heartbeat::{Heartbeat, HeartbeatSettings, Role};
use extract::identity::IdentityKey;
use extract::ledger::Ledger;
use extract::outcome::KeyOutcome;
use extract::politeness::Hosts;
use extract::queue::{MemoryQueue, Queue, TaskFilter};
use extract::source::Source;
use extract::worker::extract_with;
use extract::{Cancel, Error, Extracted, Extractor, Key, Progress, Tuning};
use futures::TryStreamExt;
use serde_json::json;

pub(crate) const DT: Date = Date::constant(2026, 10, 1);
pub(crate) const KEYS: &[&str] = &["a", "b", "c", "d", "e"];

/// Long enough for a heartbeat on a busy machine, short enough to wait for.
pub(crate) const VISIBILITY: Duration = Duration::from_secs(3);

/// Between two signs of life.
pub(crate) const SIGN: Duration = Duration::from_millis(300);

/// The time of day that the tests live in.
pub(crate) fn now() -> Timestamp {
    static START: OnceLock<Instant> = OnceLock::new();
    let since = START.get_or_init(Instant::now).elapsed();
    Timestamp::from_microsecond(1_790_000_000_000_000 + i64::try_from(since.as_micros()).unwrap()).unwrap()
}

pub(crate) fn keys(values: &[&str]) -> Vec<Key> {
    values.iter().copied().map(Key::new).collect()
}

/// Counts steps, and at the last one everything stands still until it is dropped.
#[derive(Clone, Debug)]
pub(crate) struct Kill {
    steps_left: Arc<AtomicU32>,
    fell: Cancel,
}

impl Kill {
    pub(crate) fn at(step: u32) -> Self {
        Self { steps_left: Arc::new(AtomicU32::new(step)), fell: Cancel::new() }
    }

    pub(crate) async fn fell(&self) {
        self.fell.cancelled().await;
    }

    /// One step.
    pub(crate) async fn step(&self) {
        let left = self.steps_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
        if left.is_err() {
            self.fell.cancel();
            std::future::pending::<()>().await;
        }
    }
}

/// What the site does when it is asked for a key.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    /// Two items.
    Items,
    /// One item, which says this.
    Says(&'static str),
    /// Two items, the first with a member more.
    SaysMore,
    /// A page without items.
    Nothing,
    Transient(&'static str),
    Gone(&'static str),
    /// Another form than the source file describes.
    Other,
    RateLimited(Duration),
    Blocked,
    NoBrowser,
    /// Two items, later.
    Slow(Duration),
    /// Two items, and robots.txt forbids what follows.
    Forbidden,
    /// Never answers.
    Hang,
}

#[derive(Debug, Default)]
pub(crate) struct Site {
    script: Mutex<HashMap<String, Answer>>,
    once: Mutex<HashMap<String, VecDeque<Answer>>>,
    calls: Mutex<Vec<String>>,
    pace: Mutex<Duration>,
    announces: Mutex<bool>,
}

impl Site {
    /// From now on.
    pub(crate) fn script(&self, key: &str, answer: Answer) {
        self.script.lock().unwrap().insert(key.to_owned(), answer);
    }

    /// The next time only.
    pub(crate) fn script_once(&self, key: &str, answer: Answer) {
        self.once.lock().unwrap().entry(key.to_owned()).or_default().push_back(answer);
    }

    /// How long each answer takes.
    pub(crate) fn be_slow(&self, pace: Duration) {
        *self.pace.lock().unwrap() = pace;
    }

    /// Prints what it is asked for.
    pub(crate) fn announce(&self) {
        *self.announces.lock().unwrap() = true;
    }

    /// The keys it was asked for, sorted.
    pub(crate) fn calls(&self) -> Vec<String> {
        let mut calls = self.calls.lock().unwrap().clone();
        calls.sort_unstable();
        calls
    }

    pub(crate) fn calls_of(&self, key: &str) -> usize {
        self.calls.lock().unwrap().iter().filter(|asked| *asked == key).count()
    }

    fn answer(&self, key: &str) -> Answer {
        self.calls.lock().unwrap().push(key.to_owned());
        if *self.announces.lock().unwrap() {
            println!("asked for {key}");
        }
        let once = self.once.lock().unwrap().get_mut(key).and_then(VecDeque::pop_front);
        once.or_else(|| self.script.lock().unwrap().get(key).copied()).unwrap_or(Answer::Items)
    }
}

/// The site as one process sees it.
struct View {
    site: Arc<Site>,
    kill: Option<Kill>,
}

impl View {
    async fn step(&self) {
        if let Some(kill) = &self.kill {
            kill.step().await;
        }
    }
}

#[async_trait]
impl Fetch for View {
    async fn fetch(
        &self,
        request: &FetchRequest<'_>,
        on: &mut (dyn FnMut(Response) -> FetchFlow + Send),
    ) -> Result<(), FetchError> {
        let key = request.key.value.as_str();
        self.step().await;
        let answer = self.site.answer(key);
        let pace = match answer {
            Answer::Slow(pace) => pace,
            _ => *self.site.pace.lock().unwrap(),
        };
        if !pace.is_zero() {
            tokio::time::sleep(pace).await;
        }
        self.step().await;
        let url = format!("https://site.test/{key}");
        let body = match answer {
            Answer::Items | Answer::Slow(_) | Answer::Forbidden => {
                json!({"items": [{"id": format!("{key}-1"), "body": "국밥"}, {"id": format!("{key}-2"), "body": "카페"}]})
            }
            Answer::SaysMore => {
                json!({"items": [{"id": format!("{key}-1"), "body": "국밥", "more": null}, {"id": format!("{key}-2"), "body": "카페"}]})
            }
            Answer::Says(body) => json!({"items": [{"id": format!("{key}-1"), "body": body}]}),
            Answer::Nothing => json!({"items": []}),
            Answer::Transient(reason) => return Err(FetchError::Transient { url, reason: reason.to_owned() }),
            Answer::Gone(reason) => return Err(FetchError::Gone { url, reason: reason.to_owned() }),
            Answer::Other => json!({"entries": []}),
            Answer::RateLimited(wait) => {
                return Err(FetchError::RateLimited { host: "site.test".to_owned(), retry_after: Some(wait) });
            }
            Answer::Blocked => {
                let evidence = "the page says: too many requests".to_owned();
                return Err(FetchError::Blocked { host: "site.test".to_owned(), evidence });
            }
            Answer::NoBrowser => return Err(FetchError::NoBrowser { tried: "chromium".to_owned() }),
            Answer::Hang => std::future::pending().await,
        };
        let _ = on(Response::answer(url.clone(), body));
        self.step().await;
        match answer {
            Answer::Forbidden => Err(FetchError::RobotsDenied { url, rule: "Disallow: /*page=2 (line 2)".to_owned() }),
            _ => Ok(()),
        }
    }
}

/// The source of all these tests.
pub(crate) const NOTES: &str = include_str!("notes.toml");

/// A row as far as the tests look.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Row {
    pub(crate) key: String,
    pub(crate) id: Option<String>,
    pub(crate) error: Option<String>,
}

/// What the table holds when each of these keys has landed.
pub(crate) fn rows_of(keys: &[&str]) -> Vec<Row> {
    let rows = keys
        .iter()
        .flat_map(|key| [1, 2].map(|n| Row { key: (*key).to_owned(), id: Some(format!("{key}-{n}")), error: None }));
    let mut rows: Vec<Row> = rows.collect();
    rows.sort();
    rows
}

/// All that an extraction needs.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) lake: Lake,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) site: Arc<Site>,
    pub(crate) source: Source,
    pub(crate) told: Arc<Mutex<Vec<Progress>>>,
    jobs: usize,
    visibility: Duration,
    kill: Option<Kill>,
    heartbeat: Option<Heartbeat>,
}

impl Bench {
    /// On a lake of its own; the name is for who looks at one.
    pub(crate) async fn new(name: &str) -> Self {
        static LAKES: AtomicU32 = AtomicU32::new(0);
        let number = LAKES.fetch_add(1, Ordering::SeqCst);
        Self {
            lake: Lake::open(&format!("memory://{name}-{number}"), "test").await.unwrap(),
            queue: Arc::new(MemoryQueue::new()),
            site: Arc::default(),
            source: Source::parse("notes.toml", NOTES).unwrap(),
            told: Arc::default(),
            jobs: 2,
            visibility: VISIBILITY,
            kill: None,
            heartbeat: None,
        }
    }

    /// As a process of its own, which others know of: with its own queue, unless that is given to it afterwards.
    pub(crate) async fn process(&self, name: &str) -> Self {
        let settings = HeartbeatSettings { id: name.to_owned(), role: Role::Run, jobs: self.jobs, interval: SIGN, now };
        let heartbeat = Some(Heartbeat::start(&self.lake, settings).await.unwrap());
        Self { heartbeat, queue: Arc::new(MemoryQueue::new()), ..self.clone() }
    }

    /// Gives its last sign.
    pub(crate) async fn end(self) {
        self.heartbeat.unwrap().stop().await;
    }

    pub(crate) fn with_queue(self, queue: Arc<dyn Queue>) -> Self {
        Self { queue, ..self }
    }

    pub(crate) fn with_jobs(self, jobs: usize) -> Self {
        Self { jobs, ..self }
    }

    pub(crate) fn with_visibility(self, visibility: Duration) -> Self {
        Self { visibility, ..self }
    }

    pub(crate) fn with_kill(self, kill: &Kill) -> Self {
        Self { kill: Some(kill.clone()), ..self }
    }

    /// On a lake in a folder, opened now.
    pub(crate) async fn in_folder(self, folder: &std::path::Path) -> Self {
        Self { lake: Lake::open(folder.to_str().unwrap(), "test").await.unwrap(), ..self }
    }

    pub(crate) fn per_task(self, keys: usize) -> Self {
        let text = NOTES.replace("per_task = 2", &format!("per_task = {keys}"));
        Self { source: Source::parse("notes.toml", &text).unwrap(), ..self }
    }

    pub(crate) fn with_source(self, text: &str) -> Self {
        Self { source: Source::parse("notes.toml", text).unwrap(), ..self }
    }

    pub(crate) fn weekly(self) -> Self {
        Self { source: Source::parse("notes.toml", &NOTES.replace("1d", "7d")).unwrap(), ..self }
    }

    pub(crate) fn fetch(&self) -> Arc<dyn Fetch> {
        Arc::new(View { site: self.site.clone(), kill: self.kill.clone() })
    }

    pub(crate) fn ctx(&self) -> Extractor {
        let told = Arc::clone(&self.told);
        Extractor {
            lake: self.lake.clone(),
            queue: Arc::clone(&self.queue),
            sources: Arc::from([self.source.clone()]),
            fetchers: Arc::new(Fetchers::new(FetchSettings {
                hosts: Hosts::new(),
                user_agent: USER_AGENT.to_owned(),
                chromium: None,
                tabs: 1,
                now,
            })),
            identity: IdentityKey::from_bytes(b"wholly made up for this test 7431").unwrap(),
            run: "r1".parse().unwrap(),
            now,
            jobs: self.jobs,
            seed: 7,
            progress: Arc::new(move |progress| told.lock().unwrap().push(progress)),
            cancel: Cancel::new(),
            heartbeat: self.heartbeat.clone(),
            tuning: Tuning { visibility_timeout: self.visibility, poll_interval: Duration::from_millis(10) },
        }
    }

    pub(crate) async fn extract(&self, values: &[&str]) -> Result<Extracted, Error> {
        extract_with(&self.ctx(), &self.source, &self.fetch(), DT, keys(values)).await
    }

    pub(crate) async fn extract_on(&self, dt: Date, values: &[&str]) -> Result<Extracted, Error> {
        extract_with(&self.ctx(), &self.source, &self.fetch(), dt, keys(values)).await
    }

    /// The newest outcome of a key of the day.
    pub(crate) async fn outcome(&self, key: &str) -> Option<KeyOutcome> {
        let table = self.lake.table(self.source.table()).await.unwrap();
        let ledger = Ledger::open(&self.lake, &self.source, table, DT).await.unwrap();
        ledger.get(DT, key).map(|state| state.last)
    }

    /// The messages of the day.
    pub(crate) fn of(&self) -> TaskFilter {
        TaskFilter::day(self.source.name(), DT)
    }

    /// Visible, in flight, dead.
    pub(crate) async fn counts(&self) -> (usize, usize, usize) {
        let counts = self.queue.counts(&self.of(), now()).await.unwrap();
        (counts.visible, counts.in_flight, counts.dead)
    }

    pub(crate) async fn version(&self) -> Version {
        self.lake.table(self.source.table()).await.unwrap().snapshot().await.unwrap().version()
    }

    /// All rows of the table, sorted.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let Some(table) = self.lake.find(self.source.table()).await.unwrap() else { return Vec::new() };
        let scan = table.snapshot().await.unwrap().scan(Some(&["_key", "note_id", "_error"])).await.unwrap();
        let batches: Vec<_> = scan.try_collect().await.unwrap();
        let mut rows = Vec::new();
        for batch in batches {
            let text = |name: &str| {
                let column =
                    arrow::compute::cast(batch.column_by_name(name).unwrap(), &arrow::datatypes::DataType::Utf8)
                        .unwrap();
                let column = column.as_string::<i32>();
                (0..column.len())
                    .map(|row| column.is_valid(row).then(|| column.value(row).to_owned()))
                    .collect::<Vec<_>>()
            };
            let (keys, ids, errors) = (text("_key"), text("note_id"), text("_error"));
            rows.extend(keys.into_iter().zip(ids).zip(errors).map(|((key, id), error)| Row {
                key: key.unwrap(),
                id,
                error,
            }));
        }
        rows.sort();
        rows
    }
}
