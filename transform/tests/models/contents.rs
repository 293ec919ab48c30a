//! Builds follow what tables hold: not their version numbers, nor days that they do not read.

use catalog::{CommitInfo, Lake, TableSpec, Txn, TxnRule, path};
use transform::{Models, Outcome};

use crate::house::{DAILY, DAY, House, LATEST, models, name, now, outside, schema};

const NEXT: &str = "2026-10-02";

fn word(outcome: &Outcome) -> String {
    match outcome {
        Outcome::View { checks } => format!("view, {checks} checks"),
        Outcome::Unchanged { checks: 0, .. } => "unchanged".to_owned(),
        Outcome::Unchanged { checks, .. } => format!("rechecked {checks}"),
        Outcome::Newer { day, .. } => format!("stands for {day}"),
        Outcome::AsKnownThen { .. } => "as known then".to_owned(),
        Outcome::Built { why, .. } => {
            format!("built: {}", why.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        }
    }
}

async fn built(house: &House, models: &Models, dt: &str) -> Vec<String> {
    let mut words = Vec::new();
    for model in models.iter() {
        let outcome = house.build(models, &model.name().to_string(), dt).await.unwrap();
        words.push(format!("{} {}", model.name(), word(&outcome)));
    }
    words
}

/// What was built, with one new row in the raw table for each day.
async fn built_with_a_row(house: &House, models: &Models, dt: &str, id: &str, n: i64) -> Vec<String> {
    house.things(dt, &[(id, n, "2026-10-01T00:00:00Z")]).await;
    built(house, models, dt).await
}

async fn commit(lake: &Lake, table: &str, txn: Txn) {
    let table = lake.table(&name(table)).await.unwrap();
    let info = CommitInfo { run: "r1".parse().unwrap(), now: now(), lineage: Vec::new() };
    let _ = table.append(Vec::new(), txn, &info).await.unwrap();
}

/// One column more, and a commit without a row: both make a version and change nothing.
async fn commits_without_a_row(house: &House) {
    let columns = [("later", "text")];
    let there = outside(&name("raw.things")).unwrap();
    let fields: Vec<_> =
        there.fields().iter().chain(schema(&columns).fields()).map(|field| field.as_ref().clone()).collect();
    let spec = TableSpec {
        name: name("raw.things"),
        schema: std::sync::Arc::new(arrow::datatypes::Schema::new(fields)),
        partitioned: true,
        stats_columns: Vec::new(),
    };
    house.lake.create(&spec).await.unwrap();
    commit(&house.lake, "raw.things", Txn { app_id: "empty".to_owned(), version: 1, rule: TxnRule::AtLeast }).await;
}

const WEEK: &str =
    "-- materialize: partition\nselect count(*) as n from raw.things where dt > $dt - interval '7 days' and dt <= $dt";
const ALL: &str = "-- materialize: partition\nselect count(*) as n from raw.things";
const STAR: &str = "-- materialize: table\nselect * from raw.things";

#[tokio::test]
async fn only_what_is_read_and_changed_is_built_again() {
    let house = House::new("contents").await;
    let project = models(&[
        ("x/staging/latest.sql", LATEST),
        ("x/staging/daily.sql", DAILY),
        ("x/staging/week.sql", WEEK),
        ("x/staging/whole.sql", ALL),
        ("x/marts/above.sql", "-- materialize: table\nselect count(*) as n from staging.latest"),
        ("x/marts/star.sql", STAR),
    ]);
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z")]).await;
    house.things(NEXT, &[("b", 1, "2026-10-02T00:00:00Z")]).await;
    built(&house, &project, DAY).await;
    built(&house, &project, NEXT).await;
    let mut said = vec![format!("again:\n{}", built(&house, &project, NEXT).await.join("\n"))];
    commits_without_a_row(&house).await;
    said.push(format!("commits without a row:\n{}", built(&house, &project, NEXT).await.join("\n")));
    said.push(format!("an older day again:\n{}", built(&house, &project, DAY).await.join("\n")));
    house.things(NEXT, &[("c", 1, "2026-10-02T00:00:00Z")]).await;
    said.push(format!("rows of the newer day, the older day:\n{}", built(&house, &project, DAY).await.join("\n")));
    said.push(format!("rows of the newer day, that day:\n{}", built(&house, &project, NEXT).await.join("\n")));
    house.things(DAY, &[("d", 1, "2026-10-01T00:00:00Z")]).await;
    said.push(format!("rows of the older day, the newer day:\n{}", built(&house, &project, NEXT).await.join("\n")));
    insta::assert_snapshot!(said.join("\n\n"), @r"
    again:
    marts.star unchanged
    staging.daily unchanged
    staging.latest unchanged
    marts.above unchanged
    staging.week unchanged
    staging.whole unchanged

    commits without a row:
    marts.star built: raw.things changed
    staging.daily unchanged
    staging.latest unchanged
    marts.above unchanged
    staging.week unchanged
    staging.whole unchanged

    an older day again:
    marts.star unchanged
    staging.daily unchanged
    staging.latest unchanged
    marts.above unchanged
    staging.week unchanged
    staging.whole unchanged

    rows of the newer day, the older day:
    marts.star built: raw.things changed
    staging.daily unchanged
    staging.latest built: raw.things changed
    marts.above built: staging.latest changed
    staging.week unchanged
    staging.whole built: raw.things changed

    rows of the newer day, that day:
    marts.star unchanged
    staging.daily built: raw.things changed
    staging.latest unchanged
    marts.above unchanged
    staging.week built: raw.things changed
    staging.whole built: raw.things changed

    rows of the older day, the newer day:
    marts.star built: raw.things changed
    staging.daily unchanged
    staging.latest built: raw.things changed
    marts.above built: staging.latest changed
    staging.week built: raw.things changed
    staging.whole built: raw.things changed
    ");
}

#[tokio::test]
async fn a_table_made_anew_is_another_table() {
    let dir = tempfile::tempdir().unwrap();
    let uri = dir.path().join("lake").to_str().unwrap().to_owned();
    let project = models(&[
        ("x/staging/latest.sql", LATEST),
        ("x/staging/daily.sql", DAILY),
        ("x/marts/total.sql", "-- materialize: table\nselect sum(n) as n from staging.latest"),
    ]);
    let sum = "select n from marts.total";
    let house = House::at(&uri, None).await;
    house.things(DAY, &[("a", 1, "2026-10-01T00:00:00Z"), ("b", 2, "2026-10-01T00:00:00Z")]).await;
    built(&house, &project, DAY).await;
    assert_eq!(house.rows(&project, sum).await, ["3"]);
    // Each table in turn goes with its folder and comes back with other rows and the same version numbers.
    std::fs::remove_dir_all(dir.path().join("lake/raw/things")).unwrap();
    let house = House::at(&uri, None).await;
    house.things(DAY, &[("a", 10, "2026-10-01T00:00:00Z"), ("b", 20, "2026-10-01T00:00:00Z")]).await;
    built(&house, &project, DAY).await;
    assert_eq!(house.rows(&project, sum).await, ["30"]);
    assert_eq!(house.rows(&project, "select id, n from staging.daily").await, ["a | 10", "b | 20"]);
    std::fs::remove_dir_all(dir.path().join("lake/staging/latest")).unwrap();
    let house = House::at(&uri, None).await;
    let words = built(&house, &project, DAY).await;
    assert!(words.iter().any(|word| word == "marts.total built: staging.latest changed"), "{words:?}");
}

#[tokio::test]
async fn what_a_check_looks_into_is_looked_at_again() {
    let house = House::new("references").await;
    let project = models(&[
        ("x/staging/known.sql", "-- materialize: partition\nselect id from raw.things where dt = $dt"),
        ("x/staging/seen.sql", "-- materialize: view\nselect id from staging.known"),
        ("x/marts/direct.sql", "-- materialize: table\n-- check: references(id, staging.known)\nselect 'a' as id"),
        ("x/marts/looked.sql", "-- materialize: table\n-- check: references(id, staging.seen)\nselect 'a' as id"),
    ]);
    built_with_a_row(&house, &project, DAY, "a", 1).await;
    house.things(NEXT, &[("b", 1, "2026-10-02T00:00:00Z")]).await;
    let words = built(&house, &project, NEXT).await;
    assert!(words.contains(&"marts.direct rechecked 1".to_owned()), "{words:?}");
    assert!(words.contains(&"marts.looked rechecked 1".to_owned()), "{words:?}");
    assert!(built(&house, &project, NEXT).await.iter().all(|word| !word.contains("rechecked")));
}

#[tokio::test]
async fn a_table_that_stands_for_a_day_keeps_the_newest() {
    let house = House::new("stands").await;
    let project = models(&[
        ("x/staging/daily.sql", "-- materialize: partition\nselect id, n from raw.things where dt = $dt"),
        ("x/marts/asof.sql", "-- materialize: table\nselect $dt as day, count(*) as n from raw.things where dt <= $dt"),
        ("x/marts/child.sql", "-- materialize: table\nselect day, n from marts.asof"),
    ]);
    for dt in [DAY, NEXT, "2026-10-03"] {
        built_with_a_row(&house, &project, dt, dt, 1).await;
    }
    let today = ["2026-10-03 | 3"];
    assert_eq!(house.rows(&project, "select day, n from marts.child").await, today);
    let mut old = built(&house, &project, DAY).await;
    old.sort();
    assert_eq!(old, ["marts.asof stands for 2026-10-03", "marts.child unchanged", "staging.daily unchanged"]);
    // Not even without the records, and not after other rows of the old day.
    house.lake.objects().delete_prefix(&path::states("builds")).await.unwrap();
    house.things(DAY, &[("late", 1, "2026-10-01T00:00:00Z")]).await;
    assert!(built(&house, &project, DAY).await.contains(&"marts.asof stands for 2026-10-03".to_owned()));
    assert_eq!(house.rows(&project, "select day, n from marts.child").await, today);
    let words = built(&house, &project, "2026-10-03").await;
    assert!(words.iter().any(|word| word.starts_with("marts.asof built")), "{words:?}");
    assert_eq!(house.rows(&project, "select day, n from marts.child").await, ["2026-10-03 | 4"]);
    // A day that has not come anywhere does not hold the table for ever.
    built(&house, &project, "2026-10-20").await;
    let words = built(&house, &project, "2026-10-03").await;
    assert!(words.iter().any(|word| word.starts_with("marts.asof built")), "{words:?}");
}

#[tokio::test]
async fn what_an_older_program_built_is_built_once_more() {
    let house = House::new("older").await;
    let project = models(&[("x/staging/daily.sql", DAILY), ("x/staging/latest.sql", LATEST)]);
    built_with_a_row(&house, &project, DAY, "a", 1).await;
    for (table, day) in [("staging.daily", DAY), ("staging.latest", "-")] {
        let mark = 0x1234_5678_9abc_i64;
        commit(&house.lake, table, Txn { app_id: format!("build/{table}/{day}"), version: mark, rule: TxnRule::Equal })
            .await;
        let record = r#"{"sql":"a","checks":"b","functions":null,"views":{},"parents":{"raw.things":1},"dt":null}"#;
        let at = path::state("builds", &format!("{table}~{day}~{mark:016x}"));
        house.lake.objects().put(&at, record.into()).await.unwrap();
    }
    assert_eq!(
        built(&house, &project, DAY).await,
        ["staging.daily built: made by an older program", "staging.latest built: made by an older program"]
    );
    assert_eq!(built(&house, &project, DAY).await, ["staging.daily unchanged", "staging.latest unchanged"]);
}

#[tokio::test]
async fn a_view_whose_check_fails_keeps_everything_below_from_being_built() {
    let house = House::new("views").await;
    let project = models(&[
        ("x/staging/daily.sql", "-- materialize: partition\nselect id, n from raw.things where dt = $dt"),
        ("x/staging/seen.sql", "-- materialize: view\n-- check: between(n, 0, 100)\nselect id, n from staging.daily"),
        ("x/staging/further.sql", "-- materialize: view\nselect id, n from staging.seen"),
        ("x/marts/below.sql", "-- materialize: table\nselect sum(n) as n from staging.further"),
    ]);
    let first = built_with_a_row(&house, &project, DAY, "a", 1).await;
    assert!(first.contains(&"staging.seen view, 1 checks".to_owned()), "{first:?}");
    assert!(built(&house, &project, DAY).await.contains(&"staging.seen view, 0 checks".to_owned()));
    house.things(NEXT, &[("b", 1000, "2026-10-02T00:00:00Z")]).await;
    house.build(&project, "staging.daily", NEXT).await.unwrap();
    for model in ["staging.seen", "marts.below"] {
        let error = house.build(&project, model, NEXT).await.unwrap_err();
        assert!(error.to_string().starts_with("1 check of `staging.seen` failed"), "{model}: {error}");
        assert!(error.hint().unwrap().starts_with("nothing that reads the view `staging.seen` was built"));
    }
    assert_eq!(house.rows(&project, "select n from marts.below").await, ["1"]);
}
