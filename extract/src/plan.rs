//! From keys to tasks, and when a source is due.
//!
//! A plan is an object in the lake that is created only if absent: of two runs that plan the same day at once one wins,
//! and the other reads what the winner wrote. A later run of the day may come with keys that nobody planned – a place that
//! was found since – and they become a further plan; keys that are in a plan already stay where they are. So a key belongs
//! to one task of its day, for good, and the union of a day's plans is what has to be done on it.
//!
//! ```text
//! _onggi/plans/naver_reviews/2026-10-01/00001.json   the keys of the morning, 20 tasks
//! _onggi/plans/naver_reviews/2026-10-01/00002.json   three places that came with the noon run, 1 task
//! ```

use std::collections::BTreeSet;

use bytes::Bytes;
use catalog::{Date, Lake, PutNew, SourceName, failpoint, path};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::task::{Key, Task, split};

/// A plan as it lies in the lake.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Plan {
    tasks: Vec<Task>,
}

/// The tasks of a source's day: those that were planned before, and those for keys that are new.
pub async fn plan(
    lake: &Lake,
    source: &SourceName,
    dt: Date,
    keys: &[Key],
    keys_per_task: usize,
) -> Result<Vec<Task>, Error> {
    let mut tasks = Vec::new();
    let mut number = 1;
    loop {
        // Each turn of the loop reads one plan more, so losing a race against others ends when they have written theirs.
        while let Some(planned) = read(lake, source, dt, number).await? {
            tasks.extend(planned.tasks);
            number += 1;
        }
        let planned: BTreeSet<&str> = tasks.iter().flat_map(|task| &task.keys).map(|key| key.value.as_str()).collect();
        let new = keys.iter().filter(|key| !planned.contains(key.value.as_str())).cloned().collect();
        let plan = Plan { tasks: split(source, dt, new, keys_per_task) };
        if plan.tasks.is_empty() {
            return Ok(tasks);
        }
        let at = path::plan(source, dt, number);
        let body = serde_json::to_vec(&plan).map_err(|source| Error::Plan { path: at.to_string(), source })?;
        failpoint!("extract.plan.before");
        if lake.objects().put_new(&at, Bytes::from(body)).await? == PutNew::Created {
            failpoint!("extract.plan.after");
            tracing::info!(source = %source, %dt, plan = number, tasks = plan.tasks.len(), "planned");
            tasks.extend(plan.tasks);
            return Ok(tasks);
        }
    }
}

/// The tasks that are planned for a source's day so far. Nothing is planned by asking.
pub async fn planned(lake: &Lake, source: &SourceName, dt: Date) -> Result<Vec<Task>, Error> {
    let mut tasks = Vec::new();
    let mut number = 1;
    while let Some(plan) = read(lake, source, dt, number).await? {
        tasks.extend(plan.tasks);
        number += 1;
    }
    Ok(tasks)
}

async fn read(lake: &Lake, source: &SourceName, dt: Date, number: usize) -> Result<Option<Plan>, Error> {
    let at = path::plan(source, dt, number);
    match lake.objects().get(&at).await? {
        Some(body) => {
            let plan = serde_json::from_slice(&body).map_err(|source| Error::Plan { path: at.to_string(), source })?;
            Ok(Some(plan))
        }
        None => Ok(None),
    }
}

/// Whether a source is to be extracted for a day.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It is.
    Now,
    /// What it brought on an earlier day is still fresh.
    Fresh {
        /// The newest day it has, before the one asked for.
        newest: Date,
        /// From this day on it is due.
        next: Date,
    },
}

