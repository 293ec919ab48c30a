//! How a table's columns change, and what those notice who hold an older version or an older declaration.

use arrow::array::TimestampNanosecondArray;
use arrow::datatypes::TimeUnit;
use jiff::Timestamp;

use super::*;

fn declared(table: &str, columns: &[(&str, DataType, bool)]) -> TableSpec {
    let fields = columns.iter().map(|(name, of, nullable)| Field::new(*name, of.clone(), *nullable));
    TableSpec {
        name: name(table),
        schema: Arc::new(Schema::new(fields.collect::<Vec<_>>())),
        partitioned: columns.iter().any(|(name, ..)| *name == "dt"),
        stats_columns: Vec::new(),
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap()
}

fn text(values: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from_iter_values(values))
}

fn number(values: &[i64]) -> ArrayRef {
    Arc::new(Int64Array::from(values.to_vec()))
}

fn days(values: &[Date]) -> ArrayRef {
    Arc::new(Date32Array::from_iter_values(values.iter().map(|day| days_since_epoch(*day))))
}

#[tokio::test]
async fn every_declaration_of_a_tables_history_can_be_written() {
    use DataType::{Int64, Utf8};
    let lake = Lake::open("memory://shape-history", "demo").await.unwrap();
    for layer in ["raw", "staging"] {
        let table = format!("{layer}.t");
        let first = declared(&table, &[("id", Utf8, false), ("stars", Int64, false)]);
        let removed = declared(&table, &[("id", Utf8, false)]);
        let renamed = declared(&table, &[("id", Utf8, false), ("rating", Int64, false)]);
        let held = lake.create(&first).await.unwrap();
        let append = async |spec: &TableSpec, id: &str, columns: &[&str]| {
            let mut values = vec![("id", text(&[id]))];
            values.extend(columns.iter().map(|name| (*name, number(&[7]))));
            let table = lake.create(spec).await.unwrap();
            let done = table.append(vec![batch(values)], task(id, 1), &info()).await.unwrap();
            assert!(matches!(done, Committed::Done(_)), "{done:?}");
        };
        append(&first, "a", &["stars"]).await;
        append(&removed, "b", &[]).await;
        append(&renamed, "c", &["rating"]).await;
        append(&removed, "d", &[]).await;
        append(&first, "e", &["stars"]).await;
        append(&renamed, "f", &["rating"]).await;
        // A worker that opened the table before all this.
        let late = batch(vec![("id", text(&["g"])), ("stars", number(&[7]))]);
        let _ = held.append(vec![late], task("g", 1), &info()).await.unwrap();
        let expected = ["a|7|", "b||", "c||7", "d||", "e|7|", "f||7", "g|7|"];
        assert_eq!(rows_of(&lake, &table, &["id", "stars", "rating"]).await, expected);
        let snapshot = lake.table(&name(&table)).await.unwrap().snapshot().await.unwrap();
        assert_eq!(snapshot.protocol().unwrap(), (1, 2));
        let version = snapshot.version();
        for spec in [&first, &removed, &renamed] {
            lake.create(spec).await.unwrap();
        }
        let snapshot = lake.table(&name(&table)).await.unwrap().snapshot().await.unwrap();
        assert_eq!(snapshot.version(), version, "what is as it should be costs no commit");
    }
}

#[tokio::test]
async fn another_type_is_refused_and_its_way_out_works() {
    use DataType::{Float64, Int64, Utf8};
    let lake = Lake::open("memory://shape-retyped", "demo").await.unwrap();
    lake.create(&declared("raw.t", &[("id", Utf8, false), ("price", Int64, true)])).await.unwrap();
    let error = lake.create(&declared("raw.t", &[("id", Utf8, false), ("price", Float64, true)])).await.unwrap_err();
    assert_eq!(error.to_string(), "table raw.t, column `price`: expected int64, found float64");
    assert_eq!(error.hint().unwrap(), "give the field a new column name (the old column stays)");
    let table = lake.create(&declared("raw.t", &[("id", Utf8, false), ("price2", Float64, true)])).await.unwrap();
    let columns: Vec<_> = table.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(columns, ["id", "price", "price2"]);
    let error = lake.create(&declared("raw.t", &[("id", Utf8, false), ("a b", Int64, true)])).await.unwrap_err();
    assert!(matches!(error, Error::UnfitColumn { .. }), "{error:?}");
}

