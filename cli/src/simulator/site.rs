//! The site that a history crawls: two lists behind HTTP, on loopback, and all that can be wrong with it.
//!
//! It remembers what it served to whom, which is what the oracle believes in: a list counts as *shown* when every page up to
//! its end was answered as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::TcpListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use catalog::Date;
use extract::Cancel;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

/// Items on a page, which is what the source files ask for.
pub(super) const PAGE: usize = 3;

/// What is wrong with the site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// Nothing.
    Well,
    /// Nobody listens.
    Down,
    /// robots.txt answers 503.
    RobotsFails,
    /// robots.txt breaks off.
    RobotsBreaksOff,
    /// robots.txt forbids the lists by a rule.
    RobotsDenies,
    /// 404 for the list.
    Gone,
    /// 503 for the list.
    Unavailable,
    /// 503 from the second page on.
    FailsLater,
    /// 429 for so many requests.
    Busy(u32),
    /// 429 for so many requests, with a time to wait.
    BusyFor(u32),
    /// No JSON.
    Garbage,
    /// An error in JSON with the status 200.
    ErrorWith200,
    /// The member that holds the list has another name.
    Renamed,
    /// No total, and 404 behind the last page: a way to page that is as good as any.
    EndsWith404,
    /// An item is put in front of the list after its first page was served.
    GrowsWhilePaged,
    /// The first item is taken from the list after its first page was served.
    ShrinksWhilePaged,
    /// robots.txt is no robots.txt, which forbids nothing.
    RobotsGarbage,
    /// There is no robots.txt, which forbids nothing.
    RobotsGone,
    /// There is a first page, and no other, whatever it says of how many there are.
    GoneLater,
    /// Answers break off in the middle.
    CutShort,
}

impl Condition {
    /// Whether what is answered can't be read.
    pub(super) fn spoils(self) -> bool {
        matches!(self, Self::Garbage | Self::Renamed | Self::CutShort)
    }

    /// Whether everything that is asked for is there to be had.
    pub(super) fn is_well(self) -> bool {
        matches!(self, Self::Well | Self::EndsWith404 | Self::RobotsGarbage | Self::RobotsGone)
    }
}

/// A list of the site: which source asks for it and by which key.
pub(super) type List = (String, String);

/// What the site holds and what it did.
pub(super) struct State {
    /// The lists, each item as it is served.
    pub lists: BTreeMap<List, Vec<Value>>,
    /// What is wrong.
    pub condition: Condition,
    /// Only this key has it; all if none.
    pub only: Option<String>,
    /// The day of the run that asks.
    pub day: Date,
    /// Whole lists as they were shown, by list and day.
    pub shown: BTreeMap<(List, Date), Vec<Vec<Value>>>,
    /// Lists that were told to be gone.
    pub gone: BTreeSet<(List, Date)>,
    /// Days on which a rule forbade the lists.
    pub denied: BTreeSet<Date>,
    /// How often lists were asked for.
    pub asked: u64,
    /// Which ones.
    pub asked_for: BTreeSet<List>,
    /// Every path that was asked for, in order.
    pub paths: Vec<String>,
    /// Bodies that can't be read, by the list that they were served for.
    pub spoilt: BTreeMap<List, BTreeSet<String>>,
    /// Who asks is told to stop at this request, counted from 1.
    pub stopping: Option<(u64, Cancel)>,
    /// The process that asks dies at this request, counted from 1.
    pub deadly: Option<u64>,
    under_way: BTreeMap<List, Vec<Value>>,
}

/// The site.
pub(super) struct Site {
    listener: TcpListener,
    /// Bound and never listened at: connections to it are refused.
    _closed: TcpSocket,
    open: String,
    shut: String,
    state: Mutex<State>,
    killed: Notify,
}

/// What is answered.
enum Answer {
    Json(u16, String),
    Text(u16, String),
    Busy,
    BreakOff,
    Never,
}

