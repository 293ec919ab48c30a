//! Rows that are no longer in a raw table: each run, plan and list says so, of whatever day they were.

use std::path::Path;

use catalog::Date;
use extract::ledger::{Ledger, lost_with_table};
use extract::outcome::Outcome;
use extract::worker::due;

use super::bench::*;
use super::copy_folder;

fn day(after: i64) -> Date {
    DT.saturating_add(jiff::Span::new().days(after))
}

/// The days and keys that are listed as lost.
async fn listed(bench: &Bench) -> Vec<(Date, String)> {
    let lost = match bench.lake.find(bench.source.table()).await.unwrap() {
        Some(table) => Ledger::open(&bench.lake, &bench.source, table, Date::MIN).await.unwrap().unfinished(Date::MAX),
        None => lost_with_table(&bench.lake, bench.source.name()).await.unwrap(),
    };
    assert!(lost.iter().all(|last| last.outcome == Outcome::Lost), "{lost:?}");
    lost.into_iter().map(|last| (last.dt, last.key)).collect()
}

/// What is done to the table's folder after three days, and the keys of which days are lost then.
type Accident = (&'static str, fn(&Path), &'static [(i64, &'static str)]);

const ALL: &[(i64, &str)] = &[(0, "a"), (0, "b"), (1, "a"), (1, "b")];

#[tokio::test]
async fn rows_of_earlier_days_that_are_gone_are_told_once_and_listed_until_they_are_back() {
    let accidents: [Accident; 4] = [
        ("nothing happened", |_| (), &[]),
        ("the folder was removed", |lake| std::fs::remove_dir_all(lake.join("raw/notes")).unwrap(), ALL),
        ("a copy of the first day was put back", |lake| put_back(lake, "copy-0"), &[(1, "a"), (1, "b")]),
        ("a copy of the second day was put back", |lake| put_back(lake, "copy-1"), &[]),
    ];
    for (what, accident, expected) in accidents {
        let folder = tempfile::tempdir().unwrap();
        let mut bench = Bench::new("lost").await.in_folder(folder.path()).await;
        for after in 0..3 {
            bench.extract_on(day(after), &["a", "b"]).await.unwrap();
            copy_folder(&folder.path().join("raw/notes"), &folder.path().join(format!("copy-{after}")));
        }
        accident(folder.path());
        bench = bench.in_folder(folder.path()).await;
        let expected: Vec<(Date, String)> =
            expected.iter().map(|(after, key)| (day(*after), (*key).to_owned())).collect();
        let of_past: Vec<_> = listed(&bench).await.into_iter().filter(|(dt, _)| *dt < day(2)).collect();
        assert_eq!(of_past, expected, "{what}: before a run");
        let planned = due(&bench.lake, &bench.source, day(2), &keys(&["a", "b"])).await.unwrap();
        assert_eq!(planned.lost.values().sum::<u64>(), expected.len() as u64, "{what}: {planned:?}");
        // The run of the day has its own rows again, and says what it can't have.
        let run = bench.extract_on(day(2), &["a", "b"]).await.unwrap();
        assert_eq!(run.is_partial(), !expected.is_empty(), "{what}: {run:?}");
        assert_eq!(run.without_rows.values().sum::<u64>(), expected.len() as u64, "{what}");
        assert!(run.open.is_empty(), "{what}: {run:?}");
        assert_eq!(listed(&bench).await, expected, "{what}: after a run");
        // The next one has nothing new to say, and what is lost stays on the list, with the house gone too.
        std::fs::remove_dir_all(folder.path().join("_onggi")).unwrap();
        bench = bench.in_folder(folder.path()).await;
        let again = bench.extract_on(day(2), &["a", "b"]).await.unwrap();
        assert_eq!((again.fetched, again.is_partial()), (0, false), "{what}: {again:?}");
        assert_eq!(listed(&bench).await, expected, "{what}: after another run");
        // A day that is had again is not lost any more.
        for after in 0..2 {
            bench.extract_on(day(after), &["a", "b"]).await.unwrap();
        }
        assert_eq!(listed(&bench).await, [], "{what}: after runs of those days");
        assert_eq!(bench.rows().await.len(), 12, "{what}: each day's rows once");
    }
}

fn put_back(lake: &Path, copy: &str) {
    std::fs::remove_dir_all(lake.join("raw/notes")).unwrap();
    copy_folder(&lake.join(copy), &lake.join("raw/notes"));
}

#[tokio::test]
async fn what_a_weekly_source_lost_is_asked_for_on_the_next_day() {
    let folder = tempfile::tempdir().unwrap();
    let bench = Bench::new("lost-week").await.weekly().in_folder(folder.path()).await;
    bench.extract_on(day(0), &["a", "b"]).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("raw/notes")).unwrap();
    let bench = bench.in_folder(folder.path()).await;
    let next = bench.extract_on(day(2), &["a", "b"]).await.unwrap();
    assert_eq!((next.landed, next.without_rows.len()), (4, 1), "{next:?}");
}