#[tokio::test]
async fn a_column_that_an_older_program_took_goes_on() {
    let lake = Lake::open("memory://shape-older", "demo").await.unwrap();
    let spec = declared("marts.t", &[("avg rating", DataType::Int64, true)]);
    let log = lake.handle(&spec.name).unwrap().log_store();
    create::create_at(log, &spec, &spec.schema).await.unwrap();
    let table = lake.create(&spec).await.unwrap();
    let done = table.append(vec![batch(vec![("avg rating", number(&[4]))])], task("a", 1), &info()).await.unwrap();
    assert_eq!(done, Committed::Done(1));
    assert!(lake.create(&TableSpec { name: name("marts.new"), ..spec }).await.is_err(), "but no new table has it");
    assert!(lake.find(&name("marts.new")).await.unwrap().is_none(), "and nothing is left of the try");
}

/// Rewrites a table as `spec` with the rows given.
async fn reshape(table: &Table, spec: &TableSpec, rows: RecordBatch) -> Written {
    table.write_reshaped(spec, vec![stream(vec![rows])], &WriteOptions::default()).await.unwrap()
}

#[tokio::test]
async fn a_built_table_takes_another_shape_in_one_commit() {
    use DataType::{Date32, Float64, Int64, Utf8};
    let (_dir, uri) = folder();
    for uri in [uri, "memory://shape-reshaped".to_owned()] {
        let lake = Lake::open(&uri, "demo").await.unwrap();
        let daily = TableSpec {
            stats_columns: vec!["price".into()],
            ..declared("marts.t", &[("id", Utf8, true), ("price", Int64, true), ("dt", Date32, true)])
        };
        let table = lake.create(&daily).await.unwrap();
        let old = batch(vec![("id", text(&["a", "b"])), ("price", number(&[1, 2])), ("dt", days(&[DAY, NEXT]))]);
        let _ = write(&table, vec![old]).await.replace(Scope::All, build(1), &info()).await.unwrap();
        let before = table.snapshot().await.unwrap();

        let whole = TableSpec {
            stats_columns: vec!["cost".into()],
            ..declared("marts.t", &[("cost", Utf8, false), ("price", Float64, true)])
        };
        let new = batch(vec![
            ("price", Arc::new(arrow::array::Float64Array::from(vec![1.5, 2.5]))),
            ("cost", text(&["x", "y"])),
        ]);
        let written = reshape(&table, &whole, new).await;
        let pending = written.provider().unwrap();
        let ask = "select cost, price from t order by cost";
        assert_eq!(sql(Arc::clone(&pending), ask).await, ["x|1.5", "y|2.5"], "checks see the new shape");
        assert_eq!(written.replace(Scope::All, build(2), &info()).await.unwrap(), Committed::Done(2));

        let after = lake.create(&whole).await.unwrap().snapshot().await.unwrap();
        assert_eq!((after.version(), after.protocol().unwrap()), (2, (1, 2)), "as declared, without a further commit");
        assert_eq!(pending.schema(), after.schema(), "checks saw the columns and types that readers see");
        assert_eq!(sql(after.provider().await.unwrap(), ask).await, ["x|1.5", "y|2.5"]);
        assert_eq!((after.is_partitioned(), after.txn(&build(2).app_id).await.unwrap()), (false, Some(2)));
        assert_eq!(after.table_id(), before.table_id());
        // Who read before reads on, and who asks for that version gets that shape.
        for old in [before, table.snapshot_at(1).await.unwrap()] {
            assert_eq!(rows_in(&old, &["id", "price", "dt"]).await, ["a|1|2026-10-01", "b|2|2026-10-02"]);
        }
        let fresh = Lake::open(&uri, "demo").await.unwrap();
        assert_eq!(rows_of(&fresh, "marts.t", &["cost", "price"]).await, ["x|1.5", "y|2.5"]);

        // And back again, over enough commits for a checkpoint to hold both.
        for n in 3..16 {
            let back = batch(vec![("id", text(&["a"])), ("price", number(&[n])), ("dt", days(&[DAY]))]);
            let written = reshape(&table, &daily, back).await;
            let done = written.replace(Scope::All, build(n), &info()).await.unwrap();
            assert!(matches!(done, Committed::Done(_)), "{done:?}");
        }
        let fresh = Lake::open(&uri, "demo").await.unwrap();
        assert_eq!(rows_of(&fresh, "marts.t", &["id", "price", "dt"]).await, ["a|15|2026-10-01"]);
    }
}