impl Site {
    /// A site that holds nothing yet.
    pub(super) fn new(day: Date) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let closed = TcpSocket::new_v4().unwrap();
        closed.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            open: format!("http://{}", listener.local_addr().unwrap()),
            shut: format!("http://{}", closed.local_addr().unwrap()),
            listener,
            _closed: closed,
            state: Mutex::new(State {
                lists: BTreeMap::new(),
                condition: Condition::Well,
                only: None,
                day,
                shown: BTreeMap::new(),
                gone: BTreeSet::new(),
                denied: BTreeSet::new(),
                asked: 0,
                asked_for: BTreeSet::new(),
                paths: Vec::new(),
                spoilt: BTreeMap::new(),
                stopping: None,
                deadly: None,
                under_way: BTreeMap::new(),
            }),
            killed: Notify::new(),
        }
    }

    /// Where it is: nobody listens there while it is down.
    pub(super) fn url(&self) -> &str {
        if self.state().condition == Condition::Down { &self.shut } else { &self.open }
    }

    /// Where nobody listens.
    pub(super) fn closed(&self) -> &str {
        &self.shut
    }

    /// What it holds.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when the process that asks is to die.
    pub(super) async fn killed(&self) {
        self.killed.notified().await;
    }

    /// Answers within the runtime that this is called in.
    pub(super) fn serve(self: &Arc<Self>) {
        let site = Arc::clone(self);
        let listener = tokio::net::TcpListener::from_std(site.listener.try_clone().unwrap()).unwrap();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let site = Arc::clone(&site);
                tokio::spawn(async move { site.talk(stream).await });
            }
        });
    }

    /// Answers one connection until it ends.
    async fn talk(&self, mut stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let mut read = Vec::new();
        loop {
            let mut chunk = [0; 2048];
            while !read.ends_with(b"\r\n\r\n") {
                match stream.read(&mut chunk).await {
                    Ok(0) | Err(_) => return,
                    Ok(count) => read.extend_from_slice(&chunk[..count]),
                }
            }
            let head = String::from_utf8_lossy(&read).into_owned();
            read.clear();
            let path = head.split(' ').nth(1).unwrap_or_default();
            let (status, kind, body, more) = match self.answer(path) {
                Answer::Json(status, body) => (status, "application/json", body, ""),
                Answer::Text(status, body) => (status, "text/plain", body, ""),
                Answer::Busy => (429, "text/plain", "slower".to_owned(), "retry-after: 2\r\n"),
                Answer::BreakOff => return,
                Answer::Never => return std::future::pending().await,
            };
            let mut answer = Vec::new();
            let _ = write!(
                answer,
                "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\n{more}content-length: {}\r\n\r\n{body}",
                body.len()
            );
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, path: &str) -> Answer {
        let mut state = self.state();
        state.paths.push(path.to_owned());
        if path == "/robots.txt" {
            return match state.condition {
                Condition::RobotsFails => Answer::Text(503, "later".into()),
                Condition::RobotsBreaksOff => Answer::BreakOff,
                Condition::RobotsDenies => {
                    let day = state.day;
                    state.denied.insert(day);
                    Answer::Text(200, "User-agent: *\nDisallow: /list/\n".into())
                }
                Condition::RobotsGarbage => Answer::Text(200, "<html>\u{0}\u{fffd}: : /\n\t::::".into()),
                Condition::RobotsGone => Answer::Text(404, "no such file".into()),
                _ => Answer::Text(200, "User-agent: *\nAllow: /\n".into()),
            };
        }
        state.asked += 1;
        if state.deadly == Some(state.asked) {
            self.killed.notify_one();
            return Answer::Never;
        }
        if let Some((_, cancel)) = state.stopping.as_ref().filter(|(at, _)| *at == state.asked) {
            cancel.cancel();
        }
        let Some((list, page)) = asked_for(path) else { return Answer::Text(404, "no such path".into()) };
        state.asked_for.insert(list.clone());
        let is_sick = state.only.as_ref().is_none_or(|only| *only == list.1);
        let is_spoilt = is_sick && state.condition.spoils();
        let answer = state.list(&list, page);
        if let (true, Answer::Json(_, body) | Answer::Text(_, body)) = (is_spoilt, &answer) {
            state.spoilt.entry(list).or_default().insert(body.clone());
        }
        answer
    }
}

