//! What is mapped otherwise than before is another row, whatever its payload is; what is not is not landed twice.

use arrow::array::AsArray;
use catalog::CommitInfo;
use extract::ledger::Ledger;
use futures::TryStreamExt;

use super::bench::*;

/// The texts of a column, sorted, those of rows that have none included.
async fn column(bench: &Bench, name: &str) -> Vec<Option<String>> {
    let snapshot = bench.lake.table(bench.source.table()).await.unwrap().snapshot().await.unwrap();
    let batches: Vec<_> = snapshot.scan(Some(&[name])).await.unwrap().try_collect().await.unwrap();
    let mut values: Vec<_> = batches
        .iter()
        .flat_map(|batch| {
            let text = arrow::compute::cast(batch.column(0), &arrow::datatypes::DataType::Utf8).unwrap();
            text.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>()
        })
        .collect();
    values.sort();
    values
}

/// As `run --refetch` does.
async fn reopen(bench: &Bench) {
    let table = bench.lake.table(bench.source.table()).await.unwrap();
    let ledger = Ledger::open(&bench.lake, &bench.source, table, DT).await.unwrap();
    let info = CommitInfo { run: "r2".parse().unwrap(), now: now(), lineage: Vec::new() };
    ledger.reopen(|last| last.dt == DT, "asked for by a test", &info).await.unwrap();
}

/// What the newest row of the table says.
async fn newest(bench: &Bench) -> Option<String> {
    let snapshot = bench.lake.table(bench.source.table()).await.unwrap().snapshot().await.unwrap();
    let batches: Vec<_> = snapshot.scan(Some(&["_fetched_at", "body"])).await.unwrap().try_collect().await.unwrap();
    let rows = batches.iter().flat_map(|batch| {
        let times = batch.column(0).as_primitive::<arrow::datatypes::TimestampMicrosecondType>().values().to_vec();
        let text = arrow::compute::cast(batch.column(1), &arrow::datatypes::DataType::Utf8).unwrap();
        let texts: Vec<_> = text.as_string::<i32>().iter().map(|text| text.map(str::to_owned)).collect();
        times.into_iter().zip(texts)
    });
    rows.max().and_then(|(_, text)| text)
}

#[tokio::test]
async fn what_was_said_last_on_a_day_is_its_newest_row() {
    // What the site says each time that it is asked on one day, and how many rows there are after each.
    let cases: [(&[&str], &[u64]); 5] = [
        (&["a", "a"], &[1, 1]),
        (&["a", "b", "b"], &[1, 2, 2]),
        (&["a", "b", "a", "a"], &[1, 2, 3, 3]),
        (&["a", "b", "c", "b", "a"], &[1, 2, 3, 4, 5]),
        (&["", "b", ""], &[1, 2, 3]),
    ];
    for (said, expected) in cases {
        let bench = Bench::new("changed-back").await;
        for (turn, (body, rows)) in said.iter().zip(expected).enumerate() {
            if turn > 0 {
                reopen(&bench).await;
            }
            bench.site.script("a", Answer::Says(body));
            bench.extract(&["a"]).await.unwrap();
            let found = (newest(&bench).await, bench.outcome("a").await.unwrap().rows);
            assert_eq!(found, (Some((*body).to_owned()), *rows), "{said:?}, turn {turn}");
        }
    }
}

/// A name, the source's definition, what is said, and what the column has.
type Case = (&'static str, String, &'static str, &'static [Option<&'static str>]);

#[tokio::test]
async fn a_changed_mapping_lands_when_it_is_asked_for_again_and_only_once() {
    let body = "body = { path = \"/body\", type = \"string\" }";
    // The edit of the source, a column after it, and its values in the rows of one key: those that were there, and new ones.
    let cases: [Case; 5] = [
        ("nothing changed", body.to_owned(), "body", &[Some("국밥"), Some("카페")]),
        (
            "a field was added",
            format!("{body}\nname = {{ path = \"/body\", type = \"string\" }}"),
            "name",
            &[None, None, Some("국밥"), Some("카페")],
        ),
        (
            "a field is mapped from elsewhere",
            body.replace("/body", "/id"),
            "body",
            &[Some("a-1"), Some("a-2"), Some("국밥"), Some("카페")],
        ),
        ("a field was removed", String::new(), "body", &[Some("국밥"), Some("카페")]),
        (
            "an error came",
            body.replace("\"string\"", "\"string\", required = true").replace("/body", "/nowhere"),
            "body",
            &[None, None, Some("국밥"), Some("카페")],
        ),
    ];
    for (what, edit, name, expected) in cases {
        let bench = Bench::new("mapped").await;
        bench.extract(&["a"]).await.unwrap();
        let bench = bench.with_source(&NOTES.replace(body, &edit));
        let expected: Vec<Option<String>> = expected.iter().map(|text| text.map(str::to_owned)).collect();
        for turn in ["asked for again", "and once more"] {
            reopen(&bench).await;
            let extracted = bench.extract(&["a"]).await.unwrap();
            let new = if turn == "asked for again" { expected.len() as u64 - 2 } else { 0 };
            assert_eq!((extracted.keys_fetched, extracted.fetched), (1, new), "{what}, {turn}");
            assert_eq!(column(&bench, name).await, expected, "{what}, {turn}");
            assert_eq!(bench.outcome("a").await.unwrap().rows, expected.len() as u64, "{what}, {turn}");
        }
    }
}

#[tokio::test]
async fn a_plan_knows_that_rows_are_as_the_source_was_defined_before() {
    let bench = Bench::new("redefined").await;
    bench.extract(&["a", "b"]).await.unwrap();
    let redefined = async |bench: &Bench| {
        extract::worker::due(&bench.lake, &bench.source, DT, &keys(&["a", "b"])).await.unwrap().redefined
    };
    assert_eq!(redefined(&bench).await, 0);
    let edited = bench.with_source(&NOTES.replace("\"/body\"", "\"/text\""));
    assert_eq!(redefined(&edited).await, 2);
}