#[tokio::test]
async fn a_reshape_takes_no_row_away_unseen_and_nothing_of_an_older_shape_comes_after_it() {
    use DataType::{Int64, Utf8};
    let lake = Lake::open("memory://shape-race", "demo").await.unwrap();
    let old = declared("marts.t", &[("id", Utf8, true)]);
    let new = declared("marts.t", &[("id", Int64, true)]);
    let table = lake.create(&old).await.unwrap();

    let ours = reshape(&table, &new, batch(vec![("id", number(&[1]))])).await;
    let _ = table.append(vec![batch(vec![("id", text(&["theirs"]))])], task("a", 1), &info()).await.unwrap();
    assert_eq!(ours.replace(Scope::All, build(1), &info()).await.unwrap(), Committed::Conflict(1));
    assert_eq!(rows_of(&lake, "marts.t", &["id"]).await, ["theirs"]);

    let late = write(&table, vec![batch(vec![("id", text(&["late"]))])]).await;
    let ours = reshape(&table, &new, batch(vec![("id", number(&[1]))])).await;
    assert_eq!(ours.replace(Scope::All, build(1), &info()).await.unwrap(), Committed::Done(2));
    let error = late.append(task("b", 1), &info()).await.unwrap_err();
    assert!(matches!(error, Error::Contended { .. }) && error.is_retryable(), "{error:?}");
    assert_eq!(rows_of(&lake, "marts.t", &["id"]).await, ["1"]);

    // A column more is no other shape.
    let late = write(&table, vec![batch(vec![("id", number(&[2]))])]).await;
    lake.create(&declared("marts.t", &[("id", Int64, true), ("more", Int64, true)])).await.unwrap();
    assert_eq!(late.append(task("b", 1), &info()).await.unwrap(), Committed::Done(4));
    assert_eq!(rows_of(&lake, "marts.t", &["id", "more"]).await, ["1|", "2|"]);
}

#[tokio::test]
async fn a_reshape_is_of_a_whole_built_table() {
    use DataType::{Date32, Int64};
    let lake = Lake::open("memory://shape-whole", "demo").await.unwrap();
    let spec = |table: &str| declared(table, &[("id", Int64, true), ("dt", Date32, true)]);
    let row = || batch(vec![("id", number(&[1])), ("dt", days(&[DAY]))]);
    let table = lake.create(&declared("marts.t", &[("id", Int64, true)])).await.unwrap();
    let error = reshape(&table, &spec("marts.t"), row()).await.append(task("a", 1), &info()).await.unwrap_err();
    assert!(matches!(error, Error::SchemaMismatch { .. }), "{error:?}");
    let day = reshape(&table, &spec("marts.t"), row()).await.replace(Scope::Day(DAY), build(1), &info()).await;
    assert!(matches!(day.unwrap_err(), Error::SchemaMismatch { .. }));
    let raw = lake.create(&declared("raw.t", &[("id", Int64, true)])).await.unwrap();
    let input = vec![stream(vec![row()])];
    let error = raw.write_reshaped(&spec("raw.t"), input, &WriteOptions::default()).await.unwrap_err();
    assert!(matches!(error, Error::AppendOnly(_)), "{error:?}");
}

