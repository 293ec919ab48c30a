//! A lake that an older program made opens, says what it sees, goes on and gives the same rows.
//!
//! `old_lake/` holds such a lake, with its project, its site's answers and the rows that the program itself showed at the end;
//! its README says how it was made.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::support::{Project, last_object, serve, text};

const PACKED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/old_lake/68745b5.tar.gz");
/// The last day that the older program ended, the one in which it was killed, and the one after.
const UNTOUCHED: &str = "2026-11-23";
const LAST: &str = "2026-11-24";
const NEXT: &str = "2026-11-25";

/// Path with query → status and body.
type Answers = BTreeMap<String, (u16, String)>;

/// The rows of each table.
type Rows = BTreeMap<String, Vec<Value>>;

/// The site as the packed answers have it, a day at a time, and what it was asked for.
struct Played {
    url: String,
    days: BTreeMap<String, Answers>,
    now: Arc<Mutex<Answers>>,
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Played {
    fn new(days: BTreeMap<String, Answers>) -> Self {
        let (now, asked) = (Arc::new(Mutex::new(Answers::new())), Arc::new(Mutex::new(BTreeSet::new())));
        let (answers, seen) = (Arc::clone(&now), Arc::clone(&asked));
        let url = serve(move |path| {
            seen.lock().unwrap().insert(path.to_owned());
            let found = answers.lock().unwrap().get(path).cloned();
            found.unwrap_or_else(|| (404, "nothing here".to_owned()))
        });
        Self { url, days, now, asked }
    }

    /// From now on it answers as on that day.
    fn turn_to(&self, day: &str) {
        *self.now.lock().unwrap() = self.days[day].clone();
    }

    /// The lists that were asked for since it was last asked, as `items?key=tea`.
    fn asked(&self) -> BTreeSet<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        let lists = asked.iter().filter_map(|path| Some(path.strip_prefix("/list/")?.split('&').next()?.to_owned()));
        lists.collect()
    }
}

/// The packed project, pointed at its site; and the rows of each table as the older program showed them.
fn unpacked() -> (tempfile::TempDir, Project, Played, Rows) {
    let temp = tempfile::tempdir().unwrap();
    let unpacked = Command::new("tar").arg("-xzf").arg(PACKED).arg("-C").arg(temp.path()).status().unwrap();
    assert!(unpacked.success(), "{PACKED}");
    let read = |file: &str| std::fs::read(temp.path().join(file)).unwrap();
    let site = Played::new(serde_json::from_slice(&read("site.json")).unwrap());
    let rows = serde_json::from_slice(&read("rows.json")).unwrap();
    let project = Project::at(temp.path().join("project"));
    project.replace("onggi.toml", "\"SITE\"", &format!("\"{}\"", site.url));
    (temp, project, site, rows)
}

/// All files of a folder with their contents.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            found.insert(path.clone(), std::fs::read(&path).unwrap());
        }
    }
    found
}

/// The rows of a query as a set: each as its text.
fn set(rows: &[Value]) -> Vec<String> {
    let mut rows: Vec<String> = rows.iter().map(ToString::to_string).collect();
    rows.sort();
    rows
}

/// A run of a day that may be over, as one asks for it.
fn run(project: &Project, dt: &str, code: i32) -> Value {
    let output = project.onggi(&["run", "--json", "--dt", dt, "--select", "shelves+", "--select", "items+"]);
    assert_eq!(output.status.code(), Some(code), "{}", text(&output));
    last_object(&output)
}

#[test]
fn a_lake_of_the_last_release_opens_goes_on_and_has_the_same_rows() {
    let (_temp, project, site, rows) = unpacked();
    it_opens(&project, &rows);
    let kept = the_killed_day_goes_on(&project, &site, &rows);
    the_next_day_is_done_once(&project, &site, &kept);
    old_days_are_as_they_were_until_they_are_built_again(&project, &rows);
    nothing_of_the_old_format_is_left(&project);
}

