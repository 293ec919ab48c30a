//! What goes, what stays, and that nobody who reads or writes notices.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::*;
use crate::run::{self, Event, Process, RunLog, RunStatus};
use crate::table::tests::{DAY, NEXT, build, folder, info, name, rows, rows_in, rows_of, spec, task, write};
use crate::{Committed, Scope, Txn, TxnRule};

const DAY_OF_HOURS: Duration = Duration::from_hours(24);

/// A lake in a folder, whose files can be made old.
struct Aged {
    _dir: tempfile::TempDir,
    uri: String,
    lake: Lake,
}

impl Aged {
    async fn new() -> Self {
        let (dir, uri) = folder();
        let lake = Lake::open(&uri, "demo").await.unwrap();
        Self { _dir: dir, uri, lake }
    }

    fn files(&self) -> BTreeMap<PathBuf, u64> {
        let mut found = BTreeMap::new();
        let mut folders = vec![PathBuf::from(&self.uri)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let entry = entry.unwrap();
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else {
                    found.insert(
                        entry.path().strip_prefix(&self.uri).unwrap().to_owned(),
                        entry.metadata().unwrap().len(),
                    );
                }
            }
        }
        found
    }

    /// The time, as the disk has it.
    fn now(&self) -> std::time::SystemTime {
        let probe = Path::new(&self.uri).join("now");
        fs::write(&probe, "").unwrap();
        let now = fs::metadata(&probe).unwrap().modified().unwrap();
        fs::remove_file(probe).unwrap();
        now
    }

    /// Makes all files so many days old whose path holds `part`.
    fn age(&self, part: &str, days: u32) {
        let then = self.now() - DAY_OF_HOURS * days;
        for file in self.files().keys().filter(|file| file.to_str().unwrap().contains(part)) {
            File::options().write(true).open(Path::new(&self.uri).join(file)).unwrap().set_modified(then).unwrap();
        }
    }

    fn upkeep(&self) -> Upkeep {
        Upkeep::at(self.now().try_into().unwrap())
    }

    /// Says it, does it, and does it again: the counts of all kinds, and the files that went.
    async fn keep_up(&self, upkeep: &Upkeep) -> (Vec<(Leftover, u64)>, Vec<String>) {
        let before = self.files();
        let told = super::upkeep(&self.lake, &Upkeep { dry_run: true, ..upkeep.clone() }).await.unwrap();
        assert_eq!(self.files(), before, "a dry run changes nothing");
        let done = super::upkeep(&self.lake, upkeep).await.unwrap();
        assert_eq!((&done.left_alone, &told.left_alone), (&Vec::new(), &Vec::new()));
        assert_eq!(done.freed, told.freed, "what is told is what is done");
        let after = self.files();
        let gone: BTreeMap<_, _> = before.into_iter().filter(|(file, _)| !after.contains_key(file)).collect();
        assert_eq!(done.freed.iter().map(|it| it.bytes).sum::<u64>(), gone.values().sum::<u64>());
        assert_eq!(done.freed.iter().map(|it| it.objects).sum::<u64>(), gone.len() as u64);
        assert_eq!(super::upkeep(&self.lake, upkeep).await.unwrap().freed, [], "nothing is left to do");
        let gone = gone.keys().map(|file| file.to_str().unwrap().to_owned()).collect();
        (done.freed.into_iter().map(|it| (it.kind, it.objects)).collect(), gone)
    }
}

#[tokio::test]
async fn files_go_that_no_version_within_the_time_names() {
    let aged = Aged::new().await;
    let table = aged.lake.create(&spec("marts.t", true)).await.unwrap();
    let replace = async |n: i64, day| {
        let txn = Txn { app_id: format!("build/{day}"), ..build(n) };
        let done =
            write(&table, vec![rows(&[n], Some(day))]).await.replace(Scope::Day(day), txn, &info()).await.unwrap();
        assert!(matches!(done, Committed::Done(_)), "{done:?}");
    };
    for n in 1..=4 {
        replace(n, DAY).await;
    }
    replace(10, NEXT).await;
    write(&table, vec![rows(&[90], Some(DAY))]).await.files();
    aged.age("", 8);
    // Within the time: one more build of the first day, and files that are not committed yet.
    replace(5, DAY).await;
    let under_way = write(&table, vec![rows(&[6], Some(DAY))]).await;
    let reader = table.snapshot_at(5).await.unwrap();
    let (freed, gone) = aged.keep_up(&aged.upkeep()).await;
    assert_eq!(freed, [(Leftover::DataFiles, 4)], "three replaced builds and one that was never committed");
    assert!(gone.iter().all(|file| file.starts_with("marts/t/dt=2026-10-01/part-")), "{gone:?}");
    assert_eq!(rows_of(&aged.lake, "marts.t", &["id"]).await, ["r10", "r5"]);
    assert_eq!(rows_in(&reader, &["id"]).await, ["r10", "r4"], "it was the newest within the time");
    assert_eq!(under_way.replace(Scope::Day(DAY), build(6), &info()).await.unwrap(), Committed::Done(7));
    let fresh = Lake::open(&aged.uri, "demo").await.unwrap();
    assert_eq!(rows_of(&fresh, "marts.t", &["id"]).await, ["r10", "r6"]);
}