#[tokio::test]
async fn what_is_kept_of_an_instant_is_what_the_statistics_say() {
    let (_dir, uri) = folder();
    let lake = Lake::open(&uri, "demo").await.unwrap();
    let spec = TableSpec {
        stats_columns: vec!["at".into()],
        ..declared("raw.t", &[("at", DataType::Timestamp(TimeUnit::Nanosecond, None), true)])
    };
    let table = lake.create(&spec).await.unwrap();
    for (n, nanos) in (1..).zip([1_790_000_000_123_456_789, -1, -1_790_000_000_123_456_789]) {
        let column: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![nanos]));
        let _ = table.append(vec![batch(vec![("at", column)])], task("a", n), &info()).await.unwrap();
        let log = std::path::Path::new(&uri).join(format!("raw/t/_delta_log/{n:020}.json"));
        let log = std::fs::read_to_string(log).unwrap();
        let add = log.lines().find_map(|line| {
            let action: serde_json::Value = serde_json::from_str(line).unwrap();
            action.get("add").cloned()
        });
        let stats: serde_json::Value = serde_json::from_str(add.unwrap()["stats"].as_str().unwrap()).unwrap();
        let said: Timestamp = stats["maxValues"]["at"].as_str().unwrap().parse().unwrap();
        let millis = said.as_millisecond();
        assert_eq!(millis, nanos.div_euclid(1_000_000));
        let provider = table.snapshot().await.unwrap().provider().await.unwrap();
        let ask =
            format!("select count(*) from t where at = arrow_cast({millis}, 'Timestamp(Millisecond, Some(\"UTC\"))')");
        assert_eq!(sql(provider, &ask).await, ["1"], "{nanos}");
    }
    let provider = table.snapshot().await.unwrap().provider().await.unwrap();
    assert_eq!(sql(provider, "select count(*) from t where at = (select max(at) from t)").await, ["1"]);
}

#[tokio::test]
async fn new_columns_come_with_their_rows_or_not_at_all() {
    use DataType::{Date32, Int64, Utf8};
    let lake = Lake::open("memory://shape-widened", "demo").await.unwrap();
    let before = declared("staging.t", &[("id", Utf8, false), ("stars", Int64, false), ("dt", Date32, true)]);
    let after = declared("staging.t", &[("id", Utf8, false), ("n", Int64, false), ("dt", Date32, true)]);
    let table = lake.create(&before).await.unwrap();
    let stars = batch(vec![("id", text(&["a"])), ("stars", number(&[5])), ("dt", days(&[DAY]))]);
    let _ = write(&table, vec![stars]).await.replace(Scope::Day(DAY), build(1), &info()).await.unwrap();
    let names = async || {
        let schema = lake.table(&name("staging.t")).await.unwrap().schema();
        schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>().join(" ")
    };
    let widened = async |id: &str| {
        let rows = batch(vec![("id", text(&[id])), ("n", number(&[1])), ("dt", days(&[NEXT]))]);
        table.write_widened(&after, vec![stream(vec![rows])], &WriteOptions::default()).await.unwrap()
    };
    // Checked and thrown away: nobody has seen a new column.
    let written = widened("bad").await;
    assert_eq!(sql(written.provider().unwrap(), "select id, stars, n from t").await, ["bad||1"]);
    written.discard().await.unwrap();
    assert_eq!((names().await, table.snapshot().await.unwrap().version()), ("id stars dt".to_owned(), 1));
    // Two at a time: the second finds that the columns have changed, and looks again.
    let next = |fingerprint| Txn { app_id: format!("build/{NEXT}"), version: fingerprint, rule: TxnRule::Equal };
    let (first, second) = (widened("b").await, widened("c").await);
    assert!(matches!(first.replace(Scope::Day(NEXT), next(1), &info()).await.unwrap(), Committed::Done(2)));
    assert!(matches!(second.replace(Scope::Day(NEXT), next(2), &info()).await.unwrap(), Committed::Conflict(2)));
    assert_eq!(names().await, "id stars dt n");
    assert_eq!(rows_of(&lake, "staging.t", &["id", "stars", "n"]).await, ["a|5|", "b||1"]);
    // What holds the older version goes on with it, and what has all columns is written as ever.
    let later = lake.table(&name("staging.t")).await.unwrap();
    let rows = batch(vec![("id", text(&["d"])), ("n", number(&[2])), ("dt", days(&[NEXT]))]);
    let written = later.write_widened(&after, vec![stream(vec![rows])], &WriteOptions::default()).await.unwrap();
    assert!(matches!(written.replace(Scope::Day(NEXT), next(3), &info()).await.unwrap(), Committed::Done(3)));
    assert_eq!(rows_of(&lake, "staging.t", &["id", "stars", "n"]).await, ["a|5|", "d||2"]);
    let retyped = declared("staging.t", &[("id", Int64, false), ("dt", Date32, true)]);
    let refused = later.write_widened(&retyped, Vec::new(), &WriteOptions::default()).await.unwrap_err();
    assert!(matches!(refused, Error::SchemaMismatch { .. }), "{refused}");
}