/// A source that runs every `every_days` is not due while the newest day it has is fewer days ago. A day that has data
/// already is due: its own tasks know what is left of it. Days after `dt` don't count, so that a backfill is free to fill.
pub fn due(every_days: i64, dt: Date, days_present: &[Date]) -> Due {
    let Some(newest) = days_present.iter().copied().filter(|day| *day <= dt).max() else {
        return Due::Now;
    };
    let age_days = (dt - newest).get_days();
    if newest == dt || i64::from(age_days) >= every_days {
        return Due::Now;
    }
    let next = newest.saturating_add(jiff::Span::new().days(every_days));
    Due::Fresh { newest, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> SourceName {
        "naver_reviews".parse().unwrap()
    }

    fn day(text: &str) -> Date {
        text.parse().unwrap()
    }

    fn keys(values: &[&str]) -> Vec<Key> {
        values.iter().copied().map(Key::new).collect()
    }

    async fn lake(name: &str) -> Lake {
        Lake::open(&format!("memory://plan-{name}"), "test").await.unwrap()
    }

    fn values(tasks: &[Task]) -> Vec<Vec<&str>> {
        tasks.iter().map(|task| task.keys.iter().map(|key| key.value.as_str()).collect()).collect()
    }

    #[tokio::test]
    async fn a_plan_is_made_once_and_read_ever_after() {
        let lake = lake("once").await;
        let dt = day("2026-10-01");
        let first = plan(&lake, &source(), dt, &keys(&["c", "a", "b"]), 2).await.unwrap();
        assert_eq!(values(&first), [vec!["a", "b"], vec!["c"]]);
        let again = plan(&lake, &source(), dt, &keys(&["b", "c", "a"]), 1).await.unwrap();
        assert_eq!(again, first, "another order or size changes nothing");
        let none = plan(&lake, &source(), dt, &[], 2).await.unwrap();
        assert_eq!(none, first, "what was planned stays to be done");
        assert_eq!(lake.objects().list(&path::plans(&source(), dt)).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn keys_that_come_later_are_a_further_plan() {
        let lake = lake("later").await;
        let dt = day("2026-10-01");
        plan(&lake, &source(), dt, &keys(&["a", "c"]), 2).await.unwrap();
        let tasks = plan(&lake, &source(), dt, &keys(&["a", "b", "c", "d"]), 2).await.unwrap();
        assert_eq!(values(&tasks), [vec!["a", "c"], vec!["b", "d"]]);
        assert_eq!(lake.objects().list(&path::plans(&source(), dt)).await.unwrap().len(), 2);
        let other_day = plan(&lake, &source(), day("2026-10-02"), &keys(&["a"]), 2).await.unwrap();
        assert_eq!(values(&other_day), [vec!["a"]]);
    }

    #[tokio::test]
    async fn no_keys_are_no_plan() {
        let lake = lake("none").await;
        assert!(plan(&lake, &source(), day("2026-10-01"), &[], 2).await.unwrap().is_empty());
        assert!(lake.objects().list(&path::plans(&source(), day("2026-10-01"))).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn of_runs_that_race_all_hold_the_same_tasks() {
        let lake = lake("race").await;
        let dt = day("2026-10-01");
        let runs = (0..8_usize).map(|n| {
            let mut keys = keys(&["a", "b", "c", "d", "e"]);
            keys.rotate_left(n % 5);
            let lake = lake.clone();
            async move { plan(&lake, &source(), dt, &keys, 1 + n % 3).await.unwrap() }
        });
        let planned = futures::future::join_all(runs).await;
        assert!(planned.iter().all(|tasks| *tasks == planned[0]));
        assert_eq!(planned[0].iter().map(|task| task.keys.len()).sum::<usize>(), 5, "each key is in one task");
    }

    #[tokio::test]
    async fn a_lost_plan_is_planned_again_to_the_same_ids() {
        let lake = lake("lost").await;
        let dt = day("2026-10-01");
        let first = plan(&lake, &source(), dt, &keys(&["a", "b", "c"]), 2).await.unwrap();
        lake.objects().delete_prefix(&path::plans(&source(), dt)).await.unwrap();
        assert_eq!(plan(&lake, &source(), dt, &keys(&["c", "b", "a"]), 2).await.unwrap(), first);
    }

    #[tokio::test]
    async fn a_plan_that_can_not_be_read_is_an_error_with_a_way_out() {
        let lake = lake("torn").await;
        let dt = day("2026-10-01");
        lake.objects().put(&path::plan(&source(), dt, 1), Bytes::from_static(b"{\"tasks\": [")).await.unwrap();
        let error = plan(&lake, &source(), dt, &keys(&["a"]), 2).await.unwrap_err();
        assert!(matches!(error, Error::Plan { .. }), "{error}");
        assert!(error.hint().unwrap().contains("00001.json"));
    }

    #[test]
    fn a_source_is_due_by_its_cadence() {
        let check = |every: i64, dt: &str, present: &[&str], expected: Option<(&str, &str)>| {
            let present: Vec<Date> = present.iter().map(|text| day(text)).collect();
            let expected =
                expected.map_or(Due::Now, |(newest, next)| Due::Fresh { newest: day(newest), next: day(next) });
            assert_eq!(due(every, day(dt), &present), expected, "every {every} days, {dt}, {present:?}");
        };
        check(7, "2026-10-08", &[], None);
        check(7, "2026-10-08", &["2026-10-01"], None);
        check(7, "2026-10-07", &["2026-10-01"], Some(("2026-10-01", "2026-10-08")));
        check(7, "2026-10-02", &["2026-10-01"], Some(("2026-10-01", "2026-10-08")));
        // A day that was begun is due until its tasks say that it is done.
        check(7, "2026-10-01", &["2026-10-01"], None);
        check(7, "2026-10-03", &["2026-10-01", "2026-10-03"], None);
        // Later days don't count: a backfill goes its own way.
        check(7, "2026-10-01", &["2026-10-05"], None);
        check(7, "2026-10-04", &["2026-10-02", "2026-10-05"], Some(("2026-10-02", "2026-10-09")));
        // Over the end of a month.
        check(7, "2026-11-02", &["2026-10-27"], Some(("2026-10-27", "2026-11-03")));
        check(7, "2026-11-03", &["2026-10-27"], None);
        check(1, "2026-10-02", &["2026-10-01"], None);
        check(1, "2026-10-01", &["2026-10-01"], None);
    }
}