#[tokio::test]
async fn files_that_readers_need_and_that_are_gone_or_cut_are_told() {
    let aged = Aged::new().await;
    let table = aged.lake.create(&spec("marts.t", true)).await.unwrap();
    for (n, day) in [(1, DAY), (2, NEXT)] {
        let txn = Txn { app_id: format!("build/{day}"), ..build(n) };
        let _ = write(&table, vec![rows(&[n], Some(day))]).await.replace(Scope::Day(day), txn, &info()).await.unwrap();
    }
    assert_eq!(upkeep(&aged.lake, &aged.upkeep()).await.unwrap().damaged, Vec::<String>::new());
    let files: Vec<PathBuf> =
        aged.files().into_keys().filter(|file| file.extension().is_some_and(|it| it == "parquet")).collect();
    let at = |file: &PathBuf| Path::new(&aged.uri).join(file);
    let size = fs::metadata(at(&files[0])).unwrap().len();
    File::options().write(true).open(at(&files[0])).unwrap().set_len(100).unwrap();
    fs::remove_file(at(&files[1])).unwrap();
    for dry_run in [true, false] {
        let mut damaged = upkeep(&aged.lake, &Upkeep { dry_run, ..aged.upkeep() }).await.unwrap().damaged;
        damaged.sort();
        let expected = [
            format!("marts.t: `{}` has 100 bytes and was written with {size}", files[0].display()),
            format!("marts.t: `{}` is not there", files[1].display()),
        ];
        assert_eq!(damaged, expected);
        // Whoever runs next is told again; who only looked changes nothing of when that is.
        assert_eq!(is_due(&aged.lake, aged.upkeep().now).await.unwrap(), !dry_run);
    }
}

#[tokio::test]
async fn who_may_not_write_can_look() {
    let aged = Aged::new().await;
    let _ = aged.lake.create(&spec("marts.t", true)).await.unwrap();
    // Nothing can be written below what is a file.
    let folder = Path::new(&aged.uri).join("_onggi/state/upkeep");
    fs::create_dir_all(folder.parent().unwrap()).unwrap();
    fs::write(&folder, "").unwrap();
    let report = upkeep(&aged.lake, &Upkeep { dry_run: true, ..aged.upkeep() }).await.unwrap();
    assert_eq!(report.damaged, Vec::<String>::new());
    assert!(upkeep(&aged.lake, &aged.upkeep()).await.is_err());
}

#[tokio::test]
async fn nothing_young_goes_whatever_is_asked_and_whatever_clock_is_ahead() {
    let aged = Aged::new().await;
    let table = aged.lake.create(&spec("marts.t", false)).await.unwrap();
    for n in 1..=3 {
        let _ = write(&table, vec![rows(&[n], None)]).await.replace(Scope::All, build(n), &info()).await.unwrap();
    }
    write(&table, vec![rows(&[9], None)]).await.files();
    fs::write(Path::new(&aged.uri).join("marts/t/part-0.parquet#17"), "cut").unwrap();
    let at_once = Upkeep { keep: Duration::ZERO, keep_log: Duration::ZERO, ..aged.upkeep() };
    assert_eq!(aged.keep_up(&at_once).await.0, []);
    let ahead = Upkeep { now: at_once.now + 400 * DAY_OF_HOURS, ..at_once.clone() };
    assert_eq!(upkeep(&aged.lake, &ahead).await.unwrap().freed, []);
    aged.age("", 2);
    let (freed, _) = aged.keep_up(&at_once).await;
    assert_eq!(freed, [(Leftover::DataFiles, 3), (Leftover::TemporaryFiles, 1)]);
    assert_eq!(rows_of(&aged.lake, "marts.t", &["id"]).await, ["r3"]);
}

