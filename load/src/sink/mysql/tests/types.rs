//! What lies in a cell and in a key comes back as it went in, and what can't is refused by name.

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float32Array, Float64Array, Int16Array,
    Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field};

use super::*;
use crate::testing::{lists, name, unequal};

fn table(table: &str) -> SyncTarget {
    SyncTarget { table: name(table), key: "id".into(), texts: vec![], title: None, vector: None, ..place_sync() }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, array)| (name, array, true))).unwrap()
}

fn texts(texts: &[&str]) -> ArrayRef {
    Arc::new(StringArray::from(texts.to_vec()))
}

/// What ends a quoted name or a line where it is pasted.
const ODD: &str = "`--/*drop*/'\"";

pub(super) async fn every_type(server: &services::Mysql) {
    let (world, url) = (World::new().await, server.database());
    let times =
        TimestampMicrosecondArray::from(vec![Some(1_790_000_000_123_000), None, Some(-1_000)]).with_timezone("UTC");
    let decimals = Decimal128Array::from(vec![Some(-5), None, Some(123_456)]).with_precision_and_scale(12, 2).unwrap();
    let members: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(i64::MAX)]));
    let members = StructArray::from(vec![(Arc::new(Field::new("n", DataType::Int64, true)), members)]);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from(vec![1, -2, i64::MAX]))),
        (ODD, Arc::new(StringArray::from(vec![Some("망원 '\" \\ \t\n\r\0 \\N 😀"), None, Some("")]))),
        ("at", Arc::new(times)),
        ("day", Arc::new(Date32Array::from(vec![Some(20_000), None, Some(-1)]))),
        ("small", Arc::new(Int16Array::from(vec![Some(-3), None, Some(7)]))),
        ("flag", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("single", Arc::new(Float32Array::from(vec![Some(0.1), None, Some(f32::MIN_POSITIVE)]))),
        ("double", Arc::new(Float64Array::from(vec![Some(1e-300), None, Some(f64::MAX)]))),
        ("money", Arc::new(decimals)),
        ("bytes", Arc::new(BinaryArray::from(vec![Some(&b"\0\xff\t\n"[..]), None, Some(b"")]))),
        ("tags", lists(&[vec!["\"a\"\n".into(), "\\".into()], vec![], vec!["가".into()]])),
        ("nested", Arc::new(members)),
    ];
    world.put("staging.t", batch(columns)).await;
    assert_eq!(go(&world, &url, &table("staging.t")).await.upserted, 3);
    let row = |id: &str| {
        let query = format!(
            "select concat_ws('|', hex(`{}`), at, day, small, flag, single, `double`, money, hex(bytes), tags, nested) \
             from staging_t where id = {id}",
            ODD.replace('`', "``")
        );
        server.sql(&url, &query).replace(": ", ":").replace("\", \"", "\",\"")
    };
    let first = hex::encode("망원 '\" \\ \t\n\r\0 \\N 😀".as_bytes()).to_uppercase();
    // The client prints a backslash twice.
    let shown = r#"["\\"a\\"\\n","\\\\"]"#;
    assert_eq!(
        row("1").replace(shown, "TAGS"),
        format!("{first}|2026-09-21 14:13:20.123000|2024-10-04|-3|1|0.1|1e-300|-0.05|00FF090A|TAGS|{{\"n\":1}}\n")
    );
    assert_eq!(row("-2"), "[]|{\"n\":null}\n", "nulls are nulls");
    assert!(
        row("9223372036854775807").starts_with("|1969-12-31 23:59:59.999000|1969-12-31|7|0|"),
        "{}",
        row("9223372036854775807")
    );
    assert_eq!(unequal(&world.lake, &table("staging.t"), &serving(&world, &url)).await, []);
    let types = "select group_concat(column_type order by ordinal_position) from information_schema.columns \
         where table_schema = database() and table_name = 'staging_t' and column_name in ('at', 'day', 'single', 'money', '_row_hash')";
    assert_eq!(server.sql(&url, types), "datetime(6),date,double,decimal(12,2),binary(16)\n");
}

#[tokio::test]
async fn every_type_arrives_as_itself() {
    for server in servers() {
        every_type(server).await;
    }
}

#[tokio::test]
async fn keys_that_look_alike_stay_apart() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        let long = "가".repeat(341);
        let keys = [
            "a",
            "A",
            "a ",
            " a",
            "á",
            "a\u{301}",
            "ß",
            "ss",
            "😀",
            "\\N",
            "t\tn\n\\",
            "nul\0",
            "'; drop table staging_k; --",
            &long,
        ];
        let rows = |note: &str| {
            let notes: Vec<&str> = keys.iter().map(|_| note).collect();
            batch(vec![("id", texts(&keys)), ("note", texts(&notes))])
        };
        world.put("staging.k", rows("one")).await;
        assert_eq!(go(&world, &url, &table("staging.k")).await.upserted, keys.len() as u64);
        assert_eq!(unequal(&world.lake, &table("staging.k"), &serving(&world, &url)).await, []);
        // Each is found again by its own key alone: changed, and then removed.
        world.put("staging.k", rows("two")).await;
        assert_eq!(go(&world, &url, &table("staging.k")).await.upserted, keys.len() as u64);
        assert_eq!(
            server.sql(&url, "select count(*), count(distinct id), min(note) from staging_k"),
            format!("{0}\t{0}\ttwo\n", keys.len())
        );
        let left = batch(vec![("id", texts(&keys[1..2])), ("note", texts(&["two"]))]);
        world.put("staging.k", left).await;
        assert_eq!(go(&world, &url, &table("staging.k")).await.deleted, keys.len() as u64 - 1);
        assert_eq!(server.sql(&url, "select id from staging_k"), "A\n");
    }
}

#[tokio::test]
async fn what_the_server_would_change_is_refused_by_key_and_column() {
    for server in servers() {
        let (world, url) = (World::new().await, server.database());
        let floats = |f: f64| -> ArrayRef { Arc::new(Float64Array::from(vec![f])) };
        let long = "k".repeat(769);
        for (at, (key, column, expected)) in [
            ("a", floats(f64::NAN), "`x` of `a`: expected a number that MySQL has, found NaN"),
            ("a", floats(f64::INFINITY), "`x` of `a`: expected a number that MySQL has, found inf"),
            (
                "a",
                Arc::new(Date32Array::from(vec![-400_000])) as ArrayRef,
                "`x` of `a`: expected a time of the years 1000 to 9999",
            ),
            (&long, floats(1.0), "expected a text of at most 768 characters, which an index holds, found 769"),
        ]
        .into_iter()
        .enumerate()
        {
            let table_name = format!("staging.r{at}");
            world.put(&table_name, batch(vec![("id", texts(&[key])), ("x", column)])).await;
            let (failed, again) = counted(&world, &serving(&world, &url), &table(&table_name)).await;
            let error = told(&failed.unwrap_err());
            assert!(error.contains(expected) && again.is_empty(), "{error}");
        }
        assert!(!tables(server, &url).iter().any(|table| table.starts_with("staging")), "nothing of it was published");
    }
}
