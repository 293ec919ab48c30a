//! Events told, folded and recorded.

use super::*;
use crate::table::tests::rows_of;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_790_000_000 + second).unwrap()
}

fn plan(id: &str, kind: StepKind) -> StepPlan {
    StepPlan { id: id.into(), kind, name: id.into(), why: Some("never built".into()) }
}

fn end(status: StepStatus) -> StepEnd {
    StepEnd { status, error: None, hint: None, counts: BTreeMap::from([("fetched".into(), 3)]), why: None }
}

async fn told(lake: &Lake, run: &str, process: Process) -> RunLog {
    let log = RunLog::start(lake, run.parse().unwrap(), Date::constant(2026, 10, 1), process, at(0)).await.unwrap();
    let steps = vec![plan("extract:a", StepKind::Extract), plan("build:b", StepKind::Build)];
    log.event(Event::Planned { steps }, at(1)).await.unwrap();
    log.event(Event::StepStarted { id: "extract:a".into() }, at(2)).await.unwrap();
    let progress = |done| Event::Progress { id: "extract:a".into(), done, total: Some(9), unit: "reviews".into() };
    log.event(progress(4), at(3)).await.unwrap();
    log.event(progress(9), at(4)).await.unwrap();
    log
}

async fn ended(lake: &Lake, run: &str) -> RunState {
    let log = told(lake, run, Process::current()).await;
    log.event(Event::StepEnded { id: "extract:a".into(), end: end(StepStatus::Done) }, at(5)).await.unwrap();
    let failed = StepEnd { error: Some("boom".into()), why: Some("sql changed".into()), ..end(StepStatus::Failed) };
    log.event(Event::StepEnded { id: "build:b".into(), end: failed }, at(6)).await.unwrap();
    let totals = BTreeMap::from([("fetched".into(), 3)]);
    log.event(Event::Ended { status: RunStatus::Failed, totals, error: None }, at(7)).await.unwrap();
    let state = log.state(at(9)).await.unwrap();
    assert_eq!(log.told(), state, "who told it knows it as well as who reads it");
    state.unwrap()
}

#[tokio::test]
async fn a_run_is_the_fold_of_its_events() {
    let lake = Lake::open("memory://run-fold", "demo").await.unwrap();
    let state = told(&lake, "r1", Process::current()).await.state(at(9)).await.unwrap().unwrap();
    assert_eq!(state.status, RunStatus::Running);
    let step = &state.steps[0];
    assert_eq!((step.status, step.done, step.total), (StepStatus::Running, 9, Some(9)));
    assert_eq!((step.unit.as_deref(), step.started_at), (Some("reviews"), Some(at(2))));
    assert_eq!(state.steps[1].status, StepStatus::Waiting);

    let state = ended(&lake, "r2").await;
    assert_eq!((state.status, state.ended_at), (RunStatus::Failed, Some(at(7))));
    assert_eq!(state.steps[1].why.as_deref(), Some("sql changed"));
    assert_eq!(state.steps[0].why.as_deref(), Some("never built"));
    assert_eq!(state.totals["fetched"], 3);

    let recent_runs: Vec<_> = recent(&lake, 9, at(9)).await.unwrap().into_iter().map(|s| s.run.to_string()).collect();
    assert_eq!(recent_runs, ["r2", "r1"]);
    assert_eq!(recent(&lake, 1, at(9)).await.unwrap().len(), 1);
    assert_eq!(read(&lake, &"none".parse().unwrap(), at(9)).await.unwrap(), None);
}

/// Who runs it, how it is seen soon after it was heard, and how after a silence.
#[tokio::test]
async fn a_run_is_dead_when_it_is_gone_or_out_of_sight_and_silent() {
    let me = Process::current();
    let soon = at(5);
    let late = at(5) + DEAD_AFTER;
    for (n, (process, seen)) in [
        (me.clone(), [RunStatus::Running, RunStatus::Running]),
        (Process { pid: 0, ..me.clone() }, [RunStatus::Dead, RunStatus::Dead]),
        (Process { host: "elsewhere".into(), ..me.clone() }, [RunStatus::Running, RunStatus::Dead]),
        (Process { boot: "another".into(), ..me.clone() }, [RunStatus::Running, RunStatus::Dead]),
        (Process { space: "pid:[7]".into(), pid: 1, ..me }, [RunStatus::Running, RunStatus::Dead]),
    ]
    .into_iter()
    .enumerate()
    {
        let lake = Lake::open(&format!("memory://run-dead-{n}"), "demo").await.unwrap();
        let log = told(&lake, "r1", process.clone()).await;
        let status = async |now| log.state(now).await.unwrap().unwrap().status;
        assert_eq!([status(soon).await, status(late).await], seen, "{process:?}");
        log.write_heartbeat(late).await.unwrap();
        assert_eq!(status(late).await, seen[0], "it was heard again: {process:?}");
        log.event(Event::Ended { status: RunStatus::Done, totals: BTreeMap::new(), error: None }, at(9)).await.unwrap();
        assert_eq!(status(late + DEAD_AFTER * 2).await, RunStatus::Done, "an end is an end: {process:?}");
    }
}