#[tokio::test]
async fn what_is_not_ours_in_a_tables_folder_stays() {
    let aged = Aged::new().await;
    aged.lake.create(&spec("raw.t", true)).await.unwrap();
    let place = Path::new(&aged.uri).join("raw/t");
    for file in ["backup.parquet", "part-1.csv", "_other/part-1.parquet", "notes.txt", "dt=2026-10-01/x.parquet"] {
        fs::create_dir_all(place.join(file).parent().unwrap()).unwrap();
        fs::write(place.join(file), "theirs").unwrap();
    }
    fs::write(place.join("part-1.parquet"), "an orphan").unwrap();
    aged.age("", 400);
    let (freed, gone) = aged.keep_up(&aged.upkeep()).await;
    assert_eq!((freed, gone), (vec![(Leftover::DataFiles, 1)], vec!["raw/t/part-1.parquet".to_owned()]));
}

/// A table of 25 commits, with checkpoints in its log.
async fn long() -> Aged {
    let aged = Aged::new().await;
    let table = aged.lake.create(&spec("raw.t", true)).await.unwrap();
    for n in 1..=24 {
        let done = table.append(vec![rows(&[n], Some(DAY))], task(&n.to_string(), 1), &info()).await.unwrap();
        assert_eq!(done, Committed::Done(n.unsigned_abs()));
    }
    aged
}

fn checkpoints(aged: &Aged) -> Vec<String> {
    let files = aged.files().into_keys().map(|file| file.to_str().unwrap().to_owned());
    files.filter(|file| file.ends_with(".checkpoint.parquet")).collect()
}

/// How the log is aged, and the first commit that stays.
#[tokio::test]
async fn a_log_is_kept_from_a_whole_checkpoint_on_that_all_versions_within_the_time_lie_behind() {
    type Aging = fn(&Aged);
    let all: Aging = |aged| aged.age("_delta_log", 31);
    let young_from_15: Aging = |aged| {
        aged.age("_delta_log", 31);
        (15..=24).for_each(|n| aged.age(&format!("{n:020}.json"), 1));
    };
    let damaged: Aging = |aged| {
        let newest = checkpoints(aged).pop().unwrap();
        let file = File::options().write(true).open(Path::new(&aged.uri).join(&newest)).unwrap();
        file.set_len(file.metadata().unwrap().len() - 40).unwrap();
        // Its newest entries stay what they were: who knows the log goes on from there, and does not read the damaged file.
        let entry = |n: u32| Path::new(&aged.uri).join(format!("raw/t/_delta_log/{n:020}.json"));
        let written: Vec<_> = (10..=24).map(|n| entry(n).metadata().unwrap().modified().unwrap()).collect();
        aged.age("_delta_log", 31);
        for (n, then) in (10..=24).zip(written) {
            File::options().write(true).open(entry(n)).unwrap().set_modified(then).unwrap();
        }
    };
    let young: Aging = |aged| aged.age("_delta_log", 29);
    for (aging, first, is_damaged) in
        [(all, 1, false), (young_from_15, 0, false), (damaged, 0, true), (young, usize::MAX, false)]
    {
        let aged = long().await;
        let found = checkpoints(&aged);
        assert_eq!(found.len(), 2, "{found:?}");
        let version = |file: &str| file.rsplit('/').next().unwrap()[..20].parse::<u64>().unwrap();
        let kept_from = found.get(first).map_or(0, |file| version(file));
        aging(&aged);
        let (freed, gone) = aged.keep_up(&aged.upkeep()).await;
        let commits = gone.iter().filter(|file| file.strip_suffix(".json").is_some()).count() as u64;
        assert_eq!(commits, kept_from, "{freed:?} {gone:?}");
        assert!(gone.iter().all(|file| file.contains("/_delta_log/") && version(file) < kept_from), "{gone:?}");
        if is_damaged {
            fs::remove_file(Path::new(&aged.uri).join(&found[1])).unwrap();
            fs::remove_file(Path::new(&aged.uri).join("raw/t/_delta_log/_last_checkpoint")).unwrap();
        }
        // Who comes fresh reads all of it, knows what is in it, and goes on.
        let fresh = Lake::open(&aged.uri, "demo").await.unwrap();
        assert_eq!(rows_of(&fresh, "raw.t", &["id"]).await.len(), 24);
        let table = fresh.table(&name("raw.t")).await.unwrap();
        for n in [1, 12, 24] {
            let again = table.append(vec![rows(&[n], Some(DAY))], task(&n.to_string(), 1), &info()).await.unwrap();
            assert_eq!(again, Committed::Duplicate(24), "{n}");
        }
        let done = table.append(vec![rows(&[25], Some(DAY))], task("25", 1), &info()).await.unwrap();
        assert_eq!(done, Committed::Done(25));
    }
}