impl State {
    fn list(&mut self, list: &List, page: usize) -> Answer {
        let sick = self.only.as_ref().is_none_or(|only| *only == list.1);
        let condition = if sick { self.condition } else { Condition::Well };
        let fails = |this: &mut Self, answer| {
            this.under_way.remove(list);
            answer
        };
        match condition {
            Condition::Gone => {
                self.gone.insert((list.clone(), self.day));
                return fails(self, Answer::Text(404, "gone".into()));
            }
            Condition::Unavailable => return fails(self, Answer::Text(503, "later".into())),
            Condition::FailsLater if page > 1 => return fails(self, Answer::Text(503, "later".into())),
            Condition::GoneLater if page > 1 => return fails(self, Answer::Text(404, "no such page".into())),
            Condition::CutShort => return fails(self, Answer::Text(200, "{\"items\": [{\"id\": \"i".into())),
            Condition::Garbage => return fails(self, Answer::Text(200, "<html><p>it works</p></html>".into())),
            Condition::ErrorWith200 => {
                let error = json!({ "errors": [{ "message": "internal" }] });
                return fails(self, Answer::Json(200, error.to_string()));
            }
            Condition::Busy(left) | Condition::BusyFor(left) if left > 0 => {
                let waits = matches!(condition, Condition::BusyFor(_));
                self.condition = if waits { Condition::BusyFor(left - 1) } else { Condition::Busy(left - 1) };
                return if waits { Answer::Busy } else { Answer::Text(429, "slower".into()) };
            }
            _ => {}
        }
        let items = self.lists.get(list).cloned().unwrap_or_default();
        let start = PAGE * page.saturating_sub(1);
        if condition == Condition::EndsWith404 && start >= items.len() && page > 1 {
            return Answer::Text(404, "no such page".into());
        }
        let part: Vec<Value> = items.iter().skip(start).take(PAGE).cloned().collect();
        let name = if condition == Condition::Renamed { "entries" } else { "items" };
        let mut answer = json!({ name: part });
        if condition != Condition::EndsWith404 {
            answer["total"] = json!(items.len());
        }
        if condition == Condition::Renamed {
            return fails(self, Answer::Json(200, answer.to_string()));
        }
        if page == 1 {
            self.under_way.insert(list.clone(), Vec::new());
        }
        if let Some(seen) = self.under_way.get_mut(list) {
            seen.extend(part.into_iter().filter(|item| !seen.contains(item)).collect::<Vec<_>>());
            if start + PAGE >= items.len() {
                let whole = seen.clone();
                self.shown.entry((list.clone(), self.day)).or_default().push(whole);
            }
        }
        if condition == Condition::GrowsWhilePaged && page == 1 {
            let mut new =
                items.first().cloned().unwrap_or_else(|| json!({ "id": "first", "price": 1, "name": "first" }));
            new["id"] = json!(format!("{}-{}", list.1, self.asked));
            self.lists.entry(list.clone()).or_default().insert(0, new);
        }
        if condition == Condition::ShrinksWhilePaged && page == 1 && !items.is_empty() {
            self.lists.entry(list.clone()).or_default().remove(0);
        }
        Answer::Json(200, answer.to_string())
    }
}

/// `/list/items?key=a1&page=2`
fn asked_for(path: &str) -> Option<(List, usize)> {
    let (source, query) = path.strip_prefix("/list/")?.split_once('?')?;
    let mut key = None;
    let mut page = None;
    for part in query.split('&') {
        match part.split_once('=')? {
            ("key", value) => key = Some(value.to_owned()),
            ("page", value) => page = value.parse().ok(),
            _ => {}
        }
    }
    Some(((source.to_owned(), key?), page?))
}