fn it_opens(project: &Project, rows: &Rows) {
    // It opens, has the rows that it had, and nothing is changed by looking.
    let before = files(&project.folder.join("lake"));
    for (table, rows) in rows {
        assert_eq!(set(&project.sql(&format!("select * from {table}"))), set(rows), "{table}");
    }
    for (arguments, parts) in [
        (["check"].as_slice(), ["made by an older program", "marts.daily: 2026-11-24 stale (never built)"].as_slice()),
        (&["plan", "--dt", LAST], &["made by an older program"]),
        (&["status"], &["dead", "key `fish` unreadable", "key `salt` unreadable"]),
    ] {
        let output = project.onggi(arguments);
        assert!(output.status.success(), "{arguments:?} {}", text(&output));
        for part in parts {
            assert!(text(&output).contains(part), "`{part}` is not in {arguments:?} {}", text(&output));
        }
    }
    let after = files(&project.folder.join("lake"));
    // What SQLite itself locks a database with while somebody reads it holds nothing of it.
    let is_lock =
        |path: &Path| path.to_str().is_some_and(|it| it.ends_with(".sqlite-shm") || it.ends_with(".sqlite-wal"));
    let all = before.keys().chain(after.keys()).filter(|it| !is_lock(it));
    let changed: BTreeSet<_> = all.filter(|it| before.get(*it) != after.get(*it)).collect();
    assert_eq!(changed, BTreeSet::new(), "looking changed something");
    // Its indexes answer as they are.
    let found = project.onggi(&["search", "--keyword", "south"]);
    assert!(found.status.success() && text(&found).contains("tea from the south"), "{}", text(&found));

    // The old format's own things are known as such, before anything is done.
    let told = text(&project.onggi(&["upkeep", "--keep-days", "1", "--dry-run"]));
    assert!(told.contains("plans of programs before this one"), "{told}");
}

/// Returns the rows of the old days, which nothing may change from then on.
fn the_killed_day_goes_on(project: &Project, site: &Played, rows: &Rows) -> [Vec<String>; 2] {
    // The last day again, in the middle of which the older program was killed. What it landed is not asked for again; what it
    // only left a reason for is, and what waits in its queue lands once.
    site.turn_to(LAST);
    run(project, LAST, 3);
    let landed: BTreeSet<String> = rows["raw.items"]
        .iter()
        .filter(|row| row["dt"] == LAST && !row["_payload"].is_null())
        .map(|row| format!("items?key={}", row["_key"].as_str().unwrap()))
        .collect();
    assert!(!landed.is_empty(), "the older program was meant to have landed something of the day");
    let of_day = names(&[
        "shelves?key=east",
        "items?key=soup",
        "items?key=rice",
        "items?key=tea",
        "items?key=salt",
        "items?key=fish",
    ]);
    assert_eq!(site.asked(), of_day.difference(&landed).cloned().collect());
    let ids = project
        .sql(&format!("select id, count(*) as n from raw.items where dt = '{LAST}' and id is not null group by id"));
    assert!(ids.len() >= 18 && ids.iter().all(|row| row["n"] == 1), "{ids:?}");
    let kept = of_old_days(project);
    for (table, kept) in ["raw.items", "raw.shelves"].iter().zip(&kept) {
        assert!(set(&rows[*table]).iter().all(|row| kept.contains(row)), "{table} lost rows");
        let before = |row: &&Value| row["dt"] != LAST;
        let now = project.sql(&format!("select * from {table} where dt < '{LAST}'"));
        assert_eq!(set(&now), set(&rows[*table].iter().filter(before).cloned().collect::<Vec<_>>()), "{table}");
    }

    kept
}

fn of_old_days(project: &Project) -> [Vec<String>; 2] {
    ["raw.items", "raw.shelves"].map(|table| set(&project.sql(&format!("select * from {table} where dt <= '{LAST}'"))))
}