#[tokio::test]
async fn what_is_left_of_tasks_goes_when_they_have_landed() {
    let aged = Aged::new().await;
    let source: SourceName = "s".parse().unwrap();
    let objects = aged.lake.objects();
    for task in ["landed", "waiting", "worked-on"] {
        for key in ["a", "b"] {
            objects.put(&path::staged(&source, DAY, task, key), "x".into()).await.unwrap();
        }
        objects.put(&path::dead(&source, DAY, task), "x".into()).await.unwrap();
    }
    objects.put(&path::sent(&source, DAY), "x".into()).await.unwrap();
    objects.put(&path::worker("gone"), "x".into()).await.unwrap();
    let plans = Path::new(&aged.uri).join(path::old_plans().as_str()).join("s/2026-10-01");
    fs::create_dir_all(&plans).unwrap();
    fs::write(plans.join("00000.json"), "{}").unwrap();
    aged.age("_onggi", 16);
    fs::write(plans.join("00001.json"), "{}").unwrap();
    objects.put(&path::staged(&source, DAY, "worked-on", "b"), "y".into()).await.unwrap();
    objects.put(&path::sent(&source, NEXT), "x".into()).await.unwrap();
    objects.put(&path::worker("alive"), "x".into()).await.unwrap();
    let mut upkeep = aged.upkeep();
    let old = old_task_objects(&aged.lake, &upkeep).await.unwrap();
    assert_eq!(old.iter().filter(|it| it.kind == TaskObjectKind::Staged).count(), 5, "one is somebody's work");
    assert!(old.iter().all(|it| it.source == source && it.dt == DAY));
    // Whoever says that something young has landed is not believed.
    let landed = |it: &ObjectPath| it.as_str().contains("/landed");
    upkeep.landed = old.into_iter().map(|it| it.path).filter(landed).collect();
    upkeep.landed.insert(path::staged(&source, DAY, "worked-on", "b"));
    let (freed, gone) = aged.keep_up(&upkeep).await;
    let expected = [
        (Leftover::StagedObjects, 2),
        (Leftover::OldPlans, 1),
        (Leftover::SentLists, 1),
        (Leftover::DeadLetters, 1),
        (Leftover::WorkerSigns, 1),
    ];
    assert_eq!(freed, expected, "{gone:?}");
    let stays = ["waiting", "worked-on", "alive", "00001"];
    assert!(!gone.iter().any(|file| stays.iter().any(|part| file.contains(part))), "{gone:?}");
}

