//! What came and could not be read is kept, and nothing hangs on it.

use extract::outcome::Outcome;

use super::bench::*;

/// The keys and bodies that are kept of answers which could not be read.
async fn bodies(bench: &Bench) -> Vec<(String, String)> {
    let Some(table) = bench.lake.find(&catalog::upkeep::unreadable_table().unwrap()).await.unwrap() else {
        return Vec::new();
    };
    let scan = table.snapshot().await.unwrap().scan(Some(&["key", "body"])).await.unwrap();
    let batches: Vec<arrow::array::RecordBatch> = futures::TryStreamExt::try_collect(scan).await.unwrap();
    let mut found = Vec::new();
    for batch in batches {
        let [keys, texts] =
            [0, 1].map(|column| arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Utf8).unwrap());
        let text = |column: &arrow::array::ArrayRef, row| {
            arrow::array::AsArray::as_string::<i32>(column).value(row).to_owned()
        };
        found.extend((0..batch.num_rows()).map(|row| (text(&keys, row), text(&texts, row))));
    }
    found.sort();
    found
}

#[tokio::test]
async fn what_could_not_be_read_is_kept_and_no_row_hangs_on_it() {
    let body = r#"{"entries":[]}"#.to_owned();
    for step in (4..20).step_by(2) {
        let bench = Bench::new(&format!("bodies-{step}")).await.per_task(3).with_jobs(1);
        bench.site.script("a", Answer::Other);
        bench.site.script_once("b", Answer::Transient("the page fell apart"));
        let kill = Kill::at(step);
        let killed = bench.clone().with_kill(&kill).with_visibility(VISIBILITY);
        tokio::select! {
            ended = killed.extract(&["a", "b", "c"]) => drop(ended),
            () = kill.fell() => {}
        }
        // Another run asks again: each row is there once, and so is the body.
        let again = bench.extract(&["a", "b", "c"]).await.unwrap();
        assert_eq!(again.open.iter().map(|last| last.outcome).collect::<Vec<_>>(), [Outcome::Unreadable]);
        assert_eq!(bench.rows().await, rows_of(&["b", "c"]));
        let found: std::collections::BTreeSet<_> = bodies(&bench).await.into_iter().collect();
        assert_eq!(found.into_iter().collect::<Vec<_>>(), [("a".to_owned(), body.clone())], "killed at step {step}");
        // On a mended site the key lands, whatever is kept of it.
        bench.site.script("a", Answer::Items);
        bench.extract(&["a", "b", "c"]).await.unwrap();
        assert_eq!(bench.rows().await, rows_of(&["a", "b", "c"]));
    }
}

#[tokio::test]
async fn nothing_is_kept_of_a_source_with_rules_for_persons() {
    let mut bench = Bench::new("no-bodies").await;
    let text = NOTES.replace("[fields]", "[fields]\nwriter = { path = \"/writer\", type = \"hash\" }");
    bench.source = extract::Source::parse("notes.toml", &text).unwrap();
    bench.site.script("a", Answer::Other);
    let extracted = bench.extract(&["a"]).await.unwrap();
    assert_eq!(extracted.open.iter().map(|last| last.outcome).collect::<Vec<_>>(), [Outcome::Unreadable]);
    assert_eq!(bodies(&bench).await, []);
}