fn the_next_day_is_done_once(project: &Project, site: &Played, kept: &[Vec<String>; 2]) {
    // The next day, on which the site is well: the weekly source's keys of three days ago are not due, the dead one is.
    site.turn_to(NEXT);
    run(project, NEXT, 0);
    let mut due: BTreeSet<String> =
        ["soup", "rice", "oil", "tea", "salt", "fish", "bread"].map(|shelf| format!("items?key={shelf}")).into();
    due.insert("shelves?key=east".to_owned());
    assert_eq!(site.asked(), due);
    assert_eq!(of_old_days(project), *kept);
    let second = run(project, NEXT, 0);
    for name in ["fetched", "landed", "set_aside", "built", "summarised", "embedded", "synced"] {
        assert_eq!(second[name], 0, "{name} in {second}");
    }
    assert_eq!(site.asked(), BTreeSet::new());
}

fn old_days_are_as_they_were_until_they_are_built_again(project: &Project, rows: &Rows) {
    // What was written now has whole milliseconds; what was not written again has the rows it had.
    for (table, column) in [("raw.items", "seen_at"), ("staging.items", "seen_at"), ("marts.daily", "last_seen")] {
        let fine = format!("arrow_cast(arrow_cast({column}, 'Timestamp(Microsecond, None)'), 'Int64') % 1000 <> 0");
        let count = |day: &str| project.number(&format!("select count(*) from {table} where dt = '{day}' and {fine}"));
        assert_eq!(count(NEXT), 0, "{table}");
        assert!(table == "staging.items" || count(UNTOUCHED) > 0, "{table}: old days were meant to have microseconds");
    }
    let daily = project.sql(&format!("select * from marts.daily where dt <= '{UNTOUCHED}'"));
    assert_eq!(set(&daily), set(&rows["marts.daily"]));

    // Days that an older program built are told, and built again when asked: the same rows, in whole milliseconds.
    let plan = text(&project.onggi(&["plan", "--dt", NEXT]));
    assert!(plan.contains("marts.daily") && plan.contains("made by an older program"), "{plan}");
    let stale = project.onggi(&["run", "--stale", "--json", "--quiet"]);
    assert!(stale.status.success(), "{}", text(&stale));
    let daily = project.sql(&format!("select * from marts.daily where dt <= '{UNTOUCHED}'"));
    assert_eq!(set(&cut(&daily)), set(&cut(&rows["marts.daily"])));
    assert_ne!(set(&daily), set(&rows["marts.daily"]), "they were built again");
    let plan = text(&project.onggi(&["plan", "--dt", NEXT]));
    assert!(!plan.contains("stale"), "{plan}");
}

fn nothing_of_the_old_format_is_left(project: &Project) {
    // Nothing of the old format is left lying about once it is old: its plans and what it had staged.
    let contents = project.sql("select * from marts.shelves order by shelf");
    let output = project.onggi(&["upkeep", "--keep-days", "1"]);
    assert!(output.status.success(), "{}", text(&output));
    let left: Vec<_> = ["plans", "staged", "dead"].map(|part| project.folder.join("lake/_onggi").join(part)).into();
    let left: Vec<_> =
        left.iter().filter(|folder| folder.exists()).flat_map(|folder| files(folder).into_keys()).collect();
    assert_eq!(left, Vec::<PathBuf>::new());
    let after = run(project, NEXT, 0);
    assert_eq!((&after["fetched"], &after["built"], &after["synced"]), (&0.into(), &0.into(), &0.into()), "{after}");
    assert_eq!(contents, project.sql("select * from marts.shelves order by shelf"));
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

/// The rows with all times cut to whole milliseconds.
fn cut(rows: &[Value]) -> Vec<Value> {
    let mut rows = rows.to_vec();
    for value in rows.iter_mut().flat_map(|row| row.as_object_mut().unwrap().values_mut()) {
        let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
        if let Some(time) = time {
            *value = jiff::Timestamp::from_millisecond(time.as_millisecond()).unwrap().to_string().into();
        }
    }
    rows
}