#[tokio::test]
async fn stories_of_runs_go_when_they_are_in_the_table() {
    let aged = Aged::new().await;
    let at = |n: i64| Timestamp::from_second(1_790_000_000 + n).unwrap();
    let mut ids = Vec::new();
    for n in 0..=i64::try_from(RUNS_KEPT).unwrap() + 3 {
        let process = if n == 1 { Process { pid: 0, ..Process::current() } } else { Process::current() };
        let id = crate::RunId::at(at(n));
        let log = RunLog::start(&aged.lake, id.clone(), DAY, process, at(n)).await.unwrap();
        log.write_heartbeat(at(n)).await.unwrap();
        // The second died, the third goes on, the first was never recorded.
        if n != 1 && n != 2 {
            log.event(Event::Ended { status: RunStatus::Done, totals: BTreeMap::new(), error: None }, at(n))
                .await
                .unwrap();
        }
        if n > 2 {
            run::record(&aged.lake, &log.told().unwrap()).await.unwrap();
        }
        ids.push(id);
    }
    aged.age("_onggi", 8);
    // Killed half-way: the first event of a run is gone already.
    aged.lake.objects().delete(&path::run_event(&ids[3], 0)).await.unwrap();
    let before = upkeep(&aged.lake, &aged.upkeep()).await.unwrap();
    assert_eq!(before.freed.iter().map(|it| (it.kind, it.objects)).collect::<Vec<_>>(), [(Leftover::RunEvents, 7)]);
    let left = aged.lake.objects().list(&path::runs()).await.unwrap();
    let left: BTreeSet<_> = left.iter().map(|at| at.as_str().split('/').nth(2).unwrap().to_owned()).collect();
    assert_eq!(left.len(), RUNS_KEPT + 1);
    assert!(left.contains(ids[2].as_str()), "it goes on");
    assert!([0, 1, 3].iter().all(|n| !left.contains(ids[*n].as_str())), "{left:?}");
    let runs = rows_of(&aged.lake, "ops.runs", &["run", "status"]).await;
    assert_eq!(runs.len(), ids.len() - 1, "each of the others once, also those that nobody had recorded");
    assert!(runs.contains(&format!("{}|dead", ids[1])) && runs.contains(&format!("{}|done", ids[0])));
    assert_eq!(upkeep(&aged.lake, &aged.upkeep()).await.unwrap().freed, []);
    let empty = Path::new(&aged.uri).join("_onggi/runs").join(ids[0].as_str());
    assert!(empty.is_dir(), "a folder that something was just taken from may be in use");
    let tomorrow = Upkeep { dry_run: true, now: aged.upkeep().now + 2 * DAY_OF_HOURS, ..aged.upkeep() };
    temporary::sweep_run_folders(&aged.lake, &tomorrow).await;
    assert!(!empty.exists());
}

#[tokio::test]
async fn records_of_builds_go_that_are_not_the_last_one() {
    let aged = Aged::new().await;
    let table = aged.lake.create(&spec("marts.t", true)).await.unwrap();
    let txn = |n| Txn { app_id: format!("build/marts.t/{DAY}"), ..build(n) };
    let _ = write(&table, vec![rows(&[1], Some(DAY))]).await.replace(Scope::Day(DAY), txn(-7), &info()).await.unwrap();
    let record = |model: &str, day: &str, print: i64| path::state("builds", &format!("{model}~{day}~{print:016x}"));
    let kept =
        [record("marts.t", "2026-10-01", -7), record("marts.t", "2026-10-02", 3), path::state("builds", "other")];
    let gone = [record("marts.t", "2026-10-01", 7), record("marts.removed", "-", 7)];
    for at in kept.iter().chain(&gone) {
        aged.lake.objects().put(at, "{}".into()).await.unwrap();
    }
    aged.age("_onggi", 2);
    let (freed, files) = aged.keep_up(&aged.upkeep()).await;
    assert_eq!(freed, [(Leftover::BuildRecords, 2)], "{files:?}");
    assert_eq!(aged.lake.objects().list(&path::states("builds")).await.unwrap().len(), kept.len());
}

#[tokio::test]
async fn a_run_does_it_once_a_day() {
    let lake = Lake::open("memory://upkeep-due", "demo").await.unwrap();
    let now = Timestamp::from_second(1_790_000_000).unwrap();
    assert!(is_due(&lake, now).await.unwrap(), "never done");
    upkeep(&lake, &Upkeep::at(now)).await.unwrap();
    for (later, due) in [(Duration::ZERO, false), (EVERY, false), (EVERY + Duration::from_secs(1), true)] {
        assert_eq!(is_due(&lake, now + later).await.unwrap(), due, "{later:?}");
    }
    assert!(is_due(&lake, now - Duration::from_secs(1)).await.unwrap(), "a clock that was ahead does not put it off");
    upkeep(&lake, &Upkeep { dry_run: true, ..Upkeep::at(now + 2 * EVERY) }).await.unwrap();
    assert!(is_due(&lake, now + 2 * EVERY).await.unwrap(), "to say what would go is not to do it");
}