#[tokio::test]
async fn three_runs_of_one_second_and_one_process_id_are_three_runs() {
    let lake = Lake::open("memory://run-containers", "demo").await.unwrap();
    let container = |n: u32| Process { pid: 1, space: format!("pid:[{n}]"), ..Process::current() };
    for n in 0..3 {
        let dt = Date::constant(2026, 10, 1);
        let log = RunLog::start(&lake, RunId::at(at(0)), dt, container(n), at(0)).await.unwrap();
        let totals = BTreeMap::from([("fetched".into(), i64::from(n))]);
        log.event(Event::Ended { status: RunStatus::Done, totals, error: None }, at(1)).await.unwrap();
        record(&lake, &log.told().unwrap()).await.unwrap();
    }
    assert_eq!(recent(&lake, 9, at(2)).await.unwrap().len(), 3);
    assert_eq!(rows_of(&lake, "ops.runs", &["fetched"]).await, ["0", "1", "2"]);
}

#[tokio::test]
async fn progress_takes_one_object_however_long_it_goes_on() {
    let lake = Lake::open("memory://run-progress", "demo").await.unwrap();
    let log = told(&lake, "r1", Process::current()).await;
    let before = lake.objects().list(&path::run(log.run())).await.unwrap().len();
    for done in 10..100 {
        let progress = Event::Progress { id: "extract:a".into(), done, total: None, unit: "reviews".into() };
        log.event(progress, at(5)).await.unwrap();
    }
    assert_eq!(lake.objects().list(&path::run(log.run())).await.unwrap().len(), before);
    assert_eq!(log.state(at(9)).await.unwrap().unwrap().steps[0].done, 99);
}

#[tokio::test]
async fn the_story_of_an_older_program_is_read() {
    let lake = Lake::open("memory://run-older", "demo").await.unwrap();
    let log = told(&lake, "20261001T030000Z-00004d", Process::current()).await;
    lake.objects().delete(&path::run_heartbeat(log.run())).await.unwrap();
    let progress = r#"{"at":"2026-10-01T03:00:00Z","event":"progress","id":"extract:a","done":7,"total":9,"unit":"x"}"#;
    lake.objects().put(&path::run_event(log.run(), 3), progress.into()).await.unwrap();
    assert_eq!(log.state(at(9)).await.unwrap().unwrap().steps[0].done, 7);
}

#[tokio::test]
async fn what_was_cut_short_is_as_if_not_told() {
    let lake = Lake::open("memory://run-torn", "demo").await.unwrap();
    let log = told(&lake, "r1", Process::current()).await;
    lake.objects().put(&path::run_event(log.run(), 2), "{\"at\":\"20".into()).await.unwrap();
    let state = log.state(at(9)).await.unwrap().unwrap();
    assert_eq!((state.steps[0].status, state.steps[0].done), (StepStatus::Waiting, 9));
    lake.objects().put(&path::run_heartbeat(log.run()), "{\"at\":\"20".into()).await.unwrap();
    assert_eq!(log.state(at(9)).await.unwrap().unwrap().steps[0].done, 0);
}

#[tokio::test]
async fn starts_and_ends_reach_the_disk_and_progress_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let lake = Lake::open(dir.path().to_str().unwrap(), "demo").await.unwrap();
    let log = told(&lake, "r1", Process::current()).await;
    let before = lake.syncs().unwrap();
    log.event(Event::Progress { id: "extract:a".into(), done: 1, total: None, unit: "x".into() }, at(8)).await.unwrap();
    assert_eq!(lake.syncs().unwrap(), before);
    log.event(Event::StepEnded { id: "extract:a".into(), end: end(StepStatus::Done) }, at(9)).await.unwrap();
    assert!(lake.syncs().unwrap() > before);
}

#[tokio::test]
async fn a_run_is_recorded_once() {
    let lake = Lake::open("memory://run-record", "demo").await.unwrap();
    let state = ended(&lake, "r1").await;
    record(&lake, &state).await.unwrap();
    record(&lake, &state).await.unwrap();
    record(&lake, &ended(&lake, "r2").await).await.unwrap();
    let runs = rows_of(&lake, "ops.runs", &["run", "status", "fetched", "seconds", "dt"]).await;
    assert_eq!(runs, ["r1|failed|3|7.0|2026-10-01", "r2|failed|3|7.0|2026-10-01"]);
    let steps = rows_of(&lake, "ops.steps", &["run", "step", "status", "why", "error", "counts"]).await;
    assert_eq!(steps.len(), 4);
    assert_eq!(steps[0], r#"r1|build:b|failed|sql changed|boom|{"fetched":3}"#);
}

#[test]
fn words_are_those_that_are_stored() {
    for status in [StepStatus::Waiting, StepStatus::Unchanged, StepStatus::Skipped] {
        assert_eq!(serde_json::to_value(status).unwrap(), status.as_str());
    }
    assert_eq!(serde_json::to_value(RunStatus::Dead).unwrap(), RunStatus::Dead.to_string());
    assert_eq!(serde_json::to_value(StepKind::Enrich).unwrap(), StepKind::Enrich.as_str());
}