#[tokio::test]
async fn a_table_that_cannot_be_read_keeps_nothing_of_the_others() {
    let aged = Aged::new().await;
    for table in ["raw.broken", "raw.whole"] {
        let table = aged.lake.create(&spec(table, true)).await.unwrap();
        write(&table, vec![rows(&[1], Some(DAY))]).await.files();
    }
    fs::write(Path::new(&aged.uri).join("raw/broken/_delta_log/00000000000000000000.json"), "{").unwrap();
    aged.age("", 8);
    let lake = Lake::open(&aged.uri, "demo").await.unwrap();
    let done = upkeep(&lake, &aged.upkeep()).await.unwrap();
    assert_eq!(done.freed.iter().map(|it| (it.kind, it.objects)).collect::<Vec<_>>(), [(Leftover::DataFiles, 1)]);
    assert!(done.left_alone.len() == 1 && done.left_alone[0].starts_with("raw.broken: "), "{:?}", done.left_alone);
}

#[tokio::test]
async fn unreadable_answers_go_day_by_day_when_their_time_is_over() {
    let aged = Aged::new().await;
    let name = unreadable_table().unwrap();
    let table = aged.lake.create(&spec(name.to_string().as_str(), true)).await.unwrap();
    let now: Timestamp = aged.now().try_into().unwrap();
    let today = now.to_zoned(jiff::tz::TimeZone::UTC).date();
    let day = |ago: i64| today.saturating_sub(jiff::Span::new().days(ago));
    for ago in [0, 7, 8, 9, 30] {
        let txn = Txn { app_id: format!("unreadable/{ago}"), version: 1, rule: TxnRule::AtLeast };
        let done = table.append(vec![rows(&[ago], Some(day(ago)))], txn, &info()).await.unwrap();
        assert!(matches!(done, Committed::Done(_)), "{done:?}");
    }
    let upkeep = aged.upkeep();
    let told = super::upkeep(&aged.lake, &Upkeep { dry_run: true, ..upkeep.clone() }).await.unwrap();
    assert_eq!(table.snapshot().await.unwrap().row_count().unwrap(), 5, "a dry run changes nothing");
    let done = super::upkeep(&aged.lake, &upkeep).await.unwrap();
    assert_eq!(done.freed, told.freed, "what is told is what is done");
    let of_bodies = Freed { kind: Leftover::UnreadableBodies, objects: 2, bytes: 0 };
    assert_eq!((done.freed, done.left_alone), (vec![of_bodies], Vec::new()));
    let days = table.snapshot().await.unwrap().days().await.unwrap();
    assert_eq!(days, [day(8), day(7), day(0)], "a day more, for zones that are ahead or behind");
    assert_eq!(super::upkeep(&aged.lake, &upkeep).await.unwrap().freed, [], "nothing is left to do");
    // Their files go with the other data files, when no version within the time names them.
    aged.age("", 8);
    let (freed, gone) = aged.keep_up(&aged.upkeep()).await;
    assert_eq!(freed.first(), Some(&(Leftover::DataFiles, 2)), "{freed:?}");
    assert!(gone.iter().any(|file| file.contains(&format!("dt={}", day(30)))), "{gone:?}");
    // Who asks for longer keeps longer.
    let longer = Upkeep { keep: DAY_OF_HOURS * 60, ..aged.upkeep() };
    assert_eq!(super::upkeep(&aged.lake, &longer).await.unwrap().freed, []);
}

/// The clock of the store, by which files are as old as they are, may stand elsewhere than ours.
#[tokio::test]
async fn what_is_told_and_what_is_done_go_by_one_clock() {
    for ahead in [0, 30, -30] {
        let aged = Aged::new().await;
        let table = aged.lake.create(&spec("raw.t", true)).await.unwrap();
        write(&table, vec![rows(&[1], Some(DAY))]).await.files();
        aged.age("raw", 20);
        let now = aged.upkeep().now + SignedDuration::from_hours(24 * ahead);
        let upkeep = Upkeep { now, ..aged.upkeep() };
        let told = super::upkeep(&aged.lake, &Upkeep { dry_run: true, ..upkeep.clone() }).await.unwrap();
        let done = super::upkeep(&aged.lake, &upkeep).await.unwrap();
        assert_eq!(told.freed, done.freed, "{ahead} days ahead");
    }
    // Of files that are young by the store's clock nothing goes, however late it is by ours.
    let aged = Aged::new().await;
    let table = aged.lake.create(&spec("raw.t", true)).await.unwrap();
    write(&table, vec![rows(&[1], Some(DAY))]).await.files();
    let late = Upkeep { now: aged.upkeep().now + 30 * DAY_OF_HOURS, dry_run: true, ..aged.upkeep() };
    assert_eq!(upkeep(&aged.lake, &late).await.unwrap().freed, []);
}
